"""Arm: what a test needs of one variant, a mean or a ratio of means with the variance of its estimate; and two of them."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from exp_platform.stats.moments import Moments
from exp_platform.stats.rounding import is_rounding, is_zero


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

    @property
    def mean_is_zero(self) -> bool:
        """Whether the mean is zero but for the rounding of values as spread as these are."""
        return bool(is_zero(self.mean, math.sqrt(self.variance_of_mean * self.n)))


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
        """Variance of treatment minus control; exactly zero where it is rounding, or the means are not known so well."""
        both = self.control.variance_of_mean + self.treatment.variance_of_mean
        variance = both - 2 * self.covariance
        size = max(abs(self.control.mean), abs(self.treatment.mean))
        return 0.0 if is_rounding(variance, terms=both, size=size) else variance

    @property
    def constant(self) -> bool:
        """Whether the difference has no variance but rounding, so that nothing can be tested."""
        return not self.variance_of_difference > 0

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
    if is_rounding(variance, size=moments.size[column]):
        variance = 0.0
    return Arm(moments.n, float(moments.mean[column]), variance / moments.n)


def arm_ratio(moments: Moments, num: int = 0, den: int = 1) -> Arm:
    """The ratio of two columns' means, with its variance by the delta method; degrees of freedom are n - 1.

    Raises ValueError below two users or where the denominator's mean is zero. Source: Deng, Knoblich and Lu
    2018 (arXiv 1803.06336): the variance of num - ratio x den, over n and the squared mean of den.
    """
    denominator = _denominator(moments, den)
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
    d = _denominator(whole, den)
    r = float(whole.mean[num]) / d
    others = [j for j in range(len(moments.mean)) if j not in (num, den)]
    weights = np.zeros((1 + len(others), len(moments.mean)))
    weights[0, [num, den]] = 1 / d, -r / d
    weights[range(1, 1 + len(others)), others] = 1.0
    value = moments.linear(weights)
    shift = r * (np.arange(len(weights)) == 0)
    return Moments(value.n, value.mean + shift, value.m2, value.size + np.abs(shift))


def _denominator(moments: Moments, column: int) -> float:
    """The mean that a ratio divides by; ValueError where it is zero but for rounding."""
    mean, spread = float(moments.mean[column]), float(moments.m2[column, column])
    if is_zero(mean, math.sqrt(spread / max(moments.n, 1))):
        raise ValueError("the denominator of the ratio has mean zero")
    return mean
