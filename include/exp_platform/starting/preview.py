"""`exp preview`: what a run would read, counted by the same code, with nothing published and no arm's outcomes told.

Looking is what a run is for: users are counted by arm and day, outcomes of all arms together alone, so that nothing here
lets anybody work out an effect.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from exp_platform.checks import CheckResult
from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.locations import without_values
from exp_platform.config.metrics import Metric
from exp_platform.diagnosis import diagnosis
from exp_platform.kernels.measured import Measured
from exp_platform.kernels.unit_days import unit_days
from exp_platform.kernels.user_values import Snapshot
from exp_platform.kernels.users import first_exposures
from exp_platform.results.reader import Results
from exp_platform.stages.aggregates import EXPOSURE_COLUMNS
from exp_platform.stages.ingest import TABLES
from exp_platform.stages.privacy import privacy_of
from exp_platform.stages.quality_checks import judge
from exp_platform.stages.quality_evidence import Evidence
from exp_platform.stages.reading import Reading
from exp_platform.stages.rounds import ingested
from exp_platform.stages.shards import Staged, clean_and_write
from exp_platform.stages.source_files import file_system, found_at
from exp_platform.stages.sources import Plan, plan_reading, readings
from exp_platform.stages.start import default_as_of
from exp_platform.tables.files import Writer
from exp_platform.tables.schemas import TABLES as DEFINITIONS
from exp_platform.tables.schemas import arrow_schema

MOST_ROWS = 5_000_000  # that one process reads for a look
FIRST_ROWS = 5
_BY_ARM = ("outcomes_found", "just_before_exposure")  # checks that tell outcomes of single arms


@dataclass(frozen=True)
class Read:
    """One input table: what lies there, what of it was read, and why rows of it do not count."""

    table: str
    places: int  # files, or tables
    of: int  # files that lie there: those that cannot hold rows that count are not opened
    planned: int  # rows in what is opened, estimated for CSV and JSON
    rows: int | None = None  # None: it was not read
    left_out: dict[str, int] = field(default_factory=dict)  # reason -> rows


@dataclass(frozen=True)
class MetricMean:
    """A metric over the users of all arms together, uncapped; the quantile of a quantile metric."""

    metric: str
    kind: str
    users: int
    value: float | None


@dataclass(frozen=True)
class Preview:
    """What `exp preview` tells. Without `measured` the data could not be read, or are too many."""

    experiment: Experiment
    as_of: date
    tables: tuple[Read, ...]
    problems: tuple[str, ...] = ()
    too_many: bool = False
    measured: Measured | None = None
    checks: tuple[CheckResult, ...] = ()
    means: tuple[MetricMean, ...] = ()
    first: dict[str, pa.Table] = field(default_factory=dict)  # exposures, outcomes -> rows as understood

    @property
    def refused(self) -> bool:
        """Whether a run would refuse the data."""
        return bool(self.problems) or any(_failed(check, "error") for check in self.checks)


def preview(experiment: Experiment, environment: Environment, now: datetime) -> Preview:
    """Plan the reading and, of up to MOST_ROWS rows, read, clean, measure and judge them as `ingest` and `quality` do.

    Nothing is written but files of a temporary folder, which are gone at the end. Raises ConfigError as a run does.
    """
    plan = plan_reading(experiment, environment)
    as_of = max(default_as_of(experiment, now), experiment.window.start)
    tables = tuple(_planned(plan, experiment, environment))
    problems = tuple(without_values(problem.message, experiment) for problem in plan.problems)
    found = Preview(experiment, as_of, tables, problems)
    if problems or not plan.pieces:
        return found
    if sum(table.planned for table in tables) > MOST_ROWS:
        return replace(found, too_many=True)
    with tempfile.TemporaryDirectory() as folder:
        told, done = _ingested(experiment, environment, plan, now, as_of, folder)
        if told:
            return replace(found, problems=tuple(without_values(problem, experiment) for problem in told))
        rows = {name: _rows_of(name, done) for name in TABLES}
    measured = Measured.merge_all(part.measured for part in done)
    checks = judge(Evidence(experiment, as_of, measured, published_rows=None))
    return replace(
        found,
        tables=tuple(_measured(table, measured) for table in tables),
        measured=measured,
        checks=tuple(map(_of_all_arms, checks)),
        means=tuple(_means(rows["exposures"], rows["outcomes"], experiment, as_of)),
        first={name: _shown(found) for name, found in rows.items()},
    )


def _planned(plan: Plan, experiment: Experiment, environment: Environment) -> Iterator[Read]:
    for reading in readings(experiment, environment):
        pieces = [piece for piece in plan.pieces if piece.table == reading.table]
        places = len({piece.place for piece in pieces})
        there = max(places, _files_there(reading, environment))
        yield Read(reading.table, places, there, sum(piece.rows for piece in pieces))


def _files_there(reading: Reading, environment: Environment) -> int:
    """The files at a reading's location; 0 of what are no files, or cannot be listed, which the plan tells."""
    if reading.source.format in ("iceberg", "sql"):
        return 0
    files, path = file_system(reading.source.location, environment)
    try:
        return len(found_at(path, reading.source.format, files).files)
    except OSError as error:
        if diagnosis(error):
            raise
        return 0


def _measured(table: Read, measured: Measured) -> Read:
    return replace(
        table,
        rows=measured.rows_in.get(table.table, 0),
        left_out=dict(measured.left_out.get(table.table, {})),
    )


def _ingested(
    experiment: Experiment, environment: Environment, plan: Plan, now: datetime, as_of: date, folder: str
) -> tuple[list[str], list[Staged]]:
    """What ingest would stage, in this process and in a folder of its own; and what keeps it from being read."""
    from pyiceberg.io.pyarrow import PyArrowFileIO

    registered = Results(environment).registered(experiment.id)
    privacy = privacy_of(experiment, environment, registered)
    writers = {
        name: Writer(
            PyArrowFileIO(),
            f"{folder}/{name}",
            arrow_schema(name),
            experiment.id,
            "preview",
            DEFINITIONS[name].once,
        )
        for name in TABLES
    }
    clean = partial(
        clean_and_write, experiment=experiment, now=now, writers=writers, as_of=as_of, privacy=privacy
    )
    _, problems, done = ingested(experiment, environment, plan, clean, privacy, here=True)
    told = [problem.message for problem in problems]
    return [*told, *(problem for part in done for problem in part.problems)], done


def _rows_of(name: str, done: list[Staged]) -> pa.Table:
    parts = [pq.read_table(part.files[name]) for part in done if name in part.files]
    return pa.concat_tables(parts) if parts else arrow_schema(name).empty_table()


def _of_all_arms(check: CheckResult) -> CheckResult:
    """The check, without what it says of single arms' outcomes."""
    if check.check not in _BY_ARM:
        return check
    told = "what was found is of single arms, so a run tells it" if check.status == "failed" else "passed"
    return replace(check, message=told, observed=None)


def _failed(check: CheckResult, severity: str) -> bool:
    return check.status == "failed" and check.severity == severity


def _means(
    exposures: pa.Table, outcomes: pa.Table, experiment: Experiment, as_of: date
) -> Iterator[MetricMean]:
    """Each metric over all arms' users whose windows are over, crossovers left out as in a run."""
    whole = replace(experiment, segments=(), behaviours=())
    users = first_exposures(exposures.select(EXPOSURE_COLUMNS), whole, as_of)
    days = unit_days(users, outcomes, whole, as_of)
    now = Snapshot(users, days, whole, as_of)
    for metric in experiment.metrics:
        values = now.values(replace(metric, covariates=()))
        counted = values.population & now.analysed
        columns = [column[counted] for column in values.columns]
        yield MetricMean(metric.id, metric.kind, int(counted.sum()), _value(metric, columns))


def _value(metric: Metric, columns: list[Any]) -> float | None:
    if not len(columns[0]):
        return None
    if metric.q is not None:
        return float(np.quantile(columns[0], metric.q))
    below = float(columns[1].sum()) if len(columns) > 1 else float(len(columns[0]))
    return float(columns[0].sum()) / below if below else None


def _shown(rows: pa.Table) -> pa.Table:
    """The first rows without the constants, and with the beginnings of ids alone."""
    first = rows.slice(0, FIRST_ROWS).drop_columns(
        [name for name in ("experiment_id", "bucket") if name in rows.column_names]
    )
    for name in ("user_id", "event_id"):
        if name in first.column_names:
            short = [None if one is None else f"{one[:3]}…" for one in first[name].to_pylist()]
            first = first.set_column(first.column_names.index(name), name, pa.array(short, pa.string()))
    return first
