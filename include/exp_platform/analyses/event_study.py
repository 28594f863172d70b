"""Event study: the arms' gap by day and week around first exposure, and how much of the effect a violated trend leaves."""

from __future__ import annotations

from datetime import date
from functools import partial
from typing import Any

import numpy as np

from exp_platform.analyses.comparison import Pair
from exp_platform.analyses.daily import day_weights
from exp_platform.analyses.effects import effect_of
from exp_platform.analyses.rows import DidSensitivityRow, EventStudyRow, Row, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.stats.arms import Arm, Arms, arm_mean
from exp_platform.stats.event_study import RelativeMagnitudes, relative_magnitudes
from exp_platform.stats.intervals import t_critical
from exp_platform.stats.welch import difference

BLOCK_DAYS = 7  # every block has every weekday once
MIN_BLOCKS_BEFORE = 3  # two steps: with one, nothing says how much steps differ
M_BARS = (0.0, 0.5, 1.0, 1.5, 2.0)

_NOTHING = {"status": Status.OK, "estimate": 0.0, "standard_error": 0.0, "ci_low": 0.0, "ci_high": 0.0}


def rows(experiment: Experiment, as_of_date: date, metric: Metric, pair: Pair) -> list[Row]:
    """Event-study rows of each day (against day -1) and week (against the last one before), then the sensitivity's.

    For a metric and treatment whose daily blocks can be compared. Intervals are uncorrected ones at 1 - alpha.
    """
    plan = experiment.analyses
    days = [range(day, day + 1) for day in range(-plan.days_before, plan.did_days)]
    study = partial(_study, experiment, as_of_date, metric, pair)
    found: list[Row] = [*study(days, plan.days_before)]
    before, after = plan.days_before // BLOCK_DAYS, plan.did_days // BLOCK_DAYS
    if before < MIN_BLOCKS_BEFORE or after < 1:
        return [*found, _too_few_days(experiment, as_of_date, metric, pair)]
    blocks = [range(BLOCK_DAYS * i, BLOCK_DAYS * (i + 1)) for i in range(-before, after)]
    return [
        *found,
        *study(blocks, before),
        *_sensitivity(experiment, as_of_date, metric, pair, blocks, before),
    ]


def _study(
    experiment: Experiment, as_of_date: date, metric: Metric, pair: Pair, periods: list[range], before: int
) -> list[EventStudyRow]:
    """One row per period; the reference is the last of those `before` exposure."""
    weights = np.stack([day_weights(pair.control.columns, period) for period in periods])
    reference, level = periods[before - 1], 1 - experiment.decision.alpha
    control, treatment = (block.moments.linear(weights - weights[before - 1]) for block in pair)
    return [
        EventStudyRow(
            as_of_date=as_of_date,
            metric_id=metric.id,
            treatment_id=pair.treatment.variant_id,
            control_id=pair.control.variant_id,
            first_day=period[0],
            last_day=period[-1],
            reference_first_day=reference[0],
            reference_last_day=reference[-1],
            **pair.counts,
            mean_control=float(weights[i] @ pair.control.moments.mean),
            mean_treatment=float(weights[i] @ pair.treatment.moments.mean),
            **(
                _NOTHING | {"ci_level": level}
                if period == reference
                else _gap(arm_mean(control, i), arm_mean(treatment, i), level)
            ),
        )
        for i, period in enumerate(periods)
    ]


def _gap(control: Arm, treatment: Arm, level: float) -> dict[str, Any]:
    """The arms' difference in one period, less that of the reference."""
    if Arms(control, treatment).constant:
        return {"status": Status.DEGENERATE, "ci_level": level}
    return {"status": Status.OK, **effect_of(difference(control, treatment), level)}


def _sensitivity(
    experiment: Experiment, as_of_date: date, metric: Metric, pair: Pair, blocks: list[range], before: int
) -> list[DidSensitivityRow]:
    """One row for each m_bar; DEGENERATE where the effect has no variance.

    The critical value is Student's with the smaller arm's degrees of freedom: Welch's are never fewer, so the interval
    stays conservative for every combination of weeks.
    """
    weights = np.stack([day_weights(pair.control.columns, block) for block in blocks])
    control, treatment = (b.moments.linear(weights) for b in pair)
    found = relative_magnitudes(control, treatment, before)
    row = partial(
        _row, experiment, as_of_date, metric, pair, blocks_before=before, blocks_after=len(blocks) - before
    )
    if found.variance == 0:  # as `Moments.linear` has settled it
        return [row(status=Status.DEGENERATE, message="the effect does not vary between users")]
    level = 1 - experiment.decision.alpha
    critical = t_critical(level, min(control.n, treatment.n) - 1)
    return [_of_m_bar(row, found, m_bar, level, critical) for m_bar in M_BARS]


def _of_m_bar(
    row: partial[DidSensitivityRow], found: RelativeMagnitudes, m_bar: float, level: float, critical: float
) -> DidSensitivityRow:
    identified, interval = found.identified(m_bar), found.interval(m_bar, critical)
    breakdown = found.breakdown(critical)
    return row(
        status=Status.OK,
        estimate=found.estimate,
        standard_error=float(np.sqrt(found.variance)),
        largest_step=found.largest_step,
        m_bar=m_bar,
        identified_low=identified.low,
        identified_high=identified.high,
        ci_level=level,
        ci_low=interval.low,
        ci_high=interval.high,
        breakdown=breakdown if np.isfinite(breakdown) else None,
    )


def _too_few_days(experiment: Experiment, as_of_date: date, metric: Metric, pair: Pair) -> DidSensitivityRow:
    plan, needed = experiment.analyses, MIN_BLOCKS_BEFORE * BLOCK_DAYS
    message = (
        f"{plan.days_before} days before and {plan.did_days} after first exposure: {needed} before (did_pre_days) and "
        f"{BLOCK_DAYS} after (did_days) are needed to hold steps between weeks against each other"
    )
    return _row(experiment, as_of_date, metric, pair, status=Status.INSUFFICIENT_DATA, message=message)


def _row(
    experiment: Experiment, as_of_date: date, metric: Metric, pair: Pair, **numbers: Any
) -> DidSensitivityRow:
    return DidSensitivityRow(
        as_of_date=as_of_date,
        metric_id=metric.id,
        treatment_id=pair.treatment.variant_id,
        control_id=experiment.control.id,
        block_days=BLOCK_DAYS,
        **pair.counts,
        **numbers,
    )
