"""Guardrails: whether a metric that must not get worse has crossed its margin, per treatment."""

from __future__ import annotations

import math
from dataclasses import replace

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.adjustment import adjustment
from exp_platform.analyses.comparison import (
    Compared,
    Comparison,
    Pair,
    compare,
    pair_of,
    sequence_half_width,
    sequence_status,
)
from exp_platform.analyses.family import uncorrected
from exp_platform.analyses.looks import at_look
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.config.analyses import GUARDING
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Guardrail, Metric
from exp_platform.config.readings import NOTHING_READ, RunState
from exp_platform.stats.arms import Arm, Arms
from exp_platform.stats.intervals import Interval, t_critical
from exp_platform.stats.welch import Difference

METHOD = "guardrails"


def analyse(experiment: Experiment, aggregates: Aggregates, state: RunState = NOTHING_READ) -> list[Row]:
    """One row per guardrail and treatment, with its verdict; the numbers are those of the metric's own test.

    - `proven_breach`: the interval of the effect lies wholly beyond the margin;
    - `observed_breach`: the estimate does, the interval reaches back;
    - `non_inferior`: the interval lies wholly on the safe side;
    - `unproven`: neither.

    Before the planned end the interval is the always-valid one alone; from then on either it or the fixed-horizon
    one proves. A claim rests on one side only, a breach on the upper bound (where up is better), non-inferiority on the
    lower: each always-valid bound is a one-sided confidence sequence with the whole sequential alpha, each fixed-horizon
    bound one of a two-sided interval and so with half of the fixed alpha. Where the truth is on the other side, or at the
    margin, a claim is ever made with probability sequential_alpha + fixed_alpha / 2 at most. A guardrail stands alone, so
    its level is not corrected. The estimate is the one that decides (`decision.estimate`).
    """
    rows: list[Row] = []
    for metric in experiment.metrics:
        guardrail = state.guardrail_of(metric)
        if guardrail is not None:
            rows += _of_metric(experiment, state, aggregates, metric, guardrail)
    return rows


def _of_metric(
    experiment: Experiment, state: RunState, aggregates: Aggregates, metric: Metric, guardrail: Guardrail
) -> list[ResultRow]:
    adjusted = adjustment(experiment, aggregates, metric, experiment.decision.estimate)
    level, day = uncorrected(experiment, state), aggregates.as_of_date
    final = state.is_final(experiment, day)
    rows = []
    for treatment in experiment.treatments:
        open_ = final and state.may_find(experiment, day, metric.id, treatment.id, GUARDING)
        c = Comparison(experiment, day, METHOD, metric, treatment.id, level, open_, state)
        c = at_look(c, aggregates)
        pair = pair_of(aggregates, metric, experiment.control.id, treatment.id)
        arms = None if adjusted is None else adjusted.pair(experiment.control.id, treatment.id)
        rows.append(_judged(c, pair, arms, guardrail))
    return rows


def _judged(c: Comparison, pair: Pair, arms: Arms | None, guardrail: Guardrail) -> ResultRow:
    found = compare(c, pair, arms)
    if isinstance(found, ResultRow):
        return replace(found, severity=guardrail.severity)
    limit = _limit(c.metric, guardrail, found.arms)
    distance = c.metric.direction * (limit.treatment.mean - limit.control.mean)
    row = found.row(relative_interval="fieller")  # a verdict stands beside the interval that it agrees with
    intervals: list[Interval] = []
    if c.final:
        intervals.append(_fixed(found, limit, guardrail, distance))
    if sequence_status(c, pair) is Status.OK:
        intervals.append(_around(distance, sequence_half_width(c, pair, limit, one_sided=True)))
        bounds = _around(found.test.estimate, sequence_half_width(c, pair, found.arms, one_sided=True))
        # About zero a row with two one-sided bounds says nothing: its two sides are for two claims about the margin.
        row = replace(
            row,
            always_valid_low=bounds.low,
            always_valid_high=bounds.high,
            always_valid_significant=None,
        )
    relative = guardrail.margin.scale == "relative"
    return replace(
        row,
        severity=guardrail.severity,
        margin=limit.control.mean - found.arms.control.mean,
        margin_relative=-c.metric.direction * guardrail.margin.value if relative else None,
        verdict=verdict(distance, intervals),
    )


def _fixed(found: Compared, limit: Arms, guardrail: Guardrail, distance: float) -> Interval:
    """The fixed-horizon interval of the distance to the limit, on the side and scale of the margin.

    Welch's has the limit's variance; the score and the exact test have their own interval of the effect on each scale.
    """
    metric, level = found.comparison.metric, 1 - found.comparison.level.alpha
    if isinstance(found.test, Difference):
        error = math.sqrt(limit.variance_of_difference)
        return _around(distance, t_critical(level, found.test.degrees_of_freedom) * error)
    relative = guardrail.margin.scale == "relative"
    low, high = found.test.relative_interval(level) if relative else found.test.interval(level)
    low, high = sorted((metric.direction * low, metric.direction * high))
    return Interval(low + guardrail.margin.value, high + guardrail.margin.value)


def _around(centre: float, half: float) -> Interval:
    return Interval(centre - half, centre + half)


def _limit(metric: Metric, guardrail: Guardrail, arms: Arms) -> Arms:
    """The treatment beside the worst value it may have: control moved by the margin.

    A margin relative to control is as uncertain as control is: the limit is (1 - direction x margin) x control, with
    its variance. Tested at the difference's critical value this is Fieller's test of that relative effect, so the
    verdict agrees with the row's relative interval.
    """
    control, size = arms.control, guardrail.margin.value
    if guardrail.margin.scale == "absolute":
        return arms._replace(control=control._replace(mean=control.mean - metric.direction * size))
    factor = 1 - metric.direction * size * math.copysign(1.0, control.mean)
    gain = None if control.gain is None else factor**2 * control.gain
    limit = Arm(control.n, factor * control.mean, factor**2 * control.variance_of_mean, gain=gain)
    return arms._replace(control=limit, covariance=factor * arms.covariance)


def verdict(distance: float, intervals: list[Interval]) -> str:
    """The verdict of a treatment `distance` on the safe side of its limit, with valid intervals of that distance."""
    if any(high < 0 for _, high in intervals):
        return "proven_breach"
    if distance < 0:
        return "observed_breach"
    if any(low > 0 for low, _ in intervals):
        return "non_inferior"
    return "unproven"
