"""A/B: the test of every metric and treatment against control."""

from __future__ import annotations

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.comparison import Comparison, compare, pair_of
from exp_platform.analyses.correction import corrected
from exp_platform.analyses.family import close_gate, level_of
from exp_platform.analyses.looks import at_look
from exp_platform.analyses.rows import Row
from exp_platform.config.experiment import Experiment
from exp_platform.config.readings import NOTHING_READ, RunState

METHOD = "ab"


def analyse(experiment: Experiment, aggregates: Aggregates, state: RunState = NOTHING_READ) -> list[Row]:
    """One row per metric and treatment, in the spec's order by its declared test."""
    day = aggregates.as_of_date
    final = state.is_final(experiment, day)
    outcomes = []
    for metric in experiment.metrics:
        level = level_of(experiment, metric, state)
        for treatment in experiment.treatments:
            open_ = final and state.may_find(experiment, day, metric.id, treatment.id)
            c = Comparison(experiment, day, METHOD, metric, treatment.id, level, open_, state)
            c = at_look(c, aggregates)
            outcomes.append(compare(c, pair_of(aggregates, metric, experiment.control.id, treatment.id)))
    return list(close_gate(experiment, corrected(outcomes)))
