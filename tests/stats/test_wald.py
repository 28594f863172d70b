"""The joint Wald test against a plain inverse, and what singular covariances do."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from exp_platform.stats.wald import joint


@pytest.fixture
def covariance() -> np.ndarray:
    root = np.random.default_rng(1).normal(size=(5, 4))
    return root.T @ root * np.outer([1, 10, 1e-4, 1e5], [1, 10, 1e-4, 1e5])


def test_regular_covariance_equals_the_plain_inverse(covariance: np.ndarray) -> None:
    estimates = np.array([1.0, -9.0, 2e-4, 3e5])
    found = joint(estimates, covariance)
    statistic = estimates @ np.linalg.solve(covariance, estimates)
    assert found.statistic == pytest.approx(statistic, rel=1e-9, abs=0)
    assert found.df == 4
    assert found.p == pytest.approx(stats.chi2.sf(statistic, 4), rel=1e-9, abs=0)


def test_one_estimate_is_the_squared_z() -> None:
    found = joint([3.0], [[4.0]])
    assert (found.statistic, found.df) == (pytest.approx(2.25), 1)
    assert found.p == pytest.approx(2 * stats.norm.sf(1.5), rel=1e-12, abs=0)


def test_any_invertible_contrast_gives_the_same_test(covariance: np.ndarray) -> None:
    """So the choice of the reference day does not matter."""
    estimates = np.array([1.0, -9.0, 2e-4, 3e5])
    unit = np.diag([1, 0.1, 1e4, 1e-5])
    contrast = (np.eye(4) - np.full((4, 4), 0.4)) @ unit
    moved = joint(contrast @ estimates, contrast @ covariance @ contrast.T)
    assert moved.statistic == pytest.approx(joint(estimates, covariance).statistic, rel=1e-8, abs=0)


def test_a_redundant_estimate_changes_nothing_and_df_is_the_rank(covariance: np.ndarray) -> None:
    estimates = np.array([1.0, -9.0, 2e-4, 3e5])
    with_sum = np.vstack([np.eye(4), [1.0, 0.1, 0, 1e-5]])
    found = joint(with_sum @ estimates, with_sum @ covariance @ with_sum.T)
    assert found.df == 4
    assert found.statistic == pytest.approx(joint(estimates, covariance).statistic, rel=1e-6, abs=0)


def test_an_estimate_of_zero_without_variance_is_left_out(covariance: np.ndarray) -> None:
    """A day on which nobody did anything."""
    wide = np.zeros((5, 5))
    wide[:4, :4] = covariance
    estimates = np.array([1.0, -9.0, 2e-4, 3e5])
    found = joint([*estimates, 0.0], wide)
    assert found == joint(estimates, covariance)
    assert joint([*estimates, 1e-18], wide) == found


def test_a_null_hypothesis_has_uniform_p(covariance: np.ndarray) -> None:
    draws = np.random.default_rng(2).multivariate_normal(np.zeros(4), covariance, size=2000)
    p = [joint(d, covariance).p for d in draws]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_log_p_is_finite_far_out() -> None:
    found = joint([60.0, 0.0], np.eye(2))
    assert found.p == 0.0
    assert found.log10_p == pytest.approx(-1800 / np.log(10), rel=1e-12, abs=0)  # df 2: p = exp(-x / 2)


@pytest.mark.parametrize(
    "estimates, covariance, message",
    [
        ([1.0, 2.0], [[1.0]], "do not match"),
        ([[1.0]], [[1.0]], "do not match"),
        ([np.nan], [[1.0]], "finite"),
        ([1.0], [[np.inf]], "finite"),
        ([0.0, 0.0], np.zeros((2, 2)), "no estimate has a variance"),
        ([], np.zeros((0, 0)), "no estimate has a variance"),
        ([1.0, 0.5], [[1.0, 0.0], [0.0, 0.0]], "without variance"),
        ([1.0, 2.0], [[1.0, 1.0], [1.0, 1.0]], "direction without variance"),
    ],
)
def test_what_has_no_test_raises(estimates: list[float], covariance: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        joint(estimates, covariance)
