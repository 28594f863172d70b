"""What counts as rounding: decided alike on every processor, and never true of data (exact arithmetic tells which is which)."""

from __future__ import annotations

from fractions import Fraction

import numpy as np
import pytest

from exp_platform.stats.arms import Arms, arm_mean, arm_ratio, linearised
from exp_platform.stats.moments import Moments
from exp_platform.stats.rounding import is_rounding, is_zero
from exp_platform.stats.wald import of_arms
from exp_platform.stats.welch import difference

CONSTANTS = (0.1, 1 / 3, 1e15 + 0.1, -7.7e-9, 1e8 / 7)


def bucketed(values: np.ndarray, parts: int = 9) -> Moments:
    return Moments.merge_all(Moments.of(part) for part in np.array_split(values, parts))


@pytest.mark.parametrize("constant", CONSTANTS)
def test_a_difference_of_constant_columns_neither_varies_nor_differs(constant: float) -> None:
    """Merging buckets leaves both columns co-moments of rounding, whose mean of 0 gives no scale to judge them by."""
    values = np.column_stack([np.full(1000, constant), np.full(1000, constant), np.full(1000, 3 * constant)])
    for parts in range(2, 40):
        found = bucketed(values, parts).linear([[1, -1, 0], [3, 0, -1], [1, 1, -1]])
        assert np.diag(found.m2).tolist() == [0.0] * 3
        assert found.mean[0] == 0.0
        assert [arm_mean(found, i).variance_of_mean for i in range(3)] == [0.0] * 3


@pytest.mark.parametrize("mean, sd", [(1e8, 1.0), (-1e12, 1.0), (1e15, 1e3), (0.0, 1e-9), (1e-9, 1e-13)])
def test_a_small_spread_beside_a_huge_mean_is_data(mean: float, sd: float) -> None:
    """The variance of exact fractions of the very same doubles."""
    rng = np.random.default_rng(4)
    x = mean + sd * rng.normal(size=(600, 2))
    exact = [Fraction(float(v)) for v in x[:, 0]]
    centre = sum(exact) / len(exact)
    variance = float(sum((v - centre) ** 2 for v in exact) / (len(exact) - 1))
    arm = arm_mean(bucketed(x))
    known_to = 1e-10 + 20 * np.finfo(float).eps * abs(mean) / sd  # buckets' means are rounded
    assert arm.variance_of_mean * 600 == pytest.approx(variance, rel=known_to, abs=0)
    assert np.diag(bucketed(x).linear([[1, -1]]).m2)[0] > 0


def test_a_ratio_that_is_the_same_for_all_has_no_variance() -> None:
    rng = np.random.default_rng(5)
    for den in (rng.poisson(3, 500) + 1.0, np.full(500, 1 / 3), rng.normal(1e8, 1, 500)):
        found = bucketed(np.column_stack([0.1 * den, den]))
        assert arm_ratio(found).variance_of_mean == 0.0
        assert linearised(found).m2[0, 0] == 0.0
        assert arm_mean(linearised(found)).variance_of_mean == 0.0


def test_a_denominator_that_only_rounding_tells_from_zero_divides_nothing() -> None:
    den = np.tile([0.1 + 0.2, -0.3], 300)
    assert 0 < abs(den.mean()) < 1e-16
    with pytest.raises(ValueError, match="denominator"):
        arm_ratio(bucketed(np.column_stack([np.ones(600), den])))


def test_arms_that_covary_wholly_have_no_test() -> None:
    one = arm_mean(Moments.of(np.random.default_rng(6).normal(size=500)))
    almost = Arms(one, one, one.variance_of_mean * (1 - 1e-15))
    assert almost.constant
    with pytest.raises(ValueError, match="neither arm varies"):
        difference(*almost)


def test_columns_whose_constants_differ_by_rounding_alone_count_as_equal() -> None:
    """Constants of 1e15 are known to 1/8: what their means differ by must not be a difference without variance."""
    rng = np.random.default_rng(7)
    sides = []
    for shift in (0.0, 0.125):
        values = np.column_stack([np.full(300, 1e15 + shift), rng.normal(size=300)])
        sides.append(bucketed(values))
    assert of_arms(*sides).df == 1
    apart = bucketed(np.column_stack([np.full(300, 1e15 + 1000), rng.normal(size=300)]))
    with pytest.raises(ValueError, match="without variance differs"):
        of_arms(sides[0], apart)


def test_no_variance_is_rounding_and_one_of_data_is_not() -> None:
    assert is_rounding([0.0, -1e-30, 1e-30], terms=[0.0, 1.0, 1.0]).tolist() == [True, True, True]
    assert is_rounding([1e-30, 1e-11], terms=[0.0, 1.0]).tolist() == [False, False]
    assert is_zero([0.0, 1e-15, 1e-9], size=[0.0, 1.0, 1.0]).tolist() == [True, True, False]
