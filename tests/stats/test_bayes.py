"""The posterior of two normals is what integration of prior times likelihood gives."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, stats

from exp_platform.stats.bayes import Posterior, posterior

CASES = [(0.3, 0.2, 0.5), (-1.2, 0.9, 0.4), (0.0, 1.0, 3.0), (5.0, 1.0, 100.0)]


@pytest.mark.parametrize(("estimate", "error", "prior_sd"), CASES)
def test_it_is_prior_times_likelihood(estimate: float, error: float, prior_sd: float) -> None:
    p = posterior(estimate, error, prior_sd)

    def weight(x: float) -> float:
        return float(stats.norm.pdf(estimate, x, error) * stats.norm.pdf(x, 0, prior_sd))

    def over(f: object, low: float = -20.0, high: float = 20.0) -> float:
        points = [x for x in (0.0, p.mean) if low < x < high]
        value, _ = integrate.quad(f, low, high, points=points, epsabs=1e-14, epsrel=1e-12, limit=400)  # type: ignore[arg-type]
        return float(value)

    whole = over(weight)
    assert p.mean == pytest.approx(over(lambda x: x * weight(x)) / whole, rel=1e-9, abs=1e-12)
    variance = over(lambda x: (x - p.mean) ** 2 * weight(x)) / whole
    assert p.sd == pytest.approx(math.sqrt(variance), rel=1e-9)
    assert p.chance_above_zero == pytest.approx(over(weight, low=0.0) / whole, rel=1e-9)
    assert p.expected_shortfall == pytest.approx(over(lambda x: -x * weight(x), high=0.0) / whole, rel=1e-8)
    low, high = p.interval(0.9)
    assert over(weight, low, high) / whole == pytest.approx(0.9, rel=1e-9)


def test_loss_and_gain_differ_by_the_mean() -> None:
    """E max(0, x) - E max(0, -x) = E x, also where one of them is all but nothing."""
    for mean in (-3.0, -0.1, 0.0, 0.4, 2.5):
        p = Posterior(mean, 0.7)
        assert p.flipped().expected_shortfall - p.expected_shortfall == pytest.approx(
            mean, rel=1e-12, abs=1e-15
        )


def test_a_loss_far_out_keeps_its_digits() -> None:
    """At 10 sd: phi(10) (1/10^2 - 3/10^4 + 15/10^6 - 105/10^8 + ...), to the terms shown."""
    series = np.exp(-50) / math.sqrt(2 * math.pi) * (1e-2 - 3e-4 + 15e-6 - 105e-8 + 945e-10 - 10395e-12)
    assert Posterior(10.0, 1.0).expected_shortfall == pytest.approx(series, rel=1e-4, abs=0)
    assert 0 < Posterior(37.0, 1.0).expected_shortfall < 1e-290


def test_a_vague_prior_leaves_the_estimate_and_a_sharp_one_takes_it_away() -> None:
    assert posterior(2.0, 0.5, 1e9) == pytest.approx((2.0, 0.5), rel=1e-12)
    assert posterior(2.0, 0.5, 1e-9) == pytest.approx((0.0, 1e-9), abs=1e-15)


@pytest.mark.parametrize(("error", "prior_sd"), [(0.0, 1.0), (1.0, 0.0), (math.inf, 1.0), (1.0, math.nan)])
def test_spreads_must_be_positive_and_finite(error: float, prior_sd: float) -> None:
    with pytest.raises(ValueError, match="spreads must be positive and finite"):
        posterior(1.0, error, prior_sd)
