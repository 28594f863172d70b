"""Score test and score intervals of two proportions against values from definitions, statsmodels and other programs."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from exp_platform.stats.intervals import Interval
from exp_platform.stats.proportions import Count, Score, inverse_relative, score

VALUES = Path(__file__).parents[1] / "references" / "proportions" / "values.json"
CASES = [c for c in json.loads(VALUES.read_text()) if c["test"] == "score"]
PROPERTY = settings(max_examples=100)


def near(value: float | None) -> Any:
    return pytest.approx(math.inf if value is None else value, rel=1e-9, abs=0)


@st.composite
def counts(draw: st.DrawFn) -> Count:
    n = draw(st.one_of(st.integers(1, 60), st.integers(100, 10**8)))
    x = draw(st.one_of(st.integers(0, min(n, 40)), st.integers(0, n), st.integers(max(0, n - 40), n)))
    return Count(x, n)


@pytest.mark.parametrize("case", CASES, ids=lambda c: f"{c['control']} {c['treatment']}")
def test_reference(case: dict[str, Any]) -> None:
    control, treatment = Count(*case["control"]), Count(*case["treatment"])
    if "p" not in case:  # nobody succeeds: there is no test, and still nothing to be ashamed of
        with pytest.raises(ValueError, match="no variance"):
            score(control, treatment)
        return
    found = score(control, treatment)
    assert (found.p_value, found.log10_p) == (near(case["p"]), near(case["log10_p"]))
    assert found.p_value == near(case["statsmodels_p"])
    assert tuple(found.interval(case["level"])) == tuple(map(near, case["difference"]))
    assert tuple(found.relative_interval(case["level"])) == tuple(map(near, case["relative"]))


def test_published_values() -> None:
    """560 of 10,000 against 500: root search in another program, Koopman's interval and the pooled z in others."""
    found = score(Count(500, 10_000), Count(560, 10_000))
    low, high = found.interval(0.95)
    assert (low, high) == (
        pytest.approx(-0.000210097708, abs=5e-13),
        pytest.approx(0.0122260710, abs=5e-11),
    )
    low, high = found.relative_interval(0.95)
    assert (1 + low, 1 + high) == (
        pytest.approx(0.996050332, abs=5e-10),
        pytest.approx(1.25940291, abs=5e-9),
    )
    assert found.p_value == pytest.approx(0.05826, abs=5e-6)
    assert found.statistic == pytest.approx(found.estimate / found.standard_error, rel=1e-15)


def scored(control: Count, treatment: Count) -> Score:
    """The test, of counts in which something varies."""
    assume(0 < control.successes + treatment.successes < control.n + treatment.n)
    return score(control, treatment)


@PROPERTY
@given(counts(), counts(), st.floats(0.5, 0.9999))
def test_p_value_and_both_intervals_say_the_same_of_no_effect(
    control: Count, treatment: Count, level: float
) -> None:
    found = scored(control, treatment)
    assume(abs(found.p_value / (1 - level) - 1) > 1e-9)
    rejects = found.p_value < 1 - level
    for low, high in (found.interval(level), found.relative_interval(level)):
        assert (low > 0 or high < 0) == rejects


@PROPERTY
@given(counts(), counts(), st.floats(0.5, 0.9999))
def test_intervals_are_ordered_hold_the_estimate_and_stay_in_range(
    control: Count, treatment: Count, level: float
) -> None:
    found = scored(control, treatment)
    low, high = found.interval(level)
    assert -1 <= low <= found.estimate <= high <= 1
    assert low < high
    low, high = found.relative_interval(level)
    assert -1 <= low < high
    assert found.relative is None or low <= found.relative <= high
    assert math.isinf(high) == (control.successes == 0)
    wide = found.interval(1 - (1 - level) / 2)
    assert wide.low <= found.interval(level).low
    assert math.isfinite(found.log10_p)


@PROPERTY
@given(counts(), counts(), st.floats(0.5, 0.9999))
def test_relabelling_the_arms_flips_the_difference_and_inverts_the_ratio(
    control: Count, treatment: Count, level: float
) -> None:
    found, other = scored(control, treatment), score(treatment, control)
    assert (other.estimate, other.p_value) == (-found.estimate, found.p_value)
    low, high = found.interval(level)
    assert other.interval(level) == Interval(-high, -low)
    if found.relative is not None and other.relative is not None and found.relative > -1 + 1e-6:
        assert other.relative == pytest.approx(1 / (1 + found.relative) - 1, rel=1e-8, abs=1e-12)
    mine, theirs = found.relative_interval(level), other.relative_interval(level)
    assert (mine.low, theirs.low) == pytest.approx(
        (inverse_relative(theirs.high), inverse_relative(mine.high)), rel=1e-12, abs=1e-15
    )


@PROPERTY
@given(counts(), counts(), st.floats(0.5, 0.9999))
def test_counting_failures_instead_of_successes_flips_the_difference(
    control: Count, treatment: Count, level: float
) -> None:
    low, high = scored(control, treatment).interval(level)
    flipped = score(control.flipped, treatment.flipped).interval(level)
    assert (flipped.low, flipped.high) == (
        pytest.approx(-high, rel=1e-9, abs=1e-15),
        pytest.approx(-low, rel=1e-9, abs=1e-15),
    )


def test_sixty_sigma_has_a_logarithm() -> None:
    found = score(Count(400_000, 1_000_000), Count(443_000, 1_000_000))
    assert 60 < found.statistic < 65
    assert found.p_value == 0
    assert -1000 < found.log10_p < -780


def test_one_arms_rate_has_wilsons_interval() -> None:
    """Wilson's interval of 0 and of 15 of 148, in Newcombe 1998 (table I)."""
    found = score(Count(15, 148), Count(81, 263))
    assert tuple(found.rate_interval(Count(81, 263), 0.95)) == (
        pytest.approx(0.2553, abs=5e-5),
        pytest.approx(0.3662, abs=5e-5),
    )
    assert tuple(found.rate_interval(Count(15, 148), 0.95)) == (
        pytest.approx(0.0624, abs=5e-5),
        pytest.approx(0.1605, abs=5e-5),
    )
    assert found.rate_interval(Count(0, 20), 0.95).low == 0


@pytest.mark.parametrize("bad", [(-1, 10), (11, 10), (0, 0)])
def test_counts_out_of_range_raise(bad: tuple[int, int]) -> None:
    with pytest.raises(ValueError, match="between none and all"):
        score(Count(*bad), Count(1, 2))
    with pytest.raises(ValueError, match="between none and all"):
        score(Count(1, 2), Count(*bad))
