"""CUPED: the same comparisons with the variance that pre-experiment covariates explain taken out."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from exp_platform.aggregates import Aggregates, Block
from exp_platform.analyses.comparison import MIN_USERS_ARM, Comparison, compare, pair_of
from exp_platform.analyses.family import close_gate, is_final, level_of
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.config.experiment import Experiment, Metric, MetricKind
from exp_platform.stats.arms import Arm, arm_mean
from exp_platform.stats.cuped import Adjusted, adjust_all

METHOD = "cuped"


@dataclass(frozen=True)
class Adjustment:
    """One metric's adjusted arms by variant id, and how they were adjusted. `theta` is that of the first covariate."""

    arms: dict[str, Arm]
    theta: float
    rho: float
    variance_reduction: float
    covariates: tuple[str, ...]
    dropped: tuple[str, ...]  # covariates of the spec that are constant or collinear with earlier ones

    def pair(self, control_id: str, treatment_id: str) -> tuple[Arm, Arm] | None:
        """Two adjusted arms, or None where one had too few users to be adjusted."""
        if control_id not in self.arms or treatment_id not in self.arms:
            return None
        return self.arms[control_id], self.arms[treatment_id]

    def columns(self, control: Arm, treatment: Arm) -> dict[str, Any]:
        """The columns of a row that tell of the adjustment."""
        unused = f"constant or collinear, so not used: {', '.join(self.dropped)}"
        return {
            "theta": self.theta,
            "rho": self.rho,
            "variance_reduction": self.variance_reduction,
            "covariates": ", ".join(self.covariates),
            "adjusted_mean_control": control.mean,
            "adjusted_mean_treatment": treatment.mean,
            "message": unused if self.dropped else None,
        }


def analyse(experiment: Experiment, aggregates: Aggregates) -> list[Row]:
    """One row per metric and treatment: Welch's test of the adjusted arms beside the plain means (Deng et al. 2013).

    Theta is pooled within all arms, so control's adjusted mean is the same against every treatment. Metrics without
    usable covariates and ratios are NOT_APPLICABLE.
    """
    rows = [row for metric in experiment.metrics for row in _of_metric(experiment, aggregates, metric)]
    return list(close_gate(experiment, rows))


def _of_metric(experiment: Experiment, aggregates: Aggregates, metric: Metric) -> list[ResultRow]:
    reason, found = why_not(metric), adjustment(experiment, aggregates, metric)
    control_id, level = experiment.control.id, level_of(experiment, metric)
    final = is_final(experiment, aggregates.as_of_date)
    rows = []
    for treatment in experiment.treatments:
        c = Comparison(experiment, aggregates.as_of_date, METHOD, metric, treatment.id, level, final)
        pair = pair_of(aggregates, metric, control_id, treatment.id)
        arms = None if found is None else found.pair(control_id, treatment.id)
        if reason is not None:
            rows.append(c.row(Status.NOT_APPLICABLE, message=reason))
        elif found is not None and arms is not None:
            rows.append(compare(c, pair, arms, **found.columns(*arms)))
        else:  # too few users or a constant outcome, as the plain comparison says, or else covariates of no use
            plain = compare(c, pair)
            useless = c.row(Status.NOT_APPLICABLE, message="no covariate varies", **pair.counts)
            rows.append(useless if plain.status is Status.OK else plain)
    return rows


def why_not(metric: Metric) -> str | None:
    """Why a metric cannot be adjusted whatever the data, or None where it can."""
    if metric.kind is MetricKind.RATIO:
        return "ratio metrics are not adjusted"
    if not metric.covariates:
        return "the metric has no covariates"
    return None


def adjustment(experiment: Experiment, aggregates: Aggregates, metric: Metric) -> Adjustment | None:
    """The metric's arms adjusted by all its covariates, or None where outcome or covariates do not vary or users lack.

    A missing-value flag that is constant drops out silently; a covariate that drops out is named.
    """
    blocks = {v.id: aggregates.block(metric.id, v.id) for v in experiment.variants}
    large = {v: b for v, b in blocks.items() if b is not None and b.moments.n >= MIN_USERS_ARM}
    if why_not(metric) is not None or not large:
        return None
    names = next(iter(large.values())).columns
    try:
        adjusted = adjust_all([b.moments for b in large.values()], 0, range(1, len(names)))
    except ValueError:
        return None
    return _named(metric, large, names, adjusted)


def _named(
    metric: Metric, blocks: dict[str, Block], names: tuple[str, ...], adjusted: Adjusted
) -> Adjustment:
    arms = dict(zip(blocks, map(arm_mean, adjusted.arms), strict=True))
    kept = [j for j in range(1, len(names)) if j not in adjusted.dropped]
    declared = {covariate.id for covariate in metric.covariates}
    return Adjustment(
        arms,
        float(adjusted.theta[kept[0] - 1]),
        adjusted.rho,
        adjusted.variance_reduction,
        tuple(names[j] for j in kept),
        tuple(names[j] for j in adjusted.dropped if names[j] in declared),
    )
