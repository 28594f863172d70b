"""Input is found, checked and cut into pieces without reading a row; a piece reads exactly its own rows."""

from __future__ import annotations

import gzip
from datetime import date
from pathlib import Path

import pyarrow as pa
import pytest
from pyarrow.fs import LocalFileSystem

from exp_platform.config.environment import Environment
from exp_platform.stages import pieces
from exp_platform.stages.pieces import Piece
from exp_platform.stages.shards import read_and_split
from exp_platform.stages.source_files import file_system, found_at
from exp_platform.stages.sources import Plan, plan_reading
from stages.plans import planned, problems, rows_of, told_when_read
from stages.raw_data import (
    changed,
    deliver,
    events_experiment,
    exposures,
    outcomes,
    units,
    units_experiment,
    write_csv,
    write_parquet,
)


def names(folder: Path, pattern: str, kind: str = "csv") -> list[str]:
    found = found_at(str(folder / pattern) if pattern else str(folder), kind, LocalFileSystem())
    return [str(Path(info.path).relative_to(folder)) for info in found.files]


def test_a_location_is_a_file_a_folder_or_a_glob(tmp_path: Path) -> None:
    for name in (
        "b.csv",
        "a.csv.gz",
        "_SUCCESS",
        ".b.csv.crc",
        "day=1/c.csv",
        "day=2/d.csv",
        "_tmp/e.csv",
        "f.txt",
    ):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).touch()
    assert names(tmp_path, "") == ["a.csv.gz", "b.csv", "day=1/c.csv", "day=2/d.csv"]
    assert names(tmp_path, "b.csv") == ["b.csv"]
    assert names(tmp_path, "f.txt") == ["f.txt"]  # named, so taken at its word
    assert names(tmp_path, "*.csv") == ["b.csv"]
    assert names(tmp_path, "**/*.csv") == ["b.csv", "day=1/c.csv", "day=2/d.csv"]
    assert names(tmp_path, "day=[13]/*.csv") == ["day=1/c.csv"]
    assert names(tmp_path, "day=*") == ["day=1/c.csv", "day=2/d.csv"]
    assert names(tmp_path, "?.csv") == ["b.csv"]
    assert names(tmp_path, "absent") == []


def test_a_location_in_an_object_store_keeps_every_character_of_its_path(
    environment: Environment, monkeypatch
) -> None:
    monkeypatch.setenv("AWS_REGION", "us-east-1")
    assert file_system("s3://lake/day=?/a#b.csv", environment)[1] == "lake/day=?/a#b.csv"


def test_columns_get_our_names(tmp_path: Path, environment: Environment) -> None:
    plan = planned(events_experiment(deliver(tmp_path)), environment)
    assert rows_of(plan, "exposures").column_names == [
        "user_id",
        "variant_id",
        "exposed_at",
        "event_id",
        "attribute.device",
    ]
    assert rows_of(plan, "outcomes")["event_id"].to_pylist() == outcomes()["id"]
    assert (plan.rows("exposures"), plan.rows("outcomes")) == (120, 360)


def test_everything_wrong_with_the_columns_is_told_at_once(tmp_path: Path, environment: Environment) -> None:
    bad = changed({**exposures()}, "seen", lambda i, _: i)
    del bad["arm"]
    deliver(tmp_path, bad, changed(outcomes(), "amount", lambda i, _: [i]))
    found = problems(events_experiment(tmp_path), environment)
    assert [check for check, _ in found] == ["schema"] * 3
    (_, arm), (_, seen), (_, amount) = found
    assert "exposures/part.parquet has no column arm (for variant_id)" in arm
    assert "device, id, seen, uid" in arm
    assert "seen (for exposed_at) is int64, allowed is a timestamp, a date or ISO 8601 text" in seen
    assert "amount (for value) is list" in amount


def test_files_that_are_missing_or_not_what_they_say(tmp_path: Path, environment: Environment) -> None:
    (tmp_path / "exposures").mkdir()
    (tmp_path / "exposures" / "part.parquet").write_text("uid,arm,seen\n")
    (tmp_path / "exposures" / "more.parquet").touch()
    found = problems(events_experiment(tmp_path), environment)
    assert [check for check, _ in found] == ["source"] * 3
    assert "more.parquet cannot be read" in found[0][1]
    assert "part.parquet cannot be read" in found[1][1]
    assert f"outcomes: no parquet file at {tmp_path}/outcomes" in found[2][1]


def test_an_empty_csv_is_no_table(tmp_path: Path, environment: Environment) -> None:
    (tmp_path / "units.csv").touch()
    ((check, message),) = problems(units_experiment(tmp_path / "units.csv"), environment)
    assert check == "source"
    assert "is empty: a CSV file has a first line of column names" in message


def test_a_csv_with_a_header_only_has_columns_and_no_rows(tmp_path: Path, environment: Environment) -> None:
    (tmp_path / "units.csv").write_text("arm,visited,spent,history,channel\n")
    plan = planned(units_experiment(tmp_path / "units.csv"), environment)
    assert len(rows_of(plan, "units")) == 0


def test_a_missing_environment_variable_is_named(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    from exp_platform.errors import ConfigError

    monkeypatch.delenv("EXP_DATA_DIR", raising=False)
    with pytest.raises(ConfigError, match="EXP_DATA_DIR"):
        plan_reading(units_experiment(Path("${EXP_DATA_DIR}/units.csv")), environment)


def test_raw_data_that_were_not_generated(environment: Environment) -> None:
    from synth.synthetic import synthetic

    found = problems(synthetic(10), environment)
    assert [check for check, _ in found] == ["source", "source"]
    assert "--generate-synth" in found[0][1]


@pytest.mark.parametrize("ending", [".csv", ".csv.gz", ".tsv"])
def test_csv_is_text_with_nulls_quotes_and_broken_lines(
    tmp_path: Path, environment: Environment, ending: str
) -> None:
    lines = [
        "arm,visited,spent,history,channel",
        'A,TRUE,1.5,,"web, mobile"',
        "too,few",
        'B,FALSE,"2",NA,"two\nlines"',
        "A,TRUE,1,2,web,too many",
    ]
    text = "\ufeff" + "\r\n".join(lines).replace(",", "\t" if ending == ".tsv" else ",") + "\n"
    path = tmp_path / f"units{ending}"
    path.write_bytes(gzip.compress(text.encode()) if ending.endswith(".gz") else text.encode())
    plan = planned(units_experiment(path), environment)
    parts = [part for piece in plan.pieces for part in piece.parts()]
    rows = pa.concat_tables([part.rows for part in parts])
    assert sum(part.bad_rows for part in parts) == 2
    assert rows["variant_id"].to_pylist() == ["A", "B"]
    assert rows["covariate.history"].to_pylist() == [None, "NA"]
    assert rows["attribute.channel"].to_pylist() == [
        "web\t mobile" if ending == ".tsv" else "web, mobile",
        "two\nlines",
    ]


def split_user_ids(plan: Plan, order: slice) -> dict[str, list[str]]:
    """Spent by user id, when the pieces are read in some order."""
    numbered: list[tuple[int, Piece]] = list(enumerate(plan.pieces))[order]
    spent: dict[str, list[str]] = {}
    for _, shard in read_and_split(numbered, 3):
        for row in shard.rows.to_pylist():
            spent.setdefault(row["user_id"], []).append(row["outcome.spent"])
    return spent


def test_units_without_ids_are_numbered_over_all_files(tmp_path: Path, environment: Environment) -> None:
    rows = units(50)
    for name, cut in (("a.csv", slice(0, 7)), ("b.csv.gz", slice(7, 30)), ("c.csv", slice(30, 50))):
        write_csv(tmp_path / name, {column: values[cut] for column, values in rows.items()})
    expected = {str(i + 1): [spent] for i, spent in enumerate(rows["spent"])}
    plan = planned(units_experiment(tmp_path), environment)
    assert len(plan.pieces) == 3
    assert split_user_ids(plan, slice(None)) == split_user_ids(plan, slice(None, None, -1)) == expected


def test_units_without_ids_are_numbered_over_all_row_groups(
    tmp_path: Path, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pieces, "PIECE_ROWS", 8)
    write_parquet(tmp_path / "1.parquet", units(31), row_group_size=5)
    write_parquet(tmp_path / "2.parquet", {c: v[31:] for c, v in units(50).items()}, row_group_size=50)
    plan = planned(units_experiment(tmp_path, "parquet"), environment)
    assert [piece.rows for piece in plan.pieces] == [10, 10, 10, 1, 19]
    expected = {str(i + 1): [spent] for i, spent in enumerate(units(50)["spent"])}
    assert split_user_ids(plan, slice(None)) == split_user_ids(plan, slice(None, None, -1)) == expected


def test_a_user_is_in_one_bucket_and_all_buckets_are_used(tmp_path: Path, environment: Environment) -> None:
    plan = planned(events_experiment(deliver(tmp_path)), environment)
    found: dict[str, set[int]] = {}
    for bucket, shard in read_and_split(enumerate(plan.pieces), 4):
        for user in shard.rows["user_id"].to_pylist():
            found.setdefault(user, set()).add(bucket)
    assert {len(buckets) for buckets in found.values()} == {1}
    assert set.union(*found.values()) == {0, 1, 2, 3}


def test_ids_of_other_types_meet_in_the_same_bucket(tmp_path: Path, environment: Environment) -> None:
    deliver(
        tmp_path,
        changed(exposures(), "uid", lambda i, _: i),
        changed(outcomes(), "uid", lambda i, _: str(i // 3)),
    )
    plan = planned(events_experiment(tmp_path), environment)
    of_table: dict[str, dict[str, int]] = {"exposures": {}, "outcomes": {}}
    for bucket, shard in read_and_split(enumerate(plan.pieces), 4):
        for user in shard.rows["user_id"].to_pylist():
            of_table[shard.table][user] = bucket
    assert of_table["exposures"] == of_table["outcomes"]


def test_dates_are_good_times(tmp_path: Path, environment: Environment) -> None:
    deliver(tmp_path, changed(exposures(), "seen", lambda i, _: date(2025, 3, 25)))
    plan = planned(events_experiment(tmp_path), environment)
    assert pa.types.is_date32(rows_of(plan, "exposures").schema.field("exposed_at").type)
    assert rows_of(plan, "exposures")["exposed_at"][0].as_py() == date(2025, 3, 25)


def test_a_file_that_is_replaced_or_deleted_after_the_plan_is_not_read_as_planned(
    tmp_path: Path, environment: Environment
) -> None:
    deliver(tmp_path)
    plan = planned(events_experiment(tmp_path), environment)
    write_parquet(tmp_path / "exposures" / "part.parquet", exposures(7))
    assert "part.parquet cannot be read: it was changed after this run began: run again" in told_when_read(
        plan
    )
    (tmp_path / "exposures" / "part.parquet").unlink()
    assert "it was deleted after this run began: deliver it and run again" in told_when_read(plan)


@pytest.mark.parametrize(
    ("listed", "asked", "same"),
    [
        # as MinIO tells it: a listing, then the file itself
        (1_700_000_000_123_000_000, 1_700_000_000_000_000_000, True),
        (1_700_000_000_123_000_000, 1_700_000_001_000_000_000, False),
        (1_700_000_000_123_000_000, 1_700_000_000_456_000_000, False),  # a disk's own times
        (1_700_000_000_000_000_000, 1_700_000_000_000_000_000, True),
        (None, None, True),
    ],
)
def test_a_store_that_tells_times_finer_in_a_listing_has_changed_no_file(
    listed: int | None, asked: int | None, same: bool
) -> None:
    assert pieces.FileState(7, listed).same(pieces.FileState(7, asked)) is same
    assert not pieces.FileState(7, listed).same(pieces.FileState(8, asked))
