"""What a file of earlier users says of the metrics: one row a user, a column for each metric and covariate."""

from __future__ import annotations

import math
from collections import Counter
from pathlib import Path

import numpy as np
import pyarrow as pa
from pyarrow import csv, parquet

from exp_platform.aggregates import ALL, Block
from exp_platform.analyses.comparison import arm_of
from exp_platform.analyses.planned import PROPORTIONS
from exp_platform.config.experiment import Experiment, Metric, MetricKind
from exp_platform.errors import DataError
from exp_platform.kernels.conform import number
from exp_platform.kernels.order_statistics import Bracket, Bracketed, quantile_numbers
from exp_platform.kernels.quantiles import Distribution
from exp_platform.kernels.unit_days import Floats
from exp_platform.planning.known import Earlier, Known
from exp_platform.stats.adjustment import adjust
from exp_platform.stats.arms import linearised
from exp_platform.stats.moments import Moments

ANYBODY = Bracket(-math.inf, math.inf)


def read_history(path: Path) -> pa.Table:
    """The table of a Parquet or CSV file; raises DataError where it is neither or cannot be read."""
    readers = {".parquet": parquet.read_table, ".csv": csv.read_csv}
    if path.suffix not in readers:
        raise DataError(f"--history {path}: allowed are files .parquet and .csv, one row a user")
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
    """What a file says of the metrics that it has columns of; raises DataError where it has none of them."""
    table = read_history(path)
    found = {m.id: known_in(experiment, m, table, path.name) for m in experiment.metrics}
    metrics = {metric_id: known for metric_id, known in found.items() if known is not None}
    if not metrics:
        wanted = [name for m in experiment.metrics for name in columns_of(m)]
        raise DataError(
            f"--history {path}: found the columns {', '.join(table.column_names)}; a metric needs one of its name: "
            f"{', '.join(wanted)}"
        )
    return Earlier(metrics)


def columns_of(metric: Metric) -> tuple[str, ...]:
    """The columns that hold the metric: its id, of a ratio `<id>.numerator` and `<id>.denominator`."""
    if metric.kind is MetricKind.RATIO:
        return f"{metric.id}.numerator", f"{metric.id}.denominator"
    return (metric.id,)


def known_in(experiment: Experiment, metric: Metric, table: pa.Table, source: str) -> Known | None:
    """Mean, spread and, where all covariates have columns, CUPED's gain; None where the table has no such metric.

    The gain is the share of the variance that a regression of the users on the covariates takes away, net of the degrees of
    freedom of its slopes. Nulls are treated as in the experiment: of the metric as its `missing` says, of a covariate as 0,
    for a `units` source with a flag. Raises DataError for a column that is no number, or users of whom nothing can be said.
    """
    if not set(columns_of(metric)) <= set(table.column_names):
        return None
    outcome = np.column_stack([_column(table, name, source) for name in columns_of(metric)])
    users = ~np.isnan(outcome).any(axis=1)
    if metric.missing == "error" and not users.all():
        raise DataError(
            f"{source}: {(~users).sum()} rows of {metric.id} are null; fill them in, or say missing: zero or exclude"
        )
    if metric.missing == "zero":
        outcome, users = np.nan_to_num(outcome), np.ones(len(outcome), dtype=bool)
    values = _as_measured(metric, outcome[users])
    block = _block(metric, values)
    try:
        arm = arm_of(metric, block)
    except ValueError as error:
        raise DataError(f"{source}: {metric.id}: {error}") from error
    names = [c.id for c in metric.covariates]
    gains: dict[str, float] = {}
    if names and set(names) <= set(table.column_names):
        past = np.column_stack([_column(table, name, source) for name in names])
        flags = np.isnan(past) if experiment.source.kind == "units" else past[:, :0]
        gains["cuped"] = _gain(block, np.column_stack([np.nan_to_num(past), flags])[users], values)
    return Known(arm.mean, arm.sd, gains, source)


def _column(table: pa.Table, name: str, source: str) -> Floats:
    """A column as floats, by the grammar of raw data; null is NaN."""
    try:
        found = number(table.column(name))
    except pa.ArrowException as error:
        raise DataError(f"{source}: the column {name} must hold numbers or booleans: {error}") from error
    if found.malformed:
        shown = ", ".join(map(repr, found.examples))
        raise DataError(
            f"{source}: the column {name} must hold numbers or booleans: {found.malformed} rows cannot be read (such as "
            f"{shown}); write them plainly"
        )
    return np.asarray(found.values.to_numpy(), dtype=np.float64)


def _as_measured(metric: Metric, values: Floats) -> Floats:
    """The values that are compared: capped where the metric is winsorised, 0 or 1 for a proportion."""
    if metric.winsorise is not None:
        low, high = Distribution.of(values[:, 0]).caps(metric.winsorise)
        return np.clip(values, low, high)
    return (values != 0).astype(np.float64) if metric.kind in PROPORTIONS else values


def _block(metric: Metric, values: Floats) -> Block:
    """The block that an arm of these users would have."""
    found = None
    if metric.q is not None and len(values):
        found = quantile_numbers(Bracketed.of(values[:, 0], ANYBODY), len(values), metric.q)
    names = ("value", "denominator")[: values.shape[1]]
    numbers = {} if found is None else found._asdict()
    return Block("total", metric.id, "history", ALL, ALL, names, Moments.of(values), **numbers)


def _gain(block: Block, past: Floats, values: Floats) -> float:
    """What the covariates take off the variance of the mean; 0 where none varies."""
    moments = Moments.of(np.column_stack([values, past]))
    if len(block.columns) > 1:
        moments = linearised(moments)
    plain = float(moments.covariance()[0, 0]) / moments.n
    try:
        adjusted = adjust([[moments]], 0, range(1, len(moments.mean)))
    except ValueError:
        return 0.0
    return 1 - float(adjusted.own.sum()) / plain
