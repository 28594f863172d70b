"""Bayesian reading of the estimate that decides, for people who ask: a belief beside the test, never in its place."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.comparison import Comparison
from exp_platform.analyses.family import uncorrected
from exp_platform.analyses.planned import absolute
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.config.analyses import DECISIVE
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect
from exp_platform.config.readings import RunState
from exp_platform.stats.bayes import posterior

METHOD = "bayes"


def analyse(
    experiment: Experiment, aggregates: Aggregates, state: RunState, rows: Sequence[Row]
) -> list[Row]:
    """One row per metric and treatment: the normal posterior of the effect under the prior that the spec states.

    Nothing without a stated prior. It decides nothing, is not corrected for other comparisons and, unlike always-valid
    evidence, promises no error rate to those who look often. `rows` are those of `evidence`, whose numbers it reads.
    """
    prior = experiment.analyses.bayes_prior_sd
    if prior is None:
        return []
    return [_row(experiment, state, aggregates, prior, row) for row in _estimates(experiment, rows)]


def _estimates(experiment: Experiment, rows: Sequence[Row]) -> list[ResultRow]:
    """The rows of the estimates that decide, against control."""
    control = experiment.control.id
    return [
        row
        for row in rows
        if isinstance(row, ResultRow) and row.method == DECISIVE and row.control_id == control
    ]


def _row(
    experiment: Experiment, state: RunState, aggregates: Aggregates, prior: Effect, found: ResultRow
) -> ResultRow:
    metric, final = experiment.metric(found.metric_id), state.is_final(experiment, aggregates.as_of_date)
    level = uncorrected(experiment, state)
    c = Comparison(experiment, aggregates.as_of_date, METHOD, metric, found.treatment_id, level, final, state)
    counts = {"n_control": found.n_control, "n_treatment": found.n_treatment}
    if found.status is not Status.OK or found.estimate is None:
        return c.row(found.status, message=found.message, **counts)
    error = _error(found)
    if not error:
        return c.row(Status.NOT_APPLICABLE, message="too few outcomes for a normal likelihood", **counts)
    control = found.mean_control if found.adjusted_mean_control is None else found.adjusted_mean_control
    prior_sd = absolute(prior, control or 0.0)
    if prior_sd == 0:
        return c.row(
            Status.DEGENERATE, message="control is zero, so the prior relative to it says nothing", **counts
        )
    belief = posterior(found.estimate, error, prior_sd)
    better = belief if metric.direction == 1 else belief.flipped()
    low, high = belief.interval(1 - experiment.decision.alpha)
    row = c.row(Status.OK, message=found.message, **counts)
    return replace(
        row,
        mean_control=found.mean_control,
        mean_treatment=found.mean_treatment,
        estimate=belief.mean,
        standard_error=belief.sd,
        ci_level=1 - experiment.decision.alpha,
        ci_low=low,
        ci_high=high,
        chance_better=better.chance_above_zero,
        expected_loss=better.expected_shortfall,
        expected_loss_control=better.flipped().expected_shortfall,
        prior_sd=prior_sd,
    )


def _error(row: ResultRow) -> float | None:
    """Standard error at the estimate; that of a score test is one of no effect. None: an exact test has none."""
    if row.test == "score" and None not in (row.sd_control, row.sd_treatment):
        pairs = ((row.sd_control, row.n_control), (row.sd_treatment, row.n_treatment))
        return math.hypot(*(float(sd or 0) / math.sqrt(n or 1) for sd, n in pairs))
    return row.standard_error
