"""Exact order statistics of users in many buckets, of which the driver sees only those around the ranks it wants.

Two rounds: every bucket marks some of its own order statistics, by which the driver brackets the ranks it wants among all
users; then every bucket returns its values inside the bracket and counts those below. With 512 marks a bucket that is some
0.3 MB a round for a group of 5 million users in 34 buckets, where all their distinct values would be 80 MB.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import ceil, floor
from typing import NamedTuple

import numpy as np

from exp_platform.kernels.local_days import Ints
from exp_platform.kernels.quantiles import Distribution
from exp_platform.kernels.unit_days import Floats
from exp_platform.stats.quantile import rank_interval, reach, standard_error, widened

MARKS = 512


class Bracket(NamedTuple):
    """Two users' values between which the wanted order statistics surely lie, both included."""

    low: float
    high: float


@dataclass(frozen=True, eq=False)
class Marks:
    """Some order statistics of one bucket's n users, evenly spaced, first and last among them; shape (marks,) each."""

    n: int
    values: Floats
    ranks: Ints  # from 0

    @staticmethod
    def of(values: Floats) -> Marks:
        """The marks of one value per user."""
        n = len(values)
        ranks = np.linspace(0, n - 1, min(n, MARKS)).astype(np.int64)
        return Marks(n, np.sort(values)[ranks], ranks)


def bracket(parts: Sequence[Marks], lowest: int, highest: int) -> Bracket:
    """The narrowest bracket that the marks allow of ranks, from 0, `lowest` to `highest` of the pooled users.

    A value with at most r users surely below it is no larger than the order statistic of rank r, one with more than r
    users surely at or below it no smaller. Raises ValueError for a rank that the users do not have.
    """
    if not 0 <= lowest <= highest < sum(part.n for part in parts):
        raise ValueError(f"ranks {lowest} to {highest} are not those of {sum(p.n for p in parts)} users")
    candidates = np.unique(np.concatenate([part.values for part in parts]))
    below, reached = np.zeros_like(candidates), np.zeros_like(candidates)
    for part in parts:
        ends = np.append(part.ranks, part.n)  # at most so many are below a mark, all of them beyond the last
        below += ends[np.searchsorted(part.values, candidates, side="left")]
        starts = np.append(0, part.ranks + 1)
        reached += starts[np.searchsorted(part.values, candidates, side="right")]
    low = candidates[np.searchsorted(below, lowest, side="right") - 1]
    high = candidates[np.searchsorted(reached, highest, side="right")]
    return Bracket(float(low), float(high))


@dataclass(frozen=True, eq=False)
class Bracketed:
    """Users around a bracket: how many are below it, and who is within."""

    below: int
    within: Distribution

    @staticmethod
    def of(values: Floats, inside: Bracket) -> Bracketed:
        """One bucket's users, one value each."""
        within = values[(values >= inside.low) & (values <= inside.high)]
        return Bracketed(int(np.count_nonzero(values < inside.low)), Distribution.of(within))

    @staticmethod
    def pooled(parts: Sequence[Bracketed]) -> Bracketed:
        """Disjoint users together; all parts must be of the same bracket."""
        return Bracketed(sum(p.below for p in parts), Distribution.pooled(p.within for p in parts))


class QuantileNumbers(NamedTuple):
    """One arm's quantile, the ends of its rank interval, and its standard error (0 where that lies within a tie)."""

    quantile: float
    quantile_low: float
    quantile_high: float
    quantile_error: float


def wanted_ranks(n: int, q: float) -> tuple[int, int] | None:
    """The lowest and highest rank, from 0, that the q-quantile of n users takes; None where they are too few."""
    ranks = rank_interval(n, q)
    if ranks is None:
        return None
    (lowest, highest), position = reach(n, q), (n - 1) * q
    return min(lowest - 1, floor(position)), max(highest - 1, ceil(position))


def quantile_numbers(users: Bracketed, n: int, q: float) -> QuantileNumbers | None:
    """The quantile of n users by linear interpolation, from those around it; None where n are too few.

    The distance of the ends of a rank interval tells nothing of how it is covered: where values jump, from one tie to the
    next or over a gap, up to half of true nulls would be rejected. So the standard error is `widened` there.
    """
    ranks, wanted = rank_interval(n, q), wanted_ranks(n, q)
    if ranks is None or wanted is None:
        return None
    within, reached = users.within, users.below + np.cumsum(users.within.counts)
    low, high = (int(np.searchsorted(reached, r - 1, side="right")) for r in ranks[:2])
    ends = float(within.values[low]), float(within.values[high])
    quantile = within.at((n - 1) * q - users.below)
    nearest = np.where(within.values > quantile, reached - within.counts + 1, reached)
    near = (nearest > wanted[0]) & (nearest <= wanted[1] + 1)  # of a bracket that holds more, only these
    smooth = standard_error(n, q, *ends)
    error = widened(n, q, np.asarray(quantile), np.asarray(smooth), within.values[near], nearest[near])
    return QuantileNumbers(quantile, *ends, float(error))
