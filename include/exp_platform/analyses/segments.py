"""Segments: exploratory effects within groups that were known before first exposure."""

from __future__ import annotations

from dataclasses import replace

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.comparison import Compared, Comparison, compare, pair_of
from exp_platform.analyses.correction import corrected
from exp_platform.analyses.family import Level, is_final
from exp_platform.analyses.rows import ResultRow, Row
from exp_platform.config.experiment import Experiment

METHOD = "segments"


def analyse(experiment: Experiment, aggregates: Aggregates) -> list[Row]:
    """One row per segment value, primary or secondary metric and treatment.

    Corrected among themselves (all metrics, treatments and values that can be tested: which values there are is found
    in the data, not planned) and marked exploratory; always-valid evidence is not asked for, because no segment decides.
    """
    values = [(s, v) for s in experiment.segments for v in aggregates.segment_values(s)]
    decision = experiment.decision
    level = Level(1, decision.fixed_alpha, 0.0, family=METHOD, correction=decision.correction)
    final = is_final(experiment, aggregates.as_of_date)
    outcomes = []
    for segment, value in values:
        for metric in experiment.family:
            for treatment in experiment.treatments:
                c = Comparison(
                    experiment,
                    aggregates.as_of_date,
                    METHOD,
                    metric,
                    treatment.id,
                    level,
                    final,
                    segment,
                    value,
                    exploratory=True,
                )
                outcomes.append(
                    compare(
                        c, pair_of(aggregates, metric, experiment.control.id, treatment.id, segment, value)
                    )
                )
    found = replace(level, size=max(1, sum(isinstance(o, Compared) for o in outcomes)))
    return list(corrected([_at(found, o) for o in outcomes]))


def _at(level: Level, outcome: Compared | ResultRow) -> Compared | ResultRow:
    if isinstance(outcome, ResultRow):
        return outcome
    return replace(outcome, comparison=replace(outcome.comparison, level=level))
