"""One metric's arms with the variance taken out that covariates and strata explain, and the rows that tell of it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate
from typing import Any

from exp_platform.aggregates import ALL, Aggregates
from exp_platform.analyses.comparison import (
    Compared,
    Comparison,
    Pair,
    arms_of,
    compare,
    pair_of,
)
from exp_platform.analyses.estimators import estimator_of
from exp_platform.analyses.family import level_of
from exp_platform.analyses.health import Cells, health
from exp_platform.analyses.looks import at_look
from exp_platform.analyses.periods import periods_of
from exp_platform.analyses.planned import Expected, planned_size, recent_users
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.analyses.sizes import MIN_USERS_ARM
from exp_platform.config.allocation import CROSS, PERIOD, in_period
from exp_platform.config.analyses import METHODS, Method
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.config.readings import NOTHING_READ, RunState
from exp_platform.stats.adjustment import Adjusted, adjust
from exp_platform.stats.arms import Arms
from exp_platform.stats.moments import Moments
from exp_platform.stats.strata import LEAST_USERS, Strata, merge_small

MOST_NAMED = 8  # merged strata that a message names


@dataclass(frozen=True)
class Adjustment:
    """One metric's adjusted arms, which are those of `variants`, and what of its blocks was used."""

    metric: Metric
    variants: tuple[str, ...]
    adjusted: Adjusted
    strata: Strata
    names: tuple[str, ...]  # of the covariates' columns
    dropped: tuple[str, ...]  # covariates of the spec that are constant or collinear with earlier ones
    stratified_by: str  # "": nothing
    pooled: tuple[str, ...] = ()  # what is told of strata whose rarer values are one

    def pair(self, control_id: str, treatment_id: str) -> Arms | None:
        """Two adjusted arms, or None where one had too few users to be adjusted."""
        if control_id not in self.variants or treatment_id not in self.variants:
            return None
        return self.adjusted.pair(self.variants.index(control_id), self.variants.index(treatment_id))

    def cells(self, pair: Pair) -> list[Cells]:
        """The cells of both arms of a pair, for each period of a ramp."""
        control, treatment = (self.strata.cells[self.variants.index(b.variant_id)] for b in pair)
        ends = list(accumulate(self.strata.groups))
        groups = [slice(end - size, end) for end, size in zip(ends, self.strata.groups, strict=True)]
        return [(control[group], treatment[group]) for group in groups]


def why_not(experiment: Experiment, metric: Metric, method: str) -> str | None:
    """Why a metric cannot be adjusted whatever the data, or None where it can."""
    by = METHODS[method]
    if not metric.traits.adjusted:
        return f"{metric.kind} metrics are not adjusted"
    if by.covariates and not metric.covariates:
        return "the metric has no covariates"
    return "the spec names no strata" if by.strata and not experiment.analyses.strata else None


def adjustment(
    experiment: Experiment, aggregates: Aggregates, metric: Metric, method: str
) -> Adjustment | None:
    """The metric's arms adjusted as `method` says; None for a method that does not adjust, and where nothing can.

    That is where outcome or covariates do not vary, users lack, or one stratum is left. A ratio is adjusted by its
    linearised value. A missing-value flag that is constant drops out silently; a covariate that drops out is named.
    """
    blocks = {v.id: aggregates.block(metric.id, v.id) for v in experiment.variants}
    large = {v: b for v, b in blocks.items() if b is not None and b.moments.n >= MIN_USERS_ARM}
    periods = periods_of(aggregates, metric.id, ALL, ALL, "total")
    if not METHODS[method].adjusts or why_not(experiment, metric, method) is not None or not large:
        return None
    by = METHODS[method]
    names = next(iter(large.values())).columns[len(metric.traits.columns) :] if by.covariates else ()
    whole = [[b.moments] for b in large.values()] if periods is None else periods.cells
    starts = (None,) if periods is None else periods.starts
    try:
        strata = _strata(
            experiment, aggregates, metric, tuple(large), starts, whole if not by.strata else None
        )
        cells = estimator_of(metric).linearise(strata.cells, whole)
        adjusted = adjust(cells, 0, range(1, 1 + len(names)), experiment.analyses.slopes)
    except ValueError:
        return None
    if by.strata and max(strata.groups) == 1:
        return None
    declared = {covariate.id for covariate in metric.covariates}
    of_strata = aggregates.pooled.get(experiment.analyses.strata_segment, {})
    return Adjustment(
        metric,
        tuple(large),
        adjusted,
        replace(strata, cells=cells),
        names,
        tuple(names[j - 1] for j in adjusted.dropped if names[j - 1] in declared),
        CROSS.join([PERIOD] * bool(periods) + [experiment.analyses.strata_segment] * by.strata),
        tuple(pooled.told(name) for name, pooled in of_strata.items()) if by.strata else (),
    )


def _strata(
    experiment: Experiment,
    aggregates: Aggregates,
    metric: Metric,
    variants: tuple[str, ...],
    starts: Sequence[str | None],
    whole: list[list[Moments]] | None,
) -> Strata:
    """The cells of each period of a ramp (None: all users): its `whole` or, where that is None, its strata.

    Small strata are merged within their period: across periods they would hold the arms' users in other proportions.
    Raises ValueError where no period counts, or it has no strata.
    """
    if not starts:
        raise ValueError("no period has enough users in every arm")
    if whole is not None:
        return Strata(whole, (), (1,) * len(starts))
    segment = experiment.analyses.strata_segment
    groups = []
    for start in starts:
        cells = {}
        for value in aggregates.segment_values(segment):
            key = (segment, value) if start is None else in_period(start, segment, value)
            found = [aggregates.block(metric.id, variant, *key) for variant in variants]
            there = next((block for block in found if block is not None), None)
            if there is not None:
                nobody = Moments.empty(len(there.columns))
                cells[key[1]] = [nobody if block is None else block.moments for block in found]
        groups.append(merge_small(cells))
    return Strata.of_groups(groups)


def adjusted_outcomes(
    experiment: Experiment, state: RunState, aggregates: Aggregates, metric: Metric, method: str
) -> list[Compared | ResultRow]:
    """One outcome per treatment: Welch's test of the adjusted arms beside the plain means."""
    reason = why_not(experiment, metric, method)
    found = adjustment(experiment, aggregates, metric, method)
    control_id, level = experiment.control.id, level_of(experiment, metric, state)
    day = aggregates.as_of_date
    final = state.is_final(experiment, day)
    outcomes: list[Compared | ResultRow] = []
    for treatment in experiment.treatments:
        open_ = final and state.may_find(experiment, day, metric.id, treatment.id)
        c = Comparison(experiment, day, method, metric, treatment.id, level, open_, state)
        c = at_look(c, aggregates)
        pair = pair_of(aggregates, metric, control_id, treatment.id)
        arms = None if found is None else found.pair(control_id, treatment.id)
        if reason is not None:
            outcomes.append(c.row(Status.NOT_APPLICABLE, message=reason))
        elif found is not None and arms is not None:
            outcomes.append(
                compare(c, pair, arms, **_columns(experiment, state, aggregates, found, pair, arms))
            )
        else:  # too few users or a constant outcome, as the plain comparison says, or else nothing to adjust by
            plain = compare(c, pair)
            useless = c.row(Status.NOT_APPLICABLE, message=_useless(METHODS[method]), **pair.counts)
            outcomes.append(useless if isinstance(plain, Compared) else plain)
    return outcomes


def _useless(by: Method) -> str:
    """Why nothing could be taken out of the variance."""
    few = f"fewer than two strata have {LEAST_USERS} users in every arm"
    return ", or ".join(["no covariate varies"] * by.covariates + [few] * by.strata)


def _columns(
    experiment: Experiment,
    state: RunState,
    aggregates: Aggregates,
    found: Adjustment,
    pair: Pair,
    arms: Arms,
) -> dict[str, Any]:
    """The columns of a row that tell of the adjustment, what it gained and whether it can be relied on."""
    plain = arms_of(found.metric, pair)
    before = plain.variance_of_difference
    gain = 1 - arms.variance_of_difference / before if before > 0 else 0.0
    kept = [j for j in range(1, 1 + len(found.names)) if j not in found.adjusted.dropped]
    judged = health(experiment, found.metric, found.cells(pair), kept, gain)
    notes = [pair.note] if pair.note else []
    if found.dropped:
        notes.append(f"constant or collinear, so not used: {', '.join(found.dropped)}")
    if found.strata.merged:
        notes.append(f"merged, as an arm has fewer than {LEAST_USERS} users: {_listed(found.strata.merged)}")
    notes += found.pooled
    columns: dict[str, Any] = {
        "adjusted_mean_control": arms.control.mean,
        "adjusted_mean_treatment": arms.treatment.mean,
        "variance_reduction": gain,
        "days_saved": days_saved(experiment, aggregates, found.metric, plain, gain, state),
        "balance_p": judged.balance_p,
        "health": str(judged),
        "message": "; ".join([*notes, *judged.notes]) or None,
    }
    if kept:
        theta = [found.adjusted.theta[found.variants.index(b.variant_id), kept[0] - 1] for b in pair]
        columns |= {
            "theta": float(theta[0]),
            "theta_treatment": float(theta[1]),
            "slopes": experiment.analyses.slopes,
            "rho": found.adjusted.rho,
            "covariates": ", ".join(found.names[j - 1] for j in kept),
        }
    if found.stratified_by:
        columns |= {"stratified_by": found.stratified_by, "strata": len(found.strata)}
    return columns


def _listed(names: tuple[str, ...]) -> str:
    more = len(names) - MOST_NAMED
    return ", ".join(names[:MOST_NAMED]) + (f" and {more} more" if more > 0 else "")


def days_saved(
    experiment: Experiment,
    aggregates: Aggregates,
    metric: Metric,
    plain: Arms,
    gain: float,
    state: RunState = NOTHING_READ,
) -> float | None:
    """Days of new users that the planned size needs less: a share `gain` of them; None where either is not known."""
    baseline = plain.control.mean if metric.baseline is None else metric.baseline
    users = planned_size(experiment, metric, Expected(baseline, plain.control.sd), state)
    daily = recent_users(experiment, aggregates)
    return None if users is None or not daily else gain * users / daily
