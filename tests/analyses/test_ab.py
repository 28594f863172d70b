"""A/B rows agree with SciPy on the raw arrays, and failures are statuses with null numbers."""

from __future__ import annotations

import math
from dataclasses import asdict
from datetime import date

import numpy as np
import pytest
from scipy import optimize, stats

from analyses.simulated import BEFORE_END, END, aggregates, block, experiment, metric
from exp_platform.analyses import ab
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.config.metrics import DayWindow, Effect, Metric, Role, Winsorise
from exp_platform.config.plans import DecisionPlan


def near(value: float | None) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.fixture(name="rng")
def _rng() -> np.random.Generator:
    return np.random.default_rng(20250301)


def only(rows: list[Row]) -> ResultRow:
    (row,) = rows
    assert isinstance(row, ResultRow)
    return row


def two_arms(
    m: Metric, control: np.ndarray, treated: np.ndarray, as_of: date = END, **decision: object
) -> ResultRow:
    """The one row of one metric and treatment."""
    names = ("value", "denominator") if m.kind == "ratio" else ("value",)
    blocks = [block(m.id, "control", control, names), block(m.id, "t1", treated, names)]
    spec = experiment(m, decision=DecisionPlan(**decision))  # type: ignore[arg-type]
    return only(ab.analyse(spec, aggregates(blocks, as_of)))


def numbers_of(row: ResultRow) -> dict[str, object]:
    """All that a failed row must leave null."""
    told = {
        *(
            "as_of_date",
            "method",
            "metric_id",
            "metric_kind",
            "role",
            "treatment_id",
            "control_id",
            "segment",
        ),
        *("segment_value", "status", "exploratory", "message", "n_control", "n_treatment"),
    }
    return {k: v for k, v in asdict(row).items() if k not in told}


def test_two_metrics_and_two_treatments_agree_with_scipy(rng: np.random.Generator) -> None:
    spec = experiment(metric("revenue"), metric("orders", role=Role.SECONDARY), shares=(0.5, 0.3, 0.2))
    users = {
        ("revenue", "control"): rng.gamma(2.0, 3.0, 900),
        ("revenue", "t1"): rng.gamma(2.0, 3.3, 600),
        ("revenue", "t2"): rng.gamma(2.0, 2.8, 400),
        ("orders", "control"): rng.poisson(0.8, 900).astype(float),
        ("orders", "t1"): rng.poisson(0.9, 600).astype(float),
        ("orders", "t2"): rng.poisson(0.8, 400).astype(float),
    }
    rows = ab.analyse(spec, aggregates(block(m, v, x) for (m, v), x in users.items()))
    assert [(r.metric_id, r.treatment_id) for r in rows] == [  # type: ignore[union-attr]
        ("revenue", "t1"), ("revenue", "t2"), ("orders", "t1"), ("orders", "t2")
    ]  # fmt: skip
    for row in rows:
        assert isinstance(row, ResultRow)
        control, treated = users[row.metric_id, "control"], users[row.metric_id, row.treatment_id]
        test = stats.ttest_ind(treated, control, equal_var=False)
        # Of alpha .05 a tenth is spent on always-valid evidence; two metrics, two treatments
        level = 1 - 0.045 / 4
        low, high = test.confidence_interval(level)
        mean_low, mean_high = stats.t.interval(level, len(treated) - 1, treated.mean(), stats.sem(treated))
        assert row.status is Status.OK
        assert (row.n_control, row.n_treatment) == (len(control), len(treated))
        assert row.mean_control == near(control.mean())
        assert row.sd_treatment == near(treated.std(ddof=1))
        assert (row.mean_treatment_low, row.mean_treatment_high) == (near(mean_low), near(mean_high))
        assert row.estimate == near(treated.mean() - control.mean())
        assert row.statistic == near(test.statistic)
        assert row.degrees_of_freedom == near(test.df)
        assert row.p_value == near(test.pvalue)
        assert row.p_adjusted == near(min(1.0, 4 * test.pvalue))
        assert (row.alpha, row.ci_level) == (near(0.045 / 4), near(level))
        assert (row.ci_low, row.ci_high) == (near(low), near(high))
        assert row.significant is bool(test.pvalue < 0.045 / 4)
        assert row.significant_uncorrected is bool(test.pvalue < 0.045)


def test_relative_interval_is_where_the_test_of_that_ratio_turns(rng: np.random.Generator) -> None:
    control, treated = rng.normal(5, 4, 800), rng.normal(5.4, 5, 700)
    row = two_arms(metric(), control, treated)
    df = stats.ttest_ind(treated, control, equal_var=False).df
    critical = stats.t.ppf(1 - 0.045 / 2, df)

    def excess(r: float) -> float:
        error = math.sqrt(treated.var(ddof=1) / 700 + (1 + r) ** 2 * control.var(ddof=1) / 800)
        return abs(treated.mean() - (1 + r) * control.mean()) / error - critical

    point = treated.mean() / control.mean() - 1
    assert row.relative == near(point)
    assert row.relative_low == near(optimize.brentq(excess, point - 1, point, xtol=1e-14, rtol=1e-14))
    assert row.relative_high == near(optimize.brentq(excess, point, point + 1, xtol=1e-14, rtol=1e-14))
    assert row.relative_kind == "BOUNDED"


def test_ratio_is_tested_on_its_linearised_values(rng: np.random.Generator) -> None:
    def arm(n: int, price: float) -> np.ndarray:
        orders = rng.poisson(1.5, n)
        return np.column_stack([orders * rng.normal(price, 2, n), orders])

    control, treated = arm(700, 12.0), arm(500, 12.4)
    row = two_arms(metric("aov", "ratio"), control, treated)
    ratios, errors = [], []
    for x in (control, treated):
        ratio = x[:, 0].sum() / x[:, 1].sum()
        linear = (x[:, 0] - ratio * x[:, 1]) / x[:, 1].mean()
        ratios.append(ratio)
        errors.append(linear.var(ddof=1) / len(x))
    df = sum(errors) ** 2 / (errors[0] ** 2 / 699 + errors[1] ** 2 / 499)
    t = (ratios[1] - ratios[0]) / math.sqrt(sum(errors))
    assert (row.mean_control, row.mean_treatment) == (near(ratios[0]), near(ratios[1]))
    assert row.statistic == near(t)
    assert row.degrees_of_freedom == near(df)
    assert row.p_value == near(2 * stats.t.sf(abs(t), df))


def test_ratio_that_is_the_same_for_all_users_is_degenerate(rng: np.random.Generator) -> None:
    orders = np.floor(rng.lognormal(1, 2, 1000))
    row = two_arms(metric("aov", "ratio"), *[np.column_stack([orders * 9.99, orders])] * 2)
    assert row.status is Status.DEGENERATE
    assert set(numbers_of(row).values()) == {None}


def test_ratio_without_any_denominator_is_degenerate() -> None:
    row = two_arms(metric("aov", "ratio"), np.ones((100, 2)), np.zeros((100, 2)))
    assert row.status is Status.DEGENERATE
    assert row.message is not None
    assert "denominator" in row.message


def test_no_conversion_in_control_gives_a_test_but_nothing_relative() -> None:
    control, treated = np.zeros(1000), np.repeat([1.0, 0.0], [30, 970])
    row = two_arms(metric("buys", "proportion"), control, treated)
    assert row.status is Status.OK
    assert row.p_value == near(stats.ttest_ind(treated, control, equal_var=False).pvalue)
    assert (row.relative, row.relative_low, row.relative_high) == (None, None, None)
    assert row.relative_kind == "UNDEFINED"


@pytest.mark.parametrize("value", [0.0, 0.1, 1.0])
def test_constant_metric_is_degenerate(value: float) -> None:
    row = two_arms(metric("buys"), np.full(300, value), np.full(200, value))
    assert row.status is Status.DEGENERATE
    assert set(numbers_of(row).values()) == {None}
    assert (row.n_control, row.n_treatment) == (300, 200)


def test_constant_because_of_the_cap_says_so() -> None:
    m = metric("revenue", winsorise=Winsorise(upper=0.5))
    assert "winsorised" in str(two_arms(m, np.zeros(100), np.zeros(100)).message)


@pytest.mark.parametrize(
    ("n_control", "n_treatment", "status"),
    [
        (49, 500, Status.INSUFFICIENT_DATA),
        (500, 49, Status.INSUFFICIENT_DATA),
        (0, 500, Status.INSUFFICIENT_DATA),
        (50, 50, Status.OK),
    ],
)
def test_an_arm_needs_fifty_users(
    rng: np.random.Generator, n_control: int, n_treatment: int, status: Status
) -> None:
    row = two_arms(metric(), rng.normal(size=n_control), rng.normal(size=n_treatment))
    assert row.status is status
    assert (row.n_control, row.n_treatment) == (n_control, n_treatment)
    if status is not Status.OK:
        assert set(numbers_of(row).values()) == {None}


def test_an_arm_without_any_user_has_no_block(rng: np.random.Generator) -> None:
    row = only(
        ab.analyse(experiment(metric()), aggregates([block("orders", "control", rng.normal(size=500))]))
    )
    assert row.status is Status.INSUFFICIENT_DATA
    assert (row.n_control, row.n_treatment) == (500, 0)


def test_the_logarithm_stays_finite_where_p_underflows(rng: np.random.Generator) -> None:
    row = two_arms(metric(), rng.normal(0, 1, 20_000), rng.normal(1, 1, 20_000))
    assert row.p_value == 0.0
    assert row.log10_p is not None
    assert -3000 < row.log10_p < -1000


def test_nothing_is_significant_by_a_fixed_horizon_p_before_the_planned_end(rng: np.random.Generator) -> None:
    control, treated = rng.normal(0, 1, 2000), rng.normal(0.5, 1, 2000)
    early, late = (two_arms(metric(), control, treated, day) for day in (BEFORE_END, END))
    assert early.p_value == late.p_value
    assert (early.significant, early.significant_uncorrected) == (False, False)
    assert (late.significant, late.significant_uncorrected) == (True, True)
    assert early.always_valid_significant is True


def test_the_planned_end_waits_for_the_windows_of_metrics_that_decide(rng: np.random.Generator) -> None:
    x = rng.normal(0, 1, 500)
    waiting = metric(window=DayWindow(0, 7))
    assert two_arms(waiting, x, x + 1, date(2025, 3, 20)).significant is False
    assert two_arms(waiting, x, x + 1, date(2025, 3, 21)).significant is True


def reference_half_width(control: np.ndarray, treated: np.ndarray, alpha: float, tuned: float) -> float:
    """Waudby-Smith et al. 2021, theorem 2.2, over both arms' users, by the larger variance."""
    n = len(control) + len(treated)
    rho2 = (-2 * math.log(alpha) + math.log(-2 * math.log(alpha) + 1)) / tuned
    v0, v1, n0, n1 = control.var(ddof=1), treated.var(ddof=1), len(control), len(treated)
    variance = n * max(v0 / n0 + v1 / n1, v0 / n1 + v1 / n0)  # the second: users of both arms vary alike
    inside = 2 * (n * rho2 + 1) / (n**2 * rho2) * math.log(math.sqrt(n * rho2 + 1) / alpha)
    return math.sqrt(variance * inside)


@pytest.mark.parametrize(("planned", "tuned"), [(None, 5000.0), (12_000, 12_000.0)])
def test_confidence_sequence_is_that_of_its_paper(
    rng: np.random.Generator, planned: int | None, tuned: float
) -> None:
    control, treated = rng.normal(1, 1, 900), rng.normal(1.2, 1, 1100)
    row = two_arms(metric(), control, treated, BEFORE_END, required_sample_size=planned)
    half = reference_half_width(control, treated, 0.005, tuned)
    estimate = treated.mean() - control.mean()
    assert (row.always_valid_low, row.always_valid_high) == (near(estimate - half), near(estimate + half))
    assert row.always_valid_significant is bool(abs(estimate) > half)


def test_confidence_sequence_is_tuned_to_the_plan_of_a_proportion(rng: np.random.Generator) -> None:
    """10 % to 12 % at alpha .045 and power .8: 3,964 users per arm by the classical formula."""
    m = metric("buys", "proportion", baseline=0.10, mde=Effect(0.2, "relative"))
    control, treated = (rng.random(2000) < p for p in (0.1, 0.14))
    row = two_arms(m, control.astype(float), treated.astype(float), BEFORE_END)
    z = stats.norm.ppf(1 - 0.045 / 2) + stats.norm.ppf(0.8)
    classical = 2 * z**2 * (0.1 * 0.9 + 0.12 * 0.88) / 0.02**2
    half = reference_half_width(control.astype(float), treated.astype(float), 0.005, classical)
    assert row.always_valid_high is not None
    assert row.always_valid_low is not None
    assert (row.always_valid_high - row.always_valid_low) / 2 == pytest.approx(half, rel=1e-3)


def conversions(n: int, successes: int) -> np.ndarray:
    return np.repeat([1.0, 0.0], [successes, n - successes])


@pytest.mark.parametrize(
    ("kind", "control", "treated", "status"),
    [
        ("proportion", conversions(100, 10), conversions(100, 90), Status.OK),
        ("proportion", conversions(99, 10), conversions(500, 90), Status.NOT_YET),
        ("proportion", conversions(500, 9), conversions(500, 90), Status.NOT_YET),
        ("retention", conversions(500, 90), conversions(500, 491), Status.NOT_YET),
        ("count", conversions(500, 50), conversions(500, 500), Status.OK),
        ("count", conversions(500, 49), conversions(500, 500), Status.NOT_YET),
    ],
)
def test_always_valid_evidence_starts_when_both_arms_have_outcomes(
    kind: str, control: np.ndarray, treated: np.ndarray, status: Status
) -> None:
    row = two_arms(metric(kind=kind), control, treated, BEFORE_END)
    assert row.always_valid_status is status
    assert (row.always_valid_low is None) is (status is not Status.OK)


def test_no_always_valid_evidence_where_no_alpha_is_spent_on_it(rng: np.random.Generator) -> None:
    row = two_arms(metric(), rng.normal(0, 1, 500), rng.normal(1, 1, 500), sequential_share=0.0)
    assert row.always_valid_status is Status.NOT_APPLICABLE
    assert row.alpha == near(0.05)
    assert row.significant is True


def test_guardrail_and_informational_metrics_are_not_corrected(rng: np.random.Generator) -> None:
    metrics = [metric(role.value, role=role) for role in Role]
    x = rng.normal(0, 1, 200)
    rows = ab.analyse(
        experiment(*metrics), aggregates(block(m.id, v, x) for m in metrics for v in ("control", "t1"))
    )
    alphas = {r.role: r.alpha for r in rows if isinstance(r, ResultRow)}
    assert alphas == {
        "primary": near(0.045 / 2),
        "secondary": near(0.045 / 2),
        "guardrail": near(0.045),
        "informational": near(0.045),
    }


@pytest.mark.parametrize("primary_moves", [True, False])
def test_primary_first_holds_secondaries_back_until_the_primary_is_significant(
    rng: np.random.Generator, primary_moves: bool
) -> None:
    noise = rng.normal(0, 1, 1000)
    blocks = [
        *(block("main", v, noise + shift) for v, shift in (("control", 0.0), ("t1", float(primary_moves)))),
        *(block(s, v, noise + shift) for s in ("s1", "s2") for v, shift in (("control", 0.0), ("t1", 0.5))),
    ]
    spec = experiment(
        metric("main"),
        metric("s1", role=Role.SECONDARY),
        metric("s2", role=Role.SECONDARY),
        decision=DecisionPlan(family="primary_first"),
    )
    rows = {r.metric_id: r for r in ab.analyse(spec, aggregates(blocks)) if isinstance(r, ResultRow)}
    assert rows["main"].alpha == near(0.045)
    assert rows["s1"].alpha == near(0.045 / 2)
    assert rows["s1"].significant_uncorrected is True
    for name in ("s1", "s2"):
        assert rows[name].significant is primary_moves
        assert rows[name].always_valid_significant is primary_moves
        assert (rows[name].p_adjusted or 0.0) == (
            near(2 * (rows[name].p_value or 0.0)) if primary_moves else 1.0
        )


def test_primary_first_keeps_a_secondary_back_where_the_primary_has_no_number(
    rng: np.random.Generator,
) -> None:
    spec = experiment(
        metric("main"), metric("s1", role=Role.SECONDARY), decision=DecisionPlan(family="primary_first")
    )
    noise = rng.normal(0, 1, 1000)
    blocks = [block("s1", "control", noise), block("s1", "t1", noise + 1)]
    main, second = ab.analyse(spec, aggregates(blocks))
    assert isinstance(main, ResultRow)
    assert isinstance(second, ResultRow)
    assert main.status is Status.INSUFFICIENT_DATA
    assert (second.significant, second.p_adjusted) == (False, 1.0)


def test_description_is_passed_on_and_the_capped_share_is_that_of_all_users(rng: np.random.Generator) -> None:
    control = {"median": 1.0, "p95": 2.0, "capped_share": 0.01, "capped_lower": 0.0, "capped_upper": 0.01}
    treated = {"median": 1.5, "p95": 2.5, "capped_share": 0.05, "capped_lower": 0.02, "capped_upper": 0.03}
    blocks = [
        block("orders", "control", rng.normal(size=300), **control),
        block("orders", "t1", rng.normal(size=100), **treated),
    ]
    row = only(ab.analyse(experiment(metric()), aggregates(blocks)))
    assert (row.median_control, row.p95_control, row.median_treatment, row.p95_treatment) == (
        1.0,
        2.0,
        1.5,
        2.5,
    )
    assert row.capped_share == near(0.02)
    assert (row.capped_lower_control, row.capped_upper_control) == (0.0, 0.01)
    assert (row.capped_lower_treatment, row.capped_upper_treatment) == (0.02, 0.03)
