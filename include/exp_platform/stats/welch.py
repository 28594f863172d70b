"""Welch's test: the difference of two arms' means without assuming equal variances."""

from __future__ import annotations

import math
from typing import Literal, NamedTuple

from exp_platform.stats.arms import Arm, Arms
from exp_platform.stats.intervals import Interval, t_critical, t_two_sided


class Difference(NamedTuple):
    """Treatment minus control in the metric's unit, its standard error, the two-sided test that it is 0."""

    estimate: float
    standard_error: float
    degrees_of_freedom: float
    statistic: float
    p_value: float
    log10_p: float
    test: Literal["welch"] = "welch"

    def interval(self, level: float) -> Interval:
        """The two-sided t interval of coverage `level`; it excludes 0 exactly where p < 1 - level."""
        half = t_critical(level, self.degrees_of_freedom) * self.standard_error
        return Interval(self.estimate - half, self.estimate + half)


def difference(control: Arm, treatment: Arm, covariance: float = 0.0, df: float | None = None) -> Difference:
    """Test treatment against control by Welch's t with Satterthwaite's degrees of freedom.

    `covariance` and `df` are for arms that are not independent: `difference(*arms)` takes them from `Arms`. Raises
    ValueError below two users in an arm, or where neither arm varies. Source: Welch 1947, Satterthwaite 1946: df =
    (v0 + v1)^2 / (v0^2 / df0 + v1^2 / df1), v the variances of the means, df of each n - 1 unless its arm says another.
    """
    _require_two_users(control, treatment)
    arms = Arms(control, treatment, covariance)
    if arms.constant:
        raise ValueError("neither arm varies, so there is no test")
    if df is None:
        # Shares, not squared variances: those underflow.
        share = control.variance_of_mean / (control.variance_of_mean + treatment.variance_of_mean)
        df = 1 / (share**2 / control.df + (1 - share) ** 2 / treatment.df)
    estimate = treatment.mean - control.mean
    error = math.sqrt(arms.variance_of_difference)
    tail = t_two_sided(estimate / error, df)
    return Difference(estimate, error, df, estimate / error, tail.p, tail.log10_p)


def mean_interval(arm: Arm, level: float) -> Interval:
    """The t interval of one arm's mean, coverage `level`, df n - 1; ValueError below two users."""
    _require_two_users(arm)
    half = t_critical(level, arm.n - 1) * math.sqrt(arm.variance_of_mean)
    return Interval(arm.mean - half, arm.mean + half)


def _require_two_users(*arms: Arm) -> None:
    for arm in arms:
        if arm.n < 2:
            raise ValueError(f"a variance needs two users in every arm, not {arm.n}")
