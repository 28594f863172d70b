"""Segments: exploratory effects within groups that were known before first exposure."""

from __future__ import annotations

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.comparison import Comparison, compare, pair_of
from exp_platform.analyses.correction import corrected
from exp_platform.analyses.family import Level, is_final
from exp_platform.analyses.rows import Row
from exp_platform.config.experiment import Experiment

METHOD = "segments"


def analyse(experiment: Experiment, aggregates: Aggregates) -> list[Row]:
    """One row per segment value, primary or secondary metric and treatment.

    Corrected among themselves (metrics x treatments x values of all segments) and marked exploratory; always-valid
    evidence is not asked for, because no segment decides.
    """
    values = [(s, v) for s in experiment.segments for v in aggregates.segment_values(s)]
    size = max(1, len(experiment.family) * len(experiment.treatments) * len(values))
    level = Level(size, experiment.decision.fixed_alpha, sequential_family_alpha=0.0)
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
    return list(corrected(outcomes))
