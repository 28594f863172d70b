"""CUPED rows agree with regressions on users, say what was gained, and whether the covariates can be relied on."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from analyses.simulated import END, UNITS, aggregates, block, experiment, metric
from exp_platform.aggregates import DailyRow
from exp_platform.analyses import ab, cuped
from exp_platform.analyses.planned import Expected, required_users
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect
from exp_platform.config.plans import AnalysisPlan, DecisionPlan

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


def regressed(users: dict[str, np.ndarray], treatment: str) -> tuple[float, float, np.ndarray]:
    """Effect, its variance and the slopes: the outcome on arm dummies and covariates, a residual variance an arm."""
    pooled = np.vstack(list(users.values()))
    sizes = [len(a) for a in users.values()]
    arm = np.repeat(np.arange(len(users)), sizes)
    design = np.column_stack([np.eye(len(users))[arm], pooled[:, 1:]])
    fit = sm.OLS(pooled[:, 0], design).fit()
    lost = (len(pooled) - len(users)) / fit.df_resid  # the slopes' degrees of freedom, shared by all arms
    spread = np.array([fit.resid[arm == i].var(ddof=1) * lost for i in range(len(users))])[arm]
    covariance = fit.normalized_cov_params @ (design.T * spread) @ design @ fit.normalized_cov_params
    step = np.zeros(design.shape[1])
    step[[0, list(users).index(treatment)]] = -1, 1
    return float(step @ fit.params), float(step @ covariance @ step), fit.params[len(users) :]


def test_always_valid_evidence_is_that_of_the_adjusted_variance(rng: np.random.Generator) -> None:
    """Waudby-Smith et al. 2021, theorem 2.2, with the regression's variance in place of the plain one."""
    users = arms_of_users(rng, {"control": 800, "t1": 600})
    (row,) = analyse(experiment(metric(covariates=["before"])), users, ("before",))
    effect, variance, _ = regressed(users, "t1")
    n, alpha = 1400, 0.005
    rho2 = (-2 * np.log(alpha) + np.log(1 - 2 * np.log(alpha))) / 5000
    half = np.sqrt(n * variance * 2 * (n * rho2 + 1) / (n**2 * rho2) * np.log(np.sqrt(n * rho2 + 1) / alpha))
    assert (row.always_valid_low, row.always_valid_high) == (near(effect - half), near(effect + half))
    (plain,) = ab.analyse(
        experiment(metric(covariates=["before"])),
        aggregates(block("orders", v, a, ("value", "before")) for v, a in users.items()),
    )
    assert isinstance(plain, ResultRow)
    assert plain.always_valid_high is not None
    assert plain.always_valid_low is not None
    assert 2 * half < plain.always_valid_high - plain.always_valid_low


def test_two_treatments_agree_with_a_regression_on_users(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, ARMS)
    rows = analyse(experiment(metric(covariates=["before"]), shares=(0.4, 0.3, 0.3)), users, ("before",))
    within = np.vstack([a - a.mean(axis=0) for a in users.values()])
    for row in rows:
        effect, variance, theta = regressed(users, row.treatment_id)
        control, treated = users["control"][:, 0], users[row.treatment_id][:, 0]
        before = control.var(ddof=1) / len(control) + treated.var(ddof=1) / len(treated)
        critical = stats.t(row.degrees_of_freedom).ppf(1 - 0.045 / 4)
        assert row.status is Status.OK
        assert (row.theta, row.theta_treatment) == (near(theta[0]), near(theta[0]))
        assert row.rho == near(np.corrcoef(within.T)[0, 1])
        assert row.variance_reduction == near(1 - variance / before)
        assert (row.covariates, row.slopes) == ("before", "pooled")
        assert row.mean_control == near(control.mean())
        assert row.sd_treatment == near(treated.std(ddof=1))
        assert row.estimate == near(effect)
        assert row.standard_error == near(variance**0.5)
        assert row.p_value == near(2 * stats.t(row.degrees_of_freedom).sf(abs(effect) / variance**0.5))
        assert (row.ci_low, row.ci_high) == (
            near(effect - critical * variance**0.5),
            near(effect + critical * variance**0.5),
        )
        assert row.adjusted_mean_control is not None
        assert row.adjusted_mean_treatment == near(row.adjusted_mean_control + effect)
        assert row.relative == near(effect / row.adjusted_mean_control)


def test_per_arm_slopes_are_lins_regression_and_the_row_says_so(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, {"control": 700, "t1": 900}, covariates=2)
    users["t1"][:, 0] += 0.5 * users["t1"][:, 1]  # the effect grows with the covariate
    spec = experiment(metric(covariates=["a", "b"]), analyses=AnalysisPlan(slopes="per_arm"))
    (row,) = analyse(spec, users, ("a", "b"))
    x = np.vstack([a[:, 1:] for a in users.values()])
    x = x - x.mean(axis=0)
    t = np.repeat([0.0, 1.0], [700, 900])
    y = np.concatenate([a[:, 0] for a in users.values()])
    lin = sm.OLS(y, np.column_stack([np.ones_like(t), t, x, x * t[:, None]])).fit(cov_type="HC2")
    assert row.slopes == "per_arm"
    assert row.estimate == near(lin.params[1])
    assert (row.theta, row.theta_treatment) == (near(lin.params[2]), near(lin.params[2] + lin.params[4]))
    given = (row.standard_error or 0) ** 2 - np.var(x @ lin.params[4:], ddof=1) / len(x)
    assert given == pytest.approx(lin.bse[1] ** 2, rel=0.005)


def test_two_covariates_and_what_they_explain(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, {"control": 700, "t1": 700}, covariates=2)
    (row,) = analyse(experiment(metric(covariates=["a", "b"])), users, ("a", "b"))
    effect, variance, theta = regressed(users, "t1")
    assert (row.estimate, row.standard_error) == (near(effect), near(variance**0.5))
    assert row.theta == near(theta[0])
    assert row.covariates == "a, b"


def test_a_ratio_is_adjusted_by_its_linearised_value(rng: np.random.Generator) -> None:
    """The same as a mean of r + (num - r den) / mean den, made by hand for every user and regressed."""
    users = {}
    for variant, n in ARMS.items():
        x = rng.gamma(2.0, 2.0, (n, 2))
        visits = rng.poisson(2 + x[:, 0]) + 1.0
        users[variant] = np.column_stack([visits * (3 + 0.2 * x[:, 1]) + rng.normal(0, 2, n), visits, x])
    spec = experiment(metric(kind="ratio", covariates=["num", "den"]), shares=(0.4, 0.3, 0.3))
    day = aggregates(block("orders", v, a, ("value", "denominator", "num", "den")) for v, a in users.items())
    rows = [r for r in cuped.analyse(spec, day) if isinstance(r, ResultRow)]
    linear = {}
    for variant, a in users.items():
        r = a[:, 0].sum() / a[:, 1].sum()
        linear[variant] = np.column_stack([r + (a[:, 0] - r * a[:, 1]) / a[:, 1].mean(), a[:, 2:]])
    for row, plain in zip(rows, ab.analyse(spec, day), strict=True):
        assert isinstance(plain, ResultRow)
        effect, variance, theta = regressed(linear, row.treatment_id)
        assert (row.status, row.covariates) == (Status.OK, "num, den")
        assert (row.estimate, row.standard_error) == (near(effect), near(variance**0.5))
        assert row.theta == near(theta[0])
        assert (row.mean_control, row.sd_control) == (plain.mean_control, plain.sd_control)
        assert row.variance_reduction == near(1 - variance / (plain.standard_error or 0) ** 2)
        assert row.variance_reduction is not None
        assert row.variance_reduction > 0.2


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
    assert ratio == near(1 - adjusted.variance_reduction)
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
    effect, variance, _ = regressed(flagged, "t1")
    (row,) = analyse(experiment(metric(covariates=["before"])), flagged, ("before", "before_missing"))
    assert row.covariates == "before, before_missing"
    assert (row.estimate, row.standard_error) == (near(effect), near(variance**0.5))


def test_a_covariate_that_repeats_another_is_named_and_not_used(rng: np.random.Generator) -> None:
    users = {
        v: np.column_stack([a, 3 * a[:, 1]])
        for v, a in arms_of_users(rng, {"control": 300, "t1": 300}).items()
    }
    (row,) = analyse(experiment(metric(covariates=["before", "thrice"])), users, ("before", "thrice"))
    assert row.covariates == "before"
    assert "thrice" in str(row.message)


def test_a_metric_without_covariates_is_not_applicable(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, {"control": 200, "t1": 200})
    (row,) = analyse(experiment(metric()), users, ("x",))
    assert (row.status, row.estimate) == (Status.NOT_APPLICABLE, None)
    assert "no covariates" in str(row.message)


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
    _, _, theta = regressed({v: a for v, a in users.items() if v != "t2"}, "t1")
    assert large.theta == near(theta[0])
    assert (tiny.status, tiny.n_treatment, tiny.estimate) == (Status.INSUFFICIENT_DATA, 30, None)


# ---- can it be relied on, and what is it worth?


def test_good_covariates_are_told_to_be_so(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, {"control": 2000, "t1": 2000}, covariates=2)
    (row,) = analyse(experiment(metric(covariates=["a", "b"])), users, ("a", "b"))
    a, b = (users[v][:, 1:] for v in ("control", "t1"))
    d = b.mean(axis=0) - a.mean(axis=0)
    parts = [np.cov(x.T) / len(x) for x in (a, b)]
    inverse = np.linalg.inv(sum(parts))
    wald = d @ inverse @ d
    shares = [v @ inverse for v in parts]
    nu = 6 / sum((np.trace(h @ h) + np.trace(h) ** 2) / 1999 for h in shares)  # Krishnamoorthy and Yu 2004
    assert row.balance_p == near(stats.f.sf(wald * (nu - 1) / (2 * nu), 2, nu - 1))
    assert (row.health, row.message) == ("ok", None)


def test_covariates_that_differ_between_the_arms_sound_the_alarm(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, {"control": 2000, "t1": 2000})
    users["t1"][:, 1] += 0.5  # as where the treatment has changed it
    (row,) = analyse(experiment(metric(covariates=["before"])), users, ("before",))
    assert row.health == "unbalanced"
    assert row.balance_p is not None
    assert row.balance_p < 1e-3
    assert "differ between the arms" in str(row.message)


def test_the_balance_alarm_is_rare_where_nothing_is_wrong() -> None:
    rng = np.random.default_rng(1)
    plan = experiment(metric(covariates=["a", "b"]))
    ps = [
        analyse(plan, arms_of_users(rng, {"control": 300, "t1": 300}, 2), ("a", "b"))[0].balance_p
        for _ in range(300)
    ]
    assert stats.kstest(ps, "uniform").pvalue > 1e-4


def test_peer_defect_a_covariate_that_has_nothing_to_do_with_the_metric_is_named_as_such(
    rng: np.random.Generator,
) -> None:
    """Its gain is about nothing, and the row says that instead of looking like a success."""
    users = {v: rng.normal(5, 1, (3000, 2)) for v in ("control", "t1")}
    (row,) = analyse(experiment(metric(covariates=["before"])), users, ("before",))
    assert (row.status, row.health) == (Status.OK, "unrelated")
    assert row.variance_reduction == pytest.approx(0, abs=0.003)
    assert "explains about nothing" in str(row.message)


def test_an_adjustment_that_costs_precision_says_so(rng: np.random.Generator) -> None:
    """One slope for arms of unlike size whose own slopes are opposite (Freedman 2008); each arm's own one is no loss."""
    users = {v: rng.normal(size=(n, 2)) for v, n in (("control", 1800), ("t1", 200))}
    for sign, a in zip((1.5, -1.5), users.values(), strict=True):
        a[:, 0] += sign * a[:, 1]
    spec = experiment(metric(covariates=["before"]))
    (row,) = analyse(spec, users, ("before",))
    assert (row.status, row.health) == (Status.OK, "harmful")
    assert row.variance_reduction is not None
    assert row.variance_reduction < -0.5
    assert "% larger" in str(row.message)
    (own,) = analyse(replace(spec, analyses=AnalysisPlan(slopes="per_arm")), users, ("before",))
    assert own.health == "ok"


@pytest.mark.parametrize(("until", "health"), [(date(2025, 2, 28), "ok"), (None, "undated")])
def test_a_column_of_users_is_undated_unless_the_spec_dates_it(
    rng: np.random.Generator, until: date | None, health: str
) -> None:
    m = metric(covariates=["before"])
    dated = replace(m, covariates=(replace(m.covariates[0], until=until),))
    users = arms_of_users(rng, {"control": 500, "t1": 500})
    (row,) = analyse(experiment(dated, source=UNITS), users, ("before",))
    assert row.health == health


def test_peer_defect_the_reduction_is_of_the_effects_variance_and_in_days(rng: np.random.Generator) -> None:
    """Neither rho^2 nor 1 - rho^2; days are the planned users it saves at the users that arrive a day."""
    users = arms_of_users(rng, {"control": 1500, "t1": 500})
    plan = DecisionPlan(required_sample_size=8000, daily_users=250)
    spec = experiment(metric(covariates=["before"]), decision=plan)
    (row,) = analyse(spec, users, ("before",))
    (before,) = ab.analyse(spec, aggregates(block("orders", v, a[:, 0]) for v, a in users.items()))
    assert isinstance(before, ResultRow)
    gained = 1 - ((row.standard_error or 0) / (before.standard_error or 1)) ** 2
    assert row.variance_reduction == near(gained)
    assert row.days_saved == near(gained * 8000 / 250)
    assert gained != pytest.approx((row.rho or 0) ** 2, rel=1e-4)
    assert analyse(experiment(metric(covariates=["before"])), users, ("before",))[0].days_saved is None


def test_days_follow_from_the_mde_and_the_users_of_the_last_days(rng: np.random.Generator) -> None:
    users = arms_of_users(rng, {"control": 700, "t1": 700})
    m = metric(covariates=["before"], mde=Effect(0.05, "relative"))
    daily = [DailyRow(END - timedelta(days=i), v, "orders", 50, 0, 0.0) for i in range(7) for v in users]
    day = aggregates((block("orders", v, a, ("value", "before")) for v, a in users.items()), daily=daily)
    spec = experiment(m)
    row = cuped.analyse(spec, day)[0]
    assert isinstance(row, ResultRow)
    needed = required_users(spec, m, Expected(row.mean_control, row.sd_control))
    assert needed is not None
    assert row.days_saved == near((row.variance_reduction or 0) * needed / 100)
