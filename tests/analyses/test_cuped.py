"""CUPED rows agree with Welch's test on columns adjusted by hand, with theta from a regression."""

from __future__ import annotations

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from analyses.simulated import aggregates, block, experiment, metric
from exp_platform.analyses import ab, cuped
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.experiment import Experiment, MetricKind

ARMS = {"control": 800, "t1": 600, "t2": 500}


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.fixture(name="rng")
def _rng() -> np.random.Generator:
    return np.random.default_rng(7)


def arms_of_users(
    rng: np.random.Generator, sizes: dict[str, int], covariates: int = 1
) -> dict[str, np.ndarray]:
    """Outcome and covariates a user; the second arm is better by 0.3, the third by 0.6."""
    users = {}
    for shift, (variant, n) in enumerate(sizes.items()):
        x = rng.gamma(2.0, 2.0, (n, covariates))
        y = 1 + x @ np.linspace(0.8, 0.3, covariates) + 0.3 * shift + rng.normal(0, 1.5, n)
        users[variant] = np.column_stack([y, x])
    return users


def analyse(spec: Experiment, users: dict[str, np.ndarray], names: tuple[str, ...]) -> list[ResultRow]:
    day = aggregates(block("orders", v, a, ("value", *names)) for v, a in users.items())
    return [r for r in cuped.analyse(spec, day) if isinstance(r, ResultRow)]


def adjusted_by_hand(users: dict[str, np.ndarray]) -> tuple[dict[str, np.ndarray], np.ndarray]:
    """Theta is the slope in a regression of the outcome on arm dummies and covariates (pooled within arms)."""
    pooled = np.vstack(list(users.values()))
    arm = np.repeat(np.arange(len(users)), [len(a) for a in users.values()])
    design = np.column_stack([np.eye(len(users))[arm], pooled[:, 1:]])
    theta = sm.OLS(pooled[:, 0], design).fit().params[len(users) :]
    centre = pooled[:, 1:].mean(axis=0)
    return {v: a[:, 0] - (a[:, 1:] - centre) @ theta for v, a in users.items()}, theta


def test_two_treatments_agree_with_welch_on_columns_adjusted_by_hand(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, ARMS)
    by_hand, theta = adjusted_by_hand(users)
    rows = analyse(experiment(metric(covariates=["before"]), shares=(0.4, 0.3, 0.3)), users, ("before",))
    within = np.vstack([a - a.mean(axis=0) for a in users.values()])
    rho = np.corrcoef(within.T)[0, 1]
    for row in rows:
        control, treated = by_hand["control"], by_hand[row.treatment_id]
        test = stats.ttest_ind(treated, control, equal_var=False)
        low, high = test.confidence_interval(1 - 0.045 / 2)
        assert row.status is Status.OK
        assert row.theta == near(theta[0])
        assert row.rho == near(rho)
        assert row.variance_reduction == near(rho**2)
        assert row.covariates == "before"
        assert row.adjusted_mean_control == near(control.mean())
        assert row.adjusted_mean_treatment == near(treated.mean())
        assert row.mean_control == near(users["control"][:, 0].mean())
        assert row.sd_treatment == near(users[row.treatment_id][:, 0].std(ddof=1))
        assert row.estimate == near(treated.mean() - control.mean())
        assert row.statistic == near(test.statistic)
        assert row.degrees_of_freedom == near(test.df)
        assert row.p_value == near(test.pvalue)
        assert (row.ci_low, row.ci_high) == (near(low), near(high))
        assert row.relative == near(treated.mean() / control.mean() - 1)


def test_two_covariates_and_what_they_explain(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, {"control": 700, "t1": 700}, covariates=2)
    by_hand, theta = adjusted_by_hand(users)
    (row,) = analyse(experiment(metric(covariates=["a", "b"])), users, ("a", "b"))
    test = stats.ttest_ind(by_hand["t1"], by_hand["control"], equal_var=False)
    assert (row.statistic, row.p_value) == (near(test.statistic), near(test.pvalue))
    assert row.theta == near(theta[0])
    assert row.covariates == "a, b"


def test_it_is_the_same_comparison_as_ab_but_narrower(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, {"control": 2000, "t1": 2000})
    spec = experiment(metric(covariates=["before"]))
    day = aggregates(block("orders", v, a, ("value", "before")) for v, a in users.items())
    plain, adjusted = ab.analyse(spec, day)[0], cuped.analyse(spec, day)[0]
    assert isinstance(plain, ResultRow)
    assert isinstance(adjusted, ResultRow)
    assert (adjusted.mean_control, adjusted.mean_treatment) == (plain.mean_control, plain.mean_treatment)
    assert adjusted.standard_error is not None
    assert plain.standard_error is not None
    assert adjusted.variance_reduction is not None
    ratio = (adjusted.standard_error / plain.standard_error) ** 2
    assert ratio == pytest.approx(1 - adjusted.variance_reduction, rel=1e-2)
    assert ratio < 0.7


def test_a_flag_that_never_varies_drops_out_silently(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, {"control": 300, "t1": 300})
    spec = experiment(metric(covariates=["before"]))
    flagged = {v: np.column_stack([a, np.zeros(len(a))]) for v, a in users.items()}
    (plain,) = analyse(spec, users, ("before",))
    (row,) = analyse(spec, flagged, ("before", "before_missing"))
    assert (row.covariates, row.message) == ("before", None)
    assert (row.theta, row.p_value) == (near(plain.theta or 0.0), near(plain.p_value or 0.0))


def test_a_flag_that_varies_is_a_second_covariate(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, {"control": 900, "t1": 900})
    for a in users.values():
        missing = rng.random(len(a)) < 0.2
        a[missing, 1] = 0.0
    flagged = {v: np.column_stack([a, a[:, 1] == 0.0]) for v, a in users.items()}
    by_hand, _ = adjusted_by_hand(flagged)
    (row,) = analyse(experiment(metric(covariates=["before"])), flagged, ("before", "before_missing"))
    assert row.covariates == "before, before_missing"
    assert row.p_value == near(stats.ttest_ind(by_hand["t1"], by_hand["control"], equal_var=False).pvalue)


def test_a_covariate_that_repeats_another_is_named_and_not_used(rng: np.random.Generator) -> None:
    users = {
        v: np.column_stack([a, 3 * a[:, 1]])
        for v, a in arms_of_users(rng, {"control": 300, "t1": 300}).items()
    }
    (row,) = analyse(experiment(metric(covariates=["before", "thrice"])), users, ("before", "thrice"))
    assert row.covariates == "before"
    assert "thrice" in str(row.message)


@pytest.mark.parametrize(
    ("kind", "covariates", "why"),
    [(MetricKind.RATIO, ["before"], "ratio"), (MetricKind.MEAN, [], "no covariates")],
)
def test_ratios_and_metrics_without_covariates_are_not_applicable(
    rng: np.random.Generator, kind: MetricKind, covariates: list[str], why: str
) -> None:
    (row,) = analyse(
        experiment(metric(kind=kind, covariates=covariates)),
        arms_of_users(rng, {"control": 200, "t1": 200}),
        ("x",),
    )
    assert row.status is Status.NOT_APPLICABLE
    assert why in str(row.message)
    assert row.estimate is None


def test_covariates_that_never_vary_are_not_applicable(rng: np.random.Generator) -> None:
    users = {v: np.column_stack([rng.normal(size=200), np.zeros(200)]) for v in ("control", "t1")}
    (row,) = analyse(experiment(metric(covariates=["before"])), users, ("before",))
    assert (row.status, row.estimate) == (Status.NOT_APPLICABLE, None)


def test_a_constant_outcome_is_degenerate(rng: np.random.Generator) -> None:
    users = {v: np.column_stack([np.ones(200), rng.normal(size=200)]) for v in ("control", "t1")}
    (row,) = analyse(experiment(metric(covariates=["before"])), users, ("before",))
    assert (row.status, row.estimate) == (Status.DEGENERATE, None)


def test_an_outcome_that_the_covariate_explains_wholly_is_degenerate(rng: np.random.Generator) -> None:
    users = {
        v: np.column_stack([2 * x + 1, x]) for v in ("control", "t1") for x in [rng.gamma(2.0, 9.0, 500)]
    }
    (row,) = analyse(experiment(metric(covariates=["before"])), users, ("before",))
    assert (row.status, row.estimate) == (Status.DEGENERATE, None)


def test_a_tiny_arm_is_left_out_of_theta_and_has_no_numbers(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, ARMS | {"t2": 30})
    spec = experiment(metric(covariates=["before"]), shares=(0.4, 0.3, 0.3))
    large, tiny = analyse(spec, users, ("before",))
    _, theta = adjusted_by_hand({v: a for v, a in users.items() if v != "t2"})
    assert large.theta == near(theta[0])
    assert (tiny.status, tiny.n_treatment, tiny.estimate) == (Status.INSUFFICIENT_DATA, 30, None)
