"""What a file of earlier users says of the metrics: one row per user, a column for each metric and covariate."""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from pyarrow import csv, parquet

from exp_platform.aggregates import ALL, Block
from exp_platform.analyses.estimators import estimator_of
from exp_platform.config.analyses import BY_COVARIATES
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.errors import DataError
from exp_platform.kernels.conform import number
from exp_platform.kernels.order_statistics import Bracket, Bracketed, quantile_numbers
from exp_platform.kernels.quantiles import Distribution
from exp_platform.kernels.unit_days import Floats
from exp_platform.planning.known import Earlier, Known
from exp_platform.stats.adjustment import adjust
from exp_platform.stats.arms import Arm
from exp_platform.stats.moments import Moments
from exp_platform.stats.quantile import fewest_users
from exp_platform.stats.rounding import LARGEST, SMALLEST

ANYBODY = Bracket(-math.inf, math.inf)
TOO_LARGE = "are too large for arithmetic: correct them, or choose a larger unit"

Bools = NDArray[np.bool_]


def read_history(path: Path) -> pa.Table:
    """The table of a Parquet or CSV file; raises DataError where it is neither or cannot be read."""
    readers = {".parquet": parquet.read_table, ".csv": csv.read_csv}
    if path.suffix not in readers:
        raise DataError(f"--history {path}: allowed are files .parquet and .csv, one row per user")
    try:
        table: pa.Table = readers[path.suffix](path)
        columns = Counter(table.column_names)
    except (OSError, UnicodeError, pa.ArrowException) as error:
        said = " ".join(str(error).split())
        raise DataError(
            f"--history {path} cannot be read ({said}): write it as Parquet, or as CSV in UTF-8"
        ) from error
    if twice := sorted(name for name, times in columns.items() if times > 1):
        raise DataError(
            f"--history {path}: columns that stand twice: {', '.join(twice)}; rename or drop the others"
        )
    return table


def earlier_users(experiment: Experiment, path: Path) -> Earlier:
    """What a file says of each metric, or why it says nothing; raises DataError where it has columns of none of them."""
    table = read_history(path)
    if not any(set(columns_of(m)) <= set(table.column_names) for m in experiment.metrics):
        wanted = [name for m in experiment.metrics for name in columns_of(m)]
        raise DataError(
            f"--history {path}: found the columns {', '.join(table.column_names)}; a metric needs one of its name: "
            f"{', '.join(wanted)}"
        )
    return Earlier({m.id: known_in(experiment, m, table, path.name) for m in experiment.metrics})


def columns_of(metric: Metric) -> tuple[str, ...]:
    """The columns that hold the metric: its id, of a ratio `<id>.numerator` and `<id>.denominator`."""
    if metric.traits.agg is not None:
        return (metric.id,)
    return f"{metric.id}.numerator", f"{metric.id}.denominator"


def known_in(experiment: Experiment, metric: Metric, table: pa.Table, source: str) -> Known:
    """Mean, spread and, where all covariates have columns, CUPED's gain; each with the reason where it cannot be known.

    The gain is the share of the variance that a regression of the users on the covariates takes away, net of the degrees of
    freedom of its slopes. Nulls are treated as in the experiment: of the metric as its `missing` says, of a covariate as 0,
    for a `units` source with a flag.
    """
    try:
        outcome, users = _outcomes(metric, table)
        values = _as_measured(metric, outcome[users])
        arm = _arm(metric, values)
    except (DataError, ValueError) as error:
        return Known.nothing(source, error)
    gains: dict[str, float] = {}
    if not metric.covariates or not metric.traits.adjusted or not arm.sd > 0:
        return Known(arm.mean, arm.sd, gains, source)
    try:
        past = np.column_stack([_column(table, c.id) for c in metric.covariates])
        flags = np.isnan(past) if experiment.source.kind == "units" else past[:, :0]
        past = np.column_stack([np.nan_to_num(past), flags])[users]
        _require_measurable("covariates", past)
    except DataError as error:
        told = f"{source}: what {BY_COVARIATES} gains is not known: {error}"
        return Known(arm.mean, arm.sd, gains, source, (told,))
    gains[BY_COVARIATES] = _gain(metric, values, past)
    return Known(arm.mean, arm.sd, gains, source)


def _outcomes(metric: Metric, table: pa.Table) -> tuple[Floats, Bools]:
    """The metric's columns, shape (rows, 1 or 2), and which rows are users of it."""
    outcome = np.column_stack([_column(table, name) for name in columns_of(metric)])
    users: Bools = ~np.asarray(np.isnan(outcome).any(axis=1))
    if metric.missing == "error" and not users.all():
        raise DataError(f"{(~users).sum()} rows are null; fill them in, or say missing: zero or exclude")
    if metric.missing == "zero":
        return np.nan_to_num(outcome), np.ones(len(outcome), dtype=bool)
    return outcome, users


def _column(table: pa.Table, name: str) -> Floats:
    """A column as floats, by the grammar of raw data; null is NaN. Raises DataError where there is no such column of numbers."""
    if name not in table.column_names:
        raise DataError(f"there is no column {name}; add it")
    try:
        found = number(table.column(name))
    except pa.ArrowException as error:
        raise DataError(f"the column {name} must hold numbers or booleans: {error}") from error
    if found.malformed:
        shown = ", ".join(map(repr, found.examples))
        raise DataError(
            f"the column {name} must hold numbers or booleans: {found.malformed} rows cannot be read (such as "
            f"{shown}); write them plainly"
        )
    return np.asarray(found.values.to_numpy(), dtype=np.float64)


def _as_measured(metric: Metric, values: Floats) -> Floats:
    """The values that are compared: capped where the metric is winsorised, 0 or 1 for a proportion."""
    if metric.winsorise is not None:
        low, high = Distribution.of(values[:, 0]).caps(metric.winsorise)
        return np.clip(values, low, high)
    return (values != 0).astype(np.float64) if metric.traits.share else values


def _arm(metric: Metric, values: Floats) -> Arm:
    """What an arm of these users would be compared by. Raises DataError or ValueError with the reason where it cannot be."""
    if len(values) < 2:
        raise DataError(f"{len(values) or 'no'} users have a value; give more, or other days")
    _require_measurable("values", values, ", or winsorise the metric" if metric.traits.winsorised else "")
    block = Block("total", metric.id, "", ALL, ALL, (), Moments.of(values))
    if metric.q is not None:
        block = _with_quantile(block, values[:, 0], metric.q)
    try:
        arm = estimator_of(metric).arm(block)
    except ValueError as error:
        raise DataError(f"{error}; give users or days in which it is not") from error
    if metric.traits.agg is None:
        _require_measurable("ratios", np.array([arm.mean, arm.sd]))
    return arm


def _with_quantile(block: Block, values: Floats, q: float) -> Block:
    found = quantile_numbers(Bracketed.of(values, ANYBODY), len(values), q)
    if found is None:
        raise DataError(
            f"{len(values)} users are too few for an interval of the {q:g} quantile: give at least {fewest_users(q)}"
        )
    return replace(block, **found._asdict())


def _require_measurable(what: str, values: Floats, remedy: str = "") -> None:
    """Raises DataError for numbers whose squares overflow, or are all lost."""
    largest = float(np.max(np.abs(values), initial=0.0))
    if largest > LARGEST:
        raise DataError(f"{what} {TOO_LARGE}{remedy} (the largest is {largest:g})")
    if 0 < largest < SMALLEST:
        raise DataError(
            f"all {what} are too small for arithmetic (the largest is {largest:g}): choose a smaller unit"
        )


def _gain(metric: Metric, values: Floats, past: Floats) -> float:
    """What the covariates take off the variance of the mean; 0 where none varies."""
    moments = Moments.of(np.column_stack([values, past]))
    ((moments,),) = estimator_of(metric).linearise([[moments]], [[moments]])
    plain = float(moments.covariance()[0, 0]) / moments.n
    try:
        adjusted = adjust([[moments]], 0, range(1, len(moments.mean)))
    except ValueError:
        return 0.0
    return 1 - float(adjusted.own.sum()) / plain
