"""Stage aggregates: the published exposures and outcomes become unit days, and these Moments, a bucket of users per task.

Each task brings its bucket's unit days forward and returns small aggregates, which are merged here. Winsorised and quantile
metrics take a second pass over the unit days, because caps and quantiles are those of all users together. So do segments of
too many values, whose most frequent ones are those of all users.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, date, datetime, timedelta
from functools import partial
from typing import Any

from exp_platform.aggregates import Aggregates, Threshold, write_aggregates
from exp_platform.code_version import code_version
from exp_platform.config.environment import Environment, load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.errors import DataError, require_all
from exp_platform.kernels.aggregate import (
    Bounded,
    Bounds,
    BucketAggregates,
    aggregate,
    bounded,
    completed,
    with_bounds,
)
from exp_platform.kernels.behaviour import thresholds_of, with_thresholds
from exp_platform.kernels.local_days import instant
from exp_platform.kernels.merge import bounds_of, merge_aggregates
from exp_platform.kernels.pools import Pools, pools_of
from exp_platform.kernels.row_account import Exposures, complete
from exp_platform.kernels.stored_days import origin_key
from exp_platform.kernels.unit_days import events_read, measures_read
from exp_platform.stages.bucket_rows import Bucket, BucketRows, Reading
from exp_platform.stages.exchange import Workers
from exp_platform.stages.run import Run, StageResult
from exp_platform.stages.workers import workers
from exp_platform.tables.files import BucketFiles, Writer, plan_buckets, task_writer

EXPOSURE_COLUMNS = ("user_id", "variant_id", "exposed_at")
OUTCOME_COLUMNS = ("user_id", "event", "occurred_at", "value")
ROWS_THAT_FILL_A_BUCKET = 1000  # with so many rows per bucket on average, none is empty by chance


@dataclass(frozen=True)
class Reduced:
    """What the first round returns of one bucket: the files of its unit days, and a part for each as_of date."""

    paths: tuple[str, ...]
    unit_days: int
    users: int
    parts: list[BucketAggregates]


@dataclass(frozen=True)
class Job:
    """What every task of a run needs beside its bucket."""

    reading: Reading
    as_of_dates: tuple[date, ...]
    writer: Writer

    @property
    def experiment(self) -> Experiment:
        """Whose data are reduced."""
        return self.reading.experiment

    def first_round(self, bucket: Bucket) -> Reduced:
        """Write what of the bucket's unit days is not stored already, and aggregate all that needs no bounds."""
        found = self.reading.rows(bucket)
        paths = found.store(bucket.number, self.experiment, self.writer)
        parts = self._aggregated(found, [{}] * len(self.as_of_dates))
        exposed = found.users.exposed_at < instant(self.experiment.window.cutoff(self.as_of_dates[-1]))
        return Reduced(paths, len(found.users) + len(found.days), int(exposed.sum()), parts)

    def with_pools(self, bucket: Bucket, pools: list[Pools]) -> list[BucketAggregates]:
        """The first round's aggregates for each as_of date, where a segment has too many values."""
        return self._aggregated(self.reading.rows(bucket), pools)

    def second_round(self, bucket: Bucket, bounds: list[Bounds]) -> list[Bounded]:
        """What the bounds of all buckets allow, for each as_of date, of the rows that metrics with bounds read."""
        reading = replace(self.reading, experiment=with_bounds(self.experiment))
        found = reading.rows(bucket)
        return [
            bounded(found.users, found.days, reading.experiment, as_of, b, found.exposed)
            for as_of, b in zip(self.as_of_dates, bounds, strict=True)
        ]

    def _aggregated(self, found: BucketRows, pools: list[Pools]) -> list[BucketAggregates]:
        seen = Exposures.of(found.exposures, found.users, self.experiment)
        return [
            aggregate(found.users, found.days, self.experiment, as_of, seen, of_day, found.exposed)
            for as_of, of_day in zip(self.as_of_dates, pools, strict=True)
        ]


def run(run: Run) -> StageResult:
    """Reduce the published snapshots: commits `unit_days`, and leaves `aggregates.json` in the run folder.

    Raises DataError where the snapshots have no exposures or another number of buckets than was published.
    """
    # Not in the tasks, whose imports are most of their start.
    from exp_platform.tables.catalog import open_catalog
    from exp_platform.tables.write import replace_files, rows_at

    environment = load_environment(run.environment)
    catalog = open_catalog(environment)
    published = json.loads((run.path / "publish.json").read_text())
    thresholds = thresholds_of(run.experiment, map(Threshold.from_json, published["thresholds"]))
    experiment = with_thresholds(run.experiment, thresholds)
    writer = task_writer(environment, "unit_days", experiment.id, run.run_id)
    # Rows may be of the day that it is anywhere on Earth, whatever the dates that are analysed.
    until = max(run.as_of_date, datetime.now(UTC).date() + timedelta(days=1))
    key = origin_key(experiment, code_version())
    events, columns = tuple(events_read(experiment)), _outcome_columns(experiment)
    reading = Reading(experiment, until, key, events, writer.io, columns)
    job = Job(reading, run.as_of_dates, writer)
    buckets = _with_stored(_plan(run, environment, published), environment, experiment.id)
    with workers(f"aggregates {experiment.id}", environment, _rows(buckets)) as tasks:
        reduced, by_date, bounds = _rounds(job, buckets, tasks)
    merged = [
        _accounted(replace(merge_aggregates(parts, experiment, b), thresholds=thresholds), published["rows"])
        for parts, b in zip(by_date, bounds, strict=True)
    ]
    require_all("users in Moments", sum(merged[-1].assigned.values()), sum(r.users for r in reduced))
    snapshot = replace_files(
        catalog, "unit_days", experiment.id, [path for r in reduced for path in r.paths], run.run_id
    )
    stored = rows_at(catalog, "unit_days", experiment.id, snapshot)
    require_all("unit_days", stored, sum(r.unit_days for r in reduced))
    write_aggregates(run.path / "aggregates.json", merged)
    return StageResult(
        rows_in=_rows(buckets),
        rows_out=sum(r.unit_days for r in reduced),
        snapshots={**published["snapshots"], "unit_days": snapshot},
        details={
            "buckets": len(buckets),
            "assigned": merged[-1].assigned,
            "crossovers": merged[-1].crossovers,
        },
    )


def _with_stored(buckets: list[Bucket], environment: Environment, experiment_id: str) -> list[Bucket]:
    """The same with the files of unit days that an earlier run left of them."""
    from exp_platform.tables.catalog import open_catalog, table

    head = table(open_catalog(environment), "unit_days").current_snapshot()
    if head is None:
        return buckets
    # Their names alone are asked for, by a column that the table has had in every version
    files = plan_buckets(environment, "unit_days", experiment_id, head.snapshot_id, ("user_id",))
    return [
        replace(bucket, stored=files[bucket.number].names) if bucket.number in files else bucket
        for bucket in buckets
    ]


def _rows(buckets: Sequence[Bucket]) -> int:
    return sum(b.exposures.rows + (b.outcomes.rows if b.outcomes else 0) for b in buckets)


def _rounds(
    job: Job, buckets: Sequence[Bucket], tasks: Workers
) -> tuple[list[Reduced], list[list[BucketAggregates]], list[Bounds]]:
    """What the tasks give of each bucket, and of each as_of date the aggregates of all buckets and their bounds."""
    experiment = job.experiment
    reduced = tasks.each(job.first_round, buckets)
    buckets = [replace(bucket, stored=found.paths) for bucket, found in zip(buckets, reduced, strict=True)]
    by_date = [list(parts) for parts in zip(*(r.parts for r in reduced), strict=True)]
    pools = [pools_of([part.values for part in parts], experiment) for parts in by_date]
    if any(pools):
        pooled = tasks.each(partial(job.with_pools, pools=pools), buckets)
        by_date = [list(parts) for parts in zip(*pooled, strict=True)]
    bounds = [bounds_of(parts, experiment, of_day) for parts, of_day in zip(by_date, pools, strict=True)]
    if any(bounds):
        second = zip(*tasks.each(partial(job.second_round, bounds=bounds), buckets), strict=True)
        pairs = [zip(parts, more, strict=True) for parts, more in zip(by_date, second, strict=True)]
        by_date = [[completed(part, more) for part, more in pair] for pair in pairs]
    return reduced, by_date, bounds


def _accounted(day: Aggregates, read: dict[str, Any]) -> Aggregates:
    """The accounts of staged rows become those of the rows that ingest read. Raises DataError where rows are missing."""
    rows = complete(day.rows, read["rows_in"], read["left_out"], read.get("in_series", {}))
    for table, account in rows.items():
        if not account.adds_up():
            raise DataError(
                f"of {account.read:,} rows read of {table} as of {day.as_of_date} only {account.counts:,} that count and "
                f"{sum(account.left_out.values()):,} that do not are known; run the experiment from `ingest` again"
            )
    return replace(day, rows=rows)


def _plan(run: Run, environment: Environment, published: dict[str, Any]) -> list[Bucket]:
    attributes = ("attributes",) if run.experiment.attributes else ()
    columns = {
        "exposures": (*EXPOSURE_COLUMNS, *attributes),
        "outcomes": _outcome_columns(run.experiment),
    }
    plans = {
        name: plan_buckets(environment, name, run.experiment.id, published["snapshots"][name], columns[name])
        for name in columns
    }
    exposures, outcomes = plans["exposures"], plans["outcomes"]
    for name, files in plans.items():
        require_all(name, sum(of_bucket.rows for of_bucket in files.values()), published["published"][name])
    if not exposures:
        raise DataError("the published exposures are empty: check the source, then run from `ingest` again")
    _check_buckets(exposures, outcomes, published["buckets"])
    return [Bucket(number, exposures[number], outcomes.get(number)) for number in sorted(exposures)]


def _outcome_columns(experiment: Experiment) -> tuple[str, ...]:
    items = any(measure.agg == "distinct" for measure in measures_read(experiment))
    return (*OUTCOME_COLUMNS, *["item"] * items)


def _check_buckets(exposures: dict[int, BucketFiles], outcomes: dict[int, BucketFiles], buckets: int) -> None:
    """Refuse files split by another number of buckets: a user's rows would then lie in two of them."""
    expected = set(range(buckets))
    found = set(exposures) | set(outcomes)
    crowded = sum(files.rows for files in exposures.values()) >= buckets * ROWS_THAT_FILL_A_BUCKET
    if found - expected or (crowded and expected - set(exposures)):
        raise DataError(
            f"the published snapshots have files of buckets {sorted(found)}, but the registry says {buckets} "
            "buckets; run the experiment from `ingest` again"
        )
