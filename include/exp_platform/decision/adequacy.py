"""Whether there are as many users as planned."""

from __future__ import annotations

import math

from exp_platform.decision.findings import Case
from exp_platform.decision.model import Adequacy


def adequacy(case: Case) -> Adequacy:
    """The adequacy of the primary metric that is furthest from its planned size.

    Where no size was planned it counts as reached once the planned decision date has come, since waiting longer was never
    part of the plan.
    """
    row = min(case.sizes, key=lambda s: s.current_users / s.required_users if s.required_users else math.inf)
    return Adequacy(
        metric_id=row.metric_id,
        basis=row.basis,
        required_users=row.required_users,
        current_users=row.current_users,
        planned_size_reached=case.final
        if row.required_users is None
        else row.current_users >= row.required_users,
        daily_users=row.daily_users,
        days_remaining=row.days_remaining,
        mde=row.mde,
        baseline=row.baseline,
        power=row.power,
    )
