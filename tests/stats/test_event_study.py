"""Event study and sensitivity agree with clustered regressions, linear programs and users' own combinations."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from exp_platform.stats.event_study import RelativeMagnitudes, gaps, relative_magnitudes
from exp_platform.stats.moments import Moments

REFERENCE = Path(__file__).parents[1] / "references" / "did_sensitivity" / "expected.json"


def near(values: Any) -> Any:
    return pytest.approx(values, rel=1e-9, abs=0)


@pytest.fixture(name="expected", scope="module")
def _expected() -> dict[str, Any]:
    return dict(json.loads(REFERENCE.read_text()))


Sides = tuple[Moments, Moments]


def weeks(expected: dict[str, Any]) -> Sides:
    return Moments.of(expected["weeks"]["control"]), Moments.of(expected["weeks"]["treatment"])


def sides(estimates: np.ndarray, covariance: np.ndarray) -> Sides:
    """Two arms whose gaps and their covariance are these."""
    k = len(estimates)
    return Moments(2, np.zeros(k), np.zeros((k, k))), Moments(2, estimates, 2 * covariance)


def test_event_study_is_the_regression_with_errors_clustered_by_user(expected: dict[str, Any]) -> None:
    """statsmodels OLS with clusters, each arm's part of the sandwich times n / (n - 1)."""
    before, periods = expected["before"], 6
    others = [i for i in range(periods) if i != before - 1]
    contrasts = np.eye(periods)[others]
    contrasts[:, before - 1] -= 1
    study = gaps(*(arm.linear(contrasts) for arm in weeks(expected)))
    assert study.estimates == near(np.array(expected["event_study"]["estimates"]))
    covariance = np.array(expected["event_study"]["covariance"])
    assert np.abs(study.covariance - covariance).max() < 1e-9 * np.abs(covariance).max()


def test_identified_sets_are_those_of_linear_programs(expected: dict[str, Any]) -> None:
    found = relative_magnitudes(*weeks(expected), expected["before"])
    for case in expected["sensitivity"]:
        assert list(found.identified(case["m_bar"])) == near(case["identified"])


def test_intervals_and_breakdown_from_users_own_combinations(expected: dict[str, Any]) -> None:
    found = relative_magnitudes(*weeks(expected), expected["before"])
    for case in expected["sensitivity"]:
        assert list(found.interval(case["m_bar"], expected["critical"])) == near(case["interval"])
    assert found.breakdown(expected["critical"]) == near(expected["breakdown"])


def drawn(rng: np.random.Generator, before: int, after: int) -> Sides:
    root = rng.normal(size=(before + after, before + after))
    return sides(rng.normal(0, 2, before + after), root @ root.T / 10)


@given(
    seed=st.integers(0, 2**32 - 1),
    before=st.integers(2, 6),
    after=st.integers(1, 4),
    critical=st.floats(0.5, 5.0),
)
def test_sets_grow_with_m_bar_and_the_interval_first_reaches_zero_at_the_breakdown(
    seed: int, before: int, after: int, critical: float
) -> None:
    found = relative_magnitudes(*drawn(np.random.default_rng(seed), before, after), before)
    grid = [0.0, 0.3, 1.0, 2.5]
    intervals = [found.interval(m, critical) for m in grid]
    for m, inner, outer in zip(grid[1:], intervals, intervals[1:], strict=False):
        assert outer.low <= inner.low
        assert inner.high <= outer.high
        assert outer.low < found.identified(m).low
        assert found.identified(m).high < outer.high
    error = math.sqrt(found.variance)
    assert intervals[0] == pytest.approx(
        (found.estimate - critical * error, found.estimate + critical * error), rel=1e-12
    )
    breakdown = found.breakdown(critical)
    if breakdown == 0:
        assert intervals[0].low <= 0 <= intervals[0].high
    else:
        scale = abs(found.estimate) + found.reach * found.largest_step * breakdown
        at = found.interval(breakdown, critical)
        nearer = at.low if found.estimate > 0 else at.high
        assert nearer == pytest.approx(0.0, abs=1e-9 * scale)


@given(seed=st.integers(0, 2**32 - 1))
def test_exchanging_the_arms_turns_everything_over(seed: int) -> None:
    one = drawn(np.random.default_rng(seed), 3, 2)
    found = relative_magnitudes(*one, 3)
    other = relative_magnitudes(one[1], one[0], 3)
    low, high = found.interval(1.5, 2.0)
    assert other.interval(1.5, 2.0) == pytest.approx((-high, -low), rel=1e-12)
    assert other.breakdown(2.0) == pytest.approx(found.breakdown(2.0), rel=1e-9)


def test_steps_that_are_exactly_zero_and_certain_break_nothing() -> None:
    certain = RelativeMagnitudes(1.0, 0.01, np.zeros(2), np.zeros(2), np.zeros(2), 1.0)
    assert certain.interval(50.0, 2.0) == pytest.approx((0.8, 1.2))
    assert certain.breakdown(2.0) == math.inf


def test_intervals_cover_the_effect_under_the_worst_trend_that_is_allowed() -> None:
    """4,000 draws at m_bar 1, the bias as large as it may be: 95 % at least (three sigma below: 94 %)."""
    rng, k, before = np.random.default_rng(8), 6, 4
    true = np.array([0.0, 0.4, 0.1, 0.5, 0.9, 1.3])  # steps .4, -.3, .4; then .4, .4: the trend alone
    root = np.linalg.cholesky(0.05 * (np.eye(k) + 0.5))
    covariance = root @ root.T
    covered = 0
    for _ in range(4000):
        found = relative_magnitudes(*sides(true + root @ rng.normal(size=k), covariance), before)
        low, high = found.interval(1.0, 1.959964)
        covered += low <= 0.0 <= high
    assert covered / 4000 > 0.94


@pytest.mark.parametrize("before, periods", [(1, 3), (3, 3)])
def test_too_few_periods_raise(before: int, periods: int) -> None:
    with pytest.raises(ValueError, match="two periods before"):
        relative_magnitudes(*sides(np.zeros(periods), np.eye(periods)), before)
