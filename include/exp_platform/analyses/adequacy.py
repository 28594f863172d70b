"""Whether there are as many users as planned, and how long that would still take."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from exp_platform.aggregates import Aggregates, Arrivals
from exp_platform.analyses.planned import (
    Expected,
    absolute,
    expected_of,
    power_for,
    recent_users,
    target_of_mde,
    users_for,
)
from exp_platform.analyses.rows import ResultRow, SizeRow, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric, Role
from exp_platform.config.readings import RunState
from exp_platform.stats.power import days_needed


def sample_sizes(
    experiment: Experiment, aggregates: Aggregates, state: RunState, deciding: Sequence[ResultRow]
) -> list[SizeRow]:
    """One row per primary metric; `deciding` are the rows whose estimates decide, of which control's are expected to last.

    Required users follow from the metric's mde at the corrected fixed-horizon level and planned power, else from the
    spec's `required_sample_size`.
    """
    daily_users = recent_users(experiment, aggregates)
    return [
        _of_metric(experiment, aggregates, state, metric, _expected(metric, deciding), daily_users)
        for metric in experiment.metrics
        if metric.role is Role.PRIMARY
    ]


def _of_metric(
    experiment: Experiment,
    aggregates: Aggregates,
    state: RunState,
    metric: Metric,
    expected: Expected,
    daily_users: float | None,
) -> SizeRow:
    current = sum(_users(aggregates, metric, v.id) for v in experiment.variants)
    target = target_of_mde(experiment, metric, expected, state)
    required = None if target is None else users_for(experiment, metric, target, state)
    found = required is not None
    if required is None:
        required = experiment.decision.required_sample_size
    if required is None:
        days_remaining: int | None = max(0, (experiment.decision_date - aggregates.as_of_date).days)
    else:
        days_remaining = _days_remaining(experiment, aggregates, metric, required, current, daily_users)
    return SizeRow(
        as_of_date=aggregates.as_of_date,
        metric_id=metric.id,
        status=Status.OK,
        basis="mde" if found else "none" if required is None else "required_sample_size",
        required_users=required,
        current_users=current,
        daily_users=daily_users,
        days_remaining=days_remaining,
        mde=None if metric.mde is None or expected.mean is None else absolute(metric.mde, expected.mean),
        baseline=expected.mean,
        power=None if target is None else power_for(experiment, metric, target, current, state),
    )


def _users(aggregates: Aggregates, metric: Metric, variant_id: str) -> int:
    block = aggregates.block(metric.id, variant_id)
    return 0 if block is None else block.moments.n


def _expected(metric: Metric, deciding: Sequence[ResultRow]) -> Expected:
    """What the estimate that decides shows of control, and gains."""
    rows = (r for r in deciding if r.metric_id == metric.id and r.mean_control is not None)
    return expected_of(metric, next(rows, None))


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
    everybody = [Arrivals(aggregates.assigned, aggregates.crossovers)]
    exclude = experiment.analyses.crossovers == "exclude"
    exposed = sum(
        sum(users.assigned.values()) - (sum(users.crossovers.values()) if exclude else 0)
        for users in aggregates.triggered.values() or everybody
    )
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
