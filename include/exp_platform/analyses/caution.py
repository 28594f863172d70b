"""Cautions: where the calibration found that p-values and intervals do not keep their level, a row says so.

Moments hold no third moment. For values of at least 0 mean and variance bound the skewness from below, exactly for a
proportion, so what is warned of is at least as skewed as it is said to be. The limits were set by docs/08.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from exp_platform.aggregates import Block
from exp_platform.stats.quantile import jumps
from exp_platform.stats.skewness import ENOUGH, Spread, of_standardised, users_needed

WINSORISE = "winsorise"
RATIO_REMEDY = "test the numerator per user as a metric of its own, which can be winsorised"

FEW_OUTCOMES = 10  # successes and failures per arm, of a proportion
FEW_NONZERO = 50  # users with a value other than 0 an arm, else
# Skewness of the difference: what 355 users per unit of squared skewness leave of one mean
SKEWED = 1 / math.sqrt(ENOUGH)


def caution_of(
    control: Spread,
    treatment: Spread,
    *,
    proportion: bool,
    strata: Sequence[tuple[float, Spread, Spread]] = (),
    remedy: str = WINSORISE,
) -> str | None:
    """Why the numbers of two arms may be off, or None; the direction that does harm is told first.

    `strata` are the periods of a ramp with their weights, `remedy` that of a heavy tail.
    """
    listed = list(strata) or [(1.0, control, treatment)]
    if not proportion:
        listed = [(w, c.as_spread_as(t), t.as_spread_as(c)) for w, c, t in listed]
        control, treatment = control.as_spread_as(treatment), treatment.as_spread_as(control)
    skewness = of_standardised(listed, proportion=proportion)
    if abs(skewness) > SKEWED:
        return (
            f"skewed values in unequal arms (skewness of the difference at least {abs(skewness):.2g}, "
            f"limit {SKEWED:.2g}): it may be found significant too often"
            + ("; `test: score` keeps its level" if proportion and not strata else "")
        )
    return few(control, treatment, proportion=proportion) or _heavy_tail(control, treatment, remedy)


def few(control: Spread, treatment: Spread, *, proportion: bool) -> str | None:
    """Too few outcomes for a mean to be nearly normal."""
    if proportion:
        least = min(min(arm.nonzero, arm.n - arm.nonzero) for arm in (control, treatment))
        if least >= FEW_OUTCOMES:
            return None
        return (
            f"an arm has {least} successes or failures, fewer than {FEW_OUTCOMES}: p and interval are rough"
        )
    least = min(control.nonzero, treatment.nonzero)
    if least >= FEW_NONZERO:
        return None
    return f"an arm has {least} users with a value other than 0, fewer than {FEW_NONZERO}: p and interval are rough"


def jumping(q: float, control: Block, treatment: Block) -> str | None:
    """Values beside a quantile that jump keep p and interval honest by a wide error, so that little is found."""
    for arm in (control, treatment):
        low, high, error = arm.quantile_low, arm.quantile_high, arm.quantile_error
        if low is None or high is None or error is None:
            continue
        if jumps(arm.moments.n, q, low, high, error):
            return (
                f"values jump beside the {q:g} quantile (between {low:.6g} and {high:.6g}): its error is widened, so that "
                "only large effects are found; another q, a proportion (who is above a value) or a mean would find more"
            )
    return None


def _heavy_tail(control: Spread, treatment: Spread, remedy: str) -> str | None:
    for arm in (control, treatment):
        needed = users_needed(arm)
        if needed > arm.nonzero:
            return (
                f"a heavy tail: {arm.nonzero:,} users have a value other than 0, and values that vary so much take "
                f"{needed:,.0f}: p and interval are rough; {remedy}"
            )
    return None
