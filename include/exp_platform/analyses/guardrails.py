"""Guardrails: whether a metric that must not get worse has crossed its margin, per treatment."""

from __future__ import annotations

import math
from dataclasses import replace

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.adjustment import adjustment
from exp_platform.analyses.comparison import (
    Comparison,
    Pair,
    arms_of,
    compare,
    pair_of,
    sequence_half_width,
    sequence_status,
)
from exp_platform.analyses.family import is_final, uncorrected
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.config.experiment import Experiment, Guardrail, Metric
from exp_platform.stats.arms import Arm, Arms
from exp_platform.stats.intervals import t_critical

METHOD = "guardrails"


def analyse(experiment: Experiment, aggregates: Aggregates) -> list[Row]:
    """One row per guardrail and treatment, with its verdict; the numbers are those of the plain difference.

    - `proven_breach`: the interval of the effect lies wholly beyond the margin;
    - `observed_breach`: the estimate does, the interval reaches back;
    - `non_inferior`: the interval lies wholly on the safe side;
    - `unproven`: neither.

    Before the planned end the interval is the always-valid one alone; from then on either it or the fixed-horizon
    one proves. A guardrail stands alone, so its level is not corrected. The estimate is the one that decides
    (`decision.estimate`).
    """
    rows: list[Row] = []
    for metric in experiment.metrics:
        if metric.guardrail is not None:
            rows += _of_metric(experiment, aggregates, metric, metric.guardrail)
    return rows


def _of_metric(
    experiment: Experiment, aggregates: Aggregates, metric: Metric, guardrail: Guardrail
) -> list[ResultRow]:
    adjusted = adjustment(experiment, aggregates, metric) if experiment.decision.estimate == "cuped" else None
    level, final = uncorrected(experiment), is_final(experiment, aggregates.as_of_date)
    rows = []
    for treatment in experiment.treatments:
        c = Comparison(experiment, aggregates.as_of_date, METHOD, metric, treatment.id, level, final)
        pair = pair_of(aggregates, metric, experiment.control.id, treatment.id)
        arms = None if adjusted is None else adjusted.pair(experiment.control.id, treatment.id)
        rows.append(_judged(c, pair, arms, guardrail))
    return rows


def _judged(c: Comparison, pair: Pair, arms: Arms | None, guardrail: Guardrail) -> ResultRow:
    row = replace(compare(c, pair, arms), severity=guardrail.severity)
    if row.status is not Status.OK or row.degrees_of_freedom is None:
        return row
    arms = arms or arms_of(c.metric, pair)
    control, treatment, limit = arms.control, arms.treatment, _limit(c.metric, guardrail, arms)
    critical = t_critical(1 - c.level.alpha, row.degrees_of_freedom)
    halves = []
    if c.final:
        halves.append(critical * math.sqrt(limit.variance_of_difference))
    if sequence_status(c, pair) is Status.OK:
        halves.append(sequence_half_width(c, limit))
    relative = guardrail.margin.scale == "relative"
    return replace(
        row,
        margin=limit.control.mean - control.mean,
        margin_relative=-c.metric.direction * guardrail.margin.value if relative else None,
        verdict=verdict(c.metric.direction * (treatment.mean - limit.control.mean), halves),
    )


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
    limit = Arm(control.n, factor * control.mean, factor**2 * control.variance_of_mean)
    return arms._replace(control=limit, covariance=factor * arms.covariance)


def verdict(distance: float, half_widths: list[float]) -> str:
    """The verdict of a treatment `distance` on the safe side of its limit, with the half widths of valid intervals."""
    if any(distance + half < 0 for half in half_widths):
        return "proven_breach"
    if distance < 0:
        return "observed_breach"
    if any(distance - half > 0 for half in half_widths):
        return "non_inferior"
    return "unproven"
