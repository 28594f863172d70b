"""Whether the winner among several treatments is really ahead of the next one."""

from __future__ import annotations

from collections.abc import Iterable

from exp_platform.analyses.adjustment import adjustment
from exp_platform.analyses.comparison import (
    Comparison,
    arms_of,
    pair_of,
    sequence_half_width,
    sequence_status,
    too_small,
)
from exp_platform.analyses.estimators import estimator_of
from exp_platform.analyses.family import level_of
from exp_platform.analyses.looks import at_look
from exp_platform.analyses.rows import Status
from exp_platform.decision.evidence import Case, Finding
from exp_platform.decision.model import Reason
from exp_platform.stats.arms import Arms


def runner_up(case: Case, winner: Finding, others: Iterable[Finding]) -> Reason | None:
    """A reason where the winner is not significantly better than the next treatment, None where it is or is alone.

    Tested as the decision is: by the metric's test at the metric's corrected level from the planned end on, by a confidence sequence
    before it.
    """
    rivals = [f for f in others if f.treatment_id != winner.treatment_id and f.effect is not None]
    if not rivals:
        return None
    second = max(rivals, key=lambda f: f.improvement)
    if _is_ahead(case, winner, second):
        return None
    data = {
        "metric_id": winner.metric.id,
        "treatment_id": winner.treatment_id,
        "runner_up": second.treatment_id,
        "effect": winner.effect,
        "runner_up_effect": second.effect,
    }
    text = (
        f"{winner.treatment_id} is not significantly better than {second.treatment_id} on {winner.metric.id}."
    )
    return Reason("RUNNER_UP_NOT_BEATEN", text, data)


def _is_ahead(case: Case, winner: Finding, second: Finding) -> bool:
    metric, level = winner.metric, level_of(case.experiment, winner.metric, case.state)
    pair = pair_of(case.aggregates, metric, second.treatment_id, winner.treatment_id)
    if too_small(**pair.counts) is not None:
        return False
    adjusted = _adjusted(case, winner, second)
    try:
        arms = adjusted or arms_of(metric, pair)
        test = estimator_of(metric).test(tuple(pair), arms, adjusted=adjusted is not None)
    except ValueError:  # neither arm varies
        return False
    ahead = metric.direction * test.estimate
    c = Comparison(
        case.experiment, case.as_of_date, "", metric, winner.treatment_id, level, case.final, case.state
    )
    c = at_look(c, case.aggregates)
    if c.final and ahead > 0 and test.p_value < c.level.alpha:
        return True
    return sequence_status(c, pair) is Status.OK and ahead > sequence_half_width(c, pair, arms)


def _adjusted(case: Case, winner: Finding, second: Finding) -> Arms | None:
    """Both arms adjusted, where the decision rests on adjusted ones."""
    if winner.row is None:
        return None
    found = adjustment(case.experiment, case.aggregates, winner.metric, winner.row.method)
    return None if found is None else found.pair(second.treatment_id, winner.treatment_id)
