"""Moments equal a direct computation in extended precision, however the users are split and wherever the mean lies."""

from __future__ import annotations

import json

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exp_platform.stats.arms import arm_mean
from exp_platform.stats.moments import Moments
from exp_platform.stats.welch import difference

PROPERTY = settings(max_examples=100)


@st.composite
def samples(draw: st.DrawFn) -> np.ndarray:
    """30 to 400 users, three correlated columns, means within 1000 standard deviations of zero, any unit."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n = draw(st.integers(30, 400))
    x = rng.normal(size=(n, 3))
    x[:, 2] += 0.7 * x[:, 0]
    means = draw(st.tuples(*[st.floats(-1000, 1000)] * 3))
    unit = 10.0 ** draw(st.integers(-6, 6))
    return (x + means) * unit


@st.composite
def split(draw: st.DrawFn) -> tuple[np.ndarray, list[np.ndarray]]:
    x = draw(samples())
    cuts = sorted(draw(st.lists(st.integers(0, len(x)), max_size=6)))
    return x, np.split(x, cuts)


def exact(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and co-moments in extended precision, two passes."""
    wide = x.astype(np.longdouble)
    mean = wide.mean(axis=0)
    centred = wide - mean
    m2 = np.array(
        [[(centred[:, i] * centred[:, j]).sum() for j in range(x.shape[1])] for i in range(x.shape[1])]
    )
    return mean.astype(float), m2.astype(float)


def assert_close(moments: Moments, mean: np.ndarray, m2: np.ndarray, rel: float) -> None:
    """Means within rel standard deviations (beside their own rounding), co-moments within rel of both columns' own."""
    sd = np.sqrt(np.diag(m2) / moments.n)
    scale = np.sqrt(np.outer(np.diag(m2), np.diag(m2)))
    assert (np.abs(moments.mean - mean) <= rel * np.maximum(sd, np.abs(mean))).all()
    assert (np.abs(moments.m2 - m2) <= rel * scale).all()


@PROPERTY
@given(split())
def test_merging_disjoint_users_equals_one_pass(case: tuple[np.ndarray, list[np.ndarray]]) -> None:
    x, parts = case
    merged = Moments.merge_all(Moments.of(p) for p in parts)
    assert merged.n == len(x)
    assert_close(merged, *exact(x), rel=1e-12)
    assert_close(Moments.of(x), *exact(x), rel=1e-12)


@PROPERTY
@given(samples(), st.integers(1, 28), st.integers(1, 28))
def test_merge_is_associative_and_commutative(x: np.ndarray, one: int, two: int) -> None:
    first, second = sorted((one, two))
    a, b, c = (Moments.of(p) for p in np.split(x, [first, second]))
    left = a.merge(b).merge(c)
    for other in (a.merge(b.merge(c)), c.merge(b).merge(a), b.merge(a).merge(c)):
        assert other.n == left.n
        assert_close(other, left.mean, left.m2, rel=1e-12)


@PROPERTY
@given(samples(), st.floats(-100, 100), st.floats(0.01, 100))
def test_shift_leaves_and_scale_squares_the_co_moments(x: np.ndarray, shift: float, scale: float) -> None:
    unit = float(x.std())
    moved = Moments.of((x + shift * unit) * scale)
    was = Moments.of(x)
    assert_close(moved, (was.mean + shift * unit) * scale, was.m2 * scale**2, rel=1e-9)


def test_no_users_are_the_neutral_element() -> None:
    some = Moments.of([[1.0, 2.0], [3.0, 5.0]])
    for merged in (
        some.merge(Moments.empty(2)),
        Moments.empty(2).merge(some),
        some.merge(Moments.of(np.empty((0, 2)))),
    ):
        assert merged is some
    assert Moments.empty(2).merge(Moments.empty(2)).n == 0


@pytest.mark.parametrize("mean", [1e8, 1e9])
def test_peer_defect_variance_cancels_far_from_zero(mean: float) -> None:
    """Sums of squares give a variance of 1.31 or below zero here; a test on them decides anything."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=20_000) + mean
    y = rng.normal(size=20_000) + mean + 0.03
    assert abs((x**2).sum() / len(x) - x.mean() ** 2 - 1) > 0.1, "the naive variance is meant to fail here"
    buckets = [Moments.merge_all(Moments.of(p) for p in np.array_split(v, 17)) for v in (x, y)]
    for v, merged in zip((x, y), buckets, strict=True):
        _, m2 = exact(v[:, None])
        assert merged.m2[0, 0] == pytest.approx(m2[0, 0], rel=1e-8, abs=0)
    near_zero = difference(*(arm_mean(Moments.of(v - mean)) for v in (x, y)))
    found = difference(*(arm_mean(m) for m in buckets))
    assert found.p_value == pytest.approx(near_zero.p_value, rel=1e-4, abs=0)
    assert found.standard_error == pytest.approx(near_zero.standard_error, rel=1e-8, abs=0)


def test_linear_equals_moments_of_the_combined_columns() -> None:
    x = np.random.default_rng(5).normal(3, 2, size=(500, 4))
    weights = np.array([[0.5, 0.5, -0.5, -0.5], [0.0, 1.0, 0.0, 2.0]])
    found, expected = Moments.of(x).linear(weights), Moments.of(x @ weights.T)
    np.testing.assert_allclose(found.mean, expected.mean, rtol=1e-12)
    np.testing.assert_allclose(found.m2, expected.m2, rtol=1e-11)
    single = Moments.of(x).linear(weights[0])
    assert single.mean.shape == (1,)
    assert single.m2 == pytest.approx(expected.m2[:1, :1], rel=1e-11, abs=0)


def test_columns_that_cancel_have_exactly_zero_co_moments() -> None:
    """What rounding leaves of a constant difference must not become a tiny standard error with a huge t."""
    rng = np.random.default_rng(6)
    base = rng.normal(0.1, 3, size=1000)
    x = np.column_stack([base, 3 * base + 0.7, rng.normal(size=1000)])
    combined = Moments.merge_all(Moments.of(p) for p in np.array_split(x, 7)).linear([[3, -1, 0], [1, 0, 1]])
    assert combined.m2[0].tolist() == [0.0, 0.0]
    assert combined.m2[1, 0] == 0.0
    assert combined.m2[1, 1] > 1000


def test_select_and_covariance_follow_the_columns() -> None:
    x = np.random.default_rng(7).normal(size=(200, 3))
    picked = Moments.of(x).select([2, 0])
    np.testing.assert_allclose(picked.covariance(), np.cov(x[:, [2, 0]], rowvar=False), rtol=1e-12)


def test_json_round_trip_is_exact() -> None:
    moments = Moments.of(np.random.default_rng(9).normal(1e7, 1 / 3, size=(50, 2)))
    again = Moments.from_json(json.loads(json.dumps(moments.to_json(), allow_nan=False)))
    assert again.n == moments.n
    assert (again.mean == moments.mean).all()
    assert (again.m2 == moments.m2).all()


@pytest.mark.parametrize("bad", [[1.0, np.nan], [1.0, np.inf], [[1.0, -np.inf]]])
def test_values_that_are_not_finite_are_refused(bad: list[float]) -> None:
    with pytest.raises(ValueError, match="finite"):
        Moments.of(bad)


def test_impossible_requests_raise() -> None:
    with pytest.raises(ValueError, match="dimensions"):
        Moments.of(np.zeros((2, 2, 2)))
    with pytest.raises(ValueError, match="2 and 1 columns"):
        Moments.empty(2).merge(Moments.empty(1))
    with pytest.raises(ValueError, match="no Moments"):
        Moments.merge_all([])
    with pytest.raises(ValueError, match="two users"):
        Moments.of([1.0]).covariance()
