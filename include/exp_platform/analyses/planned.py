"""The planned size of an experiment: what its users find, and how many would find the smallest effect of interest."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from functools import lru_cache
from typing import NamedTuple

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.estimators import estimator_of
from exp_platform.analyses.family import level_of, uncorrected
from exp_platform.analyses.rows import ResultRow
from exp_platform.analyses.sizes import MIN_USERS, START_USERS_ARM
from exp_platform.config.experiment import Experiment, Variant
from exp_platform.config.metrics import Effect, Metric
from exp_platform.config.readings import NOTHING_READ, RunState
from exp_platform.stats.group_sequential import bounds, crossing, inflation, separate_bounds, spent
from exp_platform.stats.intervals import normal_critical, normal_quantile
from exp_platform.stats.power import (
    Design,
    SequenceDesign,
    WelchDesign,
    mde,
    of_proportions,
    power,
    required_per_arm,
)
from exp_platform.stats.rounding import LARGEST, SMALLEST
from exp_platform.stats.sequential import rho

TUNED_USERS = 5000  # where confidence sequences are narrowest when no size was planned
RECENT_DAYS = 7


class Expected(NamedTuple):
    """What is expected of control on one metric; None: not known.

    `mean` is that of the metric (a share, ratio or quantile too), `sd` a user's standard deviation (of a ratio its
    linearised value's, of a quantile its standard error times the root of n; not needed for proportions).
    `variance_reduction` is what the estimate that decides takes off the variance, None where nothing is adjusted.
    """

    mean: float | None = None
    sd: float | None = None
    variance_reduction: float | None = None


def expected_of(metric: Metric, row: ResultRow | None) -> Expected:
    """The planned baseline, else control's mean, with the spread and the variance reduction that a result row shows."""
    if row is None:
        return Expected(metric.baseline)
    mean = row.mean_control if metric.baseline is None else metric.baseline
    return Expected(mean, row.sd_control, row.variance_reduction)


def absolute(effect: Effect, control_mean: float) -> float:
    """An effect's size on the metric's own scale."""
    return effect.value if effect.scale == "absolute" else effect.value * abs(control_mean)


@lru_cache(maxsize=1024)
def design_of(metric: Metric, expected: Expected) -> Design | None:
    """The metric's test as planning sees it; None where a number that it needs is missing or out of range."""
    mean, sd, reduction = expected
    if not all(abs(x) <= LARGEST for x in (mean, sd) if x is not None) or (
        sd is not None and 0 < sd < SMALLEST
    ):
        return None
    try:
        return estimator_of(metric).design(mean, sd, reduction)
    except ValueError:  # a share that is not between 0 and 1, a spread that is not positive
        return None


class Target(NamedTuple):
    """What is to be shown: the test, the effect in the metric's unit if it is so, and the level."""

    design: Design
    effect: float
    alpha: float


def target_of_mde(
    experiment: Experiment, metric: Metric, expected: Expected, state: RunState = NOTHING_READ
) -> Target | None:
    """`metric.mde` at the corrected fixed-horizon level; None where the spec has none, or a number is missing."""
    design = design_of(metric, expected)
    if metric.mde is None or expected.mean is None or design is None:
        return None
    effect = metric.direction * absolute(metric.mde, expected.mean)
    return Target(design, effect, level_of(experiment, metric, state).alpha)


def target_of_margin(
    experiment: Experiment, metric: Metric, expected: Expected, state: RunState = NOTHING_READ
) -> Target | None:
    """That a guardrail is within its margin where nothing changes, uncorrected; None where it is none, or as above.

    By Welch's variances, a relative margin's limit being as uncertain as control is. Of a change for the better fewer users
    would do.
    """
    design = design_of(metric, expected)
    if metric.guardrail is None or expected.mean is None or design is None:
        return None
    margin, factor = metric.guardrail.margin, 1.0
    if margin.scale == "relative":
        factor -= metric.direction * margin.value * math.copysign(1.0, expected.mean)
    v0, v1 = design.variances(0.0)
    tested = design if isinstance(design, WelchDesign) else of_proportions(expected.mean)
    return Target(
        replace(tested, variances=lambda effect: (factor**2 * v0, v1)),
        absolute(margin, expected.mean),
        uncorrected(experiment, state).alpha,
    )


def users_for(
    experiment: Experiment, metric: Metric, target: Target, state: RunState = NOTHING_READ
) -> int | None:
    """Users in all arms together that show the target with the planned power, and that are enough to be compared.

    With several treatments the one that needs most decides. None where the metric cannot have such an effect.
    """
    try:
        in_control = max(
            _in_control(experiment, target.effect, target.design, target.alpha, t)
            for t in experiment.treatments
        )
    except ValueError:  # a zero effect, or one that takes a proportion out of [0, 1]
        return None
    needed = (
        in_control * _looks_cost(experiment, metric, target.alpha, state) / experiment.control.effective_share
    )
    fewest = estimator_of(metric).fewest / min(v.share for v in experiment.variants)
    return math.ceil(max(needed, fewest, MIN_USERS))


def power_for(
    experiment: Experiment, metric: Metric, target: Target, users: float, state: RunState = NOTHING_READ
) -> float | None:
    """The chance that so many users in all arms show the target, in the treatment where it is least.

    None where they are too few to be compared, or the metric cannot have such an effect.
    """
    if not _enough(experiment, metric, users):
        return None
    control = users * experiment.control.effective_share
    try:
        found = min(
            power(target.effect, target.design, control, users * t.effective_share, target.alpha)
            for t in experiment.treatments
        )
    except ValueError:
        return None
    return _power_of_looks(experiment, metric, target.alpha, found, state)


def required_users(
    experiment: Experiment, metric: Metric, expected: Expected, state: RunState = NOTHING_READ
) -> int | None:
    """Users in all arms together that find `metric.mde`; None where that cannot be planned."""
    target = target_of_mde(experiment, metric, expected, state)
    return None if target is None else users_for(experiment, metric, target, state)


def required_always_valid(
    experiment: Experiment, metric: Metric, expected: Expected, state: RunState = NOTHING_READ
) -> int | None:
    """Users in all arms together at whose one look always-valid evidence finds `metric.mde` with the planned power.

    None as for `required_users`, and where no alpha is kept for such evidence.
    """
    target, alpha = (
        target_of_mde(experiment, metric, expected, state),
        level_of(experiment, metric, state).sequential_alpha,
    )
    if target is None or alpha <= 0:
        return None
    try:
        in_control = max(
            _in_control(
                experiment, target.effect, _sequence(experiment, metric, target.design, t, state), alpha, t
            )
            for t in experiment.treatments
        )
    except ValueError:
        return None
    return math.ceil(
        max(
            in_control / experiment.control.effective_share,
            START_USERS_ARM / min(v.share for v in experiment.variants),
        )
    )


def smallest_effect(
    experiment: Experiment, metric: Metric, expected: Expected, users: float, state: RunState = NOTHING_READ
) -> float | None:
    """The smallest effect, with its sign, that so many users in all arms find with the planned power in any treatment.

    In the metric's unit. None where a number is missing, or users are too few for any effect that it can have.
    """
    design, alpha = design_of(metric, expected), level_of(experiment, metric, state).alpha
    if design is None or not _enough(experiment, metric, users):
        return None
    worth = users / _looks_cost(experiment, metric, alpha, state)
    return _largest(experiment, metric, worth, alpha, lambda t: design)


def smallest_always_valid(
    experiment: Experiment, metric: Metric, expected: Expected, users: float, state: RunState = NOTHING_READ
) -> float | None:
    """The same for always-valid evidence at one look: what earlier looks may have found adds to its power.

    None too where no alpha is kept for it, or an arm has too few users for it to start.
    """
    design, alpha = design_of(metric, expected), level_of(experiment, metric, state).sequential_alpha
    started = users * min(v.share for v in experiment.variants) >= START_USERS_ARM
    if design is None or alpha <= 0 or not started or not _enough(experiment, metric, users):
        return None
    return _largest(
        experiment, metric, users, alpha, lambda t: _sequence(experiment, metric, design, t, state)
    )


def _in_control(
    experiment: Experiment, effect: float, design: Design, alpha: float, treatment: Variant
) -> float:
    ratio = treatment.effective_share / experiment.control.effective_share
    return _control_users(effect, design, alpha, experiment.decision.power, ratio)


@lru_cache(maxsize=1024)
def _control_users(effect: float, design: Design, alpha: float, power: float, ratio: float) -> float:
    return required_per_arm(effect, design, alpha=alpha, power=power, ratio=ratio).control


def _enough(experiment: Experiment, metric: Metric, users: float) -> bool:
    """Whether so many users would be compared at all."""
    smallest = users * min(v.share for v in experiment.variants)
    return users >= MIN_USERS and smallest >= estimator_of(metric).fewest


def _largest(
    experiment: Experiment,
    metric: Metric,
    users: float,
    alpha: float,
    design: Callable[[Variant], Design],
) -> float | None:
    """The largest of all treatments' smallest effects."""
    control, target = users * experiment.control.effective_share, experiment.decision.power
    try:
        found = [
            mde(
                design(t),
                control,
                users * t.effective_share,
                alpha=alpha,
                power=target,
                sign=metric.direction,
            )
            for t in experiment.treatments
        ]
    except ValueError:
        return None
    return max(found, key=abs)


def _sequence(
    experiment: Experiment, metric: Metric, design: Design, treatment: Variant, state: RunState
) -> SequenceDesign:
    alpha = level_of(experiment, metric, state).sequential_alpha
    return SequenceDesign(design.variances, rho(alpha, tuned_size(experiment, metric, treatment.id, state)))


Looks = tuple[tuple[float, ...], tuple[float, ...]]


def _looks(experiment: Experiment, metric: Metric, alpha: float, state: RunState) -> Looks | None:
    """Shares of the information and critical |z| of a group-sequential test, users arriving evenly; None for one look.

    The information of a metric whose windows close are the users whose window is over: a look without new ones is none.
    """
    plan, dates = experiment.decision, state.look_dates(experiment)
    if plan.sequential != "group_sequential" or len(dates) == 1:
        return None
    fractions = tuple(sorted({experiment.observed(metric, day) for day in dates} - {0.0}))
    if len(fractions) == 1:
        return None
    chances = tuple(spent(plan.spending, t, alpha, plan.spending_exponent) for t in fractions)
    return fractions, separate_bounds(chances) if metric.window.end is None else bounds(fractions, chances)


def _looks_cost(experiment: Experiment, metric: Metric, alpha: float, state: RunState) -> float:
    """How many times the users of a test that is looked at once a group-sequential one needs."""
    looks = _looks(experiment, metric, alpha, state)
    return 1.0 if looks is None else inflation(*looks, alpha, experiment.decision.power)


def _power_of_looks(
    experiment: Experiment, metric: Metric, alpha: float, once: float, state: RunState
) -> float:
    """The power of all looks together, where that of one look at the end, with all of alpha, would be `once`."""
    looks = _looks(experiment, metric, alpha, state)
    if looks is None or not alpha < once < 1:
        return once
    return min(1.0, sum(crossing(*looks, normal_critical(1 - alpha) + normal_quantile(once))))


def planned_size(
    experiment: Experiment, metric: Metric, expected: Expected, state: RunState = NOTHING_READ
) -> int | None:
    """Users in all arms together that the metric needs: those of `required_users`, else the spec's; None without."""
    found = required_users(experiment, metric, expected, state)
    return experiment.decision.required_sample_size if found is None else found


def recent_users(experiment: Experiment, aggregates: Aggregates) -> float | None:
    """New users per day over the last 7 days on which users could arrive, else the spec's `daily_users`."""
    last = min(aggregates.as_of_date, experiment.window.end)
    first = max(last - timedelta(days=RECENT_DAYS - 1), experiment.window.start)
    arrived = {
        (r.local_date, r.variant_id): r.new_users for r in aggregates.daily if first <= r.local_date <= last
    }
    total, days = sum(arrived.values()), (last - first).days + 1  # rows repeat new users for every metric
    return total / days if total > 0 and days > 0 else experiment.decision.daily_users


def tuned_size(
    experiment: Experiment, metric: Metric, treatment_id: str, state: RunState = NOTHING_READ
) -> float:
    """Users of control and one treatment (under a ramp of all arms) at which their confidence sequence is narrowest.

    Only the plan may enter, never the data, or the sequence would lose its coverage: the size of the first look's plan,
    else the spec's required size, else the one that follows from mde and planned baseline, else 5,000.
    """
    first = state.tuned.get(metric.id, {}).get(treatment_id)
    if first is not None:
        return first
    total = experiment.decision.required_sample_size
    if total is None:
        total = required_users(experiment, metric, Expected(metric.baseline), state)
    if total is None:
        return TUNED_USERS
    if experiment.ramp:
        return total  # of all arms, as the sequence
    shares = {v.id: v.share for v in experiment.variants}
    return total * (shares[experiment.control.id] + shares[treatment_id])
