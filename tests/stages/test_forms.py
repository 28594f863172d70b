"""Whatever form a table has, its rows are the same: paths, JSON lines, folders that are columns."""

from __future__ import annotations

import bz2
import csv
import gzip
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.stages import json_files, pieces
from stages.plans import planned, problems, rows_of, told_when_read
from stages.raw_data import units_experiment

PEOPLE = [
    {
        "arm": "AB"[i % 2],
        "props": {"visited": i % 3 == 0, "spent": i / 4, "who": {"old": i}},
        "channel": "wéb",
    }
    for i in range(40)
]


def experiment(path: Path, kind: str, partitions: dict[str, str] | None = None) -> Experiment:
    """A units table whose outcomes and covariate lie deeper."""
    made = units_experiment(path, kind)
    source = replace(
        made.source,
        outcomes=("props.visited", "props.spent"),
        covariates=("props.who.old",),
        attributes={"channel": (partitions or {}).get("channel", "channel")},
    )
    return replace(made, source=source)


def written(path: Path, form: str) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    as_text = [{**row, "props": json.dumps(row["props"])} for row in PEOPLE]
    if form == "struct":
        pq.write_table(pa.Table.from_pylist(PEOPLE), path)
    elif form == "parquet with JSON":
        pq.write_table(pa.Table.from_pylist(as_text), path)
    elif form == "csv with JSON":
        with path.open("w", newline="") as file:
            writer = csv.DictWriter(file, ["arm", "props", "channel"])
            writer.writeheader()
            writer.writerows(as_text)
    else:
        path.write_text("".join(json.dumps(row) + "\n" for row in PEOPLE))


def numbers(rows: pa.Table) -> list[tuple[Any, ...]]:
    def number(value: Any) -> float:
        return {"true": 1.0, "false": 0.0}.get(value) if value in ("true", "false") else float(value)  # type: ignore[return-value]

    columns = ("variant_id", "outcome.props.spent", "outcome.props.visited", "covariate.props.who.old")
    found = zip(*(rows[name].to_pylist() for name in columns), strict=True)
    return [(arm, *map(number, values)) for arm, *values in found]


EXPECTED = [
    (r["arm"], r["props"]["spent"], float(r["props"]["visited"]), float(r["props"]["who"]["old"]))
    for r in PEOPLE
]  # type: ignore[index]


@pytest.mark.parametrize(
    ("form", "kind", "name"),
    [
        ("struct", "parquet", "u.parquet"),
        ("parquet with JSON", "parquet", "u.parquet"),
        ("csv with JSON", "csv", "u.csv"),
        ("json", "json", "u.jsonl"),
    ],
)
def test_paths_lead_to_the_same_values_in_every_form(
    tmp_path: Path, environment: Environment, form: str, kind: str, name: str
) -> None:
    written(tmp_path / "data" / name, form)
    plan = planned(experiment(tmp_path / "data", kind), environment)
    assert numbers(rows_of(plan, "units")) == EXPECTED


def test_of_a_struct_only_the_leaves_that_are_named_are_read(
    tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    written(tmp_path / "data" / "u.parquet", "struct")
    asked: list[list[str]] = []
    real = pq.ParquetFile.iter_batches

    def noted(self: Any, size: int, groups: Any, columns: list[str], **rest: Any) -> Any:
        asked.append(columns)
        return real(self, size, groups, columns, **rest)

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", noted)
    rows_of(planned(experiment(tmp_path / "data", "parquet"), environment), "units")
    assert asked == [["arm", "channel", "props.spent", "props.visited", "props.who.old"]]


def test_a_path_into_a_column_with_nothing_within_is_told(tmp_path: Path, environment: Environment) -> None:
    rows = [{**row, "props": 1} for row in PEOPLE]
    (tmp_path / "data").mkdir()
    pq.write_table(pa.Table.from_pylist(rows), tmp_path / "data" / "u.parquet")
    found = problems(experiment(tmp_path / "data", "parquet"), environment)
    assert [check for check, _ in found] == ["schema"] * 3
    assert found[0][1] == (
        f"units: {tmp_path}/data/u.parquet: props.visited (for outcome.props.visited) leads nowhere: props is int64, and a "
        "path leads into a struct, a map with keys of text, or JSON text: name a column or a path that is there"
    )


@pytest.mark.parametrize(
    ("ending", "compress"), [("", bytes), (".gz", gzip.compress), (".bz2", bz2.compress)]
)
def test_json_lines_are_read_in_blocks_compressed_or_not(
    tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch, ending: str, compress: Any
) -> None:
    monkeypatch.setattr(json_files, "BLOCK_BYTES", 300)
    text = "\ufeff" + "\r\n".join(json.dumps(row) for row in PEOPLE)  # no end of line at its end
    (tmp_path / "data").mkdir()
    (tmp_path / "data" / f"u.ndjson{ending}").write_bytes(compress(text.encode()))
    plan = planned(experiment(tmp_path / "data", "json"), environment)
    (piece,) = plan.pieces
    assert len(list(piece.parts())) > 10
    assert numbers(rows_of(plan, "units")) == EXPECTED


def test_lines_that_are_no_objects_are_counted_and_shown(tmp_path: Path, environment: Environment) -> None:
    lines = [json.dumps(row).encode() for row in PEOPLE]
    lines[3:3] = [b'{"arm": "A"', b"7", b'{"arm": "\xff"}', b"", b"  "]
    (tmp_path / "u.jsonl").write_bytes(b"\n".join(lines))
    plan = planned(experiment(tmp_path / "u.jsonl", "json"), environment)
    (piece,) = plan.pieces
    parts = list(piece.parts())
    assert sum(part.bad_rows for part in parts) == 3
    assert parts[0].bad_example == 'no JSON object: {"arm": "A"'
    assert numbers(rows_of(plan, "units")) == EXPECTED


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (json.dumps(PEOPLE).encode(), "it is one JSON array: write one object per line"),
        (json.dumps(PEOPLE[0], indent=1).encode(), "is a JSON object (no JSON object: {): write one object"),
        (b"PAR1\x15\x04", "it is a Parquet file: say `format: parquet`"),
    ],
)
def test_a_file_that_is_no_json_lines_is_refused(
    tmp_path: Path, environment: Environment, content: bytes, told: str
) -> None:
    (tmp_path / "u.json").write_bytes(content)
    made = experiment(tmp_path / "u.json", "json")
    found = problems(made, environment)
    said = found[0][1] if found else told_when_read(planned(made, environment))
    assert told in said


def test_a_key_that_no_line_has_is_told_with_those_there_are(
    tmp_path: Path, environment: Environment
) -> None:
    lines = [json.dumps({"group" if k == "arm" else k: v for k, v in row.items()}) for row in PEOPLE]
    (tmp_path / "u.jsonl").write_text("\n".join(lines))
    ((check, said),) = problems(experiment(tmp_path / "u.jsonl", "json"), environment)
    assert check == "schema"
    assert "has no key arm (for variant_id) but channel, group, props: name the right one" in said


def test_rows_of_json_lines_are_numbered_over_all_files(tmp_path: Path, environment: Environment) -> None:
    for name, rows in (("a.jsonl", PEOPLE[:7]), ("b.jsonl", PEOPLE[7:])):
        (tmp_path / name).write_text("\n".join(json.dumps(row) for row in rows))
    plan = planned(experiment(tmp_path, "json"), environment)
    assert [piece.first_row for piece in plan.pieces] == [0, 7]


def test_names_of_folders_are_columns(tmp_path: Path, environment: Environment) -> None:
    plain = [{k: v for k, v in row.items() if k != "channel"} for row in PEOPLE]
    for folder, rows in (
        ("day=2026-03-01/country=D%2FE", plain[:5]),
        ("day=2026-03-01/country=FR", plain[5:7]),
        ("day=2026-03-02/country=__HIVE_DEFAULT_PARTITION__", plain[7:9]),
    ):
        (tmp_path / folder).mkdir(parents=True)
        pq.write_table(pa.Table.from_pylist(rows), tmp_path / folder / "part-0.parquet")
    made = experiment(tmp_path, "parquet", {"channel": "country"})
    rows = rows_of(planned(made, environment), "units")
    assert rows["attribute.channel"].to_pylist() == ["D/E"] * 5 + ["FR"] * 2 + [None] * 2
    assert rows["outcome.props.spent"].to_pylist() == [i / 4 for i in range(9)]


@pytest.mark.parametrize(
    ("form", "kind", "name"),
    [
        ("struct", "parquet", "u.parquet"),
        ("parquet with JSON", "parquet", "u.parquet"),
        ("csv with JSON", "csv", "u.csv"),
        ("json", "json", "u.jsonl"),
    ],
)
def test_of_people_who_are_not_asked_for_only_the_ids_are_looked_into(
    tmp_path: Path,
    environment: Environment,
    monkeypatch: pytest.MonkeyPatch,
    form: str,
    kind: str,
    name: str,
) -> None:
    written(tmp_path / "data" / name, form)
    made = experiment(tmp_path / "data", kind)
    table = replace(made.source.table, columns={"user_id": "channel", "variant_id": "arm"})
    plan = planned(replace(made, source=replace(made.source, table=table)), environment)
    looked: list[int] = []
    real = pieces.taken

    def noted(rows: pa.Table, paths: Any, shown: Any = ()) -> Any:
        looked.append(len(rows) if len(paths) > 1 else 0)
        return real(rows, paths, shown)

    def every_fourth(ids: Any) -> Any:
        assert ids.to_pylist() == ["wéb"] * len(ids)
        return pa.array([i % 4 == 1 for i in range(len(ids))], pa.bool_())

    monkeypatch.setattr(pieces, "taken", noted)
    found = pa.concat_tables(part.rows for piece in plan.pieces for part in piece.parts(every_fourth))
    assert numbers(found) == EXPECTED[1::4]
    assert sum(looked) == len(EXPECTED[1::4])


def test_ids_may_be_names_of_folders(tmp_path: Path, environment: Environment) -> None:
    for user in ("ada", "bob"):
        (tmp_path / f"uid={user}").mkdir()
        pq.write_table(pa.Table.from_pylist(PEOPLE), tmp_path / f"uid={user}" / "part-0.parquet")
    made = experiment(tmp_path, "parquet")
    table = replace(made.source.table, columns={"user_id": "uid", "variant_id": "arm"})
    plan = planned(replace(made, source=replace(made.source, table=table)), environment)
    rows = [part.rows for piece in plan.pieces for part in piece.parts(lambda ids: pc.equal(ids, "bob"))]
    assert [set(part["user_id"].to_pylist()) for part in rows] == [set(), {"bob"}]
