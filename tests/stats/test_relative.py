"""Relative effects: published numbers, the set checked point by point, and agreement with the test."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exp_platform.stats.arms import Arm, arm_mean
from exp_platform.stats.intervals import normal_critical, t_critical, t_two_sided
from exp_platform.stats.moments import Moments
from exp_platform.stats.relative import Kind, delta, delta_standard_error, fieller, log_ratio
from exp_platform.stats.welch import difference

PROPERTY = settings(max_examples=300)

# Means within some 30 standard errors of zero, so that every kind of set turns up.
ARMS = st.builds(
    lambda n, z, se: Arm(n, z * se, se**2), st.integers(2, 10**6), st.floats(-30, 30), st.floats(0.01, 10)
)
CRITICAL = st.floats(0.5, 6)


def from_sums(total: float, squares: float, n: int) -> Arm:
    return arm_mean(Moments(n, np.array([total / n]), np.array([[squares - total**2 / n]])))


def not_rejected(control: Arm, treatment: Arm, r: float, critical: float) -> bool:
    """By the definition: whether treatment - control - r |control| is within its own standard errors of 0."""
    ratio = 1 - r if control.mean < 0 else 1 + r
    error = treatment.variance_of_mean + ratio**2 * control.variance_of_mean
    distance = treatment.mean - control.mean - r * abs(control.mean)
    return bool(distance**2 <= critical**2 * error)


def test_the_sign_of_a_relative_effect_is_that_of_the_difference() -> None:
    """From -9.89 to -8.46 is +14.46 % by hand (1.43 / 9.89), whatever method gives its interval."""
    control, treatment, worse = Arm(3000, -9.89, 0.02), Arm(3000, -8.46, 0.02), Arm(3000, -11.32, 0.02)
    for method in (fieller, delta, log_ratio):
        up, down = method(control, treatment, 1.96), method(control, worse, 1.96)
        assert (up.point, down.point) == (pytest.approx(1.43 / 9.89), pytest.approx(-1.43 / 9.89))
        assert up.low is not None
        assert up.high is not None
        assert down.high is not None
        assert 0 < up.low < 1.43 / 9.89 < up.high
        assert down.high < 0
    rng = np.random.default_rng(4)
    for _ in range(2000):
        m0, m1 = rng.normal(0, 2, 2)
        found = fieller(Arm(500, m0, rng.uniform(0.01, 1)), Arm(500, m1, rng.uniform(0.01, 1)), 2.0)
        assert found.point is not None
        assert np.sign(found.point) == np.sign(m1 - m0)
        if found.kind is Kind.COMPLEMENT:
            assert found.gap is not None
            assert found.gap[0] < found.gap[1]


def test_a_mean_that_only_rounding_tells_from_zero_is_no_baseline() -> None:
    """0.1 + 0.2 - 0.3 is 5.6e-17 where the values are some 1: nothing is a share of that."""
    values = np.tile([0.1 + 0.2, -0.3], 500)
    control, treatment = arm_mean(Moments.of(values)), arm_mean(Moments.of(values + 0.1))
    assert abs(control.mean) < 1e-16
    for method in (fieller, delta, log_ratio):
        assert method(control, treatment, 2.0).point is None


def test_sums_from_an_independent_package() -> None:
    """gbstats on the same sums; its p uses the degrees of freedom of the absolute test."""
    a, b = from_sums(1396.87, 52377.9767, 3407), from_sums(2422.7, 134698.29, 3461)
    df = difference(a, b).degrees_of_freedom
    found = delta(a, b, t_critical(0.95, df))
    assert found.point == pytest.approx(0.707317073, abs=5e-10)
    assert found.low == pytest.approx(-0.0352600891, abs=5e-11)
    assert found.high == pytest.approx(1.44989424, abs=5e-9)
    assert t_two_sided(0.29 / 0.41 / delta_standard_error(a, b), df).p == pytest.approx(0.0619118, abs=5e-8)
    f = fieller(a, b, normal_critical(0.95))
    assert (f.low, f.high) == (pytest.approx(0.0942, abs=5e-5), pytest.approx(1.708, abs=5e-4))
    assert f.excludes_zero


def test_proportions_take_the_sample_variance() -> None:
    """14 / 28 against 16 / 30; a variance p (1 - p) without n / (n - 1) gives (-0.4777, 0.6110) instead."""
    a, b = from_sums(14, 14, 28), from_sums(16, 16, 30)
    df = difference(a, b).degrees_of_freedom
    found = delta(a, b, t_critical(0.95, df))
    assert (found.low, found.high) == (pytest.approx(-0.487358, abs=5e-7), pytest.approx(0.620691, abs=5e-7))
    assert t_two_sided((16 / 15 - 1) / delta_standard_error(a, b), df).p == pytest.approx(0.810377, abs=5e-7)


def test_three_methods_on_the_same_means() -> None:
    """Means 50 and 55 with variances .25 and .30, normal critical value; computed outside this project."""
    a, b, z = Arm(1000, 50, 0.25), Arm(1000, 55, 0.30), normal_critical(0.95)
    exact, logged, approximate = fieller(a, b, z), log_ratio(a, b, z), delta(a, b, z)
    assert (exact.low, exact.high) == pytest.approx((0.0699871179, 0.1308583278), abs=5e-11)
    assert (logged.low, logged.high) == pytest.approx((0.0699901377, 0.1308515446), abs=5e-11)
    assert (approximate.low, approximate.high) == pytest.approx((0.0695731767, 0.1304268233), abs=5e-11)
    assert [m.point for m in (exact, logged, approximate)] == pytest.approx([0.1] * 3)
    assert [m.kind for m in (exact, logged, approximate)] == [
        Kind.BOUNDED,
        Kind.APPROXIMATE,
        Kind.APPROXIMATE,
    ]
    assert all(m.excludes_zero for m in (exact, logged, approximate))


@PROPERTY
@given(ARMS, ARMS, CRITICAL, st.floats(-20, 20))
def test_fieller_set_holds_exactly_the_effects_that_are_not_rejected(
    control: Arm, treatment: Arm, critical: float, r: float
) -> None:
    # One bound at infinity
    assume(abs(control.mean**2 / (critical**2 * control.variance_of_mean) - 1) > 1e-9)
    found = fieller(control, treatment, critical)
    ends = (found.low, found.high) if found.kind is Kind.BOUNDED else found.gap or ()
    assume(all(abs(r - end) > 1e-9 * (1 + abs(end)) for end in ends if end is not None))
    if found.kind is Kind.BOUNDED:
        assert found.low is not None
        assert found.high is not None
        inside = found.low <= r <= found.high
    elif found.kind is Kind.COMPLEMENT:
        assert (found.low, found.high) == (None, None)
        assert found.gap is not None
        inside = not found.gap[0] < r < found.gap[1]
    else:
        assert (found.kind, found.low, found.high) == (Kind.UNBOUNDED, None, None)
        inside = True
    assert inside == not_rejected(control, treatment, r, critical)


@PROPERTY
@given(ARMS, ARMS, st.floats(0.5, 0.9999))
def test_fieller_excludes_zero_exactly_where_the_test_rejects(
    control: Arm, treatment: Arm, level: float
) -> None:
    d = difference(control, treatment)
    assume(abs(d.p_value / (1 - level) - 1) > 1e-9)
    found = fieller(control, treatment, t_critical(level, d.degrees_of_freedom))
    assert found.excludes_zero == (d.p_value < 1 - level)
    if found.kind is Kind.BOUNDED:
        assert found.low is not None
        assert found.high is not None
        assert found.excludes_zero == (found.low > 0 or found.high < 0)


@PROPERTY
@given(ARMS, ARMS, CRITICAL)
def test_a_bounded_set_holds_the_point(control: Arm, treatment: Arm, critical: float) -> None:
    found = fieller(control, treatment, critical)
    if found.kind is Kind.BOUNDED:
        assert found.low is not None
        assert found.point is not None
        assert found.high is not None
        slack = 1e-9 * (1 + abs(found.point))
        assert found.low - slack <= found.point <= found.high + slack


def test_every_kind_of_set() -> None:
    clear = Arm(900, 10.0, 1.0)
    assert fieller(clear, Arm(900, 20.0, 1.0), 2).kind is Kind.BOUNDED
    split = fieller(Arm(900, 1.0, 1.0), Arm(900, 20.0, 1.0), 2)
    assert (split.kind, split.low, split.high, split.excludes_zero) == (Kind.COMPLEMENT, None, None, True)
    assert split.gap is not None
    assert split.gap[0] < 0 < split.gap[1]
    nothing = fieller(Arm(900, 1.0, 1.0), Arm(900, 1.0, 1.0), 2)
    assert (nothing.kind, nothing.gap, nothing.excludes_zero) == (Kind.UNBOUNDED, None, False)
    on_the_edge = fieller(Arm(900, 2.0, 1.0), Arm(900, 20.0, 1.0), 2)
    assert (on_the_edge.kind, on_the_edge.excludes_zero) == (Kind.UNBOUNDED, True)


def test_zero_conversions_in_control_have_no_relative_effect() -> None:
    """The original platform ended in a TypeError here."""
    none = fieller(Arm(900, 0.0, 0.0), Arm(900, 0.1, 0.01), 2)
    assert (none.kind, none.point, none.low, none.high) == (Kind.UNDEFINED, None, None, None)
    by_chance = fieller(Arm(900, 0.0, 0.5), Arm(900, 0.1, 0.01), 2)
    assert (by_chance.kind, by_chance.point) == (Kind.UNBOUNDED, None)


def test_an_approximation_that_does_not_exist_is_undefined() -> None:
    """The point is told wherever control is not zero; the log needs two means of one sign."""
    zero, one, minus = Arm(900, 0.0, 0.5), Arm(900, 1.0, 0.01), Arm(900, -1.0, 0.01)
    for method in (delta, log_ratio):
        assert method(zero, one, 2) == (None, None, None, Kind.UNDEFINED, None, False)
    assert delta(one, minus, 2).kind is Kind.APPROXIMATE
    for treatment, point in ((minus, -2.0), (zero, -1.0)):
        assert log_ratio(one, treatment, 2) == (point, None, None, Kind.UNDEFINED, None, False)
    assert log_ratio(minus, Arm(900, -2.0, 0.01), 2).kind is Kind.APPROXIMATE


def test_a_bound_beyond_all_numbers_is_unbounded() -> None:
    """exp(2 x 1000) is no double; a mean of 1e-300 beside a deviation of 30 is no baseline."""
    assert log_ratio(Arm(900, 1.0, 0.01), Arm(900, 1e-4, 0.01), 2)[:4] == (
        pytest.approx(1e-4 - 1),
        None,
        None,
        Kind.UNBOUNDED,
    )
    for method in (delta, log_ratio):
        assert method(Arm(900, 1e-300, 1.0), Arm(900, 1.0, 1.0), 2)[:4] == (None, None, None, Kind.UNDEFINED)
    assert log_ratio(Arm(900, 1e-9, 1.0), Arm(900, 1.0, 1.0), 2)[1:4] == (None, None, Kind.UNBOUNDED)


def test_the_covariance_of_both_means_counts() -> None:
    """200,000 pairs of means drawn with a correlation of .6: their ratios, and its logs, spread as is said."""
    rng = np.random.default_rng(3)
    covariance = 0.6 * np.sqrt(0.25 * 0.30)
    m0, m1 = rng.multivariate_normal([50, 55], [[0.25, covariance], [covariance, 0.30]], 200_000).T
    a, b = Arm(1000, 50, 0.25), Arm(1000, 55, 0.30)
    by_delta, by_log = delta(a, b, 2.0, covariance), log_ratio(a, b, 2.0, covariance)
    assert by_delta.low is not None
    assert by_log.low is not None
    assert by_log.high is not None
    assert (0.1 - by_delta.low) / 2 == pytest.approx(np.std(m1 / m0), rel=0.01, abs=0)
    spread = np.log((1 + by_log.high) / (1 + by_log.low)) / 4
    assert spread == pytest.approx(np.std(np.log(m1 / m0)), rel=0.01, abs=0)


def test_known_arms_give_a_point() -> None:
    for mean in (5.0, 7.0):
        found = fieller(Arm(900, 5.0, 0.0), Arm(900, mean, 0.0), 2)
        assert (found.low, found.point, found.high) == pytest.approx([mean / 5 - 1] * 3)
        assert found.excludes_zero == (mean != 5.0)


@pytest.mark.parametrize("share", [0.5, 0.1])
def test_peer_defect_relative_interval_is_right_at_unequal_arms(share: float) -> None:
    """20,000 repeated experiments: the intervals hold the true lift 95 times in 100, whatever the split."""
    rng = np.random.default_rng(21)
    n0, n1, repeats = round(4000 * (1 - share)), round(4000 * share), 20_000
    m0 = rng.normal(10, 20 / np.sqrt(n0), repeats)
    m1 = rng.normal(12, 30 / np.sqrt(n1), repeats)
    z, truth = normal_critical(0.95), 0.2
    arms = [(Arm(n0, a, 400 / n0), Arm(n1, b, 900 / n1)) for a, b in zip(m0, m1, strict=True)]
    exact = [f for f in (fieller(a, b, z) for a, b in arms) if f.low is not None and f.high is not None]
    assert len(exact) == repeats
    assert np.mean([f.low <= truth <= f.high for f in exact]) == pytest.approx(0.95, abs=0.005)
    assert delta_standard_error(*arms[0]) == pytest.approx(np.std(m1 / m0), rel=0.12, abs=0)
    expected = delta_standard_error(Arm(n0, 10, 400 / n0), Arm(n1, 12, 900 / n1))
    assert np.std(m1 / m0) == pytest.approx(expected, rel=0.02, abs=0)


def test_impossible_requests_raise() -> None:
    zero, one = Arm(9, 0.0, 1.0), Arm(9, 1.0, 1.0)
    with pytest.raises(ValueError, match="control's mean is zero"):
        delta_standard_error(zero, one)
    for method in (fieller, delta, log_ratio):
        for critical in (0.0, -1.0, float("nan"), float("inf")):
            with pytest.raises(ValueError, match="critical"):
                method(one, one, critical)
