"""Effects of many experiments on one metric, shrunken towards what such effects are like: empirical Bayes.

Whoever ships what was significant ships what was lucky too, so the winners' estimates are too large on average, and their sum
is so for certain: the winner's curse (Lee and Shen 2018, *Winner's Curse: Bias Estimation for Total Effects of Features in
Online Controlled Experiments*, KDD). Given the law that true effects come from, what is expected of an effect after its
estimate is known is free of that, whatever was chosen by the estimates (Efron 2011, *Tweedie's Formula and Selection Bias*,
JASA 106). That law is learnt here from all experiments that measured the metric, not from the winners.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from exp_platform.stats import special
from exp_platform.stats.moments import Array

FEWEST = 20  # experiments below which nothing is said: of 10 the interval holds the truth with 92 % instead of 95 %
TAILS = (2.0, 4.0, math.inf)  # degrees of freedom of the law of true effects; inf: the normal
_EDGES = (0.0, 0.003, 0.02, 0.07, 0.2, 0.4, 0.6, 0.8, 1.0)  # of the parts that a law's precision is cut into
_COARSE, _FINE = 24, 17  # spreads that are tried
_EM = 5  # steps to the most likely mean of a spread, around which the quadrature is; it need not be exact
_HERMITE = np.polynomial.hermite_e.hermegauss(5)
_NEGLIGIBLE = 14.0  # below the best in log likelihood: less than one in a million


class LogEffect(NamedTuple):
    """The logarithm of treatment's mean over control's, and its standard error: what adds up where relative effects compound."""

    estimate: float
    standard_error: float


def log_effect(relative: float, low: float, high: float, critical: float) -> LogEffect | None:
    """A relative effect and its interval, as fractions, on the scale on which errors are nearly normal and effects add up.

    `critical` is the half width of the interval in standard errors. None where the interval reaches a mean of 0, and so says
    nothing of the logarithm. Source: the delta method; a set of Fieller's is symmetric there up to the second order of the
    error of control's mean.
    """
    if not (-1 < low < high and relative > -1):
        return None
    half = (math.log1p(high) - math.log1p(low)) / 2
    return LogEffect(math.log1p(relative), half / critical)


class Shrunken(NamedTuple):
    """What is believed of an effect, or of a sum of effects: mean, standard deviation, and an interval of coverage `level`."""

    mean: float
    sd: float
    low: float
    high: float
    level: float


@dataclass(frozen=True)
class Beliefs:
    """What is believed of every effect under each law that may be the true one, and how likely each law is.

    `weights` has the shape (laws,), `means` and `variances` of effects (laws, effects), all in the effects' unit. `law` is what
    all of them say together of an effect that nothing else is known of: shares, means and variances of normals, each (parts,).
    """

    weights: Array
    means: Array
    variances: Array
    law: tuple[Array, Array, Array]

    def of(self, chosen: Sequence[int], level: float = 0.95) -> Shrunken:
        """The sum of these effects, by their positions. Under one law effects are independent; the law is shared by all.

        Its uncertainty is so counted once for the whole sum, where it does not average out. Raises IndexError for a position
        beyond the last.
        """
        at = list(chosen)
        mean, variance = self.means[:, at].sum(axis=1), self.variances[:, at].sum(axis=1)
        return _mixed(self.weights, mean, variance, level)

    @cached_property
    def typical(self) -> tuple[float, float]:
        """Between which bounds two in three true effects lie, as far as is known."""
        found = _mixed(*self.law, 2 / 3)
        return found.low, found.high

    @cached_property
    def mean(self) -> float:
        """The mean of all true effects, as far as is known."""
        return float(self.law[0] @ self.law[1])


def shrink(
    estimates: Sequence[float], standard_errors: Sequence[float], experiments: Sequence[str]
) -> Beliefs:
    """What to believe of effects that were each estimated with a known, normal error; all three of the same length.

    `experiments` says which effects are arms of one experiment: together they count as one for the law, as they share their
    control and are no independent evidence of it. Each effect is then shrunken by its own estimate and error.

    True effects come from one law, symmetric around its mean: a normal, or Student's t with 4 or 2 degrees of freedom, as a few
    large wins among many small ones are the rule (Azevedo, Deng, Montiel Olea, Rao and Weyl 2020, *A/B Testing with Fat Tails*,
    Journal of Political Economy 128). Mean, spread and tail are not taken for known at one estimate: all that the estimates
    leave possible count, each by its likelihood (Gelman et al. 2013, section 5.4; Morris 1983, *Parametric Empirical Bayes
    Inference*, JASA 78). Before them the mean may be anything, the three tails are alike, and the spread is such that the share
    by which an effect of middling error is shrunken may be anything from 0 to 1 (Daniels 1999, *A prior for the variance in
    hierarchical models*, Canadian Journal of Statistics 27), so that a spread of nearly nothing is neither ruled out nor assumed.

    Raises ValueError for fewer than FEWEST experiments, errors that are not positive, or numbers that are not finite.
    """
    y, s = np.asarray(estimates, float), np.asarray(standard_errors, float)
    if len({len(y), len(s), len(experiments)}) != 1 or not (np.isfinite(y).all() and np.isfinite(s).all()):
        raise ValueError("estimates, errors and experiments must be as many of each, and finite")
    if not (s > 0).all():
        raise ValueError("standard errors must be positive")
    names, place, arms = np.unique(np.asarray(experiments, str), return_inverse=True, return_counts=True)
    if len(names) < FEWEST:
        raise ValueError(
            f"{len(names)} experiments say too little of the law of effects; {FEWEST} are needed"
        )
    data = _Data(y, s**2, 1.0 / arms[place])
    laws = [law for tail in TAILS for law in data.laws(*_parts_of(tail))]
    logs = np.array([log for _, log in laws])
    weights = np.where(logs > logs.max() - _NEGLIGIBLE, np.exp(logs - logs.max()), 0.0)
    likely = [
        (law, weight) for (law, _), weight in zip(laws, weights / weights.sum(), strict=True) if weight > 0
    ]
    found = [data.posterior(law) for law, _ in likely]
    return Beliefs(
        np.array([weight for _, weight in likely]),
        np.array([mean for mean, _ in found]),
        np.array([variance for _, variance in found]),
        (
            np.concatenate([weight * law.shares for law, weight in likely]),
            np.concatenate([np.full(len(law.shares), law.mean) for law, _ in likely]),
            np.concatenate([law.variances for law, _ in likely]),
        ),
    )


class _Law(NamedTuple):
    """A law of true effects: a mixture of normals around one mean."""

    mean: float
    variances: Array  # of the parts
    shares: Array


class _Data(NamedTuple):
    """Estimates, the variances of their errors, and how much each counts for the law; of shape (effects,)."""

    y: Array
    v: Array
    counts: Array

    def laws(self, scales: Array, shares: Array) -> Iterator[tuple[_Law, float]]:
        """The laws of one tail that the estimates leave possible, with the logarithms of their weights."""
        middling = math.sqrt(len(self.v) / float((1 / self.v).sum()))
        reach = max(30.0, 10 * float(np.ptp(self.y)) / middling)
        spreads = middling * np.geomspace(0.01, reach, _COARSE)
        logs = self._over_means(spreads, scales, shares, middling)[1].max(axis=1)
        likely = np.flatnonzero(logs > logs.max() - _NEGLIGIBLE)
        first, last = max(likely[0] - 1, 0), min(likely[-1] + 1, _COARSE - 1)
        fine = np.geomspace(spreads[first], spreads[last], _FINE)
        means, weights = self._over_means(fine, scales, shares, middling)
        step = math.log(fine[1] / fine[0])
        for spread, of_spread, logs in zip(fine, means, weights, strict=True):
            for mean, weight in zip(of_spread, logs, strict=True):
                yield _Law(float(mean), spread**2 * scales, shares), float(weight) + math.log(step)

    def _over_means(
        self, spreads: Array, scales: Array, shares: Array, middling: float
    ) -> tuple[Array, Array]:
        """Means of the law at each spread, and the logarithms of their weights, both of shape (spreads, nodes).

        Adaptive Gauss-Hermite quadrature (Naylor and Smith 1982, *Applied Statistics* 31) around the mean of the highest
        likelihood, which EM finds. The spread's own weight is that of a step on its logarithm.
        """
        variances = self.v + (scales[:, None] * spreads**2)[:, :, None]  # parts, spreads, effects
        mean = np.full(len(spreads), float(np.median(self.y)))
        for _ in range(_EM):
            share = _responsibilities(self.y - mean[:, None], variances, shares)
            pull = (share / variances).sum(axis=0) * self.counts
            mean = (pull @ self.y) / pull.sum(axis=1)
        step = 1 / np.sqrt(pull.sum(axis=1))
        nodes, weights = _HERMITE
        means = mean[:, None] + step[:, None] * nodes
        logs = np.stack([self._log_likelihood(of_node, variances, shares) for of_node in means.T], axis=1)
        # The share by which an effect of middling error is shrunken is uniform between 0 and 1
        prior = 2 * np.log(spreads) - 2 * np.log(middling**2 + spreads**2)
        return means, logs + np.log(weights) + nodes**2 / 2 + (np.log(step) + prior)[:, None]

    def _log_likelihood(self, means: Array, variances: Array, shares: Array) -> Array:
        height = _beside(shares, variances) / np.sqrt(variances)
        density = (height * np.exp((self.y - means[:, None]) ** 2 / (-2 * variances))).sum(axis=0)
        found: Array = np.log(np.maximum(density, 1e-300)) @ self.counts
        return found

    def posterior(self, law: _Law) -> tuple[Array, Array]:
        """Mean and variance of each effect under a law."""
        variances = self.v + law.variances[:, None]
        share = _responsibilities(self.y - law.mean, variances, law.shares)
        kept = law.variances[:, None] / variances
        means = law.mean + kept * (self.y - law.mean)
        mean = (share * means).sum(axis=0)
        return mean, (share * (kept * self.v + (means - mean) ** 2)).sum(axis=0)


def _responsibilities(distances: Array, variances: Array, shares: Array) -> Array:
    """How likely each part of a law is the one that an effect comes from, at this distance of its estimate from the mean.

    `variances` and what is returned have the parts first.
    """
    logs = distances**2 / (-2 * variances) - np.log(variances) / 2 + np.log(_beside(shares, variances))
    likely = np.exp(logs - logs.max(axis=0))
    found: Array = likely / likely.sum(axis=0)
    return found


def _beside(shares: Array, variances: Array) -> Array:
    return shares.reshape(-1, *(1,) * (variances.ndim - 1))


def _parts_of(tail: float) -> tuple[Array, Array]:
    """Student's t as normals of these variances and shares: its precision is a chi-square's (Andrews and Mallows 1974)."""
    if math.isinf(tail):
        return np.ones(1), np.ones(1)
    edges = np.array(_EDGES)
    middles = (edges[1:] + edges[:-1]) / 2
    return (tail / 2) / np.asarray(special.gammaincinv(tail / 2, middles)), np.diff(edges)


def _mixed(weights: Array, means: Array, variances: Array, level: float) -> Shrunken:
    """Mean, spread and central interval of a mixture of normals."""
    mean = float(weights @ means)
    sd = math.sqrt(float(weights @ (variances + (means - mean) ** 2)))
    sds = np.sqrt(np.maximum(variances, 1e-300))
    low, high = (_quantile(weights, means, sds, p) for p in ((1 - level) / 2, (1 + level) / 2))
    return Shrunken(mean, sd, low, high, level)


def _quantile(weights: Array, means: Array, sds: Array, probability: float) -> float:
    """Where a mixture of normals reaches a probability, by bisection."""
    low, high = float((means - 12 * sds).min()), float((means + 12 * sds).max())
    for _ in range(80):
        middle = (low + high) / 2
        below = float(weights @ special.ndtr((middle - means) / sds))
        low, high = (middle, high) if below < probability else (low, middle)
    return (low + high) / 2
