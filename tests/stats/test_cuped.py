"""CUPED against ordinary least squares with arm intercepts, and against columns adjusted by hand."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from exp_platform.stats.arms import arm_mean
from exp_platform.stats.cuped import Adjusted, adjust, adjust_all
from exp_platform.stats.moments import Moments
from exp_platform.stats.welch import difference

PROPERTY = settings(deadline=None, derandomize=True, max_examples=60)


def users(seed: int, n: int, effect: float, covariates: int = 1, strength: float = 1.5) -> np.ndarray:
    """Columns: outcome, then covariates of unlike scale, the first two of which are correlated."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=n)
    x = np.column_stack([latent + rng.normal(size=n) * (j + 0.5) for j in range(covariates)])
    y = 10 + effect + strength * latent + rng.normal(size=n)
    return np.column_stack([y, x * 10.0 ** np.arange(0, 3 * covariates, 3) + 5])


@pytest.fixture(scope="module")
def arms() -> list[np.ndarray]:
    return [users(1, 900, 0.0, 3), users(2, 1400, 0.3, 3), users(3, 700, -0.2, 3)]


def least_squares(arms: list[np.ndarray], covariates: list[int]) -> tuple[np.ndarray, float]:
    """Coefficients of the covariates and the R^2 within arms, from regressions with an intercept per arm."""
    y = np.concatenate([a[:, 0] for a in arms])
    which = np.concatenate([np.full(len(a), i) for i, a in enumerate(arms)])
    dummies = (which[:, None] == np.arange(len(arms))).astype(float)
    x = np.vstack([a[:, covariates] for a in arms])
    full, plain = sm.OLS(y, np.column_stack([x, dummies])).fit(), sm.OLS(y, dummies).fit()
    return full.params[: len(covariates)], 1 - full.ssr / plain.ssr


@pytest.mark.parametrize("covariates", [[1], [2], [1, 2], [3, 1, 2]])
def test_theta_and_reduction_equal_a_regression_with_arm_intercepts(
    arms: list[np.ndarray], covariates: list[int]
) -> None:
    found = adjust_all([Moments.of(a) for a in arms], covariates=covariates)
    theta, r_squared = least_squares(arms, covariates)
    np.testing.assert_allclose(found.theta, theta, rtol=1e-9)
    assert found.variance_reduction == pytest.approx(r_squared, rel=1e-9, abs=0)
    assert found.variance_reduction == pytest.approx(found.rho**2, rel=1e-15, abs=0)
    assert found.dropped == ()


def test_adjusted_arms_are_those_of_columns_adjusted_by_hand(arms: list[np.ndarray]) -> None:
    found = adjust_all([Moments.of(a) for a in arms], covariates=[1, 2])
    theta, _ = least_squares(arms, [1, 2])
    centre = np.vstack(arms)[:, [1, 2]].mean(axis=0)
    by_hand = [a[:, 0] - (a[:, [1, 2]] - centre) @ theta for a in arms]
    for adjusted, column in zip(found.arms, by_hand, strict=True):
        assert adjusted.n == len(column)
        assert adjusted.mean == pytest.approx([column.mean()], rel=1e-11, abs=0)
        assert adjusted.covariance() == pytest.approx(np.array([[column.var(ddof=1)]]), rel=1e-10, abs=0)
    expected = stats.ttest_ind(by_hand[1], by_hand[0], equal_var=False)
    d = difference(*map(arm_mean, found.arms[:2]))
    assert d.p_value == pytest.approx(expected.pvalue, rel=1e-9, abs=0)
    assert d.degrees_of_freedom == pytest.approx(expected.df, rel=1e-10, abs=0)


def test_two_arms_are_the_general_case(arms: list[np.ndarray]) -> None:
    control, treatment = (Moments.of(a) for a in arms[:2])
    two, general = adjust(control, treatment), adjust_all([control, treatment])
    assert (two.control.mean, two.treatment.mean) == (general.arms[0].mean, general.arms[1].mean)
    assert two.theta == general.theta


def test_means_over_all_users_stay_on_the_metrics_scale(arms: list[np.ndarray]) -> None:
    found = adjust_all([Moments.of(a) for a in arms], covariates=[1, 2, 3])
    assert Moments.merge_all(found.arms).mean[0] == pytest.approx(
        np.vstack(arms)[:, 0].mean(), rel=1e-12, abs=0
    )


def test_one_covariate_keeps_the_sign_of_its_correlation() -> None:
    a, b = users(4, 800, 0.0), users(5, 800, 5.0)
    for x in (a, b):
        x[:, 1] *= -1
    within = np.concatenate([x - x.mean(axis=0) for x in (a, b)])
    found = adjust(Moments.of(a), Moments.of(b))
    assert found.rho == pytest.approx(np.corrcoef(within.T)[0, 1], rel=1e-11, abs=0)
    assert found.rho < -0.5


def test_pooling_within_arms_keeps_a_treatment_effect_out_of_theta() -> None:
    """A covariate that differs between the arms by bad luck must not soak up the effect."""
    a, b = users(6, 5000, 0.0), users(7, 5000, 50.0)
    b[:, 1] += 0.5
    theta = adjust(Moments.of(a), Moments.of(b)).theta[0]
    naive = np.cov(np.vstack([a, b]), rowvar=False)
    assert theta == pytest.approx(least_squares([a, b], [1])[0][0], rel=1e-9, abs=0)
    assert abs(naive[0, 1] / naive[1, 1] - theta) > 1


def test_peer_defect_reduction_is_rho_squared_not_the_rest() -> None:
    """One minus rho^2 is what is left of the variance, and was reported as what went."""
    a, b = users(8, 4000, 0.0, strength=3.0), users(9, 4000, 0.1, strength=3.0)
    found = adjust(Moments.of(a), Moments.of(b))
    before = sum(Moments.of(x).m2[0, 0] for x in (a, b))
    after = sum(arm.m2[0, 0] for arm in found.arms)
    assert found.variance_reduction == pytest.approx(1 - after / before, rel=1e-10, abs=0)
    assert found.variance_reduction > 0.6
    raw, adjusted = (
        difference(*map(arm_mean, pair)).standard_error
        for pair in ((Moments.of(a).select([0]), Moments.of(b).select([0])), found.arms)
    )
    assert (adjusted / raw) ** 2 == pytest.approx(1 - found.variance_reduction, rel=0.01, abs=0)


def test_peer_defect_an_unrelated_covariate_is_told_by_its_reduction() -> None:
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=(20_000, 2)), rng.normal(size=(20_000, 2))
    found = adjust(Moments.of(a), Moments.of(b))
    assert 0 <= found.variance_reduction < 0.0005
    assert abs(found.control.mean[0] - a[:, 0].mean()) < 0.0005


def test_constant_and_collinear_covariates_are_dropped_by_name_of_column() -> None:
    rng = np.random.default_rng(12)

    def arm(n: int, shift: float) -> np.ndarray:
        x = rng.normal(size=(n, 2))
        y = x @ [1.0, -2.0] + shift + rng.normal(size=n)
        return np.column_stack([y, np.full(n, 0.1), x[:, 0], x[:, 0] * 3e6 + 7, x[:, 1], x[:, 0] + x[:, 1]])

    arms = [arm(500, 0), arm(700, 1)]
    found = adjust(*(Moments.of(a) for a in arms), covariates=(1, 2, 3, 4, 5))
    assert found.dropped == (1, 3, 5)
    theta, r_squared = least_squares(arms, [2, 4])
    np.testing.assert_allclose(found.theta, [0, theta[0], 0, theta[1], 0], rtol=1e-9)
    assert found.variance_reduction == pytest.approx(r_squared, rel=1e-9, abs=0)


def test_a_flag_that_is_constant_in_each_arm_is_dropped() -> None:
    """It varies between the arms only, so it is the treatment itself."""
    a, b = users(13, 300, 0.0), users(14, 300, 1.0)
    flagged = [np.column_stack([x, np.full(300, i)]) for i, x in enumerate((a, b))]
    assert adjust(*(Moments.of(x) for x in flagged), covariates=(1, 2)).dropped == (2,)


def test_an_outcome_wholly_explained_leaves_exactly_no_variance() -> None:
    x = np.random.default_rng(15).gamma(2.0, 3.0, size=(2, 600))
    found = adjust(*(Moments.of(np.column_stack([0.3 * row + 1, row])) for row in x))
    assert found.variance_reduction == pytest.approx(1.0, abs=1e-12)
    assert [arm_mean(arm).variance_of_mean for arm in found.arms] == [0.0, 0.0]


@PROPERTY
@given(st.integers(0, 10**6), st.floats(-50, 50), st.floats(0.01, 1000), st.floats(-50, 50))
def test_the_covariates_unit_does_not_matter(
    seed: int, shift: float, scale: float, outcome_shift: float
) -> None:
    a, b = users(seed, 120, 0.0), users(seed + 1, 80, 1.0)

    def adjusted(shift: float, scale: float, up: float) -> Adjusted:
        return adjust(*(Moments.of(x * [1, scale] + [up, shift]) for x in (a, b)))

    plain, moved = adjusted(0, 1, 0), adjusted(shift, scale, outcome_shift)
    assert moved.rho == pytest.approx(plain.rho, rel=1e-8, abs=1e-10)
    assert moved.theta[0] * scale == pytest.approx(plain.theta[0], rel=1e-8, abs=1e-9)
    for was, now in zip(plain.arms, moved.arms, strict=True):
        assert now.mean[0] == pytest.approx(was.mean[0] + outcome_shift, rel=1e-8, abs=1e-8)
        assert now.m2[0, 0] == pytest.approx(was.m2[0, 0], rel=1e-8, abs=0)


def test_what_cannot_be_adjusted_raises() -> None:
    varying = Moments.of(users(16, 50, 0.0))
    constant_covariate = Moments.of([[1.0, 0.1], [2.0, 0.1], [4.0, 0.1]])
    constant_outcome = Moments.of([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]])
    with pytest.raises(ValueError, match="no covariate varies"):
        adjust(constant_covariate, constant_covariate)
    with pytest.raises(ValueError, match="outcome is constant"):
        adjust(constant_outcome, constant_outcome)
    with pytest.raises(ValueError, match="at least one"):
        adjust_all([])
    with pytest.raises(ValueError, match="at least one"):
        adjust_all([varying], covariates=())
