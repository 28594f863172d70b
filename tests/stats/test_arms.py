"""An arm's mean or ratio and its sampling variance, against NumPy, the jackknife and simulation."""

from __future__ import annotations

import numpy as np
import pytest

from exp_platform.stats.arms import arm_mean, arm_ratio
from exp_platform.stats.moments import Moments
from exp_platform.stats.welch import difference


@pytest.fixture(scope="module")
def orders() -> np.ndarray:
    """Revenue and orders per user, correlated, many zeros."""
    rng = np.random.default_rng(11)
    count = rng.poisson(0.8, size=5000)
    revenue = np.array([rng.gamma(2.0, 12.0, size=k).sum() for k in count])
    return np.column_stack([revenue, count.astype(float)])


def test_mean_has_the_unbiased_variance_over_n(orders: np.ndarray) -> None:
    arm = arm_mean(Moments.of(orders), column=1)
    assert arm.n == 5000
    assert arm.mean == pytest.approx(orders[:, 1].mean(), rel=1e-13, abs=0)
    assert arm.variance_of_mean == pytest.approx(orders[:, 1].var(ddof=1) / 5000, rel=1e-12, abs=0)
    assert arm.sd == pytest.approx(orders[:, 1].std(ddof=1), rel=1e-12, abs=0)


def test_ratio_is_the_delta_method_by_hand(orders: np.ndarray) -> None:
    y, x = orders.T
    ratio = y.mean() / x.mean()
    c = np.cov(y, x)
    by_hand = (c[0, 0] - 2 * ratio * c[0, 1] + ratio**2 * c[1, 1]) / x.mean() ** 2 / len(x)
    arm = arm_ratio(Moments.of(orders))
    assert arm.mean == pytest.approx(ratio, rel=1e-13, abs=0)
    assert arm.variance_of_mean == pytest.approx(by_hand, rel=1e-10, abs=0)
    swapped = arm_ratio(Moments.of(orders[:, ::-1]), num=1, den=0)
    assert swapped.variance_of_mean == pytest.approx(by_hand, rel=1e-10, abs=0)


def test_ratio_agrees_with_the_jackknife(orders: np.ndarray) -> None:
    """Leaving out one user at a time knows nothing of the delta method."""
    y, x = orders.T
    without = (y.sum() - y) / (x.sum() - x)
    n = len(x)
    jackknife = (n - 1) / n * ((without - without.mean()) ** 2).sum()
    assert arm_ratio(Moments.of(orders)).variance_of_mean == pytest.approx(jackknife, rel=5e-3, abs=0)


def test_peer_defect_revenue_per_converter_is_not_a_mean_over_all_users(orders: np.ndarray) -> None:
    arm = arm_ratio(Moments.of(orders))
    assert arm.mean == pytest.approx(orders[:, 0].sum() / orders[:, 1].sum(), rel=1e-12, abs=0)
    assert arm.mean > 1.2 * orders[:, 0].mean()


@pytest.mark.parametrize("constant", [0.1, 1 / 3, 1e9 / 7, -5e-12])
def test_a_constant_has_no_variance_whatever_rounding_leaves(constant: float) -> None:
    parts = [Moments.of(np.full(n, constant)) for n in (3, 1000, 77_777)]
    assert arm_mean(Moments.merge_all(parts)).variance_of_mean == 0.0


def test_rounding_around_a_constant_is_no_variance() -> None:
    """What another summation would leave: a spread of some 50 units in the last place."""
    noise = (50 * 2.0**-53 * 0.1) ** 2
    assert arm_mean(Moments(1000, np.array([0.1]), np.array([[1000 * noise]]))).variance_of_mean == 0.0
    assert arm_mean(Moments(1000, np.array([0.1]), np.array([[1e8 * noise]]))).variance_of_mean > 0.0


def test_a_small_but_real_spread_is_kept() -> None:
    x = 1e9 + np.arange(1000) % 2
    assert arm_mean(Moments.of(x)).variance_of_mean == pytest.approx(x.var(ddof=1) / 1000, rel=1e-8, abs=0)


def test_a_numerator_that_is_a_multiple_of_the_denominator_has_no_variance() -> None:
    x = np.random.default_rng(2).poisson(3, size=900).astype(float)
    parts = [Moments.of(p) for p in np.array_split(np.column_stack([0.1 * x, x]), 5)]
    arm = arm_ratio(Moments.merge_all(parts))
    assert arm.mean == pytest.approx(0.1, rel=1e-12, abs=0)
    assert arm.variance_of_mean == 0.0
    with pytest.raises(ValueError, match="neither arm varies"):
        difference(arm, arm)


def test_impossible_arms_raise() -> None:
    with pytest.raises(ValueError, match="two users"):
        arm_mean(Moments.of([4.0]))
    with pytest.raises(ValueError, match="two users"):
        arm_ratio(Moments.of([[4.0, 1.0]]))
    with pytest.raises(ValueError, match="mean zero"):
        arm_ratio(Moments.of([[4.0, 0.0], [3.0, 0.0]]))
