"""Real delivery forms through the stages: good data are staged alike, bad data are refused by name."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import timedelta
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from exp_platform.config.environment import Environment, load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import TableSource
from exp_platform.errors import DataError
from exp_platform.stages import ingest, publish, quality, rounds, workers
from exp_platform.stages.quality import read_checks
from exp_platform.stages.run import Run
from exp_platform.tables.catalog import open_catalog, table
from stages.raw_data import (
    USERS,
    Rows,
    changed,
    deliver,
    events_experiment,
    exposures,
    frozen,
    outcomes,
    units,
    units_experiment,
    write_csv,
    write_parquet,
)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Environment]:
    """One state root for all tests of this file: each has files and run ids of its own."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXP_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield load_environment("embedded")


def staged(run: Run) -> dict[str, pa.Table]:
    """What the run staged, in the order of buckets."""
    paths = json.loads((run.path / "ingest.json").read_text())["staged"]
    local = {name: [path.removeprefix("file://") for path in found] for name, found in paths.items()}
    return {
        name: pa.concat_tables([pq.read_table(path, partitioning=None) for path in found])
        for name, found in local.items()
        if found
    }


def by_user(rows: pa.Table) -> list[dict[str, Any]]:
    """Rows in an order that depends on what they say alone, without the bucket."""
    return sorted(rows.drop_columns(["bucket"]).to_pylist(), key=repr)


def taken_in(run: Run) -> tuple[str, ...]:
    """Ingest and judge; gives the warnings."""
    ingest.run(run)
    return quality.run(run).warnings


# ---- good data


def test_the_form_of_delivery_does_not_matter(
    place: Environment, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parquet with instants, CSV with Berlin's clock times, several files, many buckets, wherever tasks run: the same rows are staged."""
    parquet = events_experiment(deliver(tmp_path / "parquet"))
    runs = {"parquet": frozen(place, parquet, "parquet")}
    for name, zone in (("clock", "Europe/Berlin"), ("instants", None)):
        write_csv(tmp_path / name / "exposures" / "e.csv", exposures(), zone)
        for part, lines in enumerate((slice(0, 5), slice(5, 69), slice(69, None))):
            some = {column: values[lines] for column, values in outcomes().items()}
            write_csv(tmp_path / name / "outcomes" / f"part-{part}.csv.gz", some, zone)
        runs[name] = frozen(place, events_experiment(tmp_path / name, "csv"), name)
    for name in ("buckets", "processes", "spark"):
        runs[name] = frozen(place, parquet, name)
    for name, run in runs.items():
        if name == "buckets":
            monkeypatch.setattr(rounds, "BUCKET_USERS", 30)
        if name == "processes":
            monkeypatch.setattr(workers, "FEW_ROWS", 0)
        if name == "spark":
            monkeypatch.setattr(rounds, "workers", partial(workers.workers, by_spark=True))
        result = ingest.run(run)
        assert (result.rows_in, result.rows_out) == (4 * USERS, 4 * USERS)
    found = {name: staged(run) for name, run in runs.items()}
    good = by_user(found["parquet"]["exposures"])
    assert len(good) == USERS
    assert good[0]["attributes"] == [("device", "phone")]
    assert good[0]["experiment_id"] == "shop"
    for name in runs:
        assert by_user(found[name]["exposures"]) == good
        assert by_user(found[name]["outcomes"]) == by_user(found["parquet"]["outcomes"])
    for kind in ("exposures", "outcomes"):  # bucket by bucket in the same order
        assert found["processes"][kind].equals(found["buckets"][kind])
        assert found["spark"][kind].equals(found["buckets"][kind])
    buckets = {
        table: dict(zip(rows["user_id"].to_pylist(), rows["bucket"].to_pylist(), strict=True))
        for table, rows in found["buckets"].items()
    }
    assert set(buckets["exposures"].values()) == {0, 1, 2, 3}
    assert buckets["exposures"] == buckets["outcomes"]
    measured = [json.loads((run.path / "ingest.json").read_text())["measured"] for run in runs.values()]
    assert all(one == measured[0] for one in measured)


def test_a_rerun_stages_the_same_rows_in_the_same_order(place: Environment, tmp_path: Path) -> None:
    for part in range(4):
        some = {column: values[part::4] for column, values in outcomes().items()}
        write_parquet(tmp_path / "outcomes" / f"{part}.parquet", some)
    write_parquet(tmp_path / "exposures" / "part.parquet", exposures())
    runs = [frozen(place, events_experiment(tmp_path), run_id) for run_id in ("first", "second")]
    for run in runs:
        ingest.run(run)
    one, two = (staged(run) for run in runs)
    assert one["outcomes"].equals(two["outcomes"])
    assert one["exposures"].equals(two["exposures"])


def test_iceberg_tables_and_units_without_ids(place: Environment, tmp_path: Path) -> None:
    """The same mailing as CSV, whose ids are its row numbers, and as an Iceberg table with ids."""
    csv = frozen(place, units_experiment(write_csv(tmp_path / "units.csv", units())), "csv")
    catalog = open_catalog(place)
    catalog.create_namespace("crm")
    rows = pa.table({"customer": list(range(1, USERS + 1)), **units()})
    catalog.create_table("crm.mailing", schema=rows.schema).append(rows)
    experiment = units_experiment(Path("unused"))
    source = replace(
        experiment.source,
        table=TableSource("iceberg", "crm.mailing", {"variant_id": "arm", "user_id": "customer"}),
    )
    iceberg = frozen(place, replace(experiment, source=source), "iceberg")
    for run in (csv, iceberg):
        taken_in(run)
        assert all(check.status != "failed" for check in read_checks(run.path / "quality.json"))
    one, two = staged(csv), staged(iceberg)
    assert by_user(one["exposures"]) == by_user(two["exposures"])
    assert by_user(one["outcomes"]) == by_user(two["outcomes"])
    assert set(one["exposures"]["user_id"].to_pylist()) == {str(i) for i in range(1, USERS + 1)}
    events = one["outcomes"].to_pandas().groupby("event").value.agg(["count", "sum"])
    given = [int(h) for h in units()["history"] if h]
    assert tuple(events.loc["history"]) == (len(given), sum(given))
    assert tuple(events.loc["visited"]) == (USERS, USERS * 0.8)


def test_warnings_do_not_keep_data_from_being_published(place: Environment, tmp_path: Path) -> None:
    happened = changed(outcomes(), "uid", lambda i, user: f"stranger {i}" if i % 10 == 0 else user)
    arms = changed(exposures(), "arm", lambda i, arm: "control" if i % 3 else arm)
    run = frozen(place, events_experiment(deliver(tmp_path, arms, happened)), "warned")
    assert {warning.split(":")[0] for warning in taken_in(run)} == {"srm"}


# ---- broken data

Break = Callable[[Path], Experiment]


def events(exposed: Rows | None = None, happened: Rows | None = None) -> Break:
    return lambda folder: events_experiment(deliver(folder, exposed, happened))


def mailing(rows: Rows, **columns: str) -> Break:
    return lambda folder: units_experiment(write_csv(folder / "units.csv", rows), columns=columns)


def without(rows: Rows, column: str) -> Rows:
    return {name: values for name, values in rows.items() if name != column}


def none_of(rows: Rows) -> Rows:
    return {name: pa.array([], pa.array(values).type) for name, values in rows.items()}  # type: ignore[misc]


def overwritten(name: str, content: bytes) -> Break:
    def broken(folder: Path) -> Experiment:
        experiment = events_experiment(deliver(folder))
        (folder / name).write_bytes(content)
        return experiment

    return broken


def a_table_gone(folder: Path) -> Experiment:
    experiment = events_experiment(deliver(folder))
    (folder / "outcomes" / "part.parquet").unlink()
    return experiment


def a_cut_file(folder: Path) -> Experiment:
    path = write_csv(folder / "units.csv.gz", units(2000))
    path.write_bytes(gzip.compress(gzip.decompress(path.read_bytes()), 1)[:-900])
    return units_experiment(path)


def broken_lines(folder: Path) -> Experiment:
    path = write_csv(folder / "units.csv", units())
    path.write_text(path.read_text() + '"A","TRUE"\n')
    return units_experiment(path)


def csv_times(folder: Path) -> Experiment:
    american = changed(exposures(), "seen", lambda i, at: at.strftime("%m/%d/%Y %H:%M") if i == 7 else at)
    write_csv(folder / "exposures" / "e.csv", american)
    write_csv(folder / "outcomes" / "o.csv", outcomes())
    return events_experiment(folder, "csv")


def no_such_table(folder: Path) -> Experiment:
    experiment = events_experiment(deliver(folder))
    return replace(
        experiment, source=replace(experiment.source, outcomes=TableSource("iceberg", "crm.absent", {}))
    )


BROKEN: dict[str, tuple[Break, str, str]] = {
    "a column is missing": (events(without(exposures(), "arm")), "schema", "no column arm (for variant_id)"),
    "a column has a wrong type": (
        events(changed(exposures(), "seen", lambda i, _: i)),
        "schema",
        "seen (for exposed_at) is int64",
    ),
    "a file is missing": (a_table_gone, "source", "outcomes: no parquet file"),
    "a file is not Parquet": (overwritten("exposures/part.parquet", b"uid,arm\n1,A\n"), "source", "cannot be read"),
    "a file is cut off": (a_cut_file, "source", "units.csv.gz"),
    "a table is missing": (no_such_table, "source", "no table crm.absent"),
    "no exposures": (events(none_of(exposures())), "empty", "no rows in exposures"),
    "no outcomes": (events(None, none_of(outcomes())), "empty", "no rows in outcomes"),
    "nobody exposed in the window": (
        events(changed(exposures(), "seen", lambda _, at: at - timedelta(days=60))),
        "empty",
        "0 users first exposed from 2025-03-24 to 2025-04-06 (Europe/Berlin)",
    ),
    "users are null": (
        events(changed(exposures(), "uid", lambda i, user: None if i == 3 else user)),
        "nulls",
        "1 rows of exposures.user_id (0.83 %)",
    ),
    "summed values are null": (
        events(None, changed(outcomes(), "amount", lambda i, _: None)),
        "nulls",
        "120 rows of outcomes.value",
    ),
    "values are text": (
        events(None, changed(outcomes(), "amount", lambda i, _: "ten" if i == 9 else "1")),
        "malformed",
        "1 rows of outcomes.value (0.28 %) cannot be read (such as 'ten')",
    ),
    "times are American": (csv_times, "malformed", "exposures.exposed_at"),
    "lines are broken": (broken_lines, "malformed", "units.(whole row)"),
    "events are repeated": (
        events(None, {name: [*values, *values[:4]] for name, values in outcomes().items()}),
        "duplicates",
        "4 rows of outcomes (1.10 %)",
    ),
    "a variant is unknown": (
        events(changed(exposures(), "arm", lambda i, arm: "Treatment" if i == 1 else arm)),
        "unknown_variants",
        "'Treatment' (1)",
    ),
    "one arm only": (
        events(changed(exposures(), "arm", lambda i, _: "control")),
        "missing_arm",
        "no users in treatment, 120 in the others",
    ),
    "outcomes before exposures only": (
        events(changed(exposures(), "seen", lambda i, _: exposures()["seen"][0] + timedelta(days=13)),
               changed(outcomes(), "at", lambda i, _: exposures()["seen"][0] + timedelta(minutes=30 * i))),
        "time_order",
        "(100.00 %)",
    ),
    "rows of the future": (
        events(changed(exposures(), "seen", lambda i, at: at.replace(year=2095) if i == 5 else at)),
        "future_dates",
        "1 rows of exposures (0.83 %)",
    ),
    "a unit twice": (
        mailing({**units(), "customer": [i // 2 if i < 2 else i for i in range(USERS)]}, user_id="customer"),
        "duplicates",
        "1 rows of units (0.83 %) repeat a user_id",
    ),
    "a unit without its outcome": (
        mailing(changed(units(), "visited", lambda i, v: None if i == 4 else v)),
        "missing_values",
        "1 rows of units.visited (0.83 %)",
    ),
    "a unit of an unknown variant": (
        mailing(changed(units(), "arm", lambda i, arm: "C" if i == 4 else arm)),
        "unknown_variants",
        "'C' (1)",
    ),
}  # fmt: skip


@pytest.fixture(scope="module")
def published(place: Environment, tmp_path_factory: pytest.TempPathFactory) -> Callable[[], Any]:
    """Good data of both experiments are published; gives what readers see of them."""
    folder = tmp_path_factory.mktemp("good")
    mailed = units_experiment(write_csv(folder / "units.csv", units()))
    for experiment in (events_experiment(deliver(folder)), mailed):
        run = frozen(place, experiment, "good")
        for stage in (ingest, quality, publish):
            stage.run(run)

    def seen() -> Any:
        catalog = open_catalog(place)
        registry = table(catalog, "experiment_registry").scan().to_arrow().to_pylist()
        snapshots = [table(catalog, name).current_snapshot() for name in ("exposures", "outcomes")]
        return registry, snapshots

    return seen


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_data_are_refused_by_a_named_check(
    kind: str, place: Environment, published: Callable[[], Any], tmp_path: Path
) -> None:
    before = published()
    assert len(before[0]) == 2
    breaking, check, message = BROKEN[kind]
    run = frozen(place, breaking(tmp_path), kind.replace(" ", "-"))
    with pytest.raises(DataError) as refused:  # a DataError is not retried
        taken_in(run)
    assert f"{check}: " in str(refused.value)
    assert message in str(refused.value)
    assert published() == before
    recorded = table(open_catalog(place), "data_quality_results").scan().to_arrow().to_pylist()
    mine = {row["check"] for row in recorded if row["run_id"] == run.run_id and row["severity"] == "error"}
    assert check in mine
    assert {row["status"] for row in recorded} == {"failed"}


def test_fewer_rows_than_were_published_are_refused(
    place: Environment, published: Callable[[], Any], tmp_path: Path
) -> None:
    """Only against the same source: another folder is another delivery."""
    few = {name: values[:90] for name, values in exposures().items()}
    other = frozen(place, events_experiment(deliver(tmp_path, few)), "other-source")
    taken_in(other)

    registry, _ = published()
    (entry,) = [row for row in registry if row["experiment_id"] == "shop"]
    folder = Path(json.loads(entry["spec"])["source"]["exposures"]["location"]).parent
    deliver(folder, few)
    run = frozen(place, events_experiment(folder), "fewer")
    with pytest.raises(DataError, match="row_drop: 90 exposures, 120 in the last publication"):
        taken_in(run)
    deliver(folder)
    assert published()[0] == registry


def test_rows_of_the_last_publication_count_though_an_older_version_knew_fewer_keys(tmp_path: Path) -> None:
    """Else the first delivery after an upgrade could lose any share of its rows unseen."""
    from pydantic import TypeAdapter

    from exp_platform.config.experiment import Experiment
    from exp_platform.stages.last_publication import published_rows

    made = events_experiment(tmp_path)
    spec = TypeAdapter(Experiment).dump_python(made, mode="json")
    for side in ("exposures", "outcomes"):
        assert spec["source"][side].pop("csv", "absent") is None
    registered = {"spec": json.dumps(spec), "exposures_rows": 120}
    assert published_rows(made, registered) == 120
    spec["source"]["outcomes"]["location"] = "elsewhere"
    assert published_rows(made, {"spec": json.dumps(spec), "exposures_rows": 120}) is None
