"""The joint test against 50-digit arithmetic and other packages, its level in small arms, and what singular covariances do."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from exp_platform.stats.arms import Arm, Arms
from exp_platform.stats.moments import Moments
from exp_platform.stats.wald import Part, Wald, equal, joint, part_of

# Made by tests/references/joint_tests/make.py: mpmath from users, and statsmodels.
VALUES: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "references/joint_tests/values.json").read_text()
)


def known(estimates: Any, covariance: Any) -> Wald:
    """The test where the covariance is known: Wald's own, against chi-square."""
    return joint(estimates, [Part(covariance, math.inf)])


def of_users(*arms: Any) -> Wald:
    sides = [Moments.of(users) for users in arms]
    return joint(sides[1].mean - sides[0].mean, [part_of(side) for side in sides])


@pytest.mark.parametrize("case", VALUES["two_arms"], ids=["90 and 12", "40 and 25", "20 and 20"])
def test_two_arms_are_krishnamoorthy_and_yus_test(case: dict[str, Any]) -> None:
    found = of_users(*case["users"])
    assert found._asdict() == {
        name: pytest.approx(value, rel=1e-9, abs=0) for name, value in case["found"].items()
    }


def test_one_part_is_hotellings_test_of_one_sample() -> None:
    """statsmodels' test_mvmean."""
    case = VALUES["one_sample"]
    users = Moments.of(case["users"])
    found = joint(users.mean, [part_of(users)])
    assert (found.statistic, found.p) == (
        pytest.approx(case["t2"], rel=1e-9, abs=0), pytest.approx(case["p"], rel=1e-9, abs=0),
    )  # fmt: skip
    assert (found.df, found.denominator_df) == (case["df"][0], pytest.approx(case["df"][1], rel=1e-9))


def test_one_estimate_is_welchs_test() -> None:
    """SciPy's t-test with unequal variances."""
    rng = np.random.default_rng(3)
    control, treated = rng.gamma(2.0, 1.0, 30), rng.gamma(2.0, 2.0, 12)
    welch = stats.ttest_ind(treated, control, equal_var=False)
    found = of_users(control, treated)
    assert (found.statistic, found.denominator_df, found.p) == (
        pytest.approx(welch.statistic**2, rel=1e-9, abs=0),
        pytest.approx(welch.df, rel=1e-9, abs=0),
        pytest.approx(welch.pvalue, rel=1e-9, abs=0),
    )


@pytest.mark.parametrize("n", [(900, 100), (450, 50), (5_000, 5_000)])
@pytest.mark.parametrize("sd", [1.0, 2.0])
def test_it_holds_its_level_with_unequal_arms_and_covariances(n: tuple[int, int], sd: float) -> None:
    """Six contrasts, as of seven days. 4,000 draws of 5 % lie in 4 % to 6 % (three sigma); chi-square finds 7 % to 10 %."""
    rng, k, draws = np.random.default_rng(n[1]), 6, 4_000
    root = np.linalg.cholesky(np.eye(k) + 1.0)
    scales = np.array([1.0, sd]) / np.sqrt(n)
    parts = [
        [
            Part(s**2 * w / (size - 1), size - 1)
            for w in stats.wishart(size - 1, root @ root.T).rvs(draws, rng)
        ]
        for s, size in zip(scales, n, strict=True)
    ]
    estimates = rng.standard_normal((draws, k)) @ root.T * math.hypot(*scales)
    p = np.array([joint(b, pair).p for b, *pair in zip(estimates, *parts, strict=True)])
    assert 0.04 < np.mean(p < 0.05) < 0.06
    assert np.mean(p < 0.001) < 0.003


@pytest.mark.parametrize("groups", [3, 12])
def test_many_small_groups_are_called_different_as_often_as_it_says(groups: int) -> None:
    """Cohorts of 40 users of unequal variances, each a part: as Welch 1951, where Cochran's Q against chi-square is liberal."""
    rng, n, draws = np.random.default_rng(groups), 40, 4_000
    sd = np.linspace(1, 3, groups)
    contrasts = np.vstack([-np.ones(groups - 1), np.eye(groups - 1)])
    called = 0
    for _ in range(draws):
        means, variances = rng.standard_normal(groups) * sd, sd**2 * rng.chisquare(n - 1, groups) / (n - 1)
        parts = [Part(np.outer(c, c) * v, n - 1) for c, v in zip(contrasts, variances, strict=True)]
        called += joint(means @ contrasts, parts).p < 0.05
    assert 0.04 < called / draws < 0.06


def test_too_few_users_for_so_many_estimates_have_no_test() -> None:
    rng = np.random.default_rng(4)
    with pytest.raises(ValueError, match="too few to test 8 estimates"):
        of_users(rng.normal(size=(5, 8)), rng.normal(size=(5, 8)))


@pytest.fixture
def covariance() -> np.ndarray:
    root = np.random.default_rng(1).normal(size=(5, 4))
    return root.T @ root * np.outer([1, 10, 1e-4, 1e5], [1, 10, 1e-4, 1e5])


def test_regular_covariance_equals_the_plain_inverse(covariance: np.ndarray) -> None:
    estimates = np.array([1.0, -9.0, 2e-4, 3e5])
    found = known(estimates, covariance)
    statistic = estimates @ np.linalg.solve(covariance, estimates)
    assert found.statistic == pytest.approx(statistic, rel=1e-9, abs=0)
    assert found.df == 4
    assert found.p == pytest.approx(stats.chi2.sf(statistic, 4), rel=1e-9, abs=0)


def test_one_estimate_is_the_squared_z() -> None:
    found = known([3.0], [[4.0]])
    assert (found.statistic, found.df) == (pytest.approx(2.25), 1)
    assert found.p == pytest.approx(2 * stats.norm.sf(1.5), rel=1e-12, abs=0)


def test_any_invertible_contrast_gives_the_same_test(covariance: np.ndarray) -> None:
    """So the choice of the reference day does not matter."""
    estimates = np.array([1.0, -9.0, 2e-4, 3e5])
    unit = np.diag([1, 0.1, 1e4, 1e-5])
    contrast = (np.eye(4) - np.full((4, 4), 0.4)) @ unit
    moved = known(contrast @ estimates, contrast @ covariance @ contrast.T)
    assert moved.statistic == pytest.approx(known(estimates, covariance).statistic, rel=1e-8, abs=0)


def test_a_redundant_estimate_changes_nothing_and_df_is_the_rank(covariance: np.ndarray) -> None:
    estimates = np.array([1.0, -9.0, 2e-4, 3e5])
    with_sum = np.vstack([np.eye(4), [1.0, 0.1, 0, 1e-5]])
    found = known(with_sum @ estimates, with_sum @ covariance @ with_sum.T)
    assert found.df == 4
    assert found.statistic == pytest.approx(known(estimates, covariance).statistic, rel=1e-6, abs=0)


def test_an_estimate_of_zero_without_variance_is_left_out(covariance: np.ndarray) -> None:
    """A day on which nobody did anything."""
    wide = np.zeros((5, 5))
    wide[:4, :4] = covariance
    estimates = np.array([1.0, -9.0, 2e-4, 3e5])
    found = known([*estimates, 0.0], wide)
    assert found == known(estimates, covariance)
    assert known([*estimates, 1e-18], wide) == found


def test_a_null_hypothesis_has_uniform_p(covariance: np.ndarray) -> None:
    draws = np.random.default_rng(2).multivariate_normal(np.zeros(4), covariance, size=2000)
    p = [known(d, covariance).p for d in draws]
    assert stats.kstest(p, "uniform").pvalue > 0.01


def test_log_p_is_finite_far_out() -> None:
    found = known([60.0, 0.0], np.eye(2))
    assert found.p == 0.0
    assert found.log10_p == pytest.approx(-1800 / np.log(10), rel=1e-12, abs=0)  # df 2: p = exp(-x / 2)


@pytest.mark.parametrize(
    "estimates, covariance, message",
    [
        ([1.0, 2.0], [[1.0]], "do not match"),
        ([[1.0]], [[1.0]], "do not match"),
        ([np.nan], [[1.0]], "finite"),
        ([1.0], [[np.inf]], "finite"),
        ([0.0, 0.0], np.zeros((2, 2)), "no estimate has a variance"),
        ([], np.zeros((0, 0)), "no estimate has a variance"),
        ([1.0, 0.5], [[1.0, 0.0], [0.0, 0.0]], "without variance"),
        ([1.0, 2.0], [[1.0, 1.0], [1.0, 1.0]], "direction without variance"),
    ],
)
def test_what_has_no_test_raises(estimates: list[float], covariance: list[list[float]], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        known(estimates, covariance)


@pytest.mark.parametrize("scale", [1.0, 1e-150])
def test_equal_effects_are_the_joint_test_of_their_differences(scale: float) -> None:
    """Whichever is subtracted, each arm of a group a part."""
    rng = np.random.default_rng(8)
    groups = [
        Arms(
            *(
                Arm(int(n), scale * rng.normal(), scale**2 * rng.gamma(2), df)
                for n, df in ((60, None), (500, 7.5))
            )
        )
        for _ in range(6)
    ]
    for first in (0, 3):
        contrasts = np.insert(np.eye(5), first, -1.0, axis=0)
        parts = [
            Part(np.outer(c, c) * arm.variance_of_mean / scale**2, arm.df)
            for c, group in zip(contrasts, groups, strict=True)
            for arm in (group.control, group.treatment)
        ]
        effects = np.array([g.treatment.mean - g.control.mean for g in groups]) / scale
        assert equal(groups) == pytest.approx(joint(effects @ contrasts, parts), rel=1e-9, abs=0)


def test_two_equal_effects_are_welchs_test_of_their_difference() -> None:
    """Four means: Satterthwaite's degrees of freedom are those of all four variances."""
    arms = [Arm(50, 1.0, 0.5), Arm(60, 4.0, 0.25), Arm(70, 2.0, 1.0), Arm(80, 1.5, 2.0)]
    variances, df = np.array([a.variance_of_mean for a in arms]), np.array([a.n - 1 for a in arms])
    found = equal([Arms(*arms[:2]), Arms(*arms[2:])])
    t, satterthwaite = 3.5 / np.sqrt(3.75), 3.75**2 / (variances**2 / df).sum()
    assert (found.statistic, found.df, found.denominator_df) == (
        pytest.approx(t**2),
        1,
        pytest.approx(satterthwaite),
    )
    assert found.p == pytest.approx(2 * stats.t.sf(t, satterthwaite), rel=1e-9, abs=0)


def test_effects_that_cannot_be_compared_are_refused() -> None:
    moving, still = Arms(Arm(50, 1.0, 0.5), Arm(60, 4.0, 0.0)), Arms(Arm(50, 1.0, 0.0), Arm(60, 4.0, 0.0))
    with pytest.raises(ValueError, match="two groups"):
        equal([moving])
    with pytest.raises(ValueError, match="without variance"):
        equal([moving, still])


@pytest.mark.parametrize("n", [(50, 50), (450, 50)])
def test_twenty_small_values_with_one_effect_differ_as_often_as_it_says(n: tuple[int, int]) -> None:
    """3,000 draws of 5 % lie in 3.8 % to 6.2 % (three sigma); chi-square calls 6.0 % and 6.7 % different."""
    rng, draws, k = np.random.default_rng(77), 3_000, 20
    sd = np.stack([np.linspace(1, 2, k), np.full(k, 1.5)])
    scale = sd / np.sqrt(np.array(n)[:, None])
    means = rng.standard_normal((draws, 2, k)) * scale
    variances = scale**2 * np.stack([rng.chisquare(m - 1, (draws, k)) / (m - 1) for m in n], axis=1)
    called = sum(
        equal([Arms(*(Arm(m, *cell) for m, cell in zip(n, zip(x, v, strict=True), strict=True)))
               for x, v in zip(mean.T, variance.T, strict=True)]).p < 0.05
        for mean, variance in zip(means, variances, strict=True)
    )  # fmt: skip
    assert 0.038 < called / draws < 0.062
