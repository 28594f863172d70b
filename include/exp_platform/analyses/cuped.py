"""CUPED: the same comparisons with the variance that pre-experiment covariates explain taken out."""

from __future__ import annotations

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.adjustment import adjusted_outcomes
from exp_platform.analyses.correction import corrected
from exp_platform.analyses.family import close_gate
from exp_platform.analyses.rows import Row
from exp_platform.config.experiment import Experiment, Metric, MetricKind

METHOD = "cuped"


def analyse(experiment: Experiment, aggregates: Aggregates) -> list[Row]:
    """One row per metric and treatment (Deng, Xu, Kohavi and Walker 2013; per-arm slopes: Lin 2013).

    Covariates are centred on their means over all arms, so control's adjusted mean is the same against every
    treatment. Metrics without usable covariates are NOT_APPLICABLE.
    """
    outcomes = [
        outcome
        for metric in experiment.metrics
        for outcome in adjusted_outcomes(
            experiment,
            aggregates,
            metric,
            METHOD,
            _why_not(metric),
        )
    ]
    return list(close_gate(experiment, corrected(outcomes)))


def _why_not(metric: Metric) -> str | None:
    if metric.kind is MetricKind.QUANTILE:
        return "quantile metrics are not adjusted"
    return None if metric.covariates else "the metric has no covariates"
