"""Skewness that mean and variance guarantee: exact for proportions, a bound else, and the published rule of thumb."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from exp_platform.stats.skewness import Spread, least, of_standardised, users_needed


@pytest.mark.parametrize("p", [0.001, 0.1, 0.5, 0.93])
def test_exact_for_a_proportion(p: float) -> None:
    """SciPy's Bernoulli law."""
    mean, variance, skewness = (float(x) for x in stats.bernoulli(p).stats("mvs"))
    assert least(mean, variance) == pytest.approx(skewness, rel=1e-12, abs=1e-12)


@pytest.mark.parametrize(
    "law", [stats.expon(), stats.lognorm(1.0), stats.gamma(0.2), stats.poisson(0.3), stats.uniform()]
)
def test_never_more_than_the_truth(law: stats.rv_continuous) -> None:
    mean, variance, skewness = (float(x) for x in law.stats("mvs"))
    assert least(mean, variance) <= skewness + 1e-12


def test_nothing_follows_without_spread_or_with_a_mean_of_zero() -> None:
    assert least(3.0, 0.0) == least(0.0, 1.0) == least(-2.0, 1.0) == 0.0


def test_difference_of_two_proportions() -> None:
    """The third cumulant of a difference of binomial shares, from SciPy's binomial law."""
    n0, n1, p0, p1 = 900, 100, 0.1, 0.15
    laws = [stats.binom(n0, p0), stats.binom(n1, p1)]
    moments = [[float(x) for x in law.stats("mvs")] for law in laws]
    third = [s * v**1.5 / n**3 for (_, v, s), n in zip(moments, (n0, n1), strict=True)]
    variance = sum(v / n**2 for (_, v, _), n in zip(moments, (n0, n1), strict=True))
    arms = [Spread(n, p, p * (1 - p), round(n * p)) for n, p in ((n0, p0), (n1, p1))]
    found = of_standardised([(1.0, *arms)], proportion=True)
    assert found == pytest.approx((third[1] - third[0]) / variance**1.5, rel=1e-12)


def test_cumulants_of_strata_add_up_by_their_weights() -> None:
    """SciPy's binomial law again: sums over two periods of which the second is divided evenly."""
    sizes, rates, weights = [(900, 100), (400, 400)], [(0.3, 0.3), (0.1, 0.12)], (0.55, 0.45)
    third = variance = 0.0
    strata = []
    for n, p, w in zip(sizes, rates, weights, strict=True):
        for sign, users, rate in zip((-1, 1), n, p, strict=True):
            _, v, s = (float(x) for x in stats.binom(users, rate).stats("mvs"))
            third += sign * s * v**1.5 * (w / users) ** 3
            variance += v * (w / users) ** 2
        arms = [Spread(users, rate, rate * (1 - rate), 1) for users, rate in zip(n, p, strict=True)]
        strata.append((w, arms[0], arms[1]))
    assert of_standardised(strata, proportion=True) == pytest.approx(third / variance**1.5, rel=1e-9)


def test_it_cancels_in_equal_arms() -> None:
    arm = Spread(500, 0.1, 0.09, 50)
    assert of_standardised([(1.0, arm, arm)], proportion=True) == 0.0


def test_users_needed_by_the_published_rule() -> None:
    """355 times squared skewness: values of 0 or 50 among spenders, of whom a tenth has 50 and nine tenths 1."""
    values = np.repeat([0.0, 1.0, 50.0], [900, 90, 10])
    nonzero = values[values != 0]
    c = nonzero.std() / nonzero.mean()
    found = users_needed(Spread(1000, float(values.mean()), float(values.var()), 100))
    assert found == pytest.approx(355 * (c - 1 / c) ** 2, rel=1e-9)
    assert found <= 355 * float(stats.skew(nonzero)) ** 2
    assert users_needed(Spread(100, 0.0, 0.0, 0)) == 0.0
