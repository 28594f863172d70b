"""Planning numbers against statsmodels, numerical integration and simulated experiments."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import integrate, stats
from statsmodels.stats.power import TTestIndPower

from exp_platform.stats.power import (
    PerArm,
    SequenceDesign,
    days_needed,
    mde,
    of_means,
    of_proportions,
    of_quantile,
    of_scores,
    power,
    required_per_arm,
    scaled,
)
from exp_platform.stats.quantile import rank_interval
from exp_platform.stats.sequential import rho

REFERENCE = json.loads((Path(__file__).parents[1] / "references" / "planning" / "values.json").read_text())
PROPERTY = settings(max_examples=60)


def test_size_from_an_independent_package() -> None:
    """statsmodels; the normal approximation gives 6279.09."""
    found = required_per_arm(0.05, of_means(1.0), alpha=0.05, power=0.8)
    assert found.control == pytest.approx(6280.0489, abs=5e-5)
    assert found.treatment == found.control
    assert found.total == 2 * 6281


@pytest.mark.parametrize("effect, alpha, target", [(0.2, 0.05, 0.8), (0.01, 0.0045, 0.9), (1.5, 0.1, 0.7)])
def test_equal_arms_equal_statsmodels(effect: float, alpha: float, target: float) -> None:
    n = TTestIndPower().solve_power(effect, alpha=alpha, power=target)
    assert required_per_arm(effect, of_means(1.0), alpha=alpha, power=target).control == pytest.approx(
        n, rel=1e-7
    )
    assert power(effect, of_means(1.0), n, n, alpha) == pytest.approx(target, rel=1e-7, abs=0)
    assert mde(of_means(1.0), n, n, alpha=alpha, power=target) == pytest.approx(effect, rel=1e-7, abs=0)


def integrated_power(shift: float, df: float, alpha: float) -> float:
    """P(|T| > critical), T = (Z + shift) / S, integrated over S^2 ~ chi-square / df."""
    critical = stats.t.isf(alpha / 2, df)
    value, _ = integrate.quad(
        lambda v: (
            stats.chi2.pdf(v, df)
            * (
                stats.norm.sf(critical * math.sqrt(v / df) - shift)
                + stats.norm.cdf(-critical * math.sqrt(v / df) - shift)
            )
        ),
        *stats.chi2.ppf([1e-15, 1 - 1e-15], df),
        limit=200,
        epsabs=1e-12,
    )
    return float(value)


@pytest.mark.parametrize(
    "n0, n1, sd0, sd1, effect, alpha",
    [(60, 240, 2, 1, 0.5, 0.05), (500, 60, 1, 3, -0.9, 0.01), (9, 4, 1, 1, 0.2, 0.2)],
)
def test_unequal_arms_equal_numerical_integration(
    n0: int, n1: int, sd0: float, sd1: float, effect: float, alpha: float
) -> None:
    v0, v1 = sd0**2 / n0, sd1**2 / n1
    df = (v0 + v1) ** 2 / (v0**2 / (n0 - 1) + v1**2 / (n1 - 1))
    expected = integrated_power(effect / math.sqrt(v0 + v1), df, alpha)
    assert power(effect, of_means(sd0, sd1), n0, n1, alpha) == pytest.approx(expected, rel=1e-8, abs=0)


def test_unequal_arms_equal_simulated_experiments() -> None:
    rng, n0, n1 = np.random.default_rng(4), 40, 160
    x, y = rng.normal(0, 2, (20_000, n0)), rng.normal(0.8, 1, (20_000, n1))
    rejected = stats.ttest_ind(y, x, axis=1, equal_var=False).pvalue < 0.05
    assert power(0.8, of_means(2, 1), n0, n1, 0.05) == pytest.approx(rejected.mean(), abs=0.01)


@pytest.mark.parametrize(("effect", "n", "alpha", "expected"), REFERENCE["t_test"])
def test_stored_power_of_the_t_test(effect: float, n: float, alpha: float, expected: float) -> None:
    assert power(effect, of_means(1.0), n, n, alpha) == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.parametrize(("effect", "alpha", "target", "expected"), REFERENCE["sizes"])
def test_stored_sizes_of_the_t_test(effect: float, alpha: float, target: float, expected: float) -> None:
    found = required_per_arm(effect, of_means(1.0), alpha=alpha, power=target).control
    assert found == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.parametrize(("effect", "sd0", "n0", "sd1", "n1", "alpha", "expected"), REFERENCE["welch"])
def test_welch_at_unequal_arms_and_spreads(
    effect: float, sd0: float, n0: float, sd1: float, n1: float, alpha: float, expected: float
) -> None:
    assert power(effect, of_means(sd0, sd1), n0, n1, alpha) == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.parametrize(("baseline", "effect", "n0", "n1", "alpha", "expected"), REFERENCE["score"])
def test_the_score_test_has_the_pooled_error_without_an_effect(
    baseline: float, effect: float, n0: int, n1: int, alpha: float, expected: float
) -> None:
    assert power(effect, of_scores(baseline), n0, n1, alpha) == pytest.approx(expected, rel=1e-9, abs=0)


@pytest.mark.parametrize(("baseline", "effect", "n0", "n1", "alpha", "counted"), REFERENCE["score_counted"])
def test_power_of_the_score_test_counted_over_all_tables(
    baseline: float, effect: float, n0: int, n1: int, alpha: float, counted: float
) -> None:
    """At unequal arms Welch's formula is up to 14 points off what the score test does, the score test's own 1.5."""
    assert power(effect, of_scores(baseline), n0, n1, alpha) == pytest.approx(counted, abs=0.015)


@pytest.mark.parametrize(
    ("effect", "sd0", "n0", "sd1", "n1", "alpha", "tuned", "expected"), REFERENCE["sequence"]
)
def test_one_look_at_a_confidence_sequence(
    effect: float, sd0: float, n0: float, sd1: float, n1: float, alpha: float, tuned: float, expected: float
) -> None:
    design = SequenceDesign(of_means(sd0, sd1).variances, rho(alpha, tuned))
    assert power(effect, design, n0, n1, alpha) == pytest.approx(expected, rel=1e-9, abs=0)


def test_what_a_confidence_sequence_finds_is_its_half_width_and_the_noise_around_it() -> None:
    """At variance 1 and 5,000 users of both arms the half width is 0.04292433718827 (gbstats)."""
    sd = 0.5  # 5000 (sd^2 / 2500 + sd^2 / 2500) = 1
    design = SequenceDesign(of_means(sd).variances, rho(0.05, 5000))
    found = mde(design, 2500, 2500, alpha=0.05, power=0.8)
    assert found == pytest.approx(0.04292433718827 + stats.norm.isf(0.2) / math.sqrt(5000), rel=1e-9, abs=0)


@pytest.mark.parametrize("q", [0.5, 0.9])
def test_a_quantiles_error_has_the_degrees_of_freedom_of_its_ranks(q: float) -> None:
    for n in (200, 5000):
        ranks = rank_interval(n, q)
        assert ranks is not None
        found = of_quantile(2.0, q).degrees_of_freedom(n)
        assert found == pytest.approx(ranks.degrees_of_freedom, abs=1.0)
    fewer = power(0.6, of_quantile(2.0, q), 200, 200, 0.05)
    assert fewer < power(0.6, of_means(2.0), 200, 200, 0.05)


def test_a_smaller_variance_in_one_arm_counts_in_that_arm_alone() -> None:
    assert scaled(of_proportions(0.5).variances, 0.5, 2.0)(0.1) == pytest.approx((0.125, 0.48))


def test_proportions_use_the_variance_of_both_rates() -> None:
    found = required_per_arm(0.01, of_proportions(0.1), alpha=0.05)
    z = stats.norm.isf(0.025) + stats.norm.isf(0.2)
    by_formula = z**2 * (0.1 * 0.9 + 0.11 * 0.89) / 0.01**2  # Fleiss 1981, eq. 3.18 without correction
    assert found.control == pytest.approx(by_formula, rel=1e-3, abs=0)
    fewer = required_per_arm(-0.01, of_proportions(0.1), alpha=0.05)
    assert fewer.control < found.control, "a decrease has the smaller variance"


@pytest.mark.parametrize("ratio", [0.1, 0.5, 3.0])
def test_unequal_arms_need_more_users_in_all(ratio: float) -> None:
    found = required_per_arm(0.1, of_means(1.0), alpha=0.05, ratio=ratio)
    equal = required_per_arm(0.1, of_means(1.0), alpha=0.05)
    assert found.treatment / found.control == pytest.approx(ratio)
    assert found.total > equal.total
    assert found.total == pytest.approx(equal.total * (1 + ratio) * (1 + 1 / ratio) / 4, rel=0.01, abs=0)


@PROPERTY
@given(
    st.floats(0.001, 3),
    st.floats(1e-5, 0.2),
    st.floats(0.5, 0.99),
    st.floats(0.05, 20),
    st.sampled_from([1, -1]),
)
def test_size_power_and_mde_are_inverse_to_each_other(
    effect: float, alpha: float, target: float, ratio: float, sign: int
) -> None:
    spread = of_means(1.0, 1.5)
    n0, n1 = required_per_arm(sign * effect, spread, alpha=alpha, power=target, ratio=ratio)
    if min(n0, n1) > 2.01:  # else two users are enough
        assert power(sign * effect, spread, n0, n1, alpha) == pytest.approx(target, rel=1e-6, abs=0)
        assert mde(spread, n0, n1, alpha=alpha, power=target, sign=sign) == pytest.approx(
            sign * effect, rel=1e-6
        )


@PROPERTY
@given(
    st.sampled_from(["score", "quantile", "sequence"]),
    st.floats(0.01, 0.3),
    st.floats(1e-5, 0.2),
    st.floats(0.5, 0.99),
    st.floats(0.05, 20),
    st.sampled_from([1, -1]),
)
def test_so_they_are_for_every_other_test(
    name: str, effect: float, alpha: float, target: float, ratio: float, sign: int
) -> None:
    design = {
        "score": of_scores(0.4),
        "quantile": of_quantile(1.0, 0.8),
        "sequence": SequenceDesign(of_means(1.0).variances, rho(alpha, 5000)),
    }[name]
    n0, n1 = required_per_arm(sign * effect, design, alpha=alpha, power=target, ratio=ratio)
    if min(n0, n1) > 2.01:
        assert power(sign * effect, design, n0, n1, alpha) == pytest.approx(target, rel=1e-6, abs=0)
        found = mde(design, n0, n1, alpha=alpha, power=target, sign=sign)
        assert found == pytest.approx(sign * effect, rel=1e-6, abs=0)


@PROPERTY
@given(st.floats(1e-8, 0.5), st.floats(0, 1e6), st.floats(2, 1e9), st.floats(2, 1e9))
def test_power_is_never_below_alpha_nor_above_one(alpha: float, effect: float, n0: float, n1: float) -> None:
    found = power(effect, of_means(1.0), n0, n1, alpha)
    assert alpha * (1 - 1e-6) <= found <= 1.0
    assert found == pytest.approx(power(-effect, of_means(1.0), n0, n1, alpha), rel=1e-12, abs=0)


def test_power_without_an_effect_is_alpha() -> None:
    assert power(0.0, of_means(2.0), 50, 80, 0.03) == pytest.approx(0.03, rel=1e-10, abs=0)


def test_few_users_at_a_tiny_level_have_a_power_all_the_same() -> None:
    """scipy's noncentral t gives NaN here; T is then the shift over a root of chi-square / df, df 1."""
    share = 1e-9
    variances = of_means(1.0, math.sqrt(share))  # one arm alone: df 1 with two users
    shift, critical = 1e5, stats.t.isf(5e-9, 1)
    expected = stats.chi2.cdf((shift / critical) ** 2, 1)
    found = power(shift * math.sqrt(0.5), variances, 2, 2, 1e-8)
    assert found == pytest.approx(expected, rel=1e-3, abs=0)
    assert math.isfinite(power(1e7, variances, 2, 2, 1e-8))


def test_mde_of_a_proportion_stays_possible() -> None:
    up, down = (mde(of_proportions(0.1), 400, 400, alpha=0.05, sign=sign) for sign in (1, -1))
    assert 0.06 < up < 0.08
    assert -0.06 < down < -0.05
    nearly_all = mde(of_proportions(0.1), 80, 80, alpha=0.05, sign=-1)
    assert -0.1 < nearly_all < -0.09
    with pytest.raises(ValueError, match="no effect that the metric can have"):
        mde(of_proportions(0.1), 20, 20, alpha=0.05, sign=-1)


@pytest.mark.parametrize(
    "users, daily, days", [(1000, 100, 10), (1001, 100, 11), (0, 100, 0), (-5, 100, 0), (1, 0.5, 2)]
)
def test_days(users: float, daily: float, days: int) -> None:
    assert days_needed(users, daily) == days


def test_two_users_are_the_fewest_whatever_the_split() -> None:
    """Rounding of the split must not ask for less than two users, which have no variance."""
    for parts in range(2, 100):
        found = required_per_arm(1e4, of_means(1.0), alpha=0.05, ratio=1 / parts)
        assert found == pytest.approx((2 * parts, 2))


def test_whole_users_are_rounded_up_in_each_arm() -> None:
    assert PerArm(10.2, 20.0).total == 31


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: of_means(0), "standard deviations"),
        (lambda: of_means(1, math.nan), "standard deviations"),
        (lambda: of_quantile(1.0, 1.0), "q must"),
        (lambda: of_scores(0.0), "baseline"),
        (lambda: of_scores(0.9).power(0.2, 10, 10, 0.05), "out of"),
        (lambda: of_proportions(1.0), "baseline"),
        (lambda: of_proportions(0.9).variances(0.2), "out of"),
        (lambda: required_per_arm(0.0, of_means(1), alpha=0.05), "not zero"),
        (lambda: required_per_arm(math.nan, of_means(1), alpha=0.05), "not zero"),
        (lambda: required_per_arm(1e-9, of_means(1), alpha=0.05), "needs more than"),
        (lambda: required_per_arm(0.1, of_means(1), alpha=0.9, power=0.8), "alpha < power"),
        (lambda: required_per_arm(0.1, of_means(1), alpha=0.05, ratio=0), "ratio"),
        (lambda: required_per_arm(0.95, of_proportions(0.1), alpha=0.05), "out of"),
        (lambda: mde(of_means(1), 10, 10, alpha=0, power=0.8), "alpha < power"),
        (lambda: mde(of_means(1), 10, 10, alpha=0.05, sign=0), "sign"),
        (lambda: mde(of_means(1), 1, 10, alpha=0.05), "two users"),
        (lambda: power(0.1, of_means(1), 10, 1, 0.05), "two users"),
        (lambda: power(0.1, of_means(1), 10, 10, 1.5), "between 0 and 1"),
        (lambda: days_needed(10, 0), "arrive"),
        (lambda: days_needed(math.inf, 10), "arrive"),
    ],
)
def test_impossible_plans_raise(call: object, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        call()  # type: ignore[operator]
