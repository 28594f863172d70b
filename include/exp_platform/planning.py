"""Planning an experiment before launch: users, days and the smallest effect it can find, metric by metric."""

from __future__ import annotations

import math
from dataclasses import dataclass

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.comparison import arm_of
from exp_platform.analyses.family import level_of
from exp_platform.analyses.planned import PROPORTIONS, required_users
from exp_platform.config.experiment import Experiment, Metric
from exp_platform.stats.power import days_needed, mde, of_means, of_proportions


@dataclass(frozen=True)
class MetricPlan:
    """The plan of one metric; users are of all arms together, effects on the metric's own scale.

    `smallest_effect` is what the expected number of users finds with the planned power. None where an input is
    missing; `note` says which.
    """

    metric: Metric
    alpha: float
    baseline: float | None
    sd: float | None
    baseline_from: str
    required_users: int | None
    required_days: int | None
    smallest_effect: float | None
    note: str


def plan_metric(
    experiment: Experiment,
    metric: Metric,
    *,
    users: float | None,
    daily_users: float | None,
    baseline: float | None = None,
    sd: float | None = None,
    stored: Aggregates | None = None,
) -> MetricPlan:
    """Plan one metric at the corrected fixed-horizon level and the spec's power.

    `users` is how many the experiment expects in all arms; baseline and sd given here win over the spec's, and those over
    what the stored results say of control.
    """
    source = "given" if baseline is not None or sd is not None else ""
    if baseline is None and metric.baseline is not None:
        baseline, source = metric.baseline, source or "spec"
    block = stored.block(metric.id, experiment.control.id) if stored else None
    if block is not None and block.moments.n > 1 and (metric.q is None or block.quantile_error):
        arm = arm_of(metric, block)
        if baseline is None:
            baseline, source = arm.mean, "results"
        sd = sd if sd is not None else arm.sd
    if metric.kind in PROPORTIONS:
        sd = math.sqrt(baseline * (1 - baseline)) if baseline is not None and 0 < baseline < 1 else None
    needed = required_users(experiment, metric, baseline, sd)
    alpha = level_of(experiment, metric).alpha
    return MetricPlan(
        metric=metric,
        alpha=alpha,
        baseline=baseline,
        sd=sd,
        baseline_from=source,
        required_users=needed,
        required_days=days_needed(needed, daily_users) if needed and daily_users else None,
        smallest_effect=_smallest_effect(experiment, metric, baseline, sd, users, alpha),
        note=_note(metric, baseline, sd, needed),
    )


def _smallest_effect(
    experiment: Experiment,
    metric: Metric,
    baseline: float | None,
    sd: float | None,
    users: float | None,
    alpha: float,
) -> float | None:
    if users is None or sd is None or not sd > 0:
        return None
    variances = (
        of_proportions(baseline) if metric.kind in PROPORTIONS and baseline is not None else of_means(sd)
    )
    smallest_treatment = min(t.share for t in experiment.treatments)
    try:
        return mde(
            variances,
            users * experiment.control.share,
            users * smallest_treatment,
            alpha=alpha,
            power=experiment.decision.power,
            sign=metric.direction,
        )
    except ValueError:  # too few users for any effect
        return None


def _note(metric: Metric, baseline: float | None, sd: float | None, needed: int | None) -> str:
    if baseline is None:
        return "no baseline: --baseline, the spec or a run"
    if sd is None:
        return "no standard deviation: --sd or a run"
    if metric.mde is None:
        return "no mde in the spec"
    return "" if needed is not None else "the mde is not possible at this baseline"
