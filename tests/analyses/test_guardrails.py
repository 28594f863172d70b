"""Guardrail verdicts follow from intervals computed by SciPy, in both directions and on both scales of margin."""

from __future__ import annotations

import math
from datetime import date

import numpy as np
import pytest
from scipy import stats

from analyses.simulated import BEFORE_END, END, aggregates, block, experiment, metric
from analyses.test_ab import reference_half_width
from exp_platform.analyses import guardrails
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.metrics import Effect, Guardrail, Role
from exp_platform.config.plans import DecisionPlan


def analyse(
    control: np.ndarray,
    treated: np.ndarray,
    margin: Effect,
    direction: int = 1,
    as_of: date = END,
    severity: str = "critical",
    **decision: object,
) -> ResultRow:
    m = metric("latency", role=Role.GUARDRAIL, direction=direction, guardrail=Guardrail(margin, severity))  # type: ignore[arg-type]
    spec = experiment(metric("orders"), m, decision=DecisionPlan(**decision))  # type: ignore[arg-type]
    (row,) = guardrails.analyse(
        spec, aggregates([block("latency", "control", control), block("latency", "t1", treated)], as_of)
    )
    assert isinstance(row, ResultRow)
    return row


def exactly(mean: float, sd: float, n: int) -> np.ndarray:
    """n values with this mean and standard deviation."""
    x = np.linspace(-1, 1, n)
    return mean + sd * x / x.std(ddof=1)


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize(
    ("harm", "verdict"),
    [
        (2.0, "proven_breach"),
        (1.05, "observed_breach"),
        (0.95, "unproven"),
        (0.2, "non_inferior"),
        (-3.0, "non_inferior"),
    ],
)
def test_absolute_margin_of_one(direction: int, harm: float, verdict: str) -> None:
    control, treated = exactly(50, 5, 1000), exactly(50 - direction * harm, 5, 800)
    half = -np.subtract(*stats.ttest_ind(treated, control, equal_var=False).confidence_interval(0.955)) / 2
    assert 0.3 < half < 0.6  # what the cases above rest on
    row = analyse(control, treated, Effect(1.0, "absolute"), direction, sequential_share=0.1)
    assert row.verdict == verdict
    assert row.margin == pytest.approx(-direction, rel=1e-9)
    assert (row.margin_relative, row.severity) == (None, "critical")
    assert row.estimate == pytest.approx(-direction * harm, rel=1e-9)
    assert (row.alpha, row.ci_level) == (pytest.approx(0.045), pytest.approx(0.955))


@pytest.mark.parametrize("direction", [1, -1])
@pytest.mark.parametrize("mean", [20.0, -20.0])
def test_relative_margin_agrees_with_the_relative_interval(direction: int, mean: float) -> None:
    """A margin of 5 % of control, whose own uncertainty counts: 300 draws around the margin on all sides."""
    rng, seen = np.random.default_rng(8), set()
    for _ in range(300):
        control, treated = rng.normal(mean, 8, 150), rng.normal(mean * (1 + rng.uniform(-0.4, 0.4)), 12, 90)
        row = analyse(control, treated, Effect(0.05, "relative"), direction, sequential_share=0.0)
        assert row.relative is not None
        assert row.relative_low is not None
        assert row.relative_high is not None
        assert math.copysign(1, row.relative) == math.copysign(1, treated.mean() - control.mean())
        worst, point, best = sorted(
            [direction * row.relative_low, direction * row.relative, direction * row.relative_high]
        )
        if best < -0.05:
            expected = "proven_breach"
        elif point < -0.05:
            expected = "observed_breach"
        else:
            expected = "non_inferior" if worst > -0.05 else "unproven"
        assert row.verdict == expected
        assert row.margin == pytest.approx(-direction * 0.05 * abs(control.mean()), rel=1e-9)
        assert row.margin_relative == -direction * 0.05
        seen.add(row.verdict)
    assert seen == {"proven_breach", "observed_breach", "non_inferior", "unproven"}


def test_the_uncertainty_of_control_counts_in_a_relative_margin() -> None:
    """5 % above a control of 100 that is itself uncertain: a margin of 5, taken as known, would be proven to be crossed."""
    control, treated = exactly(100, 100, 2000), exactly(111.28, 100, 2000)
    critical = stats.t.ppf(1 - 0.05 / 2, stats.ttest_ind(treated, control, equal_var=False).df)
    assert critical * math.sqrt(100**2 / 2000 + 100**2 / 2000) < 111.28 - 105
    assert critical * math.sqrt(100**2 / 2000 + 1.05**2 * 100**2 / 2000) > 111.28 - 105
    known = analyse(control, treated, Effect(5.0, "absolute"), -1, sequential_share=0.0)
    share = analyse(control, treated, Effect(0.05, "relative"), -1, sequential_share=0.0)
    assert (known.verdict, share.verdict) == ("proven_breach", "observed_breach")


def one_sided_half_width(control: np.ndarray, treated: np.ndarray, alpha: float, tuned: float) -> float:
    """Waudby-Smith et al. 2021, the one-sided sequence of their appendix, over both arms' users."""
    n = len(control) + len(treated)
    rho2 = (-2 * math.log(2 * alpha) + math.log(-2 * math.log(2 * alpha) + 1)) / tuned
    variance = n * (treated.var(ddof=1) / len(treated) + control.var(ddof=1) / len(control))
    inside = 2 * (n * rho2 + 1) / (n**2 * rho2) * math.log(1 + math.sqrt(n * rho2 + 1) / (2 * alpha))
    return math.sqrt(variance * inside)


@pytest.mark.parametrize("direction", [1, -1])
def test_a_claim_before_the_end_rests_on_its_own_side_of_the_sequence(direction: int) -> None:
    """The row's bounds are the one-sided ones and its verdict follows from them, a hair on either side of each limit."""
    control, margin, hair = exactly(50, 5, 2000), 1.0, 1e-6
    half = one_sided_half_width(control, exactly(50, 5, 1500), 0.005, 5000)
    two_sided = reference_half_width(control, exactly(50, 5, 1500), 0.005, 5000)
    assert 0.9 * two_sided < half < 0.97 * two_sided
    for harm, verdict in [
        (margin + half + hair, "proven_breach"),
        (margin + half - hair, "observed_breach"),
        (margin - half + hair, "unproven"),
        (margin - half - hair, "non_inferior"),
    ]:
        treated = exactly(50 - direction * harm, 5, 1500)
        row = analyse(control, treated, Effect(margin, "absolute"), direction, as_of=BEFORE_END)
        assert row.verdict == verdict
        assert row.always_valid_low == pytest.approx(-direction * harm - half, rel=1e-9)
        assert row.always_valid_high == pytest.approx(-direction * harm + half, rel=1e-9)
        assert row.always_valid_significant is None


def test_before_the_planned_end_only_the_confidence_sequence_proves() -> None:
    control = exactly(50, 5, 2000)
    for harm in np.linspace(0.5, 3, 26):
        treated = exactly(50 - harm, 5, 2000)
        half = one_sided_half_width(control, treated, 0.005, 5000)
        early = analyse(control, treated, Effect(1.0, "absolute"), as_of=BEFORE_END)
        late = analyse(control, treated, Effect(1.0, "absolute"), as_of=END)
        if harm - half > 1:
            assert early.verdict == late.verdict == "proven_breach"
        elif harm > 1.5:
            assert (early.verdict, late.verdict) == ("observed_breach", "proven_breach")
    assert half < 1


def test_non_inferiority_before_the_end_needs_the_confidence_sequence_too() -> None:
    control, treated = exactly(50, 5, 2000), exactly(50.3, 5, 2000)
    assert analyse(control, treated, Effect(1.0, "absolute"), as_of=BEFORE_END).verdict == "non_inferior"
    early = analyse(control, treated, Effect(0.1, "absolute"), as_of=BEFORE_END)
    late = analyse(control, treated, Effect(0.1, "absolute"), as_of=END)
    assert (early.verdict, late.verdict) == ("unproven", "non_inferior")


def test_too_few_users_or_a_constant_metric_have_no_verdict() -> None:
    small = analyse(exactly(1, 1, 40), exactly(1, 1, 500), Effect(1.0, "absolute"))
    constant = analyse(np.zeros(500), np.zeros(500), Effect(1.0, "absolute"))
    assert (small.status, small.verdict, small.severity) == (Status.INSUFFICIENT_DATA, None, "critical")
    assert (constant.status, constant.verdict, constant.margin) == (Status.DEGENERATE, None, None)


def test_one_row_for_each_guardrail_and_treatment_whatever_the_role() -> None:
    guard = Guardrail(Effect(0.1, "relative"), "warning")
    spec = experiment(
        metric("orders", guardrail=guard),
        metric("visits"),
        metric("errors", guardrail=guard),
        shares=(0.4, 0.3, 0.3),
    )
    rows = guardrails.analyse(spec, aggregates([]))
    assert [(r.metric_id, r.treatment_id) for r in rows if isinstance(r, ResultRow)] == [
        ("orders", "t1"), ("orders", "t2"), ("errors", "t1"), ("errors", "t2")
    ]  # fmt: skip


def test_ratio_guardrails_are_judged_on_their_ratio() -> None:
    rng = np.random.default_rng(2)
    guard = Guardrail(Effect(0.05, "relative"), "critical")
    m = metric("aov", "ratio", role=Role.GUARDRAIL, guardrail=guard)
    orders = rng.poisson(2, 5000)
    arms = [
        np.column_stack([orders * price, orders])
        for price in (rng.normal(10, 1, 5000), rng.normal(8, 1, 5000))
    ]
    blocks = [
        block("aov", v, a, ("value", "denominator")) for v, a in zip(("control", "t1"), arms, strict=True)
    ]
    (row,) = guardrails.analyse(experiment(metric(), m), aggregates(blocks))
    assert isinstance(row, ResultRow)
    assert row.verdict == "proven_breach"


def test_the_declared_estimate_judges_guardrails_too() -> None:
    """Noise that a covariate explains leaves the unadjusted guardrail unproven and the adjusted one proven."""
    rng = np.random.default_rng(9)
    before = rng.normal(0, 10, 800)
    users = {
        v: np.column_stack([100 + x - drop + rng.normal(0, 1, 400), x])
        for v, drop, x in (("control", 0.0, before[:400]), ("t1", 2.0, before[400:]))
    }
    guard = Guardrail(Effect(1.0, "absolute"), "critical")
    m = metric("score", role=Role.GUARDRAIL, covariates=["before"], guardrail=guard)
    verdicts = {}
    for estimate in ("ab", "cuped"):
        spec = experiment(metric(), m, decision=DecisionPlan(estimate=estimate))  # type: ignore[arg-type]
        (row,) = guardrails.analyse(
            spec, aggregates(block("score", v, a, ("value", "before")) for v, a in users.items())
        )
        assert isinstance(row, ResultRow)
        verdicts[estimate] = row.verdict
    assert verdicts["cuped"] == "proven_breach"
    assert verdicts["ab"] != "proven_breach"


def crashes(control: int, treated: int, margin: Effect, as_of: date = END, **decision: object) -> ResultRow:
    """Crashes of 3,000 users per arm, of which fewer are better."""
    guard = Guardrail(margin, "critical")
    m = metric("crash", "proportion", role=Role.GUARDRAIL, direction=-1, guardrail=guard)
    spec = experiment(metric("orders"), m, decision=DecisionPlan(**decision))  # type: ignore[arg-type]
    users = [np.arange(3000) < n for n in (control, treated)]
    blocks = [block("crash", v, x) for v, x in zip(("control", "t1"), users, strict=True)]
    (row,) = guardrails.analyse(spec, aggregates(blocks, as_of))
    assert isinstance(row, ResultRow)
    return row


@pytest.mark.parametrize("margin", [Effect(0.01, "absolute"), Effect(0.05, "relative")])
def test_nobody_against_everybody_is_a_proven_breach(margin: Effect) -> None:
    row = crashes(0, 3000, margin)
    assert (row.status, row.verdict, row.estimate) == (Status.OK, "proven_breach", 1.0)
    one_table = -math.log10(math.comb(6000, 3000))  # of all that have these margins: Fisher's test by hand
    assert row.log10_p == pytest.approx(one_table + math.log10(2), rel=1e-9)
    assert crashes(0, 3000, margin, BEFORE_END).verdict == "observed_breach"


def test_everybody_against_nobody_is_no_breach() -> None:
    row = crashes(3000, 0, Effect(0.01, "absolute"))
    assert (row.status, row.verdict, row.estimate) == (Status.OK, "non_inferior", -1.0)


@pytest.mark.parametrize("n", [0, 3000])
def test_the_same_of_everybody_in_both_arms_says_nothing(n: int) -> None:
    """An event that never occurs may be one whose name is mistyped."""
    row = crashes(n, n, Effect(0.01, "absolute"))
    assert (row.status, row.verdict) == (Status.DEGENERATE, None)
