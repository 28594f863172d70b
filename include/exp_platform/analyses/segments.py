"""Segments: exploratory effects within groups that were known before first exposure, and whether they differ."""

from __future__ import annotations

from dataclasses import replace
from functools import partial

from exp_platform.aggregates import Aggregates, Pooled
from exp_platform.analyses.comparison import Comparison, compare, pair_of
from exp_platform.analyses.correction import corrected
from exp_platform.analyses.family import Level
from exp_platform.analyses.interaction import TEST as INTERACTION
from exp_platform.analyses.interaction import Outcome, interactions
from exp_platform.analyses.rows import ResultRow, Row
from exp_platform.config.experiment import Experiment
from exp_platform.config.readings import NOTHING_READ, RunState

METHOD = "segments"


def analyse(experiment: Experiment, aggregates: Aggregates, state: RunState = NOTHING_READ) -> list[Row]:
    """One row per segment value, primary or secondary metric and treatment; then one for all values, whether they differ.

    Rarer values that were pooled are one value more; its rows and the joint rows say so. Corrected among themselves (all metrics, treatments and values that can be tested: which values there are is found
    in the data, not planned), the joint rows too, and marked exploratory; always-valid evidence is not asked for, because
    no segment decides.
    """
    decision, control = experiment.decision, experiment.control.id
    level = Level(1, state.fixed_alpha_of(decision), 0.0, family=METHOD, correction=decision.correction)
    day = aggregates.as_of_date
    final = state.is_final(experiment, day) and state.earlier_reading(experiment, day) is None
    outcomes: list[Outcome] = []
    groups: list[tuple[Comparison, list[Outcome]]] = []
    for segment in experiment.segments:
        values = aggregates.segment_values(segment)
        for metric in experiment.family:
            for treatment in experiment.treatments:
                key = (metric, treatment.id, level, final, state, segment)
                of = partial(Comparison, experiment, aggregates.as_of_date, METHOD, *key, exploratory=True)
                found = [
                    compare(
                        of(segment_value=value),
                        pair_of(aggregates, metric, control, treatment.id, segment, value),
                    )
                    for value in values
                ]
                groups.append((of(), found))
                outcomes += found
    rows = [*corrected(outcomes, planned=False), *interactions(groups)]
    return [_told(row, aggregates.pooled.get(row.segment, {}).get(row.segment)) for row in rows]


def _told(row: ResultRow, pooled: Pooled | None) -> ResultRow:
    """The row with a word on the values that are one in it."""
    if pooled is not None and row.test == INTERACTION:
        note = f"{pooled.values:,} rarer values count as one, {pooled.value}"
    elif pooled is not None and row.segment_value == pooled.value:
        note = pooled.told(row.segment)
    else:
        return row
    return replace(row, message="; ".join(m for m in (row.message, note) if m))
