"""What no adjustment may depend on: units, names, constant covariates, how users were divided; nothing is NaN."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from exp_platform.stats.adjustment import Adjusted, adjust
from exp_platform.stats.moments import Moments
from exp_platform.stats.welch import difference
from stats.adjusted_users import users

PROPERTY = settings(max_examples=60)


def cells_of(seed: int, k: int = 2) -> list[list[np.ndarray]]:
    """Three arms in two strata of 40 to 90 users with k covariates."""
    rng = np.random.default_rng(seed)
    return [
        [users(int(rng.integers(10**6)), int(rng.integers(40, 90)), arm + 3.0 * s, k) for s in range(2)]
        for arm in range(3)
    ]


def adjusted(cells: list[list[np.ndarray]], slopes: str, k: int = 2) -> Adjusted:
    return adjust([[Moments.of(c) for c in arm] for arm in cells], 0, range(1, k + 1), slopes)  # type: ignore[arg-type]


SEEDS, SLOPES = st.integers(0, 10**6), st.sampled_from(["pooled", "per_arm"])


@PROPERTY
@given(SEEDS, SLOPES, st.floats(-50, 50), st.floats(0.01, 1000), st.floats(-50, 50), st.floats(0.01, 1000))
def test_units_of_covariate_and_outcome_do_not_matter(
    seed: int, slopes: str, shift: float, scale: float, up: float, factor: float
) -> None:
    cells = cells_of(seed)
    moved = [[c * [factor, scale, 1] + [up, shift, 0] for c in arm] for arm in cells]
    was, now = adjusted(cells, slopes), adjusted(moved, slopes)
    assert now.rho == pytest.approx(was.rho, rel=1e-8, abs=1e-10)
    np.testing.assert_allclose(now.theta[:, 0] * scale / factor, was.theta[:, 0], rtol=1e-7, atol=1e-9)
    np.testing.assert_allclose(now.mean, was.mean * factor + up, rtol=1e-8, atol=1e-8)
    np.testing.assert_allclose(now.covariance, was.covariance * factor**2, rtol=1e-7, atol=0)
    assert now.pair(0, 2).df == pytest.approx(was.pair(0, 2).df, rel=1e-7, abs=0)


@PROPERTY
@given(SEEDS, SLOPES, st.permutations(range(3)), st.permutations(range(2)))
def test_names_of_arms_and_strata_do_not_matter(
    seed: int, slopes: str, arms: list[int], strata: list[int]
) -> None:
    cells = cells_of(seed)
    was, now = adjusted(cells, slopes), adjusted([[cells[a][s] for s in strata] for a in arms], slopes)
    np.testing.assert_allclose(now.mean, was.mean[arms], rtol=1e-11)
    np.testing.assert_allclose(now.covariance, was.covariance[np.ix_(arms, arms)], rtol=1e-9, atol=1e-15)
    there, back = was.pair(0, 1), was.pair(1, 0)
    assert there.variance_of_difference == back.variance_of_difference
    assert there.df == pytest.approx(back.df, rel=1e-14, abs=0)


@PROPERTY
@given(SEEDS, SLOPES, st.floats(-1e6, 1e6), st.integers(0, 2))
def test_a_constant_or_repeated_covariate_changes_nothing(
    seed: int, slopes: str, constant: float, position: int
) -> None:
    cells = cells_of(seed)
    was = adjusted(cells, slopes)
    for column in (lambda c: np.full(len(c), constant), lambda c: 7 - 3 * c[:, 1]):
        more = [[np.column_stack([c, column(c)]) for c in arm] for arm in cells]
        now = adjusted(more, slopes, 3)
        assert now.dropped == (3,)
        np.testing.assert_allclose(now.mean, was.mean, rtol=1e-12)
        np.testing.assert_allclose(now.covariance, was.covariance, rtol=1e-10)


@PROPERTY
@given(SEEDS, SLOPES, st.integers(1, 39))
def test_moments_merged_over_disjoint_users_adjust_as_those_of_one_pass(
    seed: int, slopes: str, cut: int
) -> None:
    cells = cells_of(seed)
    halves = [[Moments.of(c[:cut]).merge(Moments.of(c[cut:])) for c in arm] for arm in cells]
    was, now = adjusted(cells, slopes), adjust(halves, 0, (1, 2), slopes)  # type: ignore[arg-type]
    np.testing.assert_allclose(now.mean, was.mean, rtol=1e-11)
    np.testing.assert_allclose(now.covariance, was.covariance, rtol=1e-9)


@PROPERTY
@given(SEEDS, SLOPES, st.floats(0, 1e9), st.sampled_from([0.0, 1e-9, 1.0, 1e9]))
def test_nothing_is_nan_and_no_variance_is_negative(
    seed: int, slopes: str, level: float, spread: float
) -> None:
    cells = [[c * [spread, 1, 1] + [level, 0, 0] for c in arm] for arm in cells_of(seed)]
    try:
        found = adjusted(cells, slopes)
    except ValueError:  # the outcome is constant: its spread is lost in the level's rounding
        assert spread <= 1e-12 * level
        return
    for i, j in ((0, 1), (2, 1)):
        pair = found.pair(i, j)
        numbers = [*pair.control[:3], *pair.treatment[:3], pair.covariance, pair.variance_of_difference]
        assert np.isfinite(numbers).all()
        assert pair.variance_of_difference >= 0
        if pair.variance_of_difference > 0:
            assert np.isfinite(difference(*pair)[:6]).all()
