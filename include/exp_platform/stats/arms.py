"""Arm: what a test needs of one variant, a mean or a ratio of means with the variance of its estimate; and two of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from exp_platform.stats.moments import CANCELLED, Moments

ROUNDING = 64 * float(np.finfo(np.float64).eps)  # a spread below this share of the mean is rounding, not data


class Arm(NamedTuple):
    """n users, an estimated mean (ratio of means, quantile), and that estimate's variance in its unit squared."""

    n: int
    mean: float
    variance_of_mean: float
    degrees_of_freedom: float | None = None  # of that variance; None: n - 1
    sd_of_users: float | None = None  # where the variance is not that of n alike users ...
    gain: float | None = None  # ... and what it would gain by as many users as the other arm of a pair has

    @property
    def df(self) -> float:
        """The degrees of freedom of the variance."""
        return self.n - 1 if self.degrees_of_freedom is None else self.degrees_of_freedom

    @property
    def sd(self) -> float:
        """Standard deviation per user, in the metric's unit (for a ratio: of its linearised value)."""
        return math.sqrt(self.variance_of_mean * self.n) if self.sd_of_users is None else self.sd_of_users


class Arms(NamedTuple):
    """Both arms of a comparison, and what ties them where they are not independent (adjusted arms).

    `covariance` is that of the two means, in the metric's unit squared; `df` are the degrees of freedom of their
    difference, None where those of two independent arms hold.
    """

    control: Arm
    treatment: Arm
    covariance: float = 0.0
    df: float | None = None

    @property
    def variance_of_difference(self) -> float:
        """Variance of treatment minus control; exactly zero where only rounding is left of it."""
        both = self.control.variance_of_mean + self.treatment.variance_of_mean
        variance = both - 2 * self.covariance
        return variance if variance > CANCELLED * both else 0.0

    @property
    def careful_variance(self) -> float:
        """The larger of `variance_of_difference` and of what it is where users of both arms vary alike.

        A small arm in which no large value has turned up yet has a low mean and a low variance together. Then the variance
        of all users, shared by both arms, is s0^2 / n1 + s1^2 / n0: the larger arm's spread counts for the smaller. In equal
        arms both are the same.
        """
        own = self.variance_of_difference
        return max(own, own + _gain(self.control, self.treatment.n) + _gain(self.treatment, self.control.n))


def _gain(arm: Arm, users: int) -> float:
    """What an arm's variance would gain by having so many users."""
    return arm.variance_of_mean * (arm.n / users - 1) if arm.gain is None else arm.gain


def arm_mean(moments: Moments, column: int = 0) -> Arm:
    """The mean of one column, with the unbiased sample variance over n; degrees of freedom are n - 1.

    A spread that rounding alone explains counts as zero. Raises ValueError below two users.
    """
    variance = moments.variance(column)
    mean = float(moments.mean[column])
    if variance <= (ROUNDING * mean) ** 2:
        variance = 0.0
    return Arm(moments.n, mean, variance / moments.n)


def arm_ratio(moments: Moments, num: int = 0, den: int = 1) -> Arm:
    """The ratio of two columns' means, with its variance by the delta method; degrees of freedom are n - 1.

    Raises ValueError below two users or where the denominator's mean is zero. Source: Deng, Knoblich and Lu
    2018 (arXiv 1803.06336): the variance of num - ratio x den, over n and the squared mean of den.
    """
    denominator = float(moments.mean[den])
    if denominator == 0:
        raise ValueError("the denominator of the ratio has mean zero")
    ratio = float(moments.mean[num]) / denominator
    residual = moments.select([num, den]).linear([1.0, -ratio])
    variance = residual.variance(0) / denominator**2
    return Arm(moments.n, ratio, variance / moments.n)


def linearised(moments: Moments, num: int = 0, den: int = 1, of: Moments | None = None) -> Moments:
    """Columns with the ratio's linearised value in the place of num and den, first; the other columns follow.

    A user's value is r + (num - r x den) / d, where r and d are the ratio and the denominator's mean of `of` (default:
    of these users). Over those its mean is r and its variance that of `arm_ratio`, so whatever is made for a mean
    holds for the ratio. Raises ValueError where the denominator's mean is zero. Source: as `arm_ratio`.
    """
    whole = moments if of is None else of
    d = float(whole.mean[den])
    if d == 0:
        raise ValueError("the denominator of the ratio has mean zero")
    r = float(whole.mean[num]) / d
    others = [j for j in range(len(moments.mean)) if j not in (num, den)]
    weights = np.zeros((1 + len(others), len(moments.mean)))
    weights[0, [num, den]] = 1 / d, -r / d
    weights[range(1, 1 + len(others)), others] = 1.0
    value = moments.linear(weights)
    return Moments(value.n, value.mean + r * (np.arange(len(weights)) == 0), value.m2)
