"""Quantiles from order statistics: an arm's quantile with a distribution-free interval and a density-free error."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

from scipy import special

from exp_platform.stats.arms import Arm
from exp_platform.stats.intervals import normal_quantile

LEVEL = 0.95  # of the rank interval; fixed, so that a row has one standard error whatever alpha is


class RankInterval(NamedTuple):
    """Ranks, from 1, of two of n order statistics, and how many standard errors of the quantile lie between them."""

    low: int
    high: int
    width: float

    @property
    def degrees_of_freedom(self) -> float:
        """Of the squared standard error that the interval gives.

        The share of a distribution between the two order statistics is Beta(m, n + 1 - m), m = high - low (David and
        Nagaraja 2003, section 2.2), so the distance has a relative variance of about 1 / m and its square one of 4 / m:
        that of a chi-square with m / 2 degrees of freedom over them.
        """
        return (self.high - self.low) / 2


@lru_cache(maxsize=4096)
def rank_interval(n: int, q: float) -> RankInterval | None:
    """The ranks between whose order statistics the q-quantile lies with at least 95 %, whatever the distribution.

    None where n users are too few to have such ranks. Raises ValueError unless 0 < q < 1. Source: the number of users
    below the quantile is binomial (David and Nagaraja 2003, section 7.1); the width is that of the two tails really
    left, as in Price and Bonett 2001.
    """
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, not {q}")
    tail = (1 - LEVEL) / 2
    low = _first(n, lambda k: _at_most(k, n, q) > tail)
    high = _first(n, lambda k: _at_least(k, n, q) <= tail)
    if low < 1 or high > n:
        return None
    width = -normal_quantile(_at_most(low - 1, n, q)) - normal_quantile(_at_least(high, n, q))
    return RankInterval(low, high, width)


def fewest_users(q: float) -> int:
    """The fewest users of an arm that have a rank interval for the q-quantile; ValueError unless 0 < q < 1."""
    if not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1, not {q}")
    # Both extremes must be able to miss: q^n and (1 - q)^n at most half of what the interval leaves.
    return math.ceil(math.log((1 - LEVEL) / 2) / math.log(max(q, 1 - q)))


def standard_error(n: int, q: float, low: float, high: float) -> float:
    """Standard error of the q-quantile of n users whose rank interval reaches from `low` to `high`, in their unit.

    Raises ValueError where n users have no rank interval. Source: the outer confidence interval of Deng, Knoblich and
    Lu 2018 (arXiv 1803.06336) for users that are independent, after McKean and Schrader 1984.
    """
    ranks = rank_interval(n, q)
    if ranks is None:
        raise ValueError(
            f"{n} users are too few for an interval of the {q:g} quantile: {fewest_users(q)} have one"
        )
    return (high - low) / ranks.width


def arm_quantile(n: int, q: float, value: float, error: float) -> Arm:
    """The q-quantile of one arm with its squared standard error, as what Welch's test and Fieller's set take.

    Raises ValueError where the error is 0, as the quantile's rank interval lies within a tie, or n users have none.
    """
    ranks = rank_interval(n, q)
    if ranks is None:
        raise ValueError(
            f"{n} users are too few for an interval of the {q:g} quantile: {fewest_users(q)} have one"
        )
    if not error > 0:
        raise ValueError(
            f"the {q:g} quantile lies within a tie at {value:.6g} that covers its whole rank interval"
        )
    return Arm(n, value, error**2, ranks.degrees_of_freedom)


def _at_most(k: int, n: int, q: float) -> float:
    """P(B <= k), B binomial of n and q."""
    return 0.0 if k < 0 else 1.0 if k >= n else float(special.betainc(n - k, k + 1, 1 - q))


def _at_least(k: int, n: int, q: float) -> float:
    """P(B >= k), B binomial of n and q."""
    return 1.0 if k <= 0 else 0.0 if k > n else float(special.betainc(k, n - k + 1, q))


def _first(n: int, holds: Callable[[int], bool]) -> int:
    """The smallest k of 0 ... n + 1 at which a condition holds that then goes on holding; it holds at n + 1."""
    low, high = 0, n + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle + 1, high)
    return low
