"""Whether the winner among several treatments is really ahead of the next one."""

from __future__ import annotations

from collections.abc import Iterable

from exp_platform.analyses.rows import Status
from exp_platform.decision.findings import Case, Finding
from exp_platform.decision.model import Reason


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
    row = case.estimate(winner.metric, winner.treatment_id, against=second.treatment_id)
    if row is None or row.status is not Status.OK or row.estimate is None:
        return False
    # A look that was taken before adds nothing; the days of one run remember each other, which their rows do not.
    open_ = case.look is None or case.state.may_find(
        case.experiment, case.as_of_date, winner.metric.id, winner.treatment_id
    )
    significant = (open_ and row.significant) or row.always_valid_significant
    return bool(significant) and winner.metric.direction * row.estimate > 0
