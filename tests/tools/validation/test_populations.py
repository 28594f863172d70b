"""Populations: Moments drawn from the laws of the statistics are those of users drawn one by one."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from exp_platform.stats.moments import Moments
from exp_validation.populations import Discrete, Draws, Normal, Population, Spend

POPULATIONS: dict[str, Population] = {
    "normal": Normal.of(10.0, 3.0),
    "binary": Discrete.binary(0.1),
    "spend": Spend(0.3, 0.7),
}


@pytest.mark.parametrize("name", POPULATIONS)
@pytest.mark.parametrize("lift", [0.0, 0.2])
def test_drawn_moments_have_the_law_of_drawn_users(name: str, lift: float) -> None:
    """Kolmogorov-Smirnov on means and variances of 2,000 replicates drawn either way."""
    population, rng = POPULATIONS[name], np.random.default_rng(7)
    drawn = population.draw(rng, 40, 2_000, lift)
    users = Draws.of(population.users(rng, 40, 2_000, lift))
    assert stats.ks_2samp(np.round(drawn.mean[:, 0], 9), np.round(users.mean[:, 0], 9)).pvalue > 0.001
    assert stats.ks_2samp(np.round(drawn.m2[:, 0, 0], 9), np.round(users.m2[:, 0, 0], 9)).pvalue > 0.001
    assert drawn.mean.mean() == pytest.approx(population.mean * (1 + lift), rel=0.03)
    assert drawn.m2.mean() / 39 == pytest.approx(population.sd_at(lift) ** 2, rel=0.08)


def test_co_moments_of_normal_columns_are_wishart() -> None:
    population, rng = Normal.with_covariates(10.0, 3.0, (0.6, 0.4)), np.random.default_rng(8)
    drawn = population.draw(rng, 30, 20_000, 0.0)
    assert np.allclose(drawn.m2.mean(axis=0) / 29, population.covariance, atol=0.08)
    assert drawn.m2[:, 0, 1].var() == pytest.approx(29 * (5.4**2 + 81), rel=0.05)  # n (s_xy^2 + s_xx s_yy)


def test_a_ratio_is_linear_in_its_effect() -> None:
    visits, rng = Discrete.visits(0.2), np.random.default_rng(9)
    drawn = visits.draw(rng, 5_000, 400, 0.25)
    ratio = drawn.mean[:, 0].mean() / drawn.mean[:, 1].mean()
    assert visits.mean == pytest.approx(0.1, rel=1e-12)  # half of the users order at .2 a visit
    assert ratio == pytest.approx(0.125, rel=0.01)


def test_merged_draws_are_merged_moments() -> None:
    rng = np.random.default_rng(10)
    a, b = (Discrete.visits(0.2).draw(rng, n, 3, 0.0) for n in (20, 30))
    for merged, left, right in zip(a.merge(b), a, b, strict=True):
        expected = left.merge(right)
        assert isinstance(merged, Moments)
        assert np.allclose(merged.mean, expected.mean, rtol=1e-12)
        assert np.allclose(merged.m2, expected.m2, rtol=1e-10)
