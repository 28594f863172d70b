"""What is judged: each method as a function of two arms' Moments, made of the platform's own statistics."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import NamedTuple

import numpy as np

from exp_platform.analyses.daily import day_weights
from exp_platform.stats.adjustment import Slopes, adjust
from exp_platform.stats.arms import Arm, arm_mean, arm_ratio
from exp_platform.stats.exact import proportions
from exp_platform.stats.intervals import t_critical
from exp_platform.stats.moments import Moments
from exp_platform.stats.proportions import Count
from exp_platform.stats.relative import Kind, RelativeInterval, fieller
from exp_platform.stats.wald import of_arms
from exp_platform.stats.welch import difference

LEVEL = 0.05


class Answer(NamedTuple):
    """A p-value, and where the method has them intervals of coverage 1 - LEVEL, absolute and relative."""

    p: float
    low: float | None = None
    high: float | None = None
    relative: RelativeInterval | None = None

    def covers(self, effect: float) -> bool:
        """Whether the interval holds this absolute effect."""
        return self.low is not None and self.high is not None and self.low <= effect <= self.high

    def covers_relative(self, effect: float) -> bool:
        """Whether the set of relative effects holds this one; the complement of a gap holds all outside it."""
        r = self.relative
        if r is None or r.kind is Kind.UNDEFINED:
            return False
        if r.kind is Kind.UNBOUNDED:
            return True
        if r.kind is Kind.COMPLEMENT:
            return r.gap is None or not r.gap[0] < effect < r.gap[1]
        return r.low is not None and r.high is not None and r.low <= effect <= r.high


Method = Callable[[Moments, Moments], Answer]  # control, treatment; raises ValueError where it has no answer


def welch(control: Moments, treatment: Moments) -> Answer:
    """Welch's test of the first column's mean, with Fieller's set."""
    return compared(arm_mean(control), arm_mean(treatment))


def counted(control: Moments, treatment: Moments) -> Answer:
    """A proportion tested on its counts: the score test, exact where outcomes are few."""
    counts = [Count(round(float(arm.mean[0]) * arm.n), arm.n) for arm in (control, treatment)]
    return _counted(counts[0], counts[1])


@cache  # replicates share their counts, and roots take time
def _counted(control: Count, treatment: Count) -> Answer:
    test = proportions(control, treatment)
    return Answer(test.p_value, *test.interval(1 - LEVEL))


def ratio(control: Moments, treatment: Moments) -> Answer:
    """The ratio of the first two columns' means by the delta method."""
    return compared(arm_ratio(control), arm_ratio(treatment))


def cuped(slopes: Slopes = "pooled") -> Method:
    """The first column adjusted by all others."""

    def judged(control: Moments, treatment: Moments) -> Answer:
        adjusted = adjust([[control], [treatment]], 0, range(1, len(control.mean)), slopes)
        return compared(*adjusted.pair(0, 1))

    return judged


def did(days: int) -> Method:
    """Difference in differences of that many days before and after."""
    columns = _columns(days)
    weights = day_weights(columns, range(days)) - day_weights(columns, range(-days, 0))

    def judged(control: Moments, treatment: Moments) -> Answer:
        d = difference(arm_mean(control.linear(weights)), arm_mean(treatment.linear(weights)))
        return Answer(d.p_value, *d.interval(1 - LEVEL))

    return judged


def pretrends(days: int) -> Method:
    """The joint test that the arms' days before exposure differ by the same."""
    columns = _columns(days)
    contrasts = np.stack([day_weights(columns, [day]) for day in range(-days, -1)])
    contrasts -= day_weights(columns, [-1])

    def judged(control: Moments, treatment: Moments) -> Answer:
        return Answer(of_arms(control.linear(contrasts), treatment.linear(contrasts)).p)

    return judged


def pooled_z(control: Moments, treatment: Moments) -> Answer:
    """Known to be wrong at unequal arms and spreads: the pooled-variance test. The page must find it out."""
    m0, m1 = control.select([0]), treatment.select([0])
    variance = float((m0.m2 + m1.m2)[0, 0]) / (m0.n + m1.n - 2)
    return compared(
        Arm(m0.n, float(m0.mean[0]), variance / m0.n), Arm(m1.n, float(m1.mean[0]), variance / m1.n)
    )


def _columns(days: int) -> tuple[str, ...]:
    return tuple(f"day{day}" for day in range(-days, days))


def compared(control: Arm, treatment: Arm, covariance: float = 0.0, df: float | None = None) -> Answer:
    """The test of two arms with its interval and Fieller's set, all at LEVEL."""
    d = difference(control, treatment, covariance, df)
    critical = t_critical(1 - LEVEL, d.degrees_of_freedom)
    half = critical * d.standard_error
    relative = fieller(control, treatment, critical, covariance)
    return Answer(d.p_value, d.estimate - half, d.estimate + half, relative)
