"""Quantiles of smooth laws and of laws that jump beside the quantile, at every level that tests of them are taken at."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from exp_platform.stats.moments import Array
from exp_platform.stats.quantile import arm_quantile, rank_interval, reach, standard_error, widened
from exp_platform.stats.welch import difference
from exp_validation.bands import Check
from exp_validation.drawn import chunks, random_numbers

TWO_SIDED, ONE_SIDED = (0.05, 0.005), 0.05
MOST = 20_000  # replicates: there are many cells


@dataclass(frozen=True)
class Law:
    """How users' values are distributed: their quantile function, of shares in (0, 1)."""

    name: str
    of_share: Callable[[Array], Array]


def laws(q: float, n: int) -> Iterator[Law]:
    """Of a smaller arm of n users: errors of the q-quantile are counted in shares of users."""
    error = math.sqrt(q * (1 - q) / n)
    yield Law("lognormal", lambda u: np.exp(special.ndtri(u)))
    for away in (0, -1.5, 1.5):
        edge = q + away * error
        where = "at the quantile" if not away else f"{abs(away):g} errors {'below' if away < 0 else 'above'}"
        if not 0.02 < edge < 0.98:
            continue
        yield Law(f"zeros and a minimum spend, edge {where}", _minimum_spend(edge))
        yield Law(f"counts of 0 to 3, edge {where}", _counts(edge))
        yield Law(f"two modes, gap {where}", lambda u, edge=edge: u + (u > edge))  # type: ignore[misc]
        yield Law(f"a cap, edge {where}", _cap(edge))
    yield Law("one price among many, at the quantile", _price(q))
    yield Law("density bends tenfold at the quantile", lambda u: np.where(u > q, 10.0, 1.0) * (u - q))
    yield Law("steps of a third of an error", lambda u: np.floor((u - q) / error * 3 + 0.5))


def _minimum_spend(zeros: float) -> Callable[[Array], Array]:
    def of_share(u: Array) -> Array:
        spent = np.clip((u - zeros) / (1 - zeros), 1e-12, 1 - 1e-12)
        return np.where(u < zeros, 0.0, 5 + np.exp(special.ndtri(spent)))

    return of_share


def _counts(edge: float) -> Callable[[Array], Array]:
    up_to = np.array([edge / 2, edge, edge + (1 - edge) * 0.6])
    return lambda u: np.searchsorted(up_to, u, side="right").astype(np.float64)


def _cap(edge: float) -> Callable[[Array], Array]:
    """Timeouts: the slowest wait exactly 30, nobody else more than 22."""
    return lambda u: np.where(
        u >= edge, 30.0, np.minimum(22.0, np.exp(0.8 * special.ndtri(np.clip(u / edge, 1e-12, 1 - 1e-12))))
    )


def _price(q: float) -> Callable[[Array], Array]:
    """Three of a hundred pay 9.99, the others at least 2 less or more."""
    return lambda u: np.where(
        u < q - 0.015, 5 + 3 * u, np.where(u < q + 0.015, 9.99, 12 + 5 * (u - q) / (1 - q))
    )


@dataclass(frozen=True)
class Quantile:
    """The q-quantile's comparison of two arms of one law; a row that is DEGENERATE finds nothing."""

    q: float
    law: Law
    users: tuple[int, int]

    @property
    def name(self) -> str:
        """The cell's name on the page, which also keys its random numbers."""
        return f"{self.q:g} quantile: {self.law.name}, {self.users[0]:,} and {self.users[1]:,}"

    def checks(self, replicates: int) -> list[Check]:
        """How often a difference is found where there is none: two-sided, and by the worse of both sides."""
        replicates = min(replicates, MOST)
        p, t = np.ones(replicates), np.zeros(replicates)
        done = 0
        for chunk, r in chunks(replicates, min(sum(self.users), 2_000)):
            rng = random_numbers(self.name, chunk)
            drawn = [quantiles_drawn(rng, self.law.of_share, n, self.q, r) for n in self.users]
            arms = [zip(*(column.tolist() for column in arm), strict=True) for arm in drawn]
            for i, (control, treatment) in enumerate(zip(*arms, strict=True), start=done):
                if min(control[1], treatment[1]) > 0:
                    found = difference(
                        arm_quantile(self.users[0], self.q, *control),
                        arm_quantile(self.users[1], self.q, *treatment),
                    )
                    p[i], t[i] = found.p_value, found.statistic
            done += r
        sides = [(p < 2 * ONE_SIDED) & (t > 0), (p < 2 * ONE_SIDED) & (t < 0)]
        rates = [(f"false positives at {level:g}", float((p < level).mean()), level) for level in TWO_SIDED]
        rates.append((f"one-sided at {ONE_SIDED:g}", max(float(s.mean()) for s in sides), ONE_SIDED))
        checks = [Check(self.name, what, rate, replicates, level, "at most") for what, rate, level in rates]
        return [*checks, Check(self.name, "DEGENERATE", float((t == 0).mean()), replicates, 0.0, "none")]


def quantiles_drawn(
    rng: np.random.Generator, of_share: Callable[[Array], Array], n: int, q: float, replicates: int
) -> tuple[Array, Array]:
    """Quantiles of n users and their errors as the kernels make them, shape (replicates,) each.

    Only users around the quantile are drawn: uniform order statistics are sums of exponential spacings (David and Nagaraja
    2003, section 2.5).
    """
    ranks = rank_interval(n, q)
    if ranks is None:
        raise ValueError(f"{n} users have no interval of the {q:g} quantile")
    position = (n - 1) * q
    low, high = reach(n, q)
    low, high = min(low, math.floor(position) + 1), max(high, math.ceil(position) + 1)
    spacings = rng.standard_exponential((replicates, high - low + 1))
    spacings[:, 0] = rng.standard_gamma(low, replicates)
    ordered = np.cumsum(spacings, axis=1)
    values = of_share(ordered / (ordered[:, -1] + rng.standard_gamma(n + 1 - high, replicates))[:, None])
    below, above = (values[:, int(rank) + 1 - low] for rank in (math.floor(position), math.ceil(position)))
    quantile = below + (above - below) * (position - math.floor(position))
    ends = values[:, ranks.low - low], values[:, ranks.high - low]
    smooth = np.asarray((ends[1] - ends[0]) * standard_error(n, q, 0.0, 1.0))
    return quantile, widened(n, q, quantile, smooth, values, np.arange(low, high + 1))
