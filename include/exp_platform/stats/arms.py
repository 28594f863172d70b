"""Arm: what a test needs of one variant, a mean or a ratio of means with the variance of its estimate."""

from __future__ import annotations

import math
from typing import NamedTuple

import numpy as np

from exp_platform.stats.moments import Moments

ROUNDING = 64 * float(np.finfo(np.float64).eps)  # a spread below this share of the mean is rounding, not data


class Arm(NamedTuple):
    """n users, an estimated mean (or ratio of means), and that estimate's variance in its unit squared."""

    n: int
    mean: float
    variance_of_mean: float

    @property
    def sd(self) -> float:
        """Standard deviation per user, in the metric's unit (for a ratio: of its linearised value)."""
        return math.sqrt(self.variance_of_mean * self.n)


def arm_mean(moments: Moments, column: int = 0) -> Arm:
    """The mean of one column, with the unbiased sample variance over n; degrees of freedom are n - 1.

    A spread that rounding alone explains counts as zero. Raises ValueError below two users.
    """
    variance = float(moments.covariance()[column, column])
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
    variance = float(residual.covariance()[0, 0]) / denominator**2
    return Arm(moments.n, ratio, variance / moments.n)
