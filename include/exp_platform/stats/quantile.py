"""Quantiles from order statistics: an arm's quantile with a distribution-free interval and a density-free error."""

from __future__ import annotations

import math
from collections.abc import Callable
from functools import lru_cache
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from exp_platform.stats import special
from exp_platform.stats.arms import Arm
from exp_platform.stats.intervals import normal_quantile
from exp_platform.stats.rounding import is_rounding

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

LEVEL = 0.95  # of the rank interval; fixed, so that a row has one standard error whatever alpha is
FAR = 5e-4  # a rank that the quantile lies beyond more rarely than this is not looked at
NOISE = 2.0  # how much steeper than smooth is put down to chance: so many standard errors ...
MOST = 2.0  # ... and so many times at most


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


def reach(n: int, q: float) -> tuple[int, int]:
    """The lowest and highest rank, from 1, that are misses of the q-quantile with a chance of FAR or more, of n users.

    They exist for any number of users; ValueError for none, or unless 0 < q < 1.
    """
    if n < 1 or not 0 < q < 1:
        raise ValueError(f"q must lie between 0 and 1 and users be there, not {q} and {n}")
    low = _first(n, lambda k: _at_most(k, n, q) >= FAR) + 1
    high = _first(n, lambda k: _at_least(k, n, q) < FAR) - 1
    return min(low, n), max(high, 1)


def widened(n: int, q: float, quantile: Floats, smooth: Floats, values: Floats, ranks: Ints) -> Floats:
    """The standard error where values beside the quantile jump: the least that explains every user's distance from it.

    `smooth` is `standard_error`; it and `quantile` have shape (...). `values`, of shape (..., ranks), are the users' within
    `reach`, at these ranks from 1; of equal ones the nearest to the quantile is enough. The true quantile lies beyond a
    user's value with a binomial chance; with this error no value is farther away than the t of that chance, but at least one
    error. So the t interval holds the distribution-free one at every level down to FAR, be there a mass of equal values,
    a gap or a bend of the density. Where no value is farther than chance leaves it in a smooth distribution, `smooth` stays:
    the distance that m users span varies by 1 / sqrt(m) of itself. Never less than `smooth`, so tests only get larger p;
    0 where that is 0, as a rank interval within a tie has nothing to test with.
    Raises ValueError where n users have no rank interval. Source: rank intervals as in David and Nagaraja 2003, section
    7.1, at every level; NOISE, MOST and FAR by simulation (docs/06_methods/quantiles.md).
    """
    interval = rank_interval(n, q)
    if interval is None:
        raise ValueError(f"{n} users are too few for an interval of the {q:g} quantile")
    at = (n - 1) * q
    missed = np.where(
        ranks - 1 > at,
        special.betainc(ranks, n - ranks + 1.0, q),
        special.betainc(n - ranks + 1.0, ranks, 1 - q),
    )
    errors_away = np.maximum(-special.stdtrit(interval.degrees_of_freedom, np.minimum(missed, 0.5)), 1.0)
    between = np.maximum(np.abs(ranks - 1 - at), math.sqrt(n * q * (1 - q)))
    by_chance = np.minimum(1 + NOISE / np.sqrt(between), MOST)
    slopes = np.where(missed >= FAR, np.abs(values - quantile[..., None]) / errors_away, 0.0)
    steep = np.any(slopes > smooth[..., None] * by_chance, axis=-1)
    return np.where(steep & (smooth > 0), np.maximum(smooth, slopes.max(axis=-1, initial=0.0)), smooth)


def jumps(n: int, q: float, low: float, high: float, error: float) -> bool:
    """Whether an error was `widened` so far beyond that of its rank interval that chance is no explanation."""
    return error > MOST * standard_error(n, q, low, high)


def arm_quantile(n: int, q: float, value: float, error: float) -> Arm:
    """The q-quantile of one arm with its squared standard error, as what Welch's test and Fieller's set take.

    Raises ValueError where the error is 0 but for rounding, as the quantile's rank interval lies within a tie, or n users have none.
    """
    ranks = rank_interval(n, q)
    if ranks is None:
        raise ValueError(
            f"{n} users are too few for an interval of the {q:g} quantile: {fewest_users(q)} have one"
        )
    if is_rounding(error**2, size=value):
        raise ValueError(
            f"the {q:g} quantile lies within a tie at {value:.6g} that covers its whole rank interval: choose another q, "
            "a proportion (who is above a value), or a mean"
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
