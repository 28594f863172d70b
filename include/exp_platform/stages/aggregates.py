"""Stage aggregates: one pass over the published exposures and outcomes, a bucket of users per task.

Each task reads its bucket as Arrow, writes its unit days and returns small aggregates, which are merged here. Winsorised
and quantile metrics take a second pass over the buckets, because caps and quantiles are those of all users together. So do
segments of too many values, whose most frequent ones are those of all users.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date
from functools import partial
from typing import Any

import pyarrow as pa

from exp_platform.aggregates import Aggregates, Threshold, write_aggregates
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
from exp_platform.kernels.merge import bounds_of, merge_aggregates
from exp_platform.kernels.pools import Pools, pools_of
from exp_platform.kernels.row_account import Exposures, complete
from exp_platform.kernels.trigger import triggered
from exp_platform.kernels.unit_days import UnitDays, measures_read, unit_day_rows, unit_days
from exp_platform.kernels.users import Users, first_exposures
from exp_platform.stages.exchange import Workers
from exp_platform.stages.run import Run, StageResult
from exp_platform.stages.workers import workers
from exp_platform.tables.files import BucketFiles, Writer, plan_buckets, task_writer
from exp_platform.tables.schemas import arrow_schema

EXPOSURE_COLUMNS = ("user_id", "variant_id", "exposed_at")
OUTCOME_COLUMNS = ("user_id", "event", "occurred_at", "value")
ROWS_THAT_FILL_A_BUCKET = 1000  # with so many rows per bucket on average, none is empty by chance


@dataclass(frozen=True)
class Bucket:
    """What one task reads; pickles to a few kilobytes."""

    number: int
    exposures: BucketFiles
    outcomes: BucketFiles | None


@dataclass(frozen=True)
class Reduced:
    """What the first round returns of one bucket: the file it wrote, and a part for each as_of date."""

    path: str
    unit_days: int
    users: int
    parts: list[BucketAggregates]


@dataclass(frozen=True, eq=False)
class _BucketRows:
    """One bucket's users with their unit days; under a trigger `exposed` has both by first exposure instead."""

    users: Users
    days: UnitDays
    exposures: pa.Table
    exposed: tuple[Users, UnitDays] | None


@dataclass(frozen=True)
class Job:
    """What every task of a run needs beside its bucket."""

    experiment: Experiment
    as_of_dates: tuple[date, ...]
    writer: Writer

    def first_round(self, bucket: Bucket) -> Reduced:
        """Write the bucket's unit days as of the newest date, and aggregate all that needs no bounds."""
        found = self._reduce(bucket)
        rows = unit_day_rows(found.users, found.days, self.experiment)
        parts = self._aggregated(found, [{}] * len(self.as_of_dates))
        return Reduced(self.writer.write(bucket.number, rows), rows.num_rows, len(found.users), parts)

    def with_pools(self, bucket: Bucket, pools: list[Pools]) -> list[BucketAggregates]:
        """The first round's aggregates for each as_of date, where a segment has too many values."""
        return self._aggregated(self._reduce(bucket), pools)

    def second_round(self, bucket: Bucket, bounds: list[Bounds]) -> list[Bounded]:
        """What the bounds of all buckets allow, for each as_of date, of the rows that metrics with bounds read."""
        of_bounds = replace(self, experiment=with_bounds(self.experiment))
        found = of_bounds._reduce(bucket)
        return [
            bounded(found.users, found.days, of_bounds.experiment, as_of, b, found.exposed)
            for as_of, b in zip(self.as_of_dates, bounds, strict=True)
        ]

    def _aggregated(self, found: _BucketRows, pools: list[Pools]) -> list[BucketAggregates]:
        seen = Exposures.of(found.exposures, found.users, self.experiment)
        return [
            aggregate(found.users, found.days, self.experiment, as_of, seen, of_day, found.exposed)
            for as_of, of_day in zip(self.as_of_dates, pools, strict=True)
        ]

    def _reduce(self, bucket: Bucket) -> _BucketRows:
        newest = self.as_of_dates[-1]
        exposures = bucket.exposures.read(("user_id", "variant_id")).combine_chunks()
        users = first_exposures(exposures, self.experiment, newest)
        names = _outcome_columns(self.experiment)
        outcomes = (
            bucket.outcomes.read(("user_id", "event"))
            if bucket.outcomes
            else arrow_schema("outcomes").empty_table().select(names)
        )
        exposed = None
        if self.experiment.trigger is not None:
            exposed = users, unit_days(users, outcomes, self.experiment, newest)
            users = triggered(users, outcomes, self.experiment, newest)
        return _BucketRows(users, unit_days(users, outcomes, self.experiment, newest), exposures, exposed)


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
    buckets = _plan(run, environment, published)
    thresholds = thresholds_of(run.experiment, map(Threshold.from_json, published["thresholds"]))
    experiment = with_thresholds(run.experiment, thresholds)
    job = Job(experiment, run.as_of_dates, task_writer(environment, "unit_days", experiment.id, run.run_id))
    with workers(f"aggregates {experiment.id}", environment, _rows(buckets)) as tasks:
        reduced, by_date, bounds = _rounds(job, buckets, tasks)
    merged = [
        _accounted(replace(merge_aggregates(parts, experiment, b), thresholds=thresholds), published["rows"])
        for parts, b in zip(by_date, bounds, strict=True)
    ]
    require_all("users in Moments", sum(merged[-1].assigned.values()), sum(r.users for r in reduced))
    snapshot = replace_files(catalog, "unit_days", experiment.id, [r.path for r in reduced], run.run_id)
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


def _rows(buckets: Sequence[Bucket]) -> int:
    return sum(b.exposures.rows + (b.outcomes.rows if b.outcomes else 0) for b in buckets)


def _rounds(
    job: Job, buckets: Sequence[Bucket], tasks: Workers
) -> tuple[list[Reduced], list[list[BucketAggregates]], list[Bounds]]:
    """What the tasks give of each bucket, and of each as_of date the aggregates of all buckets and their bounds."""
    experiment = job.experiment
    reduced = tasks.each(job.first_round, buckets)
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
