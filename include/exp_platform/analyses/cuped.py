"""CUPED and post-stratification: the same comparisons with the variance that users' past and segments explain taken out."""

from __future__ import annotations

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.adjustment import adjusted_outcomes
from exp_platform.analyses.correction import corrected
from exp_platform.analyses.family import close_gate
from exp_platform.analyses.rows import Row
from exp_platform.config.analyses import ADJUSTED
from exp_platform.config.experiment import Experiment
from exp_platform.config.readings import NOTHING_READ, RunState

METHOD = "cuped"


def analyse(experiment: Experiment, aggregates: Aggregates, state: RunState = NOTHING_READ) -> list[Row]:
    """One row per method, metric and treatment: `cuped`, and with strata `post_stratified` and `cuped_post_stratified`.

    Covariates are centred on their means over all arms, strata weigh as they do over all arms, so control's adjusted
    mean is the same against every treatment. Metrics with nothing to adjust by are NOT_APPLICABLE. Source: Deng, Xu,
    Kohavi and Walker 2013; Lin 2013; Miratrix, Sekhon and Yu 2013.
    """
    methods = [m.name for m in ADJUSTED.values() if experiment.analyses.strata or not m.strata]
    rows: list[Row] = []
    for method in methods:
        outcomes = [
            outcome
            for metric in experiment.metrics
            for outcome in adjusted_outcomes(experiment, state, aggregates, metric, method)
        ]
        rows += close_gate(experiment, corrected(outcomes))
    return rows
