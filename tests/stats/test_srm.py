"""Sample ratio mismatch against scipy.stats, plain enumeration, and the definition of an e-value."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from exp_platform.stats.srm import (
    chi_square,
    e_value_in_periods,
    exact,
    mismatch,
    mismatch_in_periods,
    sequential_e_value,
    uneven_loss,
)


@pytest.mark.parametrize("counts, p", [((473661, 471485), 0.025204472), ((21, 26, 30), 0.452843906)])
def test_equal_shares_from_an_independent_package(counts: tuple[int, ...], p: float) -> None:
    found = mismatch(counts, [1] * len(counts))
    assert found.p == pytest.approx(p, abs=5e-10)
    assert (found.df, found.method) == (len(counts) - 1, "chi_square")


@pytest.mark.parametrize(
    "counts, shares", [((700, 310), (0.7, 0.3)), ((1000, 480, 530, 10), (2, 1, 1, 0.02))]
)
def test_peer_defect_planned_shares_need_not_be_equal(
    counts: tuple[int, ...], shares: tuple[float, ...]
) -> None:
    expected = np.array(shares) / sum(shares) * sum(counts)
    reference = stats.chisquare(counts, expected)
    found = chi_square(counts, shares)
    assert found.statistic == pytest.approx(reference.statistic, rel=1e-12, abs=0)
    assert found.p == pytest.approx(reference.pvalue, rel=1e-10, abs=0)
    assert found.p > 0.1, "a split as planned gives no alarm"


def test_log_p_is_finite_for_a_badly_broken_split() -> None:
    found = chi_square((600_000, 400_000), (1, 1))
    assert found.p == 0.0
    assert found.log10_p == pytest.approx(
        (stats.norm.logsf(200) + math.log(2)) / math.log(10), rel=1e-12, abs=0
    )


@pytest.mark.parametrize("counts, share", [((3, 5), 0.5), ((0, 8), 0.5), ((9, 1), 0.7), ((2, 1500), 0.002)])
def test_exact_test_of_two_arms_equals_scipys_binomial_test(counts: tuple[int, int], share: float) -> None:
    found = mismatch(counts, (share, 1 - share))
    assert found.method == "exact"
    assert found.p == pytest.approx(stats.binomtest(counts[0], sum(counts), share).pvalue, rel=1e-9, abs=0)


@pytest.mark.parametrize("counts, shares", [((1, 4, 4), (1, 1, 1)), ((5, 0, 3, 2), (0.4, 0.3, 0.2, 0.1))])
def test_exact_test_of_more_arms_equals_plain_enumeration(
    counts: tuple[int, ...], shares: tuple[float, ...]
) -> None:
    n, planned = sum(counts), np.array(shares) / sum(shares)
    law = stats.multinomial(n, planned)
    every = [c for c in itertools.product(range(n + 1), repeat=len(counts)) if sum(c) == n]
    seen = law.pmf(counts)
    expected = sum(p for p in map(law.pmf, every) if p <= seen * (1 + 1e-7))
    found = mismatch(counts, shares)
    assert found.method == "exact"
    assert found.p == pytest.approx(expected, rel=1e-9, abs=0)
    assert found.log10_p == pytest.approx(math.log10(expected), rel=1e-9, abs=1e-9)
    assert found.statistic == pytest.approx(chi_square(counts, shares).statistic)


def test_exact_log_p_is_finite_far_out() -> None:
    found = exact((2000, 0), (1e-3, 1))
    assert found.p == 0.0
    assert found.log10_p == pytest.approx(2000 * math.log10(1e-3 / 1.001), rel=1e-9, abs=0)


def test_work_is_bounded_by_falling_back_to_chi_square() -> None:
    shares = (0.0001, 1, 1, 1)
    assert mismatch((1, 2000, 2000, 2000), shares).method == "chi_square"
    assert mismatch((1, 50, 50, 50), shares).method == "exact"
    with pytest.raises(ValueError, match="too many outcomes"):
        exact((1, 2000, 2000, 2000), shares)


@pytest.mark.parametrize(
    "counts, e, digits",
    [((100, 100), 0.0882921, 5e-8), ((300, 220), 26.1495, 5e-5), ((800, 600), 55689.32, 5e-3)],
)
def test_e_values_from_the_literature(counts: tuple[int, int], e: float, digits: float) -> None:
    """Lindon and Malek's test, Dirichlet(1, 1) prior, at cumulative counts of three looks."""
    found = sequential_e_value(counts, (1, 1))
    assert found.e_value == pytest.approx(e, abs=digits)
    assert found.log10_e == pytest.approx(math.log10(e), abs=1e-5)


@pytest.mark.parametrize(
    "shares, concentration", [((1, 1, 1), 1.0), ((0.7, 0.2, 0.1), 1.0), ((0.5, 0.25, 0.25), 12.5)]
)
def test_under_the_plan_an_e_value_is_one_on_average(shares: tuple[float, ...], concentration: float) -> None:
    n, law = 12, stats.multinomial(12, np.array(shares) / sum(shares))
    every = [c for c in itertools.product(range(n + 1), repeat=3) if sum(c) == n]
    mean = sum(law.pmf(c) * sequential_e_value(c, shares, concentration).e_value for c in every)
    assert mean == pytest.approx(1.0, rel=1e-9, abs=0)


def test_looking_after_every_user_alarms_as_rarely_as_promised() -> None:
    """The exact chance that e reaches 20 at any of 400 looks, by walking all paths of a fair split."""
    alive, alarmed = np.array([1.0]), 0.0
    for n in range(1, 401):
        alive = (np.append(alive, 0) + np.append(0, alive)) / 2
        for heads in np.flatnonzero(alive):
            if sequential_e_value((int(heads), n - int(heads)), (1, 1)).e_value >= 20:
                alarmed += alive[heads]
                alive[heads] = 0.0
    assert 0.005 < alarmed <= 0.05


def test_e_values_neither_overflow_nor_need_users() -> None:
    huge = sequential_e_value((10**6, 10**4), (1, 1))
    assert math.isfinite(huge.e_value)
    assert huge.log10_e > 1000
    assert sequential_e_value((0, 0), (1, 1)).e_value == pytest.approx(1.0)


@pytest.mark.parametrize(
    "counts, shares, message",
    [
        ((5,), (1,), "two or more"),
        ((5, 6), (1, 1, 1), "two or more"),
        ((5, 6), (1, 0), "positive"),
        ((5, 6), (1, math.nan), "positive"),
        ((5, -6), (1, 1), "whole numbers"),
        ((5.5, 6), (1, 1), "whole numbers"),
        ((5, math.nan), (1, 1), "whole numbers"),
        ((0, 0), (1, 1), "no users"),
    ],
)
def test_impossible_counts_and_shares_raise(
    counts: tuple[int, ...], shares: tuple[float, ...], message: str
) -> None:
    for test in (mismatch, chi_square, exact):
        with pytest.raises(ValueError, match=message):
            test(counts, shares)


def test_a_prior_must_be_positive() -> None:
    with pytest.raises(ValueError, match="concentration"):
        sequential_e_value((5, 6), (1, 1), concentration=0)


def test_periods_are_tested_together_by_the_sum_of_their_statistics() -> None:
    """A ramp from 9 : 1 to 1 : 1: totals far from either, yet each period as planned."""
    counts, shares = [[9050, 950], [5060, 4940]], [[0.9, 0.1], [0.5, 0.5]]
    parts = [stats.chisquare(n, np.array(s) * sum(n)) for n, s in zip(counts, shares, strict=True)]
    total = sum(part.statistic for part in parts)

    found = mismatch_in_periods(counts, shares)

    assert (found.method, found.df) == ("chi_square", 2)
    assert found.statistic == pytest.approx(total, rel=1e-12, abs=0)
    assert found.p == pytest.approx(stats.chi2.sf(total, 2), rel=1e-9, abs=0)
    assert mismatch_in_periods([*counts, [0, 0]], [*shares, [0.2, 0.8]]) == found
    assert mismatch_in_periods(counts[:1], shares[:1]) == mismatch(counts[0], shares[0])


def test_a_period_of_few_users_is_a_part_of_its_own() -> None:
    """Its exact test and Pearson's of the others: the smaller p, doubled."""
    few, shares = [20, 6], [0.95, 0.05]
    expected = stats.binomtest(6, 26, 0.05).pvalue
    found = mismatch_in_periods([few, [5010, 4990]], [shares, [0.5, 0.5]])
    assert (found.method, found.df) == ("exact", 2)
    assert found.p == pytest.approx(2 * expected, rel=1e-9, abs=0)


def test_without_users_in_any_period_there_is_no_test() -> None:
    with pytest.raises(ValueError, match="no users"):
        mismatch_in_periods([[0, 0], [0, 0]], [[0.5, 0.5], [0.9, 0.1]])


def test_evidence_of_periods_multiplies_and_stays_below_its_level_at_every_look() -> None:
    one, other = sequential_e_value([95, 5], [0.9, 0.1]), sequential_e_value([40, 60], [0.5, 0.5])
    both = e_value_in_periods([[95, 5], [40, 60]], [[0.9, 0.1], [0.5, 0.5]])
    assert both.e_value == pytest.approx(one.e_value * other.e_value, rel=1e-12, abs=0)
    assert both.log10_e == pytest.approx(one.log10_e + other.log10_e, rel=1e-12, abs=0)

    rng = np.random.default_rng(3)
    shares, alarms = [[0.9, 0.1], [0.5, 0.5]], 0
    for _ in range(400):
        counts = [[0, 0], [0, 0]]
        for look in range(20):
            period = int(look >= 6)
            counts[period] = (np.array(counts[period]) + rng.multinomial(100, shares[period])).tolist()
            if e_value_in_periods(counts, shares).e_value >= 20:
                alarms += 1
                break
    assert alarms / 400 <= 0.05 + 3 * np.sqrt(0.05 * 0.95 / 400)


@pytest.mark.parametrize(
    ("lost", "users"),
    [((0, 704), (10033, 9967)), ((4500, 4700), (5000, 5000)), ((40, 30, 50), (5000, 3000, 2000))],
)
def test_uneven_loss_is_the_independence_test_of_the_table(
    lost: tuple[int, ...], users: tuple[int, ...]
) -> None:
    kept = np.subtract(users, lost)
    expected = stats.chi2_contingency([lost, kept], correction=False)
    found = uneven_loss(lost, users)
    assert (found.statistic, found.df) == (pytest.approx(expected.statistic, rel=1e-9), len(users) - 1)
    assert found.p == pytest.approx(expected.pvalue, rel=1e-9, abs=1e-300)


def test_uneven_loss_of_few_is_exact() -> None:
    found = uneven_loss((0, 8), (50, 50))
    assert (found.method, found.p) == ("exact", pytest.approx(stats.binomtest(0, 8).pvalue))
    assert uneven_loss((50, 42), (50, 50)).p == found.p  # of those who are left


@pytest.mark.parametrize(("lost", "users"), [((0, 0), (5, 5)), ((5, 5), (5, 5)), ((6, 1), (5, 5))])
def test_uneven_loss_of_nobody_or_everybody_is_refused(lost: tuple[int, int], users: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match=r"nothing to compare|no users"):
        uneven_loss(lost, users)
