"""The stage reads the published snapshots, commits unit days and leaves the run's aggregates."""

from __future__ import annotations

import json
import zlib
from dataclasses import replace
from datetime import date, timedelta
from functools import partial

import pyarrow as pa
import pyarrow.compute as pc
import pytest

from exp_platform.aggregates import Aggregates, read_aggregates
from exp_platform.config.environment import Environment
from exp_platform.errors import DataError, ExpPlatformError
from exp_platform.json_file import write_json
from exp_platform.kernels.pools import MOST_VALUES
from exp_platform.stages import aggregates as stage
from exp_platform.stages import publish, workers
from exp_platform.stages.run import Run, StageResult
from exp_platform.tables import catalog as catalogs
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.files import task_writer
from exp_platform.tables.schemas import NAMESPACE, TABLES
from kernels.cases import (
    EVENT_METRICS,
    REVENUE,
    Data,
    Exposure,
    Outcome,
    aggregates_of,
    events_experiment,
    exposures_table,
    local,
    metric,
    outcomes_table,
)

pytestmark = pytest.mark.e2e  # commit after commit, or Spark: longer than a unit test may take

MEDIAN = metric("median_spend", "quantile", REVENUE, q=0.5)
SPEC = events_experiment(metrics=(*EVENT_METRICS, MEDIAN))
DAYS = [SPEC.window.start + timedelta(days=day) for day in (2, 5)]


def some_data(users: int = 40, tiers: int = 2) -> Data:
    data = Data()
    for i in range(users):
        first = local(SPEC, i % 5, i % 24)
        attributes = {"device": "mobile" if i % 2 else "desktop", "tier": f"t{i % tiers}"}
        data.exposures.append(Exposure(f"u{i}", SPEC.variants[i % 3].id, first, attributes))
        if i % 10 == 0:
            data.exposures.append(
                Exposure(f"u{i}", SPEC.variants[(i + 1) % 3].id, first + timedelta(hours=9))
            )
        for k in range(i % 4):
            at = first + timedelta(hours=30 * k - 30)
            data.outcomes.append(Outcome(f"u{i}", ("view", "order", "purchase")[k % 3], at, float(i + k)))
    return data


def published(
    environment: Environment, data: Data, buckets: int, run_id: str = "r1", days: list[date] = DAYS
) -> Run:
    """A run whose data are published in so many buckets, by the same rule as `kernels.cases`."""
    run = Run(
        run_id, SPEC, tuple(days), environment.name, str(environment.runs_dir / SPEC.id / run_id), "", "", ""
    )
    run.save()
    staged = {
        "exposures": _write(
            environment, run, "exposures", exposures_table(data.exposures), "attributes", buckets
        ),
        "outcomes": _write(
            environment, run, "outcomes", outcomes_table(data.outcomes), "properties", buckets
        ),
    }
    read = {"exposures": len(data.exposures), "outcomes": len(data.outcomes)}
    measured = {"rows_in": read, "rows_out": read, "left_out": {}}
    write_json(
        run.path / "ingest.json",
        {"measured": measured, "staged": staged, "buckets": buckets, "thresholds": []},
    )
    publish.run(run)
    return run


def _write(
    environment: Environment, run: Run, name: str, rows: pa.Table, maps: str, buckets: int
) -> list[str]:
    rows = rows.append_column("event_id", pa.nulls(len(rows), pa.string()))
    if maps not in rows.column_names:
        rows = rows.append_column(maps, pa.nulls(len(rows), pa.map_(pa.string(), pa.string())))
    writer = task_writer(environment, name, run.experiment.id, run.run_id)
    bucket = pa.array([zlib.crc32(user.encode()) % buckets for user in rows["user_id"].to_pylist()])
    parts = {number: rows.filter(pc.equal(bucket, number)) for number in range(buckets)}
    return [writer.write(number, part) for number, part in parts.items() if len(part)]


def contents(days: list[Aggregates]) -> list[object]:
    """All of them in a form that compares by value, without the accounts of rows."""
    blocks = [{**b.__dict__, "moments": b.moments.to_json()} for day in days for b in day.blocks]
    return [[replace(day, blocks=(), rows={}) for day in days], blocks]


def test_one_bucket_is_reduced_without_a_session(environment: Environment) -> None:
    data = some_data()
    run = published(environment, data, buckets=1)
    result = stage.run(run)
    left = read_aggregates(run.path / "aggregates.json")
    assert contents(left) == contents(aggregates_of(data, SPEC, DAYS))
    read = {"exposures": len(data.exposures), "outcomes": len(data.outcomes)}
    for day in left:
        assert {name: day.rows[name].read for name in read} == read
        assert all(account.adds_up() for account in day.rows.values())
    assert [sum(day.assigned.values()) for day in left] == [24, 40]
    assert result.rows_in == len(data.exposures) + len(data.outcomes)
    assert set(result.snapshots) == {"exposures", "outcomes", "unit_days"}
    rows = (
        table(open_catalog(environment), "unit_days")
        .scan(snapshot_id=result.snapshots["unit_days"])
        .to_arrow()
    )
    assert rows.num_rows == result.rows_out
    assert pc.sum(pc.equal(rows["event"], "exposure")).as_py() == 40
    assert set(rows["experiment_id"].to_pylist()) == {SPEC.id}


def test_a_rerun_replaces_its_unit_days_and_no_other_experiments(environment: Environment) -> None:
    first = stage.run(published(environment, some_data(40), buckets=1))
    again: StageResult = stage.run(published(environment, some_data(12), buckets=1, run_id="r2"))
    rows = table(open_catalog(environment), "unit_days").scan().to_arrow()
    assert rows.num_rows == again.rows_out < first.rows_out


def test_unit_days_that_an_older_version_stored_are_made_anew(environment: Environment) -> None:
    """Whose table had no `user_number`."""
    environment.prepare()
    older = catalogs.load_catalog("iceberg", **environment.pyiceberg_properties())
    older.create_namespace(NAMESPACE)
    now = TABLES["unit_days"].arrow_schema
    then = pa.schema([field for field in now if field.name != "user_number"])
    stored = older.create_table((NAMESPACE, "unit_days"), then)
    with stored.update_spec() as change:
        change.add_identity("experiment_id").add_identity("bucket")
    row = {"experiment_id": SPEC.id, "bucket": 0, "user_id": "u1", "event": "view", "n": 7, "value": 7.0}
    stored.append(pa.Table.from_pylist([row], then))
    result = stage.run(published(environment, some_data(), buckets=1))
    rows = table(open_catalog(environment), "unit_days").scan().to_arrow()
    assert rows.num_rows == result.rows_out
    whose = {*zip(rows["user_number"].to_pylist(), rows["user_id"].to_pylist(), strict=True)}
    assert sorted(number for number, _ in whose) == list(range(40))
    assert len({user for _, user in whose}) == 40


@pytest.mark.parametrize(("split", "registered"), [(2, 1), (1, 2)])
def test_files_of_another_number_of_buckets_are_refused(
    environment: Environment, split: int, registered: int
) -> None:
    run = published(environment, some_data(2000), buckets=split)
    write_json(
        run.path / "publish.json",
        json.loads((run.path / "publish.json").read_text()) | {"buckets": registered},
    )
    with pytest.raises(DataError, match=f"registry says {registered} buckets"):
        stage.run(run)
    assert not (run.path / "aggregates.json").exists()


def test_rows_that_were_lost_or_doubled_since_they_were_published_are_not_aggregated(
    environment: Environment,
) -> None:
    """Two tries of `publish` once left every row twice, and all stages were green."""
    run = published(environment, some_data(40), buckets=1)
    doubled = table(open_catalog(environment), "outcomes")
    rows = doubled.scan().to_arrow()
    doubled.append(rows)
    left = json.loads((run.path / "publish.json").read_text())
    left["snapshots"]["outcomes"] = doubled.refresh().current_snapshot().snapshot_id
    write_json(run.path / "publish.json", left)
    with pytest.raises(ExpPlatformError, match=f"outcomes: found {2 * len(rows):,}, but {len(rows):,} were"):
        stage.run(run)
    assert not (run.path / "aggregates.json").exists()


def test_no_exposures_are_refused(environment: Environment) -> None:
    with pytest.raises(DataError, match="exposures are empty"):
        stage.run(published(environment, Data(), buckets=1))


@pytest.mark.parametrize("where", ["here", "processes", "spark"])
def test_buckets_equal_the_kernels_wherever_tasks_run(
    where: str, environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = some_data(60)
    if where == "processes":
        monkeypatch.setattr(workers, "FEW_ROWS", 0)
    if where == "spark":
        monkeypatch.setattr(stage, "workers", partial(workers.workers, by_spark=True))
    run = published(environment, data, buckets=3)
    result = stage.run(run)
    left = read_aggregates(run.path / "aggregates.json")
    assert contents(left) == contents(aggregates_of(data, SPEC, DAYS, buckets=3))
    assert {b.metric_id for b in left[-1].blocks if b.quantile is not None} == {"median_spend"}
    rows = table(open_catalog(environment), "unit_days").scan(snapshot_id=result.snapshots["unit_days"])
    assert len(list(rows.plan_files())) == 3
    assert rows.to_arrow().num_rows == result.rows_out


@pytest.mark.parametrize("buckets", [1, 3])
def test_segments_of_many_values_are_pooled_alike_by_every_try(
    environment: Environment, buckets: int
) -> None:
    data = some_data(200, tiers=90)
    run = published(environment, data, buckets)
    tries = []
    for _ in range(2):
        stage.run(run)
        left = read_aggregates(run.path / "aggregates.json")
        assert contents(left) == contents(aggregates_of(data, SPEC, DAYS, buckets))
        assert all(account.adds_up() for day in left for account in day.rows.values())
        tries.append((run.path / "aggregates.json").read_text())
    assert tries[0] == tries[1]
    assert [set(day.pooled) for day in left] == [set(), {"tier"}]  # of the first three days' users 54 values
    assert 1 < len(left[-1].segment_values("tier")) <= MOST_VALUES  # of some only crossovers are there
