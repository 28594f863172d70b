"""Populations with a known truth, drawn as Moments: `draw` gives the Moments of one arm in many replicates at once.

Where the sufficient statistics have a law of their own they are drawn from it: normal means with Wishart co-moments
(Bartlett 1933), multinomial counts of the distinct values. Else users are drawn and reduced.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from exp_platform.stats.moments import Array, Moments
from exp_platform.stats.skewness import Spread, of_ratio

Mask = NDArray[np.bool_]


@dataclass(frozen=True, eq=False)
class Draws:
    """One arm in r replicates: n users, means of shape (r, k), centred co-moments of shape (r, k, k)."""

    n: int
    mean: Array
    m2: Array
    nonzero: NDArray[Any] | None = None  # users with a value other than 0, shape (r,); None: all

    @staticmethod
    def of(users: Array) -> Draws:
        """The Moments of one column, users of shape (replicates, n)."""
        mean = users.mean(axis=1)
        m2 = ((users - mean[:, None]) ** 2).sum(axis=1)
        return Draws(users.shape[1], mean[:, None], m2[:, None, None], np.count_nonzero(users, axis=1))

    def merge(self, other: Draws) -> Draws:
        """Replicate by replicate, as `Moments.merge` does one."""
        n, delta = self.n + other.n, other.mean - self.mean
        between = delta[:, :, None] * delta[:, None, :] * (self.n / n * other.n)
        nonzero = None if self.nonzero is None or other.nonzero is None else self.nonzero + other.nonzero
        return Draws(n, self.mean + delta * (other.n / n), self.m2 + other.m2 + between, nonzero)

    def spreads(self, *, ratio: bool = False) -> list[Spread]:
        """What a caution rests on: of the first column, or of its ratio to the second, which counts."""
        nonzero = np.full(len(self.mean), self.n) if self.nonzero is None else self.nonzero
        if ratio:
            return [of_ratio(m, int(users), counted=True) for m, users in zip(self, nonzero, strict=True)]
        variance = self.m2[:, 0, 0] / (self.n - 1)
        columns = (self.mean[:, 0].tolist(), variance.tolist(), nonzero.tolist())
        return [Spread(self.n, mean, var, int(users)) for mean, var, users in zip(*columns, strict=True)]

    def __iter__(self) -> Iterator[Moments]:
        return (Moments(self.n, mean, m2) for mean, m2 in zip(self.mean, self.m2, strict=True))


class Population(Protocol):
    """One arm's users. `lift` is the relative effect of a treatment: 0 draws a control."""

    @property
    def continuous(self) -> bool:
        """Whether p-values can be uniform: those of counts come in steps."""

    @property
    def mean(self) -> float:
        """Control's mean of the metric."""

    def sd_at(self, lift: float) -> float:
        """Standard deviation a user at this relative effect; of a ratio's linearised value."""

    def draw(self, rng: np.random.Generator, n: int, replicates: int, lift: float) -> Draws:
        """The Moments of n users, `replicates` times."""

    def users(self, rng: np.random.Generator, n: int, replicates: int, lift: float) -> Array:
        """The metric of every user, shape (replicates, n), for what Moments do not hold: caps and quantiles."""


@dataclass(frozen=True)
class Normal:
    """Normal columns with this covariance; a treatment moves the first by `lift` of its mean, as `moved` the others."""

    means: tuple[float, ...]
    covariance: tuple[tuple[float, ...], ...]
    moved: tuple[float, ...]  # the share of the effect that each column takes
    continuous: bool = True

    @staticmethod
    def of(mean: float, sd: float) -> Normal:
        """One column."""
        return Normal((mean,), ((sd**2,),), (1.0,))

    @staticmethod
    def with_covariates(mean: float, sd: float, rho: tuple[float, ...]) -> Normal:
        """A metric and covariates, independent of each other, each with this correlation to the metric."""
        covariance = np.eye(len(rho) + 1)
        covariance[0, 1:] = covariance[1:, 0] = rho
        scale = np.full(len(rho) + 1, sd)
        table = tuple(map(tuple, (covariance * np.outer(scale, scale)).tolist()))
        return Normal((mean,) * (len(rho) + 1), table, (1.0,) + (0.0,) * len(rho))

    @staticmethod
    def of_days(each_side: int, mean: float, between: float, within: float, drift: float = 0.0) -> Normal:
        """A value a day, so many days before and after, of users who differ by `between`, their days by `within`.

        Both are standard deviations; `drift` is what is added each day: a trend.
        """
        days = 2 * each_side
        table = np.full((days, days), between**2) + np.eye(days) * within**2
        means = mean + drift * np.arange(days)
        moved = (0.0,) * each_side + (1.0,) * each_side
        return Normal(tuple(means.tolist()), tuple(map(tuple, table.tolist())), moved)

    @property
    def mean(self) -> float:
        """Of the first column."""
        return self.means[0]

    def sd_at(self, lift: float) -> float:
        """Of the first column, whatever the effect."""
        return math.sqrt(self.covariance[0][0])

    def draw(self, rng: np.random.Generator, n: int, replicates: int, lift: float) -> Draws:
        """Means are normal, co-moments Wishart with n - 1 degrees of freedom, and independent of the means."""
        k = len(self.means)
        root = np.linalg.cholesky(np.array(self.covariance))
        centre = np.array(self.means) + lift * self.means[0] * np.array(self.moved)
        mean = centre + rng.standard_normal((replicates, k)) @ root.T / math.sqrt(n)
        factor = np.zeros((replicates, k, k))
        below, diagonal = np.tril_indices(k, -1), np.arange(k)
        factor[:, below[0], below[1]] = rng.standard_normal((replicates, k * (k - 1) // 2))
        factor[:, diagonal, diagonal] = np.sqrt(rng.chisquare(n - 1.0 - np.arange(k), (replicates, k)))
        whole = root @ factor
        return Draws(n, mean, whole @ np.swapaxes(whole, 1, 2))

    def users(self, rng: np.random.Generator, n: int, replicates: int, lift: float) -> Array:
        """The first column of every user."""
        return self.mean * (1 + lift) + self.sd_at(lift) * rng.standard_normal((replicates, n))


@dataclass(frozen=True)
class Discrete:
    """Users of finitely many kinds: those of kind i have `values[i]`; a treatment changes how likely kinds are.

    Probabilities are linear in the relative effect, and so are all means.
    """

    values: tuple[tuple[float, ...], ...]
    control: tuple[float, ...]  # probabilities of the kinds
    slope: tuple[float, ...]  # change of each probability for a relative effect of 1
    ratio: bool = False
    continuous: bool = False

    @staticmethod
    def binary(p: float) -> Discrete:
        """A proportion."""
        return Discrete(((0.0,), (1.0,)), (1 - p, p), (-p, p))

    @staticmethod
    def visits(rate: float, most: int = 6) -> Discrete:
        """Orders and visits of users with 1 to `most` visits (geometric), an order a visit with this probability.

        A user is of a buying kind, or (half of them) orders nothing, so a user's visits are alike.
        """
        visits = np.arange(1, most + 1)
        shares = 0.5**visits / (0.5**visits).sum()
        values, base, slope = [], [], []
        for count, share in zip(visits.tolist(), shares.tolist(), strict=True):
            for orders in range(count + 1):
                bought = math.comb(count, orders) * rate**orders * (1 - rate) ** (count - orders)
                values.append((float(orders), float(count)))
                base.append(share * (bought + (orders == 0)) / 2)
                slope.append(share * bought / 2 * (orders - count * rate) / (1 - rate))
        return Discrete(tuple(values), tuple(base), tuple(slope), ratio=True)

    def probabilities(self, lift: float) -> Array:
        """Of the kinds, at this relative effect."""
        return np.array(self.control) + lift * np.array(self.slope)

    def mean_at(self, lift: float) -> float:
        """The metric's mean at this relative effect."""
        means = self.probabilities(lift) @ np.array(self.values)
        return float(means[0] / means[1] if self.ratio else means[0])

    @property
    def mean(self) -> float:
        """Of the metric."""
        return self.mean_at(0.0)

    def sd_at(self, lift: float) -> float:
        """Of the metric a user."""
        values, p = np.array(self.values), self.probabilities(lift)
        means = p @ values
        value = (
            (values[:, 0] - self.mean_at(lift) * values[:, 1]) / means[1]
            if self.ratio
            else values[:, 0] - means[0]
        )
        return math.sqrt(p @ value**2 - (p @ value) ** 2)

    def draw(self, rng: np.random.Generator, n: int, replicates: int, lift: float) -> Draws:
        """Multinomial counts of the kinds."""
        counts = rng.multinomial(n, self.probabilities(lift), replicates).astype(np.float64)
        values = np.array(self.values)
        mean = counts @ values / n
        products = np.einsum("ri,ij,ik->rjk", counts, values, values, optimize=True)
        m2 = products - n * mean[:, :, None] * mean[:, None, :]
        return Draws(n, mean, m2, counts @ (values[:, 0] != 0))

    def users(self, rng: np.random.Generator, n: int, replicates: int, lift: float) -> Array:
        """The first value of every user."""
        kinds = rng.choice(len(self.values), (replicates, n), p=self.probabilities(lift))
        return np.asarray(np.array(self.values)[kinds, 0])


@dataclass(frozen=True)
class Spend:
    """A share of the users spends lognormal amounts, the others nothing; a treatment wins more of them to spend.

    `sd_of_log` 1 is a mild, 2 a very heavy tail: the coefficient of variation among spenders is 1.3 and 7.3.
    """

    share: float
    sd_of_log: float
    continuous: bool = True

    @property
    def mean(self) -> float:
        """Of all users, where a spender's median is 1."""
        return self.share * math.exp(self.sd_of_log**2 / 2)

    def sd_at(self, lift: float) -> float:
        """Of all users. Raises ValueError where more than all of them would spend."""
        share = self._share(lift)
        return math.sqrt(share * math.exp(2 * self.sd_of_log**2) - share**2 * math.exp(self.sd_of_log**2))

    def users(self, rng: np.random.Generator, n: int, replicates: int, lift: float) -> Array:
        """Every user's amount, shape (replicates, n)."""
        amounts = np.exp(self.sd_of_log * rng.standard_normal((replicates, n)))
        return np.where(rng.random((replicates, n)) < self._share(lift), amounts, 0.0)

    def draw(self, rng: np.random.Generator, n: int, replicates: int, lift: float) -> Draws:
        """Only spenders are drawn; users without spending add zeros to mean and co-moments."""
        spenders = rng.binomial(n, self._share(lift), replicates)
        replicate = np.repeat(np.arange(replicates), spenders)
        amounts = np.exp(self.sd_of_log * rng.standard_normal(len(replicate)))
        mean = np.bincount(replicate, amounts, replicates) / n
        centred = np.bincount(replicate, (amounts - mean[replicate]) ** 2, replicates)
        m2 = centred + (n - spenders) * mean**2
        return Draws(n, mean[:, None], m2[:, None, None], spenders)

    def _share(self, lift: float) -> float:
        share = self.share * (1 + lift)
        if not 0 < share <= 1:
            raise ValueError(f"a share of {share} cannot spend")
        return share


@dataclass(frozen=True)
class Purchases:
    """A share of the users makes purchases, two on average, each of a lognormal amount: amounts beside their number.

    The metric is the ratio of both, the mean amount of a purchase.
    """

    share: float
    sd_of_log: float
    continuous: bool = True

    @property
    def mean(self) -> float:
        """Of a purchase, where the median is 1."""
        return math.exp(self.sd_of_log**2 / 2)

    def sd_at(self, lift: float) -> float:
        """Of the linearised value. Raises ValueError for a treatment with an effect, as all of these do."""
        self._unchanged(lift)
        purchases = 2 * self.share
        return self.mean * math.sqrt(purchases * math.expm1(self.sd_of_log**2)) / purchases

    def draw(self, rng: np.random.Generator, n: int, replicates: int, lift: float) -> Draws:
        """Only buyers are drawn; other users add zeros to both columns."""
        self._unchanged(lift)
        buyers = rng.binomial(n, self.share, replicates)
        replicate = np.repeat(np.arange(replicates), buyers)
        values = self._of_buyers(rng, len(replicate))
        mean = np.stack([np.bincount(replicate, value, replicates) for value in values], axis=1) / n
        centred = values - mean[replicate].T
        m2 = np.empty((replicates, 2, 2))
        for i, j in ((0, 0), (0, 1), (1, 1)):
            inside = np.bincount(replicate, centred[i] * centred[j], replicates)
            m2[:, i, j] = m2[:, j, i] = inside + (n - buyers) * mean[:, i] * mean[:, j]
        return Draws(n, mean, m2, buyers)

    def users(self, rng: np.random.Generator, n: int, replicates: int, lift: float) -> Array:
        """Every user's amounts."""
        self._unchanged(lift)
        buys = rng.random((replicates, n)) < self.share
        amounts = np.zeros((replicates, n))
        amounts[buys] = self._of_buyers(rng, int(buys.sum()))[0]
        return amounts

    def _of_buyers(self, rng: np.random.Generator, buyers: int) -> Array:
        """What each has spent, and in how many purchases, shape (2, buyers)."""
        number = rng.geometric(0.5, buyers)
        amounts = np.exp(self.sd_of_log * rng.standard_normal(int(number.sum())))
        spent = np.bincount(np.repeat(np.arange(buyers), number), amounts, buyers)
        return np.stack([spent, number.astype(np.float64)])

    def _unchanged(self, lift: float) -> None:
        if lift:
            raise ValueError("a treatment changes nothing here")
