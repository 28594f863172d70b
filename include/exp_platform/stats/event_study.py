"""Event study: how far the arms lie apart in each period around first exposure, and how sure that is."""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np

from exp_platform.stats.intervals import Interval
from exp_platform.stats.moments import Array, Moments
from exp_platform.stats.rounding import is_rounding
from exp_platform.stats.wald import mean_difference


@dataclass(frozen=True, eq=False)
class Gaps:
    """Treatment minus control in k periods with the covariance of these estimates, clustered by user."""

    estimates: Array  # shape (k,), the metric's unit
    covariance: Array  # shape (k, k)


def gaps(control: Moments, treatment: Moments) -> Gaps:
    """The arms' differences in every column, a column per period of the same users; ValueError below two users per arm.

    The covariance is S_0 / n_0 + S_1 / n_1 with the arms' sample covariances: that of a regression on arm, period and
    their products with errors clustered by user, each arm's part times n / (n - 1) as in HC2 (Bell and McCaffrey 2002;
    Angrist and Pischke 2009, section 8.2). The days of a user may go together in any way. A gap whose means are not known
    so well as its variance says has none.
    """
    covariance = control.covariance() / control.n + treatment.covariance() / treatment.n
    constant = is_rounding(np.diag(covariance), size=control.size + treatment.size)
    covariance[constant, :] = 0.0
    covariance[:, constant] = 0.0
    return Gaps(mean_difference(control, treatment), covariance)


@dataclass(frozen=True, eq=False)
class RelativeMagnitudes:
    """What is left of an effect when trends may differ: steps after exposure up to m_bar times the largest one before.

    The parameter is the mean gap after exposure minus the last gap before it. `reach` is what it moves by at most when
    every step after exposure is one unit: (K + 1) / 2 for K periods, because the steps add up.
    """

    estimate: float
    variance: float
    steps: Array  # changes of the gap from one period before exposure to the next, shape (b - 1,)
    step_variances: Array
    step_covariances: Array  # with the estimate
    reach: float

    @property
    def largest_step(self) -> float:
        """The largest absolute change of the gap between neighbouring periods before exposure."""
        return float(np.abs(self.steps).max())

    def identified(self, m_bar: float) -> Interval:
        """The effects that fit the estimated gaps: the set without any sampling error."""
        half = m_bar * self.reach * self.largest_step
        return Interval(self.estimate - half, self.estimate + half)

    def interval(self, m_bar: float, critical: float) -> Interval:
        """An interval with at least the coverage that `critical` (in standard errors) gives a single estimate.

        Which step is the largest, and its sign, is not known, but is one of 2 (b - 1) cases. In a case the set's ends are
        linear in the gaps, so estimate -+ m_bar reach step, each moved outwards by `critical` standard errors of its own,
        covers it. The union over the cases covers whichever is true. Sharper cases would also use that the step is the
        largest: leaving that out can only widen. At m_bar 0 it is the plain interval. Source: Rambachan and Roth 2023
        (Review of Economic Studies 90), section 2.4.1 for the restriction and lemma 2.2 for the union.
        """
        shift = m_bar * self.reach * np.concatenate([self.steps, -self.steps])
        crossed = m_bar * self.reach * np.concatenate([self.step_covariances, -self.step_covariances])
        spread = (m_bar * self.reach) ** 2 * np.tile(self.step_variances, 2)
        error = np.sqrt(np.maximum(self.variance + 2 * crossed + spread, 0.0))
        upper = self.estimate + shift + critical * error
        error = np.sqrt(np.maximum(self.variance - 2 * crossed + spread, 0.0))
        lower = self.estimate - shift - critical * error
        return Interval(float(lower.min()), float(upper.max()))

    def breakdown(self, critical: float) -> float:
        """The smallest m_bar at which `interval` includes 0; 0 where it does without any, inf where it never does.

        In each case the end nearer to 0 falls monotonously to it, where (|estimate| - u step)^2 = critical^2 var(|estimate|
        - u step) with u = m_bar reach: the smallest positive root of a quadratic.
        """
        c2, towards = critical**2, math.copysign(1.0, self.estimate)
        left = self.estimate**2 - c2 * self.variance
        if left <= 0:
            return 0.0
        smallest = math.inf
        for sign in (1.0, -1.0):
            step = sign * self.steps
            middle = abs(self.estimate) * step - c2 * towards * sign * self.step_covariances
            discriminant = middle**2 - (step**2 - c2 * self.step_variances) * left
            # A step that goes with the estimate in all users has a double root: nothing but rounding beside zero.
            discriminant[is_rounding(np.abs(discriminant), terms=middle**2)] = 0.0
            real = discriminant >= 0
            denominator = middle[real] + np.sqrt(discriminant[real])
            found = left / denominator[denominator > 0] / self.reach
            smallest = min(smallest, float(found.min(initial=math.inf)))
        return smallest


def relative_magnitudes(control: Moments, treatment: Moments, before: int) -> RelativeMagnitudes:
    """The sensitivity of the effect over the later columns, columns being periods of which `before` are before exposure.

    Periods must be in time order and of equal length. What only rounding tells from 0, of the effect's variance or of the
    steps, is 0: combinations are taken of users, not of the gaps. Raises ValueError below two periods before exposure or one after it.
    """
    k = len(control.mean)
    after = k - before
    if before < 2 or after < 1:
        raise ValueError(f"need two periods before exposure and one after it, not {before} and {after}")
    effect = np.zeros(k)
    effect[before:] = 1 / after
    effect[before - 1] = -1
    steps = np.eye(k)[1:before] - np.eye(k)[: before - 1]
    combinations = np.vstack([effect, steps])
    both = gaps(control.linear(combinations), treatment.linear(combinations))
    return RelativeMagnitudes(
        estimate=float(both.estimates[0]),
        variance=float(both.covariance[0, 0]),
        steps=both.estimates[1:],
        step_variances=np.diag(both.covariance)[1:],
        step_covariances=both.covariance[0, 1:],
        reach=(after + 1) / 2,
    )
