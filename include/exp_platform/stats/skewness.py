"""How far an estimate is from a normal one: its skewness, as far as mean and variance tell it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

ENOUGH = 355.0  # users needed for each unit of squared skewness


class Spread(NamedTuple):
    """One arm's n users: mean and variance a user, and how many have a value other than 0."""

    n: int
    mean: float
    variance: float
    nonzero: int


def least(mean: float, variance: float) -> float:
    """The least skewness that values of at least 0 can have with this mean and variance: c - 1 / c, c = sd / mean.

    Exact where there are two values and one is 0: for a proportion. 0 where nothing follows. Source: Cauchy and
    Schwarz give E[X^2]^2 <= E[X] E[X^3], and the third central moment is E[X^3] - 3 m E[X^2] + 2 m^3.
    """
    if not (mean > 0 and variance > 0):
        return 0.0
    c = math.sqrt(variance) / mean
    return c - 1 / c


def of_standardised(strata: Sequence[tuple[float, Spread, Spread]], *, proportion: bool) -> float:
    """Skewness of treatment's mean minus control's, standardised over strata: each has its weight, control, treatment.

    From each arm's least skewness; 0 where neither varies. One stratum is the plain difference: in equal arms the skewness
    cancels, in unequal ones that of the small arm stays. Without `proportion` a negative least skewness tells nothing and
    counts as 0. Source: third cumulants add up: s sd^3 / n^2 of a mean of n users.
    """
    third = variance = 0.0
    for weight, control, treatment in strata:
        third += weight**3 * (_third_cumulant(treatment, proportion) - _third_cumulant(control, proportion))
        variance += weight**2 * (control.variance / control.n + treatment.variance / treatment.n)
    return third / variance**1.5 if variance > 0 else 0.0


def users_needed(spread: Spread) -> float:
    """Users with a value other than 0 that make their mean nearly normal, by the least skewness of those values.

    Source: Kohavi, Deng, Longbotham and Xu 2014 (KDD): 355 times the squared skewness.
    """
    if spread.nonzero == 0:
        return 0.0
    share = spread.nonzero / spread.n
    mean = spread.mean / share
    variance = (spread.variance + spread.mean**2) / share - mean**2
    return ENOUGH * max(0.0, least(mean, variance)) ** 2


def _third_cumulant(arm: Spread, proportion: bool) -> float:
    skewness = least(arm.mean, arm.variance)
    if not proportion:
        skewness = max(0.0, skewness)
    return float(skewness * arm.variance**1.5 / arm.n**2)
