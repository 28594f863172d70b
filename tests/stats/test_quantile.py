"""Rank intervals are SciPy's, the standard error a published one, and failures say what would be enough."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import special, stats

from exp_platform.stats.arms import Arm
from exp_platform.stats.quantile import (
    arm_quantile,
    fewest_users,
    rank_interval,
    reach,
    standard_error,
    widened,
)
from exp_platform.stats.welch import difference


@given(st.integers(2, 3000), st.floats(0.01, 0.99))
def test_the_ranks_are_those_of_scipys_quantile_test(n: int, q: float) -> None:
    """`scipy.stats.quantile_test` gives the interval of values: of the values 1 ... n, their ranks."""
    ranks, expected = rank_interval(n, q), stats.quantile_test(np.arange(1.0, n + 1), p=q)
    low, high = expected.confidence_interval(0.95)
    if ranks is None:
        assert np.isnan(low) or np.isnan(high)
    else:
        assert (ranks.low, ranks.high) == (low, high)


@pytest.mark.parametrize(("n", "q"), [(50, 0.5), (401, 0.9), (10_000, 0.99), (10**7, 0.5), (10**7, 0.999)])
def test_the_interval_leaves_at_most_a_fortieth_on_each_side_and_one_rank_less_would_leave_more(
    n: int, q: float
) -> None:
    ranks = rank_interval(n, q)
    assert ranks is not None
    below, above = stats.binom.cdf(ranks.low - 1, n, q), stats.binom.sf(ranks.high - 1, n, q)
    assert (
        max(below, above)
        <= 0.025
        < min(stats.binom.cdf(ranks.low, n, q), stats.binom.sf(ranks.high - 2, n, q))
    )
    assert ranks.width == pytest.approx(-special.ndtri(below) - special.ndtri(above), rel=1e-9)


def test_the_standard_error_of_a_median_is_that_of_statpsych() -> None:
    """The example of `ci.median` of the R package statpsych, which prints 4.292277 for the interval (10.8, 30.9)."""
    y = [
        30.2,
        20.4,
        15.1,
        10.2,
        10.5,
        60.8,
        20.8,
        25.0,
        20.7,
        30.9,
        10.8,
        5.1,
        50.9,
        40.0,
        20.9,
        10.8,
        0,
        20.5,
        50.8,
    ]
    ranks = rank_interval(19, 0.5)
    assert ranks is not None
    low, high = np.sort(y)[[ranks.low - 1, ranks.high - 1]]
    assert (low, high) == (10.8, 30.9)
    assert standard_error(19, 0.5, low, high) == pytest.approx(4.292277, abs=5e-7)


def test_in_a_large_sample_the_standard_error_is_the_one_that_knows_the_density() -> None:
    """sqrt(q (1 - q) / n) / f at the quantile: 1 % apart at ten million users of a normal distribution."""
    n, q = 10_000_000, 0.9
    ranks = rank_interval(n, q)
    assert ranks is not None
    # Where these order statistics are expected
    low, high = special.ndtri(np.array([ranks.low, ranks.high]) / (n + 1))
    known = np.sqrt(q * (1 - q) / n) / stats.norm.pdf(special.ndtri(q))
    assert standard_error(n, q, low, high) == pytest.approx(known, rel=0.01)


@pytest.mark.parametrize(("q", "n"), [(0.5, 6), (0.9, 36), (0.99, 368), (0.01, 368), (0.999, 3688)])
def test_the_fewest_users_are_those_that_have_an_interval(q: float, n: int) -> None:
    assert fewest_users(q) == n
    assert rank_interval(n, q) is not None
    assert rank_interval(n - 1, q) is None
    for numbers in (lambda: standard_error(n - 1, q, 0.0, 1.0), lambda: arm_quantile(n - 1, q, 0.5, 0.1)):
        with pytest.raises(ValueError, match=f"{n - 1} users are too few .* {n} have one"):
            numbers()


def test_a_tie_over_the_whole_rank_interval_has_no_error_to_test_with() -> None:
    with pytest.raises(ValueError, match=r"the 0\.9 quantile lies within a tie at 3 "):
        arm_quantile(1000, 0.9, 3.0, 0.0)


@pytest.mark.parametrize("q", [0.0, 1.0, -0.1, float("nan")])
def test_q_lies_strictly_between_0_and_1(q: float) -> None:
    for call in (lambda: rank_interval(100, q), lambda: fewest_users(q)):
        with pytest.raises(ValueError, match="q must lie between 0 and 1"):
            call()


def test_the_degrees_of_freedom_are_those_of_the_spacing_as_simulated() -> None:
    """The squared distance of two order statistics of a uniform sample varies as a chi-square over its df does."""
    n, q = 400, 0.5
    ranks = rank_interval(n, q)
    assert ranks is not None
    m = ranks.high - ranks.low
    assert ranks.degrees_of_freedom == m / 2
    squares = np.random.default_rng(3).beta(m, n + 1 - m, 200_000) ** 2
    assert 2 * squares.mean() ** 2 / squares.var() == pytest.approx(m / 2, rel=0.15)


def test_welch_takes_an_arms_own_degrees_of_freedom() -> None:
    control, treatment = Arm(1000, 5.0, 0.04, 14.0), Arm(1000, 6.0, 0.09, 10.0)
    d = difference(control, treatment)
    assert d.degrees_of_freedom == pytest.approx(0.13**2 / (0.04**2 / 14 + 0.09**2 / 10), rel=1e-12)
    assert d.p_value == pytest.approx(2 * stats.t.sf(1 / np.sqrt(0.13), d.degrees_of_freedom), rel=1e-9)


@pytest.mark.parametrize(("n", "q"), [(50, 0.5), (60, 0.9), (1000, 0.5), (5000, 0.99)])
def test_the_reach_ends_where_the_quantile_lies_beyond_less_often_than_once_in_two_thousand(
    n: int, q: float
) -> None:
    low, high = reach(n, q)
    beyond = stats.binom.cdf(low - 1, n, q), stats.binom.sf(high - 1, n, q)
    assert min(beyond) >= 5e-4
    assert low == 1 or stats.binom.cdf(low - 2, n, q) < 5e-4
    assert high == n or stats.binom.sf(high, n, q) < 5e-4


@given(st.integers(0, 10_000), st.sampled_from([(60, 0.5), (200, 0.9), (1000, 0.5)]), st.booleans())
def test_no_user_within_reach_is_farther_from_the_quantile_than_the_widened_error_says(
    seed: int, size: tuple[int, float], gap: bool
) -> None:
    """Uniform values, with a gap of one beside the quantile or without; not widened, twice the error is the most."""
    n, q = size
    rng, ranks = np.random.default_rng(seed), rank_interval(*size)
    assert ranks is not None
    y = np.sort(rng.random(n))
    y += gap * (y > q)
    at = float(np.quantile(y, q))
    smooth = standard_error(n, q, float(y[ranks.low - 1]), float(y[ranks.high - 1]))
    error = float(widened(n, q, np.array(at), np.array(smooth), y, np.arange(1, n + 1)))
    assert error >= smooth
    allowed = error if error > smooth else 2 * error
    low, high = reach(n, q)
    for rank in range(low, high + 1):
        missed = stats.binom.cdf(rank - 1, n, q) if y[rank - 1] < at else stats.binom.sf(rank - 1, n, q)
        errors_away = max(1.0, float(stats.t.isf(min(missed, 0.5), ranks.degrees_of_freedom)))
        assert abs(y[rank - 1] - at) <= errors_away * allowed * (1 + 1e-9)


def test_too_few_users_and_levels_out_of_range_are_refused() -> None:
    with pytest.raises(ValueError, match=r"5 users are too few for an interval of the 0\.5 quantile"):
        widened(5, 0.5, np.array(1.0), np.array(1.0), np.array([1.0]), np.array([3]))
    with pytest.raises(ValueError, match="q must lie between 0 and 1"):
        reach(0, 0.5)
