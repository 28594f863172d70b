"""Properties of rows whatever the users: labels of arms, units, levels, and numbers that are always numbers."""

from __future__ import annotations

import math
from dataclasses import asdict

import numpy as np
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from analyses.simulated import aggregates, block, experiment, metric
from exp_platform.analyses import ab
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.plans import DecisionPlan

PROPERTY = settings(max_examples=60)


def row_of(
    control: np.ndarray, treatment: np.ndarray, test: str = "welch", level: float = 0.955
) -> ResultRow:
    kind = "proportion" if test == "score" else "mean"
    decision = DecisionPlan(alpha=1 - level, sequential_share=0.0)
    spec = experiment(metric("m", kind, test=test), decision=decision)
    (row,) = ab.analyse(spec, aggregates([block("m", "control", control), block("m", "t1", treatment)]))
    assert isinstance(row, ResultRow)
    return row


@st.composite
def users(draw: st.DrawFn, test: str) -> np.ndarray:
    n = draw(st.integers(50, 400))
    if test == "score":
        return np.repeat([1.0, 0.0], [x := draw(st.integers(0, n)), n - x])
    seed, shift, scale = draw(st.integers(0, 10**6)), draw(st.floats(-5, 5)), draw(st.floats(0.01, 100))
    return shift + scale * np.random.default_rng(seed).gamma(1.0, 1.0, n)


@pytest.mark.parametrize("test", ["welch", "score"])
@PROPERTY
@given(st.data(), st.floats(0.5, 0.999))
def test_relabelling_the_arms_flips_the_effect_and_inverts_the_ratio(
    test: str, data: st.DataObject, level: float
) -> None:
    a, b = data.draw(users(test)), data.draw(users(test))
    one, other = row_of(a, b, test, level), row_of(b, a, test, level)
    assert one.status == other.status
    assume(one.status is Status.OK)
    assert one.estimate == -(other.estimate or 0.0)
    assert one.p_value == pytest.approx(other.p_value, rel=1e-9, abs=0)
    width = (one.ci_high or 0) - (one.ci_low or 0)
    assert (one.ci_low, one.ci_high) == pytest.approx(
        (-(other.ci_high or 0), -(other.ci_low or 0)), abs=1e-12 * width
    )
    assert one.mean_control is not None
    assert other.mean_control is not None
    signs = math.copysign(1, one.mean_control), math.copysign(1, other.mean_control)
    ratio = None if one.relative is None else 1 + signs[0] * one.relative  # relative effects are to |control|
    if ratio and other.relative is not None:
        assert other.relative == pytest.approx(signs[1] * (1 / ratio - 1), rel=1e-9, abs=1e-9)
    if (
        one.relative_kind == other.relative_kind == "BOUNDED"
        and min(one.relative_low, other.relative_low) > -1
        and min(signs) > 0
    ):  # type: ignore[type-var]
        assert other.relative_low == pytest.approx(1 / (1 + one.relative_high) - 1, rel=1e-6, abs=1e-9)  # type: ignore[operator]
        assert other.relative_high == pytest.approx(1 / (1 + one.relative_low) - 1, rel=1e-6, abs=1e-9)  # type: ignore[operator]


@pytest.mark.parametrize("test", ["welch", "score"])
@PROPERTY
@given(st.data(), st.floats(0.5, 0.999))
def test_p_value_interval_relative_interval_and_significance_agree(
    test: str, data: st.DataObject, level: float
) -> None:
    row = row_of(data.draw(users(test)), data.draw(users(test)), test, level)
    assume(row.status is Status.OK and row.p_value is not None and row.alpha is not None)
    assume(abs(row.p_value / row.alpha - 1) > 1e-7)
    rejects = row.p_value < row.alpha
    assert row.significant is rejects
    assert row.ci_low is not None
    assert row.ci_high is not None
    assert (row.ci_low > 0 or row.ci_high < 0) is rejects
    if row.relative_kind == "BOUNDED":
        assert row.relative_low is not None
        assert row.relative_high is not None
        assert (row.relative_low > 0 or row.relative_high < 0) is rejects


@pytest.mark.parametrize("test", ["welch", "score"])
@PROPERTY
@given(st.data(), st.integers(0, 120), st.booleans())
def test_every_number_is_one_and_a_failure_has_none(
    test: str, data: st.DataObject, n: int, constant: bool
) -> None:
    other = np.zeros(n) if constant else data.draw(users(test))[:n]
    row = row_of(data.draw(users(test)), other, test)
    assert all(math.isfinite(v) for v in asdict(row).values() if isinstance(v, float))
    if row.status is not Status.OK:
        assert (row.p_value, row.p_adjusted, row.log10_p, row.estimate) == (None,) * 4
        assert (row.ci_low, row.ci_high, row.relative, row.significant) == (None,) * 4
        assert row.message


@pytest.mark.parametrize("test", ["welch", "score"])
def test_sixty_sigma_has_a_logarithm(test: str) -> None:
    n = 20_000
    one, other = (np.repeat([1.0, 0.0], [x, n - x]) for x in (4_000, 9_600))
    row = row_of(one, other, test)
    assert row.statistic is not None
    assert 55 < row.statistic < 70
    assert row.log10_p is not None
    assert -1200 < row.log10_p < -650
    assert row.p_value is not None
    assert row.p_value == 0 or row.log10_p == pytest.approx(math.log10(row.p_value))
