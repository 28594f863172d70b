"""What the generator says is true, against an independent integral."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import integrate, stats

from exp_platform.errors import ConfigError
from exp_platform.synth.propensity import VIEWS_A_DAY, intercepts, synthetic_source, truths, views_a_day
from synth.synthetic import synthetic


@pytest.mark.parametrize("spread", [0.0, 1.0, 2.5])
def test_truth_is_the_average_over_the_population(spread: float) -> None:
    experiment = synthetic(10, propensity_sd=spread, effect_lift_revenue=(0.2,))
    found = truths(experiment)
    for truth, intercept, rate, value in zip(
        found, intercepts(synthetic_source(experiment)), (0.10, 0.13), (12.5, 15.0), strict=True
    ):
        conversion, _ = integrate.quad(
            lambda z, a=intercept: stats.norm.pdf(z) / (1 + np.exp(-a - spread * z)), -10, 10, epsabs=1e-12
        )
        orders, _ = integrate.quad(
            lambda z, a=intercept: stats.norm.pdf(z) * np.log1p(np.exp(a + spread * z)), -10, 10, epsabs=1e-12
        )
        assert conversion == pytest.approx(rate, abs=1e-9)
        assert truth.conversion == pytest.approx(rate, abs=1e-12)
        assert truth.orders == pytest.approx(orders, abs=1e-9)
        assert truth.revenue == pytest.approx(orders * value, abs=1e-8)


def test_views_average_to_the_same_for_every_spread() -> None:
    z = np.random.default_rng(1).standard_normal(400_000)
    for spread in (0.0, 1.0, 2.0):
        assert views_a_day(z, spread).mean() == pytest.approx(VIEWS_A_DAY, rel=0.02)


def test_a_rate_outside_its_range_is_refused() -> None:
    with pytest.raises(ConfigError, match=r"\[0, 1\)"):
        truths(synthetic(10, base_conversion=0.98))


def test_a_rate_of_zero_gives_no_orders() -> None:
    control, _ = truths(synthetic(10, base_conversion=0.0))
    assert (control.conversion, control.orders) == (0.0, 0.0)
