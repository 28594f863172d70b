"""Pre-trends: whether the arms moved in parallel on the days before first exposure."""

from __future__ import annotations

from typing import Any

import numpy as np

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.comparison import Pair, pair_of
from exp_platform.analyses.daily import day_weights, has_pre_period, why_not
from exp_platform.analyses.rows import PretrendDeltaRow, PretrendTestRow, Row, Status
from exp_platform.analyses.sizes import MIN_USERS_ARM
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.config.readings import NOTHING_READ, RunState
from exp_platform.stats.arms import Arms, arm_mean
from exp_platform.stats.moments import Moments
from exp_platform.stats.wald import of_arms
from exp_platform.stats.welch import difference

METHOD = "pretrends"
REFERENCE_DAY = -1
MIN_DAYS = 3  # before first exposure; fewer show no trend


def analyse(experiment: Experiment, aggregates: Aggregates, state: RunState = NOTHING_READ) -> list[Row]:
    """One test row per metric and treatment, and one delta row per day before first exposure where it could be tested.

    The joint test is that all daily deltas equal the reference day's; its covariance is that of the arms' days, sigma_c / n_c
    + sigma_t / n_t, so a user's correlated days count as what they are, and its tail that of arms of these sizes.
    """
    rows: list[Row] = []
    for metric in experiment.metrics:
        for treatment in experiment.treatments:
            rows += _of_pair(experiment, aggregates, metric, treatment.id)
    return rows


def _of_pair(experiment: Experiment, aggregates: Aggregates, metric: Metric, treatment_id: str) -> list[Row]:
    days = experiment.analyses.days_before

    def row(status: Status, message: str | None = None, **numbers: Any) -> PretrendTestRow:
        return PretrendTestRow(
            aggregates.as_of_date,
            metric.id,
            treatment_id,
            experiment.control.id,
            status,
            message,
            reference_day=REFERENCE_DAY,
            days=days,
            **numbers,
        )

    reason = why_not(experiment, metric)
    if reason is not None:
        return [row(Status.NOT_APPLICABLE, reason)]
    pair = pair_of(aggregates, metric, experiment.control.id, treatment_id, kind="daily")
    message = _too_little(days, **pair.counts)
    if message is not None:
        return [row(Status.INSUFFICIENT_DATA, message)]
    if not has_pre_period(pair, days):
        return [row(Status.NOT_APPLICABLE, "no activity before first exposure")]
    before = range(-days, REFERENCE_DAY)
    contrasts = np.stack([day_weights(pair.control.columns, [day]) for day in before])
    contrasts -= day_weights(pair.control.columns, [REFERENCE_DAY])
    sides = pair.control.moments.linear(contrasts), pair.treatment.moments.linear(contrasts)
    deltas = _deltas(experiment, aggregates, metric, pair, sides)
    try:
        test = of_arms(*sides)
    except ValueError as error:  # a day without variance
        return [row(Status.DEGENERATE, str(error)), *deltas]
    numbers: dict[str, Any] = {
        "wald": test.statistic,
        "degrees_of_freedom": test.df,
        "denominator_df": test.denominator_df,
        "p_value": test.p,
        "log10_p": test.log10_p,
    }
    return [
        row(Status.OK, **numbers, parallel=bool(test.p >= experiment.decision.alpha)),
        *deltas,
    ]


def _too_little(days: int, n_control: int, n_treatment: int) -> str | None:
    if days < MIN_DAYS:
        return f"{days} days before first exposure: a trend needs {MIN_DAYS}"
    if min(n_control, n_treatment) < MIN_USERS_ARM:
        return (
            f"{n_control} users in control and {n_treatment} in treatment have all their days observed: "
            f"the test needs {MIN_USERS_ARM} an arm"
        )
    return None


def _deltas(
    experiment: Experiment, aggregates: Aggregates, metric: Metric, pair: Pair, sides: tuple[Moments, Moments]
) -> list[PretrendDeltaRow]:
    """One row per day; `sides` are the arms' moments of each earlier day minus the reference day."""
    rows = []
    for position, day in enumerate(range(-experiment.analyses.days_before, 0)):
        column = pair.control.columns.index(f"day{day}")
        means = [float(block.moments.mean[column]) for block in pair]
        rows.append(
            PretrendDeltaRow(
                as_of_date=aggregates.as_of_date,
                metric_id=metric.id,
                treatment_id=pair.treatment.variant_id,
                control_id=pair.control.variant_id,
                day=day,
                reference_day=REFERENCE_DAY,
                **pair.counts,
                mean_control=means[0],
                mean_treatment=means[1],
                delta=means[1] - means[0],
                **_from_reference(sides, position, day, 1 - experiment.decision.alpha),
            )
        )
    return rows


def _from_reference(sides: tuple[Moments, Moments], position: int, day: int, level: float) -> dict[str, Any]:
    """One day's delta minus the reference day's, with Welch's interval."""
    if day == REFERENCE_DAY:
        zero = {"delta_from_reference": 0.0, "standard_error": 0.0, "ci_low": 0.0, "ci_high": 0.0}
        return {"status": Status.OK, **zero}
    arms = Arms(arm_mean(sides[0], position), arm_mean(sides[1], position))
    if arms.constant:
        return {"status": Status.DEGENERATE}
    d = difference(*arms)
    low, high = d.interval(level)
    numbers = {
        "delta_from_reference": d.estimate,
        "standard_error": d.standard_error,
        "ci_low": low,
        "ci_high": high,
    }
    return {"status": Status.OK, **numbers}
