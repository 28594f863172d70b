"""The planned size of an experiment: the users with which the smallest effect of interest would be found."""

from __future__ import annotations

import math
from datetime import timedelta
from functools import lru_cache

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.family import level_of
from exp_platform.config.experiment import Effect, Experiment, Metric, MetricKind
from exp_platform.stats.group_sequential import bounds, inflation, separate_bounds, spent
from exp_platform.stats.power import Variances, of_means, of_proportions, required_per_arm

TUNED_USERS = 5000  # where confidence sequences are narrowest when no size was planned
RECENT_DAYS = 7

PROPORTIONS = (MetricKind.PROPORTION, MetricKind.RETENTION)


def absolute(effect: Effect, control_mean: float) -> float:
    """An effect's size on the metric's own scale."""
    return effect.value if effect.scale == "absolute" else effect.value * abs(control_mean)


def required_users(
    experiment: Experiment,
    metric: Metric,
    baseline: float | None,
    sd: float | None = None,
    variance_reduction: float = 0.0,
) -> int | None:
    """Users in all arms together that find `metric.mde` at the corrected fixed-horizon level and planned power.

    `baseline` is control's mean, `sd` the standard deviation a user (not needed for proportions); with several
    treatments the one that needs most decides. None where the spec has no mde or a number it needs is missing.
    """
    proportion = metric.kind in PROPORTIONS
    if metric.mde is None or baseline is None or (sd is None and not proportion):
        return None
    effect = metric.direction * absolute(metric.mde, baseline)
    alpha = level_of(experiment, metric).alpha
    shares = [t.share / experiment.control.share for t in experiment.treatments]
    spread = None if proportion else sd
    try:
        in_control = max(
            _users_in_control(
                effect, baseline, spread, variance_reduction, alpha, experiment.decision.power, share
            )
            for share in shares
        )
    except ValueError:  # no such effect: a zero one, or one that takes a proportion out of [0, 1]
        return None
    return math.ceil(in_control * _looks_cost(experiment, metric, alpha) / experiment.control.share)


def _looks_cost(experiment: Experiment, metric: Metric, alpha: float) -> float:
    """How many times the users of a test that is looked at once a group-sequential one needs, users arriving evenly."""
    plan, dates = experiment.decision, experiment.look_dates
    if plan.sequential != "group_sequential" or len(dates) == 1:
        return 1.0
    fractions = tuple(experiment.elapsed(day) for day in dates)
    chances = tuple(spent(plan.spending, t, alpha, plan.spending_exponent) for t in fractions)
    critical = separate_bounds(chances) if metric.window.end is None else bounds(fractions, chances)
    return inflation(fractions, critical, alpha, plan.power)


def planned_size(
    experiment: Experiment,
    metric: Metric,
    baseline: float | None,
    sd: float | None = None,
) -> int | None:
    """Users in all arms together that the metric needs: those of `required_users`, else the spec's; None without."""
    found = required_users(experiment, metric, baseline, sd)
    return experiment.decision.required_sample_size if found is None else found


def recent_users(experiment: Experiment, aggregates: Aggregates) -> float | None:
    """New users a day over the last 7 days on which users could arrive, else the spec's `daily_users`."""
    last = min(aggregates.as_of_date, experiment.window.end)
    first = max(last - timedelta(days=RECENT_DAYS - 1), experiment.window.start)
    arrived = {
        (r.local_date, r.variant_id): r.new_users for r in aggregates.daily if first <= r.local_date <= last
    }
    total, days = sum(arrived.values()), (last - first).days + 1  # rows repeat new users for every metric
    return total / days if total > 0 and days > 0 else experiment.decision.daily_users


@lru_cache(maxsize=1024)
def _users_in_control(
    effect: float,
    baseline: float,
    sd: float | None,
    reduction: float,
    alpha: float,
    power: float,
    ratio: float,
) -> float:
    whole = of_proportions(baseline) if sd is None else of_means(sd)

    def left(size: float) -> tuple[float, float]:
        control, treatment = whole(size)
        return control * (1 - reduction), treatment * (1 - reduction)

    variances: Variances = left
    return required_per_arm(effect, variances, alpha=alpha, power=power, ratio=ratio).control


def tuned_size(experiment: Experiment, metric: Metric, treatment_id: str) -> float:
    """Users of control and one treatment at which their confidence sequence is made narrowest.

    Only the plan may enter, never the data, or the sequence would lose its coverage: the spec's required size,
    else the one that follows from mde and planned baseline, else 5,000.
    """
    total = experiment.decision.required_sample_size
    if total is None and metric.kind in PROPORTIONS:
        total = required_users(experiment, metric, metric.baseline)
    if total is None:
        return TUNED_USERS
    shares = {v.id: v.share for v in experiment.variants}
    return total * (shares[experiment.control.id] + shares[treatment_id])
