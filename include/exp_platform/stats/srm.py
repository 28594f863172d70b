"""Sample ratio mismatch: whether the arms' counts fit the planned allocation."""

from __future__ import annotations

import math
import sys
from collections.abc import Sequence
from typing import Literal, NamedTuple

import numpy as np

from exp_platform.stats import special
from exp_platform.stats.intervals import LN10, chi2_sf
from exp_platform.stats.moments import Array

SMALL = 5.0  # an expected count below this needs the exact test
ENUMERABLE = 1_000_000  # outcomes the exact test will look at
SAME = 1e-7  # outcomes whose log probabilities differ by less are equally likely


class Srm(NamedTuple):
    """Pearson's statistic and its degrees of freedom, and the p-value of the method named."""

    statistic: float
    df: int
    p: float
    log10_p: float
    method: Literal["chi_square", "exact"]


class EValue(NamedTuple):
    """Evidence against the planned allocation; under it e ever reaches 1 / alpha with chance alpha at most."""

    e_value: float  # the largest float where it would overflow
    log10_e: float


def mismatch(counts: Sequence[int], shares: Sequence[float]) -> Srm:
    """Test counts, shape (k,), against planned shares, shape (k,), positive and in any unit.

    Pearson's chi-square; the exact multinomial test where an expected count is below 5 and its outcomes can
    be enumerated (a million at most: 1,400 users in three arms), else chi-square all the same. Raises
    ValueError as `chi_square` does.
    """
    n, planned = _checked(counts, shares)
    if n.sum() * planned.min() < SMALL and _outcomes(n) <= ENUMERABLE:
        return exact(counts, shares)
    return chi_square(counts, shares)


def chi_square(counts: Sequence[int], shares: Sequence[float]) -> Srm:
    """Pearson's goodness of fit of counts to shares, k - 1 degrees of freedom.

    Raises ValueError for fewer than two arms, unequal lengths, a share that is not positive, a negative
    count, no users. Source: Pearson 1900; Fabijan et al. 2019 for its use here.
    """
    n, planned = _checked(counts, shares)
    statistic, df = _pearson(n, planned), len(n) - 1
    return Srm(statistic, df, *chi2_sf(statistic, df), method="chi_square")


def exact(counts: Sequence[int], shares: Sequence[float]) -> Srm:
    """The exact multinomial test: the probability of all outcomes no likelier than the one seen.

    Raises ValueError as `chi_square` does, and for more than a million outcomes. Source: the multinomial law,
    outcomes ordered by their probability as in R's `binom.test`.
    """
    n, planned = _checked(counts, shares)
    if _outcomes(n) > ENUMERABLE:
        raise ValueError(f"{n.sum():.0f} users in {len(n)} arms have too many outcomes to enumerate")
    planned_log, log_factorial = np.log(planned), special.gammaln(np.arange(n.sum() + 1) + 1.0)
    seen = log_factorial[-1] + n @ planned_log - log_factorial[n.astype(np.int64)].sum()
    remaining, log_p = np.array([int(n.sum())]), log_factorial[-1:]
    for share in planned_log[:-1]:  # every way to give this arm 0 ... remaining users, all in one array
        ways = remaining + 1
        users = np.arange(ways.sum()) - np.repeat(np.cumsum(ways) - ways, ways)
        log_p = np.repeat(log_p, ways) + users * share - log_factorial[users]
        remaining = np.repeat(remaining, ways) - users
    log_p = log_p + remaining * planned_log[-1] - log_factorial[remaining]
    tail = min(0.0, _log_of_sum(log_p[log_p <= seen + SAME]))
    return Srm(_pearson(n, planned), len(n) - 1, math.exp(tail), tail / LN10, method="exact")


def _log_of_sum(logs: Array) -> float:
    """The log of the sum of positive numbers whose logs are given: `scipy.special.logsumexp` to the bit, without its imports."""
    highest = logs.max()
    is_highest = logs == highest
    m = is_highest.sum(dtype=np.float64)
    rest = np.exp(np.where(is_highest, -np.inf, logs) - highest).sum() / m
    return float(np.log1p(rest) + np.log(m) + highest)


def mismatch_in_periods(counts: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]) -> Srm:
    """The joint test of independent periods, each of counts and planned shares of its own: periods without users are none.

    The sum of Pearson's statistics with the sum of their degrees of freedom. A period that needs the exact test is a part
    of its own, and the smallest p of the parts counts as often as there are parts (Bonferroni). One period alone has
    `mismatch`. Raises ValueError as `chi_square` does, and where no period has users.
    """
    found = [mismatch(n, planned) for n, planned in zip(counts, shares, strict=True) if sum(n) > 0]
    if not found:
        raise ValueError("there are no users to test")
    if len(found) == 1:
        return found[0]
    statistic, df = sum(f.statistic for f in found), sum(f.df for f in found)
    large = [f for f in found if f.method == "chi_square"]
    parts = [f.log10_p for f in found if f.method == "exact"]
    if large:
        parts.append(chi2_sf(sum(f.statistic for f in large), sum(f.df for f in large)).log10_p)
    log10_p = min(0.0, min(parts) + math.log10(len(parts)))
    return Srm(statistic, df, 10**log10_p, log10_p, "chi_square" if len(parts) == 1 and large else "exact")


def uneven_loss(lost: Sequence[int], users: Sequence[int]) -> Srm:
    """Test whether the arms' users, shape (k,), lose the same share of them: `lost`, shape (k,), are among the users.

    Pearson's test of independence in the 2 x k table, k - 1 degrees of freedom. Where an expected count of the table is
    below 5: the exact multinomial test of the rarer row against the users, conservative by a factor of one minus its
    share. Raises ValueError as `chi_square` does, and where nobody or everybody is lost. Source: Pearson 1900.
    """
    n, of = _checked(lost, users)
    total, missing = float(np.sum(users)), float(n.sum())
    kept = [u - x for u, x in zip(users, lost, strict=True)]
    if not 0 < missing < total or min(kept) < 0:
        raise ValueError(f"{missing:.0f} of {total:.0f} users are lost: there is nothing to compare")
    rarer = lost if 2 * missing <= total else kept
    if sum(rarer) * of.min() < SMALL:
        return mismatch(rarer, users)
    statistic, df = _pearson(n, of) / (1 - missing / total), len(n) - 1
    return Srm(statistic, df, *chi2_sf(statistic, df), method="chi_square")


def e_value_in_periods(counts: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]) -> EValue:
    """The product of the periods' evidence: under the plan each is 1 on average given those before it, so is the product.

    Raises ValueError as `sequential_e_value` does.
    """
    log10_e = sum(sequential_e_value(n, planned).log10_e for n, planned in zip(counts, shares, strict=True))
    return EValue(math.exp(min(log10_e * LN10, math.log(sys.float_info.max))), log10_e)


def sequential_e_value(counts: Sequence[int], shares: Sequence[float], concentration: float = 1.0) -> EValue:
    """Evidence in cumulative counts, shape (k,), against the planned shares, valid at every look.

    The Bayes factor of a Dirichlet(concentration, ...) mixture of allocations against the planned one; reject
    at level alpha at the first look where it reaches 1 / alpha. Raises ValueError as `chi_square` does, but
    takes no users (e = 1). Source: Lindon and Malek 2020 (arXiv 2011.03567): B(prior + counts) / B(prior) /
    product of shares^counts.
    """
    n, planned = _checked(counts, shares, may_be_empty=True)
    if not concentration > 0:
        raise ValueError(f"concentration must be positive, not {concentration}")
    prior = np.full(len(n), concentration)
    log_e = float(_log_beta(prior + n) - _log_beta(prior) - n @ np.log(planned))
    return EValue(math.exp(min(log_e, math.log(sys.float_info.max))), log_e / LN10)


def _checked(
    counts: Sequence[int], shares: Sequence[float], *, may_be_empty: bool = False
) -> tuple[Array, Array]:
    n = np.asarray(counts, dtype=np.float64)
    planned = np.asarray(shares, dtype=np.float64)
    if n.ndim != 1 or n.shape != planned.shape or len(n) < 2:
        raise ValueError(f"{n.shape} counts and {planned.shape} shares: one of each for two or more arms")
    if not (np.isfinite(planned).all() and (planned > 0).all()):
        raise ValueError(f"shares must be positive: {planned.tolist()}")
    if not (np.isfinite(n).all() and (n >= 0).all() and (n == np.floor(n)).all()):
        raise ValueError(f"counts must be whole numbers, zero or more: {n.tolist()}")
    if n.sum() == 0 and not may_be_empty:
        raise ValueError("there are no users to test")
    return n, planned / planned.sum()


def _pearson(n: Array, planned: Array) -> float:
    expected = n.sum() * planned
    return float(((n - expected) ** 2 / expected).sum())


def _outcomes(n: Array) -> int:
    return math.comb(int(n.sum()) + len(n) - 1, len(n) - 1)


def _log_beta(a: Array) -> float:
    return float(special.gammaln(a).sum() - special.gammaln(a.sum()))
