"""The analyses by name: each is `analyse` of the module of its name, imported where it is asked for."""

from __future__ import annotations

import importlib
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.rows import Explained, ResultRow, Row, Status
from exp_platform.config import analyses
from exp_platform.config.experiment import Experiment
from exp_platform.config.readings import NOTHING_READ, RunState

Analyse = Callable[
    ..., list[Row]
]  # of the experiment, aggregates and state, and of the rows that it comes after


def analyse(
    name: str,
    experiment: Experiment,
    aggregates: Aggregates,
    state: RunState = NOTHING_READ,
    rows: Sequence[Row] = (),
) -> list[Row]:
    """The rows of one analysis; where a metric has no block of a kind it reads, because a value is too large, they say so.

    `rows`: those of the analyses that it comes after (`Analysis.after`), of this day.
    Raises KeyError for an analysis that `config.analyses` does not declare.
    """
    declared = analyses.analysis(name)
    found: Analyse = importlib.import_module(f"exp_platform.analyses.{name}").analyse
    largest: dict[str, str] = {}
    for kind in declared.reads:
        largest |= aggregates.too_large.get(kind, {})
    made = found(experiment, aggregates, state, *([rows] if declared.after else []))
    return [_told(row, largest[row.metric_id]) if row.metric_id in largest else row for row in made]


def analyse_all(
    experiment: Experiment,
    aggregates: Aggregates,
    names: Iterable[str] = analyses.NAMES,
    state: RunState = NOTHING_READ,
) -> list[Row]:
    """The rows of these analyses, by default of all, one analysis after the other."""
    rows: list[Row] = []
    for name in names:
        rows += analyse(name, experiment, aggregates, state, rows)
    return rows


def _told(row: Row, largest: str) -> Row:
    if row.status is Status.OK:  # of blocks of another kind
        return row
    if not isinstance(row, ResultRow | Explained):
        return replace(row, status=Status.DEGENERATE)
    message = (
        f"a user's value (or covariate) is {largest}, too large for means and variances: "
        "correct it at its source (a mean or a count may be winsorised instead)"
    )
    return replace(row, status=Status.DEGENERATE, message=message)
