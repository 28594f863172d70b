"""One metric's arms with the variance taken out that its covariates explain, and the rows that tell of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.comparison import (
    MIN_USERS_ARM,
    Compared,
    Comparison,
    Pair,
    arms_of,
    compare,
    pair_of,
)
from exp_platform.analyses.family import is_final, level_of
from exp_platform.analyses.health import health
from exp_platform.analyses.planned import planned_size, recent_users
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.experiment import Experiment, Metric, MetricKind
from exp_platform.stats.adjustment import Adjusted, adjust
from exp_platform.stats.arms import Arms, linearised
from exp_platform.stats.moments import Moments


@dataclass(frozen=True)
class Adjustment:
    """One metric's adjusted arms, which are those of `variants`, and the columns of its blocks that were used."""

    metric: Metric
    variants: tuple[str, ...]
    adjusted: Adjusted
    names: tuple[str, ...]  # of the blocks' columns
    covariates: tuple[int, ...]  # positions of those that were used
    dropped: tuple[str, ...]  # covariates of the spec that are constant or collinear with earlier ones

    def pair(self, control_id: str, treatment_id: str) -> Arms | None:
        """Two adjusted arms, or None where one had too few users to be adjusted."""
        if control_id not in self.variants or treatment_id not in self.variants:
            return None
        return self.adjusted.pair(self.variants.index(control_id), self.variants.index(treatment_id))


def adjustment(experiment: Experiment, aggregates: Aggregates, metric: Metric) -> Adjustment | None:
    """The metric's arms adjusted by all its covariates, or None where outcome or covariates do not vary or users lack.

    A ratio is adjusted by its linearised value. A missing-value flag that is constant drops out silently; a
    covariate that drops out is named.
    """
    blocks = {v.id: aggregates.block(metric.id, v.id) for v in experiment.variants}
    large = {v: b for v, b in blocks.items() if b is not None and b.moments.n >= MIN_USERS_ARM}
    if not metric.covariates or not large:
        return None
    names = next(iter(large.values())).columns
    first = 2 if metric.kind is MetricKind.RATIO else 1
    try:
        cells = [[_of_value(metric, block.moments)] for block in large.values()]
        adjusted = adjust(cells, 0, range(1, 1 + len(names) - first), experiment.analyses.slopes)
    except ValueError:
        return None
    dropped = [j + first - 1 for j in adjusted.dropped]
    declared = {covariate.id for covariate in metric.covariates}
    return Adjustment(
        metric,
        tuple(large),
        adjusted,
        names,
        tuple(j for j in range(first, len(names)) if j not in dropped),
        tuple(names[j] for j in dropped if names[j] in declared),
    )


def _of_value(metric: Metric, moments: Moments) -> Moments:
    """The metric's value in the first column, then the covariates."""
    return linearised(moments) if metric.kind is MetricKind.RATIO else moments


def adjusted_outcomes(
    experiment: Experiment, aggregates: Aggregates, metric: Metric, method: str, reason: str | None
) -> list[Compared | ResultRow]:
    """One outcome a treatment: Welch's test of the adjusted arms beside the plain means.

    `reason` says why the metric cannot be adjusted whatever the data: its rows are then NOT_APPLICABLE.
    """
    found = None if reason else adjustment(experiment, aggregates, metric)
    control_id, level = experiment.control.id, level_of(experiment, metric)
    final = is_final(experiment, aggregates.as_of_date)
    outcomes: list[Compared | ResultRow] = []
    for treatment in experiment.treatments:
        c = Comparison(experiment, aggregates.as_of_date, method, metric, treatment.id, level, final)
        pair = pair_of(aggregates, metric, control_id, treatment.id)
        arms = None if found is None else found.pair(control_id, treatment.id)
        if reason is not None:
            outcomes.append(c.row(Status.NOT_APPLICABLE, message=reason))
        elif found is not None and arms is not None:
            outcomes.append(compare(c, pair, arms, **_columns(experiment, aggregates, found, pair, arms)))
        else:  # too few users or a constant outcome, as the plain comparison says, or else covariates of no use
            plain = compare(c, pair)
            useless = c.row(Status.NOT_APPLICABLE, message="no covariate varies", **pair.counts)
            outcomes.append(useless if isinstance(plain, Compared) else plain)
    return outcomes


def _columns(
    experiment: Experiment, aggregates: Aggregates, found: Adjustment, pair: Pair, arms: Arms
) -> dict[str, Any]:
    """The columns of a row that tell of the adjustment, what it gained and whether it can be relied on."""
    plain = arms_of(found.metric, pair)
    before = plain.variance_of_difference
    gain = 1 - arms.variance_of_difference / before if before > 0 else 0.0
    judged = health(experiment, found.metric, pair, found.covariates, gain)
    unused = [f"constant or collinear, so not used: {', '.join(found.dropped)}"] if found.dropped else []
    thetas = [found.adjusted.theta[found.variants.index(block.variant_id)] for block in pair]
    column = found.covariates[0] - len(found.names)
    return {
        "theta": float(thetas[0][column]),
        "theta_treatment": float(thetas[1][column]),
        "slopes": experiment.analyses.slopes,
        "rho": found.adjusted.rho,
        "covariates": ", ".join(found.names[j] for j in found.covariates),
        "adjusted_mean_control": arms.control.mean,
        "adjusted_mean_treatment": arms.treatment.mean,
        "variance_reduction": gain,
        "days_saved": days_saved(experiment, aggregates, found.metric, plain, gain),
        "balance_p": judged.balance_p,
        "health": str(judged),
        "message": "; ".join([*unused, *judged.notes]) or None,
    }


def days_saved(
    experiment: Experiment, aggregates: Aggregates, metric: Metric, plain: Arms, gain: float
) -> float | None:
    """Days of new users that the planned size needs less: a share `gain` of them; None where either is not known."""
    baseline = plain.control.mean if metric.baseline is None else metric.baseline
    users, daily = (
        planned_size(experiment, metric, baseline, plain.control.sd),
        recent_users(experiment, aggregates),
    )
    return None if users is None or not daily else gain * users / daily
