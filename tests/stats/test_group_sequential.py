"""Group-sequential bounds: other people's numbers, direct integration, and a type-I error that is exactly alpha."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import special

from exp_platform.stats.group_sequential import (
    Spending,
    bounds,
    crossing,
    inflation,
    separate_bounds,
    spent,
)

REFERENCE = Path(__file__).parents[1] / "references" / "group_sequential" / "expected.json"
KINDS: tuple[Spending, ...] = ("obrien_fleming", "pocock", "power")


@pytest.fixture(name="expected", scope="module")
def _expected() -> dict[str, Any]:
    return dict(json.loads(REFERENCE.read_text()))


def design(kind: Spending, fractions: tuple[float, ...], alpha: float = 0.05) -> tuple[float, ...]:
    return bounds(fractions, tuple(spent(kind, t, alpha) for t in fractions))


def even(looks: int) -> tuple[float, ...]:
    return tuple((i + 1) / looks for i in range(looks))


def test_direct_integration_of_the_joint_law_gives_the_same_bounds(expected: dict[str, Any]) -> None:
    for case in expected["exact"]:
        fractions = tuple(case["information"])
        chances = tuple(spent(case["spending"], t, expected["alpha"]) for t in fractions)
        assert chances == pytest.approx(case["spent"], rel=1e-12, abs=0)
        assert bounds(fractions, chances) == pytest.approx(case["bounds"], rel=1e-9, abs=0)


def test_lan_and_demets_tables() -> None:
    """Five even looks, two-sided .05, to the four decimals that ldbounds and gsDesign print."""
    fleming = (4.8769, 3.3569, 2.6803, 2.2898, 2.0310)
    pocock = (2.4380, 2.4268, 2.4101, 2.3966, 2.3859)
    assert design("obrien_fleming", even(5)) == pytest.approx(fleming, abs=1.5e-4)
    assert design("pocock", even(5)) == pytest.approx(pocock, abs=1.5e-4)


def test_the_port_of_ldbounds_agrees_within_its_own_grid(expected: dict[str, Any]) -> None:
    """Its trapezoids leave it 5e-5 off: the exact second of five looks, by adaptive quadrature, is 2.714111575531."""
    for case in expected["ldbounds"]:
        assert design("power", tuple(case["information"])) == pytest.approx(case["bounds"], abs=6e-5)
    assert design("power", even(5))[1] == pytest.approx(2.714111575530733, rel=1e-12, abs=0)


@pytest.mark.parametrize("critical, factor", [(2.413, 1.207), (2.040, 1.026)])
def test_pococks_and_obrien_flemings_own_constants(critical: float, factor: float) -> None:
    """Jennison and Turnbull 2000, tables 2.1 to 2.4, five looks: constants, and sample size for power .9, to three decimals."""
    slope = 0.0 if critical > 2.2 else 0.5
    own = tuple(critical / t**slope for t in even(5))
    assert sum(crossing(even(5), own)) == pytest.approx(0.05, abs=6e-5)
    assert inflation(even(5), own, 0.05, 0.9) == pytest.approx(factor, abs=1e-3)


fractions_drawn = st.lists(st.integers(1, 40), min_size=1, max_size=6).map(
    lambda steps: tuple(float(x) for x in np.cumsum(steps) / sum(steps))
)


@settings(max_examples=60)
@given(
    fractions=fractions_drawn,
    kind=st.sampled_from(KINDS),
    alpha=st.sampled_from([0.2, 0.05, 0.005, 0.05 / 20]),
)
def test_peer_defect_an_obrien_fleming_rule_that_inflates_to_6_to_8_percent(
    fractions: tuple[float, ...], kind: Spending, alpha: float
) -> None:
    """However unequal the looks: by exact recursion, not simulation, each crosses with just the chance it may spend."""
    chances = [spent(kind, t, alpha) for t in fractions]
    each = crossing(fractions, design(kind, fractions, alpha))
    assert np.cumsum(each) == pytest.approx(chances, rel=1e-8, abs=1e-15)
    assert sum(each) == pytest.approx(alpha, rel=1e-9, abs=0)


def test_the_rule_of_that_peer_does_inflate() -> None:
    """O'Brien and Fleming's constant for five looks, taken daily at 14: the recursion sees what is wrong with it."""
    daily = even(14)
    assert sum(crossing(daily, tuple(1.96 / math.sqrt(t) for t in daily))) > 0.06


def test_a_simulated_walk_crosses_as_often() -> None:
    """200,000 walks against the bounds of unequal looks: three standard errors of .05 are .0015."""
    fractions = (0.2, 0.45, 0.9, 1.0)
    steps = np.sqrt(np.diff(fractions, prepend=0.0))
    sums = np.cumsum(np.random.default_rng(4).normal(size=(200_000, 4)) * steps, axis=1)
    z = np.abs(sums / np.sqrt(fractions))
    assert (z >= design("pocock", fractions)).any(axis=1).mean() == pytest.approx(0.05, abs=0.0015)


def test_one_look_is_the_fixed_test() -> None:
    z = -float(special.ndtri(0.025))
    assert bounds((1.0,), (0.05,)) == pytest.approx((z,), rel=1e-14)
    assert inflation((1.0,), (z,), 0.05, 0.8) == pytest.approx(1.0, rel=1e-5)
    assert separate_bounds((0.05,)) == pytest.approx((z,), rel=1e-12)


@pytest.mark.parametrize("kind", KINDS)
def test_separate_bounds_are_conservative_and_never_lower(kind: Spending) -> None:
    fractions = (0.3, 0.6, 1.0)
    chances = tuple(spent(kind, t, 0.05) for t in fractions)
    alone, together = separate_bounds(chances), bounds(fractions, chances)
    assert all(a >= b - 1e-12 for a, b in zip(alone, together, strict=True))
    assert 0.03 < sum(crossing(fractions, alone)) < 0.05


def test_spending_grows_to_alpha_and_no_further() -> None:
    for kind in KINDS:
        shares = [spent(kind, t, 0.05) for t in (0.01, 0.2, 0.5, 0.99, 1.0, 1.7)]
        assert shares == sorted(shares)
        assert shares[-2:] == pytest.approx([0.05, 0.05], rel=1e-12)
    assert spent("power", 0.5, 0.05, 3.0) == pytest.approx(0.05 / 8)


def test_a_look_that_may_spend_nothing_has_no_bound() -> None:
    assert bounds((0.5, 1.0), (0.0, 0.05))[0] == math.inf
    assert bounds((0.5, 1.0), (0.05, 0.05))[1] == math.inf


@pytest.mark.parametrize(
    "information, chances",
    [((), ()), ((0.5,), (0.01, 0.05)), ((0.5, 0.5), (0.01, 0.05)), ((1.0, 0.5), (0.01, 0.05)),
     ((0.5, 1.0), (0.05, 0.01)), ((math.nan,), (0.05,)), ((1.0,), (0.0,)), ((1.0,), (1.5,))],
)  # fmt: skip
def test_looks_that_cannot_be_raise(information: tuple[float, ...], chances: tuple[float, ...]) -> None:
    with pytest.raises(ValueError, match=r"looks and|grow from look"):
        bounds(information, chances)


@pytest.mark.parametrize(
    "fraction, alpha, exponent", [(0.5, 0.0, 2), (0.5, 1.0, 2), (0.0, 0.05, 2), (0.5, 0.05, 0)]
)
def test_spending_out_of_range_raises(fraction: float, alpha: float, exponent: float) -> None:
    with pytest.raises(ValueError, match="must"):
        spent("power", fraction, alpha, exponent)
