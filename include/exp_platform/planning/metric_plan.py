"""The plan of one metric: users, days and power for its smallest effect of interest, and what given users would find."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from typing import Literal, NamedTuple

from exp_platform.analyses.adjustment import why_not
from exp_platform.analyses.estimators import estimator_of
from exp_platform.analyses.family import level_of
from exp_platform.analyses.planned import (
    Expected,
    Target,
    design_of,
    power_for,
    required_always_valid,
    required_users,
    smallest_always_valid,
    smallest_effect,
    target_of_margin,
    target_of_mde,
    users_for,
)
from exp_platform.analyses.sizes import START_OUTCOMES
from exp_platform.config.analyses import BY_COVARIATES, UNADJUSTED
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric, Role
from exp_platform.planning.arrivals import Arrivals
from exp_platform.planning.known import Known
from exp_platform.stats.power import MOST_USERS
from exp_platform.stats.rounding import LARGEST, SMALLEST

DAYS = (7, 14, 21, 28, 42, 56)
MOST_DAYS = 366


class Finds(NamedTuple):
    """What users find: the smallest effects, at the end or by always-valid evidence, and the power for the planned one.

    In the metric's unit; None where an input is missing, or the users are too few.
    """

    smallest_effect: float | None = None
    power: float | None = None
    smallest_always_valid: float | None = None


@dataclass(frozen=True)
class Duration:
    """An experiment of so many days of exposure; users are of all arms together."""

    days: int
    read_on: date  # the as_of date on which the last users' window is over
    users: int
    finds: Finds


@dataclass(frozen=True)
class MetricPlan:
    """The plan of one metric; users are of all arms together, effects in its unit with their sign.

    `effect` is the mde, or the margin of a guardrail that has none; `finds` is about `users`. None where an input is
    missing; `notes` say which.
    """

    metric: Metric
    alpha: float
    sequential_alpha: float
    expected: Expected
    source: str  # where the baseline is from, then the spread
    target: Literal["mde", "margin", "none"]
    effect: float | None
    required_users: int | None
    required_by_variant: dict[str, int]
    required_days: int | None  # of exposure; the last users' window comes on top
    required_always_valid: int | None
    gains: dict[str, float]  # method -> share of the variance
    required_by_estimate: dict[str, int]  # were that method to decide
    users: int | None
    finds: Finds
    durations: tuple[Duration, ...] = ()
    notes: tuple[str, ...] = ()

    @property
    def possible(self) -> bool:
        """Whether enough is known of the metric to plan it; where only wishes lack (an mde, users) it is."""
        return design_of(self.metric, self.expected) is not None


def plan_metric(
    experiment: Experiment,
    metric: Metric,
    *,
    known: Known | None = None,
    given: Expected = Expected(),  # noqa: B008 - immutable
    users: float | None = None,
    arrivals: Arrivals | None = None,
) -> MetricPlan:
    """Plan one metric at its corrected fixed-horizon level and the spec's power.

    `given` wins over the spec, and that over what is `known` of earlier users. `users` are those expected in all arms;
    absent, those that arrive in the planned window.
    """
    expected, gains = _expectations(experiment, metric, known, given)
    level = level_of(experiment, metric)
    kind, target = _target(experiment, metric, expected)
    needed = None if target is None else users_for(experiment, metric, target)
    planned_days = (experiment.window.end - experiment.window.start).days + 1
    opens = metric.window.opens
    if users is None and arrivals is not None:
        users = arrivals.users(planned_days - opens)
    days = None if needed is None or arrivals is None else arrivals.days(needed) + opens
    return MetricPlan(
        metric=metric,
        alpha=level.alpha if kind != "margin" or target is None else target.alpha,
        sequential_alpha=level.sequential_alpha,
        expected=expected,
        source=_source(metric, known, given),
        target=kind,
        effect=None if target is None else target.effect,
        required_users=needed,
        required_by_variant={}
        if needed is None
        else {v.id: round(needed * v.share) for v in experiment.variants},
        required_days=days,
        required_always_valid=required_always_valid(experiment, metric, expected),
        gains=gains,
        required_by_estimate=dict(_by_estimate(experiment, metric, expected, gains)),
        users=None if users is None else round(users),
        finds=Finds() if users is None else _finds(experiment, metric, expected, target, users),
        durations=tuple(
            _duration(experiment, metric, expected, target, d, arrived)
            for d, arrived in _arrived(arrivals, planned_days, days, opens)
        ),
        notes=tuple(_notes(experiment, metric, expected, gains, needed, users, known.told if known else ())),
    )


def _expectations(
    experiment: Experiment, metric: Metric, known: Known | None, given: Expected
) -> tuple[Expected, dict[str, float]]:
    """What is expected of the estimate that decides, and what each adjustment is known to gain."""
    known = known or Known(None, None)
    estimate = experiment.decision.estimate
    gains = {m: gain for m, gain in known.gains.items() if why_not(experiment, metric, m) is None}
    if given.variance_reduction is not None:
        gains[BY_COVARIATES if estimate == UNADJUSTED else estimate] = given.variance_reduction
    mean = next((m for m in (given.mean, metric.baseline, known.mean) if m is not None), None)
    sd = known.sd if given.sd is None else given.sd
    adjusts = estimate != UNADJUSTED and why_not(experiment, metric, estimate) is None
    return Expected(mean, sd, gains.get(estimate, 0.0) if adjusts else None), gains


def _target(
    experiment: Experiment, metric: Metric, expected: Expected
) -> tuple[Literal["mde", "margin", "none"], Target | None]:
    if metric.mde is None and metric.guardrail is not None:
        return "margin", target_of_margin(experiment, metric, expected)
    return "none" if metric.mde is None else "mde", target_of_mde(experiment, metric, expected)


def _by_estimate(
    experiment: Experiment, metric: Metric, expected: Expected, gains: dict[str, float]
) -> Iterator[tuple[str, int]]:
    for method, gain in ((UNADJUSTED, None), *gains.items()):
        needed = required_users(experiment, metric, expected._replace(variance_reduction=gain))
        if needed is not None:
            yield method, needed


def _finds(
    experiment: Experiment, metric: Metric, expected: Expected, target: Target | None, users: float
) -> Finds:
    return Finds(
        smallest_effect(experiment, metric, expected, users),
        None if target is None else power_for(experiment, metric, target, users),
        smallest_always_valid(experiment, metric, expected, users),
    )


def _arrived(
    arrivals: Arrivals | None, planned: int, needed: int | None, opens: int
) -> list[tuple[int, float]]:
    """The numbers of days that a plan tells of, with the users of each whose window has opened by then.

    None where it is not known how they come in.
    """
    if arrivals is None:
        return []
    days = sorted({*DAYS, planned, *([needed] if needed and needed <= MOST_DAYS else [])})
    return [(d, arrivals.users(max(0, d - opens))) for d in days]


def _duration(
    experiment: Experiment, metric: Metric, expected: Expected, target: Target | None, days: int, users: float
) -> Duration:
    last = experiment.window.start + timedelta(days=days - 1)
    read_on = experiment.window.over(last, metric.window.end or 0)
    return Duration(days, read_on, round(users), _finds(experiment, metric, expected, target, users))


def _source(metric: Metric, known: Known | None, given: Expected) -> str:
    found = known.source if known else ""
    mean = "given" if given.mean is not None else "spec" if metric.baseline is not None else found
    spread = mean if metric.traits.share else "given" if given.sd is not None else found
    return ", ".join(dict.fromkeys(word for word in (mean, spread) if word))


def _notes(
    experiment: Experiment,
    metric: Metric,
    expected: Expected,
    gains: dict[str, float],
    needed: int | None,
    users: float | None,
    told: tuple[str, ...],
) -> Iterator[str]:
    """What is missing and how to give it, and what the numbers leave out; `told` is what earlier users do not say."""
    yield from told
    unknown = expected.mean is None or (expected.sd is None and not metric.traits.share)
    if not (told and unknown):
        yield from _no_design(metric, expected)
    target = _target(experiment, metric, expected)[1]
    if target is not None and needed is None:
        yield _never_found(metric, target)
    if metric.mde is None and metric.guardrail is None:
        yield "no mde in the spec: no size follows"
    if expected.variance_reduction is not None and experiment.decision.estimate not in gains:
        yield (
            f"decision.estimate is {experiment.decision.estimate}, and what it gains is not known: planned without it; "
            "give --variance-reduction, --like or --history"
        )
    if metric.missing == "exclude":
        yield "missing: exclude: users are those with a value, of whom fewer come than of all"
    if experiment.trigger is not None:
        yield "trigger: users are those who reach it, of whom fewer come than are exposed"
    yield from _few_outcomes(experiment, metric, expected, needed if users is None else users)
    if metric.role is Role.SECONDARY and experiment.decision.family == "primary_first":
        yield "primary_first: significant only where every primary metric is too, so its power is at most this"


def _no_design(metric: Metric, expected: Expected) -> Iterator[str]:
    """Why nothing can be planned with what is expected of control, and what helps."""
    mean, sd = expected.mean, expected.sd
    results = "the results of a run, --like or --history"
    if mean is None:
        yield f"no baseline: give `baseline` in the spec, --baseline, {results}"
    elif metric.traits.share and not 0 < mean < 1:
        yield f"the baseline of a {metric.kind} must lie between 0 and 1, not {mean:g}: give one that users can have"
    elif not abs(mean) <= LARGEST:
        yield f"a baseline of {mean:g} is too large for arithmetic: choose a larger unit"
    if metric.traits.share:
        return
    if sd is None:
        what = estimator_of(metric).deviation_of
        yield f"no standard deviation ({what}): give --sd, {results}"
    elif sd < SMALLEST:
        remedy = (
            "choose caps closer to 0 and 1, or none"
            if metric.winsorise
            else "give users in whom it does, or --sd"
        )
        yield f"the metric does not vary (its standard deviation is {sd:g}), so it can show no effect: {remedy}"
    elif sd > LARGEST:
        yield f"a standard deviation of {sd:g} is too large for arithmetic: choose a larger unit"


def _never_found(metric: Metric, target: Target) -> str:
    """Why no number of users finds the target."""
    name = "margin" if metric.mde is None else "mde"
    try:
        target.design.variances(target.effect)
    except ValueError:
        return f"the metric cannot have an effect of the {name} at this baseline"
    return (
        f"the {name} ({target.effect:g}) is so small beside the spread that more than {MOST_USERS:.0e} users would be needed: "
        "give a larger one, absolute where the baseline is near 0"
    )


def _few_outcomes(
    experiment: Experiment, metric: Metric, expected: Expected, users: float | None
) -> Iterator[str]:
    """Fewer outcomes than the plan's normal law needs, in the smallest arm."""
    if not metric.traits.share or expected.mean is None or users is None:
        return
    arm = users * min(v.share for v in experiment.variants)
    outcomes = arm * min(expected.mean, 1 - expected.mean)
    if 0 < outcomes < 2 * START_OUTCOMES:
        test = "the exact test finds less" if metric.test == "score" else "Welch's power is rough there"
        yield f"an arm of {arm:,.0f} expects {outcomes:,.1f} successes or failures: {test}"
