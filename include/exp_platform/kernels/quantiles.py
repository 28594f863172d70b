"""Exact quantiles from the distinct values of a metric and how many users have each."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from math import ceil, floor

import numpy as np

from exp_platform.config.metrics import Winsorise
from exp_platform.kernels.local_days import Ints
from exp_platform.kernels.unit_days import Floats

Caps = tuple[float | None, float | None]  # lower, upper; None: that side is not capped


@dataclass(frozen=True, eq=False)
class Distribution:
    """Distinct values in ascending order and the number of users of each, both of shape (distinct values,)."""

    values: Floats
    counts: Ints

    @staticmethod
    def of(values: Floats) -> Distribution:
        """The distribution of one value per user."""
        others = values[values != 0]  # most users have none: sort only the rest
        distinct, counts = np.unique(others, return_counts=True)
        zeros = len(values) - len(others)
        if zeros:
            at = int(np.searchsorted(distinct, 0.0))
            distinct, counts = np.insert(distinct, at, 0.0), np.insert(counts, at, zeros)
        return Distribution(distinct, counts)

    @staticmethod
    def pooled(parts: Iterable[Distribution]) -> Distribution:
        """The distribution of disjoint users together; the order of the parts does not matter."""
        everything = list(parts)
        values = np.concatenate([np.empty(0), *(p.values for p in everything)])
        distinct, where = np.unique(values, return_inverse=True)
        counts = np.zeros(len(distinct), dtype=np.int64)
        np.add.at(counts, where, np.concatenate([np.empty(0, np.int64), *(p.counts for p in everything)]))
        return Distribution(distinct, counts)

    @property
    def n(self) -> int:
        """The number of users."""
        return int(self.counts.sum())

    def order_statistic(self, rank: int) -> float:
        """The value at `rank` of all users sorted, from 0. Raises IndexError beyond them."""
        return float(self.values[int(np.searchsorted(np.cumsum(self.counts), rank, side="right"))])

    def quantile(self, q: float) -> float | None:
        """The quantile by linear interpolation (Hyndman and Fan 1996, type 7; `numpy.quantile`); None of no users."""
        return self.at((self.n - 1) * q) if self.n else None

    def at(self, position: float) -> float:
        """The value at a rank from 0, by linear interpolation between whole ones. Raises IndexError beyond the users."""
        low, high = self.order_statistic(floor(position)), self.order_statistic(ceil(position))
        weight = position - floor(position)
        # As NumPy does it, from the nearer end, so that both ends are met exactly.
        return low + (high - low) * weight if weight < 0.5 else high - (high - low) * (1 - weight)

    def cap(self, q: float | None) -> float | None:
        """The smallest value with at least a share `q` of users at or below it (type 1; `inverted_cdf` in NumPy)."""
        if q is None or self.n == 0:
            return None
        return self.order_statistic(max(ceil(self.n * q - 1), 0))

    def caps(self, winsorise: Winsorise) -> Caps:
        """Both caps of a winsorised metric."""
        return self.cap(winsorise.lower), self.cap(winsorise.upper)

    def shares_beyond(self, caps: Caps) -> tuple[float, float]:
        """The shares of users below the lower and above the upper cap: those whose values the caps change."""
        lower, upper = caps
        below = 0 if lower is None else self.counts[self.values < lower].sum()
        above = 0 if upper is None else self.counts[self.values > upper].sum()
        n = max(self.n, 1)
        return float(below / n), float(above / n)
