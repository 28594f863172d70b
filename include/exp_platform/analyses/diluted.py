"""The diluted effect: of every metric on all exposed users, where a trigger keeps the other rows to those who reached it."""

from __future__ import annotations

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.comparison import Compared, Comparison, compare, pair_of
from exp_platform.analyses.family import Level
from exp_platform.analyses.rows import Row, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.readings import NOTHING_READ, RunState

METHOD = "diluted"


def analyse(experiment: Experiment, aggregates: Aggregates, state: RunState = NOTHING_READ) -> list[Row]:
    """One row per metric and treatment: the metric without its trigger, of all exposed users from first exposure on.

    It is estimated from their own values, so it is unbiased whatever the treatment does to the trigger, and its interval is
    as wide as those who never reached it make it (Deng and Hu 2015 subtract them, which rests on the trigger being
    unchanged). Shown beside the triggered effect and never deciding: intervals are not corrected, nothing is significant.
    """
    level = Level(1, state.fixed_alpha_of(experiment.decision), 0.0)
    rows: list[Row] = []
    if experiment.trigger is None:
        return rows
    for metric in experiment.metrics:
        for treatment in experiment.treatments:
            c = Comparison(
                *(experiment, aggregates.as_of_date, METHOD, metric, treatment.id, level),
                final=False,
                state=state,
                exploratory=True,
            )
            if metric.q is not None:
                why = "a quantile of all exposed users is not made"
                rows.append(c.row(Status.NOT_APPLICABLE, message=why))
                continue
            pair = pair_of(aggregates, metric, experiment.control.id, treatment.id, kind="exposed")
            found = compare(c, pair)
            rows.append(found.row() if isinstance(found, Compared) else found)
    return rows
