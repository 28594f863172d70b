"""Whether there are as many users as planned, and how long that would still take."""

from __future__ import annotations

import math
from datetime import timedelta

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.planned import (
    Expected,
    absolute,
    expected_of,
    power_for,
    recent_users,
    target_of_mde,
    users_for,
)
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.decision.evidence import Case
from exp_platform.decision.model import Adequacy
from exp_platform.stats.power import days_needed


def adequacy(case: Case) -> Adequacy:
    """The adequacy of the primary metric that is furthest from its planned size.

    Required users follow from the metric's mde at the corrected fixed-horizon level and planned power, else from the
    spec's `required_sample_size`. With neither no size was planned: it then counts as reached once the planned
    decision date has come, since waiting longer was never part of the plan.
    """
    daily_users = recent_users(case.experiment, case.aggregates)
    of_metrics = [_of_metric(case, metric, daily_users) for metric in case.primaries]
    return min(of_metrics, key=lambda a: a.current_users / a.required_users if a.required_users else math.inf)


def _of_metric(case: Case, metric: Metric, daily_users: float | None) -> Adequacy:
    experiment, aggregates = case.experiment, case.aggregates
    current = sum(_users(aggregates, metric, v.id) for v in experiment.variants)
    expected = _expected(case, metric)
    target = target_of_mde(experiment, metric, expected, case.state)
    required = None if target is None else users_for(experiment, metric, target, case.state)
    found = required is not None
    if required is None:
        required = experiment.decision.required_sample_size
    if required is None:
        days_remaining: int | None = max(0, (experiment.decision_date - case.as_of_date).days)
    else:
        days_remaining = _days_remaining(experiment, aggregates, metric, required, current, daily_users)
    return Adequacy(
        metric_id=metric.id,
        basis="mde" if found else "none" if required is None else "required_sample_size",
        required_users=required,
        current_users=current,
        planned_size_reached=case.final if required is None else current >= required,
        daily_users=daily_users,
        days_remaining=days_remaining,
        mde=None if metric.mde is None or expected.mean is None else absolute(metric.mde, expected.mean),
        baseline=expected.mean,
        power=None if target is None else power_for(experiment, metric, target, current, case.state),
    )


def _users(aggregates: Aggregates, metric: Metric, variant_id: str) -> int:
    block = aggregates.block(metric.id, variant_id)
    return 0 if block is None else block.moments.n


def _expected(case: Case, metric: Metric) -> Expected:
    """What the estimate that decides shows of control, and gains."""
    rows = [case.estimate(metric, t.id) for t in case.experiment.treatments]
    return expected_of(metric, next((r for r in rows if r is not None and r.mean_control is not None), None))


def _days_remaining(
    experiment: Experiment,
    aggregates: Aggregates,
    metric: Metric,
    required: int,
    current: int,
    daily_users: float | None,
) -> int | None:
    """Days until so many have been exposed that `required` of them have a value, and are observed for the metric's window."""
    if current >= required:
        return 0
    excluded = aggregates.crossovers if experiment.analyses.crossovers == "exclude" else {}
    exposed = sum(aggregates.assigned.values()) - sum(excluded.values())
    observed, needed = (
        metric.window.end or metric.window.opens,
        required / _share_with_value(aggregates, metric, current),
    )
    if exposed >= needed:
        return observed
    return None if daily_users is None else days_needed(needed - exposed, daily_users) + observed


def _share_with_value(aggregates: Aggregates, metric: Metric, current: int) -> float:
    """Of the users whose window is over, those that the metric does not exclude for want of a value."""
    if metric.missing != "exclude" or current == 0:
        return 1.0
    until = aggregates.as_of_date - timedelta(days=metric.window.end or 0)
    over = sum(r.new_users for r in aggregates.daily if r.metric_id == metric.id and r.local_date <= until)
    return min(1.0, current / over) if over else 1.0
