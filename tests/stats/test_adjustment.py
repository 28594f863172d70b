"""Adjusted arms against regressions on users: CUPED, post-stratification and both, of means and linearised ratios."""

from __future__ import annotations

import csv
import json
from pathlib import Path

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from exp_platform.stats.adjustment import adjust
from exp_platform.stats.arms import Arms, arm_mean, arm_ratio, linearised
from exp_platform.stats.moments import Moments
from exp_platform.stats.relative import Kind, fieller
from exp_platform.stats.welch import difference
from stats.adjusted_users import cuped, users

REFERENCES = Path(__file__).parents[1] / "references" / "variance_reduction"
VALUES = json.loads((REFERENCES / "values.json").read_text())
COVARIATES = {"none": (), "one": ("x1",), "three": ("x1", "x2", "x3")}


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


def plain(control: np.ndarray, treatment: np.ndarray) -> Arms:
    return Arms(arm_mean(Moments.of(control)), arm_mean(Moments.of(treatment)))


def gain(adjusted: Arms, unadjusted: Arms) -> float:
    return 1 - adjusted.variance_of_difference / unadjusted.variance_of_difference


# ---- reference values, made by tests/references/variance_reduction/make.py


def reference_cells(outcome: str, names: tuple[str, ...], by_stratum: bool) -> list[list[Moments]]:
    """The users of the reference, by arm and stratum, in columns of the outcome and these covariates."""
    with (REFERENCES / "users.csv").open() as file:
        rows = list(csv.DictReader(file))
    columns = (("y",) if outcome == "mean" else ("spend", "visits")) + names
    strata = sorted({r["stratum"] for r in rows})

    def cell(arm: str, inside: list[str]) -> Moments:
        chosen = [r for r in rows if r["arm"] == arm and r["stratum"] in inside]
        return Moments.of([[float(r[c]) for c in columns] for r in chosen])

    cells = [
        [cell(arm, inside) for inside in ([[s] for s in strata] if by_stratum else [strata])] for arm in "012"
    ]
    if outcome == "mean":
        return cells
    return [[linearised(c, of=Moments.merge_all(arm)) for c in arm] for arm in cells]


@pytest.mark.parametrize("key", VALUES["adjusted"])
def test_means_and_covariances_of_three_arms_equal_a_regression_on_users(key: str) -> None:
    """Cell dummies and covariates by statsmodels, variances by cell, and the averages' own part: to 1e-12."""
    outcome, names, slopes, strata = key.split()
    expected, covariates = VALUES["adjusted"][key], COVARIATES[names]
    cells = reference_cells(outcome, covariates, strata == "strata")
    found = adjust(cells, 0, range(1, 1 + len(covariates)), slopes)  # type: ignore[arg-type]
    np.testing.assert_allclose(found.mean, expected["mean"], rtol=1e-12)
    np.testing.assert_allclose(found.covariance, expected["covariance"], rtol=1e-9, atol=1e-14)
    theta = np.broadcast_to(expected["theta"], found.theta.shape)
    np.testing.assert_allclose(found.theta, theta, rtol=1e-9)
    pair = found.pair(0, 1)
    relative = fieller(pair.control, pair.treatment, 2.1, pair.covariance)
    assert relative.kind is Kind.BOUNDED
    assert [relative.low, relative.high] == pytest.approx(expected["fieller_2.1"], rel=1e-9, abs=0)


@pytest.mark.parametrize("names", ["one", "three"])
def test_per_arm_slopes_are_lins_regression(names: str) -> None:
    """The estimate of the regression with products; each arm's variance is its own regression's classical one (1e-9).

    HC2 of Lin's regression needs fourth moments, which Moments are not: it agrees within 2 % here, at 210 and 123 users.
    """
    lin, covariates = VALUES["lin"][names], COVARIATES[names]
    cells = reference_cells("mean", covariates, by_stratum=False)[:2]
    found = adjust(cells, 0, range(1, 1 + len(covariates)), "per_arm")
    pair = found.pair(0, 1)
    assert pair.treatment.mean - pair.control.mean == pytest.approx(lin["estimate"], rel=1e-10, abs=0)
    assert found.mean == pytest.approx(lin["own_intercepts"], rel=1e-12, abs=0)
    np.testing.assert_allclose(found.theta, lin["slopes"], rtol=1e-9)
    given = pair.variance_of_difference - lin["of_population"]
    assert given == pytest.approx(sum(lin["own_variances"]), rel=1e-9, abs=0)
    assert given == pytest.approx(lin["HC2"], rel=0.02, abs=0)
    assert found.own_df[:, 0] == pytest.approx(lin["own_df"], rel=1e-12, abs=0)


def test_post_stratification_is_the_saturated_regression_with_hc2_exactly() -> None:
    expected = VALUES["saturated"]
    pair = adjust(reference_cells("mean", (), by_stratum=True)[:2]).pair(0, 1)
    assert pair.treatment.mean - pair.control.mean == pytest.approx(expected["estimate"], rel=1e-10, abs=0)
    variance = expected["HC2"] + expected["of_population"]
    assert pair.variance_of_difference == pytest.approx(variance, rel=1e-9, abs=0)


# ---- plain CUPED


@pytest.mark.parametrize("covariates", [[1], [2], [1, 2], [3, 1, 2]])
def test_pooled_slopes_equal_a_regression_with_arm_intercepts(
    arms: list[np.ndarray], covariates: list[int]
) -> None:
    found = cuped(arms, covariates)
    theta, r_squared = least_squares(arms, covariates)
    np.testing.assert_allclose(found.theta, [theta] * 3, rtol=1e-9)
    assert found.rho**2 == pytest.approx(r_squared, rel=1e-9, abs=0)
    assert found.dropped == ()


def test_many_users_adjusted_are_those_of_columns_adjusted_by_hand(arms: list[np.ndarray]) -> None:
    """Welch's test of y - theta (x - mean x): what it leaves out, the slopes' own error, is of order k / n."""
    pair = cuped(arms, [1, 2]).pair(0, 1)
    theta, _ = least_squares(arms, [1, 2])
    centre = np.vstack(arms)[:, [1, 2]].mean(axis=0)
    by_hand = [a[:, 0] - (a[:, [1, 2]] - centre) @ theta for a in arms]
    assert [pair.control.mean, pair.treatment.mean] == pytest.approx(
        [column.mean() for column in by_hand[:2]], rel=1e-11, abs=0
    )
    expected = stats.ttest_ind(by_hand[1], by_hand[0], equal_var=False)
    d = difference(*pair)
    assert d.statistic == pytest.approx(expected.statistic, rel=3 * 2 / 3000, abs=0)
    assert d.degrees_of_freedom == pytest.approx(expected.df, rel=2 * 2 / 3000, abs=0)


def test_without_strata_or_covariates_it_is_welch(arms: list[np.ndarray]) -> None:
    pair, expected = (
        cuped(arms, []).pair(0, 2),
        stats.ttest_ind(arms[2][:, 0], arms[0][:, 0], equal_var=False),
    )
    d = difference(*pair)
    assert (d.statistic, d.degrees_of_freedom, d.p_value) == pytest.approx(
        (expected.statistic, expected.df, expected.pvalue), rel=1e-10, abs=0
    )


def test_means_over_all_users_stay_on_the_metrics_scale(arms: list[np.ndarray]) -> None:
    found = cuped(arms, [1, 2, 3])
    assert np.average(found.mean, weights=found.n) == pytest.approx(
        np.vstack(arms)[:, 0].mean(), rel=1e-12, abs=0
    )


def test_one_covariate_keeps_the_sign_of_its_correlation() -> None:
    a, b = users(4, 800, 0.0), users(5, 800, 5.0)
    for x in (a, b):
        x[:, 1] *= -1
    within = np.concatenate([x - x.mean(axis=0) for x in (a, b)])
    found = cuped([a, b], [1])
    assert found.rho == pytest.approx(np.corrcoef(within.T)[0, 1], rel=1e-11, abs=0)
    assert found.rho < -0.5


def test_pooling_within_arms_keeps_a_treatment_effect_out_of_theta() -> None:
    """A covariate that differs between the arms by bad luck must not soak up the effect."""
    a, b = users(6, 5000, 0.0), users(7, 5000, 50.0)
    b[:, 1] += 0.5
    theta = cuped([a, b], [1]).theta[0, 0]
    naive = np.cov(np.vstack([a, b]), rowvar=False)
    assert theta == pytest.approx(least_squares([a, b], [1])[0][0], rel=1e-9, abs=0)
    assert abs(naive[0, 1] / naive[1, 1] - theta) > 1


def test_peer_defect_one_minus_rho_squared_is_never_the_reduction() -> None:
    """1 - rho^2 is what is left of the variance, and was reported as what went."""
    a, b = users(8, 4000, 0.0, strength=3.0), users(9, 4000, 0.1, strength=3.0)
    found = cuped([a, b], [1])
    by_hand = [x[:, 0] - found.theta[0, 0] * x[:, 1] for x in (a, b)]
    before = sum(x[:, 0].var(ddof=1) / len(x) for x in (a, b))
    after = sum(x.var(ddof=1) / len(x) for x in by_hand)
    went = gain(found.pair(0, 1), plain(a, b))
    assert went == pytest.approx(1 - after / before, rel=1e-3, abs=0)
    assert went == pytest.approx(found.rho**2, rel=1e-3, abs=0)
    assert went > 0.6 > 1 - found.rho**2


def test_where_arms_are_unequal_the_gain_is_not_rho_squared_either() -> None:
    """Slopes of opposite sign in arms of unlike size: rho^2 promises a gain, and there is a loss (Freedman 2008)."""
    rng = np.random.default_rng(12)
    a, b = rng.normal(size=(9000, 2)), rng.normal(size=(1000, 2))
    a[:, 0] += 1.5 * a[:, 1]
    b[:, 0] -= 1.5 * b[:, 1]
    pooled, own = cuped([a, b], [1]), cuped([a, b], [1], "per_arm")
    assert pooled.rho**2 > 0.3
    assert gain(pooled.pair(0, 1), plain(a, b)) < -1
    assert gain(own.pair(0, 1), plain(a, b)) > 0.2


def test_peer_defect_an_unrelated_covariate_is_told_by_its_gain() -> None:
    rng = np.random.default_rng(10)
    a, b = rng.normal(size=(20_000, 2)), rng.normal(size=(20_000, 2))
    found = cuped([a, b], [1])
    assert gain(found.pair(0, 1), plain(a, b)) == pytest.approx(0, abs=0.0005)
    assert abs(found.mean[0] - a[:, 0].mean()) < 0.0005


def test_what_ties_the_arms_matters_to_the_relative_effect_only() -> None:
    """Both adjusted means vary with the average of the covariate: told as a covariance, which the difference loses."""
    a, b = users(8, 400, 0.0, strength=3.0), users(9, 400, 0.1, strength=3.0)
    pair = cuped([a, b], [1]).pair(0, 1)
    assert pair.covariance > 0.5 * pair.control.variance_of_mean
    independent = pair._replace(covariance=0.0)
    assert pair.variance_of_difference < 0.5 * independent.variance_of_difference


def test_constant_and_collinear_covariates_are_dropped_by_name_of_column() -> None:
    rng = np.random.default_rng(12)

    def arm(n: int, shift: float) -> np.ndarray:
        x = rng.normal(size=(n, 2))
        y = x @ [1.0, -2.0] + shift + rng.normal(size=n)
        return np.column_stack([y, np.full(n, 0.1), x[:, 0], x[:, 0] * 3e6 + 7, x[:, 1], x[:, 0] + x[:, 1]])

    arms = [arm(500, 0), arm(700, 1)]
    found = cuped(arms, [1, 2, 3, 4, 5])
    assert found.dropped == (1, 3, 5)
    theta, r_squared = least_squares(arms, [2, 4])
    np.testing.assert_allclose(found.theta, [[0, theta[0], 0, theta[1], 0]] * 2, rtol=1e-9)
    assert found.rho**2 == pytest.approx(r_squared, rel=1e-9, abs=0)


def test_a_flag_that_is_constant_in_each_arm_is_dropped() -> None:
    """It varies between the arms only, so it is the treatment itself."""
    a, b = users(13, 300, 0.0), users(14, 300, 1.0)
    flagged = [np.column_stack([x, np.full(300, i)]) for i, x in enumerate((a, b))]
    assert cuped(flagged, [1, 2]).dropped == (2,)


def test_a_covariate_that_is_constant_in_one_arm_has_no_slope_of_that_arm() -> None:
    a, b = users(13, 300, 0.0), users(14, 300, 1.0)
    flagged = [np.column_stack([x, np.arange(300) < n]) for x, n in ((a, 0), (b, 100))]
    assert cuped(flagged, [1, 2]).dropped == ()
    assert cuped(flagged, [1, 2], "per_arm").dropped == (2,)


def test_an_outcome_wholly_explained_leaves_exactly_no_variance() -> None:
    x = np.random.default_rng(15).gamma(2.0, 3.0, size=(2, 600))
    pair = cuped([np.column_stack([0.3 * row + 1, row]) for row in x], [1]).pair(0, 1)
    assert pair.variance_of_difference == 0.0
    assert pair.control.variance_of_mean > 0


def test_the_linearised_value_is_the_ratio_and_its_delta_method() -> None:
    rng = np.random.default_rng(3)
    values = np.column_stack([rng.gamma(2, 3, 500), rng.poisson(3, 500) + 1.0, rng.normal(size=500)])
    ratio, linear = arm_ratio(Moments.of(values)), linearised(Moments.of(values))
    by_hand = ratio.mean + (values[:, 0] - ratio.mean * values[:, 1]) / values[:, 1].mean()
    assert arm_mean(linear)[:3] == pytest.approx(ratio[:3], rel=1e-12, abs=0)
    assert linear.covariance() == pytest.approx(
        np.cov(np.column_stack([by_hand, values[:, 2]]).T), rel=1e-10, abs=1e-12
    )
    with pytest.raises(ValueError, match="mean zero"):
        linearised(Moments.of(values * [1, 0, 1]))


def test_what_cannot_be_adjusted_raises() -> None:
    varying = users(16, 50, 0.0)
    constant_covariate = np.array([[1.0, 0.1], [2.0, 0.1], [4.0, 0.1]])
    constant_outcome = np.array([[0.1, 1.0], [0.1, 2.0], [0.1, 4.0]])
    with pytest.raises(ValueError, match="no covariate varies"):
        cuped([constant_covariate, constant_covariate], [1])
    with pytest.raises(ValueError, match="outcome is constant"):
        cuped([constant_outcome, constant_outcome], [1])
    with pytest.raises(ValueError, match="two users"):
        adjust([])
    with pytest.raises(ValueError, match="two users"):
        cuped([varying, varying[:1]], [1])
    few = users(17, 4, 0.0, 3)
    with pytest.raises(ValueError, match="3 covariates need more users than 3"):
        cuped([few, users(18, 50, 0.0, 3)], [1, 2, 3], "per_arm")


# ---- repeated samples


@pytest.mark.parametrize(("slopes", "strata"), [("pooled", 1), ("per_arm", 1), ("pooled", 3), ("per_arm", 3)])
def test_the_covariance_is_that_of_the_means_over_repeated_samples(slopes: str, strata: int) -> None:
    """Users are drawn anew, strata and covariates with them; effects and slopes differ by arm and stratum.

    Without what the estimated shares and averages add, the variance of the effect would be told 10 to 40 % too small.
    """
    rng = np.random.default_rng(strata)
    means, told = [], []
    for _ in range(800):
        n = 240
        arm, stratum = rng.random(n) < 0.3, rng.choice(3, n, p=[0.5, 0.3, 0.2])
        x = rng.normal(size=n) + 0.5 * stratum
        y = 5 + (1 + 1.5 * arm) * x + (1 + arm) * stratum + rng.normal(size=n)
        where = stratum if strata > 1 else np.zeros(n, dtype=int)
        cells = [
            [Moments.of(np.column_stack([y, x])[(arm == a) & (where == s)]) for s in range(strata)]
            for a in (False, True)
        ]
        found = adjust(cells, 0, (1,), slopes)  # type: ignore[arg-type]
        means.append(found.mean)
        told.append(found.covariance)
    expected, spread = np.mean(told, axis=0), np.cov(np.transpose(means))
    step = np.array([-1.0, 1.0])
    assert step @ spread @ step / (step @ expected @ step) == pytest.approx(1, abs=0.12)
    np.testing.assert_allclose(spread / expected, 1, atol=0.15)
