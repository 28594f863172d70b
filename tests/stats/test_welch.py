"""Welch's test against scipy.stats on raw data, and the properties that any two-sample test must have."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from exp_platform.stats.arms import Arm, arm_mean
from exp_platform.stats.moments import Moments
from exp_platform.stats.welch import difference, mean_interval

PROPERTY = settings(max_examples=200)

ARMS = st.builds(
    lambda n, mean, sd: Arm(n, mean, sd**2 / n),
    st.integers(2, 10**7),
    st.floats(-100, 100),
    st.floats(0.01, 100),
)


def from_sums(total: float, squares: float, n: int) -> Arm:
    return arm_mean(Moments(n, np.array([total / n]), np.array([[squares - total**2 / n]])))


def test_sums_from_an_independent_package() -> None:
    """GrowthBook's gbstats on the same sums."""
    d = difference(from_sums(1396.87, 52377.9767, 3407), from_sums(2422.7, 134698.29, 3461))
    low, high = d.interval(0.95)
    assert d.estimate == pytest.approx(0.29, abs=5e-13)
    assert low == pytest.approx(0.0453778926, abs=5e-11)
    assert high == pytest.approx(0.534622107, abs=5e-10)
    assert d.p_value == pytest.approx(0.0201584, abs=5e-8)


@pytest.mark.parametrize(
    "n0, n1, sd0, sd1", [(5, 7, 1, 4), (400, 90, 3, 1), (2, 2, 1, 1), (3000, 3000, 1, 1)]
)
def test_raw_data_equals_scipy(n0: int, n1: int, sd0: float, sd1: float) -> None:
    rng = np.random.default_rng(n0)
    x, y = rng.normal(2, sd0, n0), rng.normal(2.2, sd1, n1)
    expected = stats.ttest_ind(y, x, equal_var=False)
    d = difference(arm_mean(Moments.of(x)), arm_mean(Moments.of(y)))
    assert d.statistic == pytest.approx(expected.statistic, rel=1e-11, abs=0)
    assert d.degrees_of_freedom == pytest.approx(expected.df, rel=1e-11, abs=0)
    assert d.p_value == pytest.approx(expected.pvalue, rel=1e-9, abs=0)
    for level in (0.9, 0.95, 0.9995):
        assert d.interval(level) == pytest.approx(tuple(expected.confidence_interval(level)), rel=1e-9, abs=0)
        single = stats.t.interval(level, n0 - 1, loc=x.mean(), scale=stats.sem(x))
        assert mean_interval(arm_mean(Moments.of(x)), level) == pytest.approx(single, rel=1e-9, abs=0)


@PROPERTY
@given(ARMS, ARMS)
def test_relabelling_the_arms_flips_signs_only(a: Arm, b: Arm) -> None:
    one, other = difference(a, b), difference(b, a)
    assert (one.estimate, one.statistic) == (-other.estimate, -other.statistic)
    assert one.degrees_of_freedom == pytest.approx(other.degrees_of_freedom, rel=1e-12, abs=0)
    assert one.p_value == pytest.approx(other.p_value, rel=1e-9, abs=0)
    assert one.interval(0.95) == pytest.approx(
        (-other.interval(0.95).high, -other.interval(0.95).low), rel=1e-9, abs=1e-9
    )


@PROPERTY
@given(ARMS, ARMS, st.floats(0.5, 0.9999))
def test_the_interval_excludes_zero_exactly_where_the_test_rejects(a: Arm, b: Arm, level: float) -> None:
    d = difference(a, b)
    assume(abs(d.p_value / (1 - level) - 1) > 1e-9)
    low, high = d.interval(level)
    assert (low > 0 or high < 0) == (d.p_value < 1 - level)


@PROPERTY
@given(ARMS, ARMS, st.floats(-1e4, 1e4), st.integers(-60, 60))
def test_units_do_not_change_the_test(a: Arm, b: Arm, shift: float, power: int) -> None:
    """Also where squared variances would underflow."""
    unit = 10.0**power
    d = difference(a, b)
    scaled = difference(*(Arm(x.n, x.mean * unit, x.variance_of_mean * unit**2) for x in (a, b)))
    moved = difference(*(Arm(x.n, x.mean + shift, x.variance_of_mean) for x in (a, b)))
    assert scaled.log10_p == pytest.approx(d.log10_p, rel=1e-9, abs=1e-12)
    assert scaled.degrees_of_freedom == pytest.approx(d.degrees_of_freedom, rel=1e-9, abs=0)
    assert moved.estimate == pytest.approx(d.estimate, abs=1e-11)


@PROPERTY
@given(ARMS, ARMS)
def test_degrees_of_freedom_lie_between_the_smaller_arm_and_both(a: Arm, b: Arm) -> None:
    df = difference(a, b).degrees_of_freedom
    assert (min(a.n, b.n) - 1) * (1 - 1e-9) <= df <= (a.n + b.n - 2) * (1 + 1e-9)


def test_one_arm_may_be_constant() -> None:
    """No conversions in control: the test is that of the other arm alone."""
    d = difference(Arm(500, 0.0, 0.0), Arm(400, 0.02, 0.0001))
    assert d.degrees_of_freedom == pytest.approx(399)
    assert d.statistic == pytest.approx(2.0)


def test_failure_is_an_error_and_never_p_equal_to_one() -> None:
    with pytest.raises(ValueError, match="neither arm varies"):
        difference(Arm(500, 1.0, 0.0), Arm(400, 1.0, 0.0))
    with pytest.raises(ValueError, match="two users"):
        difference(Arm(1, 1.0, 0.1), Arm(400, 1.0, 0.1))
    with pytest.raises(ValueError, match="two users"):
        mean_interval(Arm(1, 1.0, 0.1), 0.95)
    with pytest.raises(ValueError, match="neither arm varies"):
        difference(Arm(5, 1.0, float("nan")), Arm(5, 1.0, 0.1))
