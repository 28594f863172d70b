"""How far an estimate is from a normal one: its skewness, as far as mean and variance tell it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

from exp_platform.stats.arms import arm_ratio
from exp_platform.stats.moments import Moments

ENOUGH = 355.0  # users needed for each unit of squared skewness


class Spread(NamedTuple):
    """One arm's n users: mean and variance a user, and how many have a value other than 0.

    Of a ratio they are the units of its denominator, see `of_ratio`.
    """

    n: float
    mean: float
    variance: float
    nonzero: int

    def as_spread_as(self, other: Spread) -> Spread:
        """The arm with the mean and variance of another one that is not smaller and varies more.

        A small arm in which no large value has turned up yet looks tame, and differs from the other for that very reason.
        """
        if other.n < self.n or other.variance <= self.variance:
            return self
        return Spread(self.n, other.mean, other.variance, self.nonzero)


def of_ratio(moments: Moments, nonzero: int, *, counted: bool) -> Spread:
    """A ratio of means, columns numerator and denominator, as the mean of so many units that has its variance.

    The units are the events that a denominator counts: revenue per order is as skewed as the amounts of orders are. A summed
    denominator has no unit of its own; it counts as Kish's effective number of users, (sum d)^2 / sum d^2, which does not
    depend on its scale. `nonzero` users have a numerator other than 0. Of no denominator the variance is 0, which tells nothing.
    Source: Kish 1965, Survey Sampling, 11.7.
    """
    try:
        arm = arm_ratio(moments)
    except ValueError:
        return Spread(moments.n, 0.0, 0.0, nonzero)
    mean = float(moments.mean[1])
    units = moments.n * mean if counted else moments.n * mean**2 / (mean**2 + moments.m2[1, 1] / moments.n)
    return Spread(units, arm.mean, arm.variance_of_mean * units, min(nonzero, math.floor(units)))


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
