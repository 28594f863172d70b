"""Fisher's exact test against SciPy, melded intervals against sums of binomial terms, and their coverage counted out."""

from __future__ import annotations

import json
import math
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from scipy import stats

from exp_platform.stats.exact import Beta, Exact, exceeds, fisher, proportions
from exp_platform.stats.intervals import Interval
from exp_platform.stats.proportions import Count, Score, inverse_relative

VALUES = Path(__file__).parents[1] / "references" / "proportions" / "values.json"
CASES = [c for c in json.loads(VALUES.read_text()) if c["test"] == "exact"]
PROPERTY = settings(max_examples=40)


def near(value: float | None) -> Any:
    return pytest.approx(math.inf if value is None else value, rel=1e-9, abs=0)


@st.composite
def tables(draw: st.DrawFn) -> tuple[Count, Count]:
    """Two arms of which one has fewer than 10 successes or failures."""
    n = st.one_of(st.integers(1, 60), st.integers(100, 10**7))
    n0, n1 = draw(n), draw(n)
    few = Count(draw(st.integers(0, min(9, n0))), n0)
    other = Count(draw(st.one_of(st.integers(0, min(n1, 60)), st.integers(0, n1))), n1)
    arms = (few, other) if draw(st.booleans()) else (other, few)
    return arms if draw(st.booleans()) else (arms[0].flipped, arms[1].flipped)


def exact(control: Count, treatment: Count) -> Exact:
    found = proportions(control, treatment)
    assert isinstance(found, Exact)
    return found


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['control']} {c['treatment']}")
def test_reference(case: dict[str, Any]) -> None:
    found = exact(Count(*case["control"]), Count(*case["treatment"]))
    assert (found.p_value, found.log10_p) == (near(case["p"]), near(case["log10_p"]))
    assert tuple(found.interval(case["level"])) == tuple(map(near, case["difference"]))
    assert tuple(found.relative_interval(case["level"])) == tuple(map(near, case["relative"]))


@PROPERTY
@given(tables())
def test_p_is_twice_the_smaller_of_scipys_tails(arms: tuple[Count, Count]) -> None:
    control, treatment = arms
    assume(control.n + treatment.n < 10_000)
    table = [[treatment.successes, treatment.failures], [control.successes, control.failures]]
    tails = [stats.fisher_exact(table, alternative=a).pvalue for a in ("less", "greater")]
    assume(min(tails) > 1e-200)
    assert fisher(control, treatment).p == pytest.approx(min(1.0, 2 * min(tails)), rel=1e-9, abs=0)


@PROPERTY
@given(tables(), st.floats(0.5, 0.999))
def test_p_value_and_both_intervals_say_the_same_of_no_effect(
    arms: tuple[Count, Count], level: float
) -> None:
    assume(0 < sum(a.successes for a in arms) < sum(a.n for a in arms))
    found = exact(*arms)
    assume(abs(found.p_value / (1 - level) - 1) > 1e-7)
    for low, high in (found.interval(level), found.relative_interval(level)):
        assert (low > 0 or high < 0) == (found.p_value < 1 - level)


@PROPERTY
@given(tables(), st.floats(0.5, 0.999))
def test_relabelling_the_arms_flips_the_difference_and_inverts_the_ratio(
    arms: tuple[Count, Count], level: float
) -> None:
    assume(0 < sum(a.successes for a in arms) < sum(a.n for a in arms))
    found, other = exact(*arms), exact(*reversed(arms))
    low, high = found.interval(level)
    assert -1 <= low <= found.estimate <= high <= 1
    assert other.interval(level) == Interval(-high, -low)
    assert other.p_value == pytest.approx(found.p_value, rel=1e-9, abs=0)
    mine, theirs = found.relative_interval(level), other.relative_interval(level)
    assert (mine.low, theirs.low) == pytest.approx(
        (inverse_relative(theirs.high), inverse_relative(mine.high)), rel=1e-12, abs=1e-15
    )


@pytest.mark.parametrize(("n0", "n1"), [(8, 8), (6, 13)])
def test_no_true_pair_of_rates_is_missed_too_often(n0: int, n1: int) -> None:
    """All tables of two small arms, weighted by their chance: both intervals cover at least their level."""
    level = 0.9
    tables = list(product(range(n0 + 1), range(n1 + 1)))
    found = [Exact(Count(x0, n0), Count(x1, n1), 0.0, 1.0, 0.0) for x0, x1 in tables]
    differences = np.array([f.interval(level) for f in found])
    relatives = np.array([f.relative_interval(level) for f in found])
    rates = np.linspace(0.02, 0.98, 25)
    chances = [{p: stats.binom.pmf(np.arange(n + 1), n, p) for p in rates} for n in (n0, n1)]
    worst = 1.0
    for p0, p1 in product(rates, repeat=2):
        chance = np.outer(chances[0][p0], chances[1][p1]).ravel()  # in the order of `tables`
        for ends, truth in ((differences, p1 - p0), (relatives, p1 / p0 - 1)):
            inside = (ends[:, 0] <= truth) & (truth <= ends[:, 1])
            worst = min(worst, float(chance[inside].sum()))
    assert level <= worst < 0.99  # not more than it must: the bound is nearly reached


def test_the_exact_test_takes_over_below_ten_successes_or_failures() -> None:
    assert isinstance(proportions(Count(10, 1000), Count(10, 1000)), Score)
    for few in (Count(9, 1000), Count(991, 1000)):
        for other in (Count(10, 1000), Count(500, 1000)):
            assert proportions(few, other).test == proportions(other, few).test == "exact"


def test_tails_too_small_for_a_float_have_a_logarithm() -> None:
    """9 of 20,000,000 against half of as many: by the normal law some 4,500 sigma."""
    found = fisher(Count(9, 20_000_000), Count(10_000_000, 20_000_000))
    assert found.p == 0
    assert -1e8 < found.log10_p < -1e6


@pytest.mark.parametrize(
    ("y", "x", "offset", "slope", "expected"),
    [
        (Beta(1, 0), Beta(0, 1), 0.5, 1.0, 1.0),  # both always at an end
        (Beta(1, 0), Beta(2, 1), 0.5, 1.0, 0.25),  # P(x <= 1/2), x of density 2 x
        (Beta(2, 1), Beta(0, 1), 0.5, 1.0, 0.75),
        (Beta(1, 1), Beta(1, 1), 0.5, 1.0, 0.125),  # two uniform variables: areas of triangles
        (Beta(1, 1), Beta(1, 1), 0.0, 2.0, 0.25),
        (Beta(1, 1), Beta(1, 1), 0.0, 0.5, 0.75),
        (Beta(1, 1), Beta(1, 1), -0.5, 1.0, 0.875),
    ],
)
def test_areas_known_by_hand(y: Beta, x: Beta, offset: float, slope: float, expected: float) -> None:
    assert exceeds(y, x, offset, slope) == pytest.approx(expected, rel=1e-13, abs=0)


def test_one_arms_rate_has_clopper_and_pearsons_interval() -> None:
    found = exact(Count(0, 30), Count(4, 30))
    for x in (0, 4, 30):
        expected = stats.binomtest(x, 30).proportion_ci(0.95, method="exact")
        assert tuple(found.rate_interval(Count(x, 30), 0.95)) == pytest.approx(
            (expected.low, expected.high), rel=1e-9, abs=0
        )
