"""Stability: whether the effect lasts after exposure, and whether it is the same for users who came early and late."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from typing import Any

import numpy as np

from exp_platform.aggregates import ALL, COHORT, Aggregates
from exp_platform.analyses.comparison import arms_of, pair_of, too_small
from exp_platform.analyses.daily import day_weights, why_not
from exp_platform.analyses.effects import effect_of
from exp_platform.analyses.equality import equality
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.config.readings import NOTHING_READ, RunState
from exp_platform.stats.arms import Arm, Arms, arm_mean
from exp_platform.stats.welch import difference

METHOD = "stability"
DAY = "day_since_exposure"  # the segment of the rows of single days, and of their trend
TREND = "trend"
MIN_DAYS = 3  # fewer show no trend


def analyse(experiment: Experiment, aggregates: Aggregates, state: RunState = NOTHING_READ) -> list[Row]:
    """For each metric and treatment the effect by day since exposure with its trend, and by exposure cohort with their test.

    Days are of the same users throughout, those whose days are all over, so that no day differs by who is in it. Cohorts are
    users by their first exposure, each over the same days since it. Levels are uncorrected and no row decides anything.
    """
    rows: list[Row] = []
    for metric in experiment.metrics:
        for treatment in experiment.treatments:
            row = partial(_row, experiment, aggregates, metric, treatment.id)
            rows += _days(experiment, aggregates, metric, treatment.id, row)
            rows += _cohorts(experiment, aggregates, metric, treatment.id, row)
    return rows


def _days(
    experiment: Experiment, aggregates: Aggregates, metric: Metric, treatment_id: str, row: partial[ResultRow]
) -> list[Row]:
    """A row a day, and their trend: the slope of a line through the days' effects, by users' own slopes."""
    n, alpha = experiment.analyses.did_days, experiment.decision.alpha
    trend = partial(row, segment=DAY, segment_value=TREND)
    reason = why_not(experiment, metric)
    if reason is not None:
        return [trend(status=Status.NOT_APPLICABLE, message=reason)]
    pair = pair_of(aggregates, metric, experiment.control.id, treatment_id, kind="daily")
    message = too_small(**pair.counts)
    if n < MIN_DAYS:
        message = f"{n} days after first exposure (did_days): a trend needs {MIN_DAYS}"
    if message is not None:
        return [trend(status=Status.INSUFFICIENT_DATA, message=message, **pair.counts)]
    columns = pair.control.columns
    days = np.stack([day_weights(columns, [day]) for day in range(n)])
    centred = np.arange(n) - (n - 1) / 2
    lines = [*days, centred @ days / (centred @ centred)]
    control, treatment = (block.moments.linear(lines) for block in pair)
    arms = [(arm_mean(control, i), arm_mean(treatment, i)) for i in range(n + 1)]
    rows: list[Row] = [
        row(segment=DAY, segment_value=str(day), **_effect(*arms[day], alpha), **pair.counts)
        for day in range(n)
    ]
    slope = _effect(*arms[n], alpha)
    level = float((treatment.mean[:n] - control.mean[:n]).mean())
    verdict = None
    if slope["status"] is Status.OK:
        verdict = "stable" if slope["p_value"] >= alpha else _direction(slope["estimate"], level)
    return [*rows, trend(**slope, **pair.counts, verdict=verdict)]


def _direction(slope: float, level: float) -> str:
    return "growing" if slope * level > 0 else "fading"


def _cohorts(
    experiment: Experiment, aggregates: Aggregates, metric: Metric, treatment_id: str, row: partial[ResultRow]
) -> list[Row]:
    """A row per cohort, and the joint test that all of them have the same effect."""
    test = partial(row, segment=COHORT, segment_value=ALL)
    by_cohort = metric.traits.by_cohort
    if experiment.source.kind == "units" or not by_cohort:
        reason = "a source of one row per user" if by_cohort else f"a {metric.kind} has no cohorts"
        return [test(status=Status.NOT_APPLICABLE, message=reason)]
    rows: list[ResultRow] = []
    compared: list[Arms] = []
    for value in aggregates.segment_values(COHORT, kind="cohort"):
        pair = pair_of(aggregates, metric, experiment.control.id, treatment_id, COHORT, value, kind="cohort")
        of_cohort = partial(row, segment=COHORT, segment_value=value, **pair.counts)
        message = too_small(**pair.counts)
        if message is not None:
            rows.append(of_cohort(status=Status.INSUFFICIENT_DATA, message=message))
            continue
        try:
            arms = arms_of(metric, pair)
        except ValueError as error:  # a ratio divides by zero
            rows.append(of_cohort(status=Status.DEGENERATE, message=str(error)))
            continue
        rows.append(of_cohort(**_effect(arms.control, arms.treatment, experiment.decision.alpha)))
        if rows[-1].status is Status.OK:
            compared.append(arms)
    return [*rows, test(**_of_cohorts(compared, experiment.decision.alpha))]


def _of_cohorts(compared: Sequence[Arms], alpha: float) -> dict[str, Any]:
    """The columns of the cohorts' joint test, uncorrected."""
    if len(compared) < 2:
        message = f"{len(compared)} cohorts with enough users whose days are over: a comparison needs two"
        return {"status": Status.INSUFFICIENT_DATA, "message": message}
    found = equality(compared)
    verdict = "equal" if found["p_value"] >= alpha else "different"
    return {**found, "status": Status.OK, "alpha": alpha, "verdict": verdict}


def _effect(control: Arm, treatment: Arm, alpha: float) -> dict[str, Any]:
    """Welch's test of two arms, uncorrected."""
    if Arms(control, treatment).constant:
        return {"status": Status.DEGENERATE, "message": "nothing varies within an arm"}
    d = difference(control, treatment)
    return {
        "status": Status.OK,
        "mean_control": control.mean,
        "mean_treatment": treatment.mean,
        "statistic": d.statistic,
        "alpha": alpha,
        **effect_of(d, 1 - alpha),
    }


def _row(
    experiment: Experiment, aggregates: Aggregates, metric: Metric, treatment_id: str, **columns: Any
) -> ResultRow:
    return ResultRow(
        as_of_date=aggregates.as_of_date,
        method=METHOD,
        metric_id=metric.id,
        metric_kind=metric.kind,
        role=str(metric.role),
        treatment_id=treatment_id,
        control_id=experiment.control.id,
        exploratory=True,
        **columns,
    )
