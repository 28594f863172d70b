"""Difference in differences: each user's days after first exposure minus the days before it, between the arms."""

from __future__ import annotations

from typing import Any

import numpy as np

from exp_platform.aggregates import Aggregates
from exp_platform.analyses import event_study
from exp_platform.analyses.comparison import pair_of, too_small
from exp_platform.analyses.daily import day_weights, has_pre_period, why_not
from exp_platform.analyses.effects import effect_of
from exp_platform.analyses.rows import DidRow, Row, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.config.readings import NOTHING_READ, RunState
from exp_platform.stats.arms import Arms, arm_mean
from exp_platform.stats.moments import Moments
from exp_platform.stats.welch import difference


def analyse(experiment: Experiment, aggregates: Aggregates, state: RunState = NOTHING_READ) -> list[Row]:
    """One row per metric and treatment: Welch's test of (mean of the days after) - (mean of the days before) a user.

    It equals the interaction of a regression of unit differences with HC2 errors (Angrist and Pischke 2009, section 8.1).
    Context, not evidence: it decides nothing, so its interval is an uncorrected one at 1 - alpha. Where it has one, the
    event study and the sensitivity to a violated trend follow (`analyses.event_study`).
    """
    rows: list[Row] = []
    for metric in experiment.metrics:
        for treatment in experiment.treatments:
            row = _row(experiment, aggregates, metric, treatment.id)
            rows.append(row)
            if row.status is Status.OK:
                pair = pair_of(aggregates, metric, experiment.control.id, treatment.id, kind="daily")
                rows += event_study.rows(experiment, aggregates.as_of_date, metric, pair)
    return rows


def _row(experiment: Experiment, aggregates: Aggregates, metric: Metric, treatment_id: str) -> DidRow:
    plan = experiment.analyses
    days_before, days_after = plan.days_before, plan.did_days

    def row(status: Status, **numbers: Any) -> DidRow:
        return DidRow(
            as_of_date=aggregates.as_of_date,
            metric_id=metric.id,
            treatment_id=treatment_id,
            control_id=experiment.control.id,
            status=status,
            pre_days=days_before,
            post_days=days_after,
            **numbers,
        )

    reason = why_not(experiment, metric)
    if reason is not None:
        return row(Status.NOT_APPLICABLE, message=reason)
    pair = pair_of(aggregates, metric, experiment.control.id, treatment_id, kind="daily")
    counts = pair.counts
    message = too_small(**counts)
    if message is not None:
        return row(Status.INSUFFICIENT_DATA, message=message, **counts)
    if not has_pre_period(pair, days_before):
        return row(Status.NOT_APPLICABLE, message="no activity before first exposure", **counts)
    periods = [_periods(block.moments, block.columns, days_before, days_after) for block in pair]
    arms = Arms(arm_mean(periods[0], 2), arm_mean(periods[1], 2))
    if arms.constant:
        return row(Status.DEGENERATE, message="post minus pre does not vary within an arm", **counts)
    d = difference(*arms)
    pre, post = zip(*[(float(m.mean[0]), float(m.mean[1])) for m in periods], strict=True)
    return row(
        Status.OK,
        message=pair.note,
        **counts,
        pre_mean_control=pre[0],
        pre_mean_treatment=pre[1],
        post_mean_control=post[0],
        post_mean_treatment=post[1],
        statistic=d.statistic,
        **effect_of(d, 1 - experiment.decision.alpha),
    )


def _periods(moments: Moments, columns: tuple[str, ...], days_before: int, days_after: int) -> Moments:
    """Moments of three columns per user: mean per day before, mean per day after, and their difference."""
    before = day_weights(columns, range(-days_before, 0))
    after = day_weights(columns, range(days_after))
    return moments.linear(np.stack([before, after, after - before]))
