"""Planned power holds: for each type of metric the tests themselves find the planned effect as often as promised.

Each replicate draws the users that the plan asks for and takes the platform's own test of them at the plan's level. With 1,200
replicates the share found has a standard error of .0115 where 80 % are promised; the band is 3.3 of them, and a point for
what the normal law leaves out. All random numbers are seeded.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats as scipy_stats

from analyses.simulated import aggregates, block, experiment, metric
from exp_platform.analyses import guardrails
from exp_platform.analyses.planned import Expected, required_always_valid
from exp_platform.config.metrics import Effect, Guardrail, Role
from exp_platform.config.plans import DecisionPlan
from exp_platform.kernels.order_statistics import Bracket, Bracketed, quantile_numbers
from exp_platform.planning.metric_plan import plan_metric
from exp_platform.stats.adjustment import adjust
from exp_platform.stats.arms import arm_mean, arm_ratio
from exp_platform.stats.exact import proportions
from exp_platform.stats.moments import Moments
from exp_platform.stats.proportions import Count
from exp_platform.stats.quantile import arm_quantile
from exp_platform.stats.sequential import half_width, rho
from exp_platform.stats.welch import difference

REPLICATES = 1200
BAND = 3.3 * np.sqrt(0.8 * 0.2 / REPLICATES) + 0.01
ONCE = DecisionPlan(sequential_share=0.0)

Draw = Callable[[np.random.Generator, int, float], np.ndarray]  # n users' rows, with so large an effect
P = Callable[[np.ndarray, np.ndarray], float]  # the p-value of control and treatment


def welch(a: np.ndarray, b: np.ndarray) -> float:
    return difference(arm_mean(Moments.of(a)), arm_mean(Moments.of(b))).p_value


def score(a: np.ndarray, b: np.ndarray) -> float:
    return proportions(*(Count(int(x.sum()), len(x)) for x in (a, b))).p_value


def ratio(a: np.ndarray, b: np.ndarray) -> float:
    return difference(arm_ratio(Moments.of(a)), arm_ratio(Moments.of(b))).p_value


def cuped(a: np.ndarray, b: np.ndarray) -> float:
    return difference(*adjust([[Moments.of(a)], [Moments.of(b)]], 0, [1]).pair(0, 1)).p_value


def quantile(a: np.ndarray, b: np.ndarray) -> float:
    arms = []
    for values in (a, b):
        found = quantile_numbers(Bracketed.of(values, Bracket(-np.inf, np.inf)), len(values), 0.8)
        assert found is not None
        arms.append(arm_quantile(len(values), 0.8, found.quantile, found.quantile_error))
    return difference(*arms).p_value


def orders_a_visit(rng: np.random.Generator, n: int, effect: float) -> np.ndarray:
    visits = 1 + rng.poisson(3.0, n)
    return np.column_stack([rng.binomial(visits, 0.3 + effect), visits]).astype(float)


def with_past(rng: np.random.Generator, n: int, effect: float) -> np.ndarray:
    past = rng.normal(0.0, 1.0, n)
    return np.column_stack([10.0 + effect + 0.8 * past + rng.normal(0.0, 0.6, n), past])


def capped(rng: np.random.Generator, n: int, effect: float) -> np.ndarray:
    """Capped at a value that few reach, with an effect on everybody below it."""
    return np.minimum(rng.gamma(2.0, 2.0, n), 10.0) + effect


# (1 + X) with X Poisson of mean 3: the ratio's linearised value has the variance p (1 - p) / E visits.
RATIO_SD = np.sqrt(0.3 * 0.7 / 4.0)
WAIT = scipy_stats.norm(10.0, 3.0)
WAIT_SD = np.sqrt(0.8 * 0.2) / WAIT.pdf(WAIT.ppf(0.8))
CAPPED = np.minimum(np.random.default_rng(0).gamma(2.0, 2.0, 1_000_000), 10.0)

CASES: dict[str, tuple[str, dict[str, object], Expected, float, Draw, P, tuple[float, float]]] = {
    "proportion": ("proportion", {}, Expected(0.2), 0.05,
                   lambda rng, n, e: (rng.random(n) < 0.2 + e).astype(float), welch, (0.5, 0.5)),
    "retention by the score test, 90 / 10": (
        "retention", {"test": "score"}, Expected(0.1), 0.04,
        lambda rng, n, e: (rng.random(n) < 0.1 + e).astype(float), score, (0.9, 0.1)),
    "fewer, by the score test, 90 / 10": (
        "proportion", {"test": "score", "direction": -1}, Expected(0.2), 0.05,
        lambda rng, n, e: (rng.random(n) < 0.2 + e).astype(float), score, (0.9, 0.1)),
    "score test, 10 / 90": (
        "proportion", {"test": "score"}, Expected(0.1), 0.04,
        lambda rng, n, e: (rng.random(n) < 0.1 + e).astype(float), score, (0.1, 0.9)),
    "count": ("count", {}, Expected(3.0, np.sqrt(3.0)), 0.2,
              lambda rng, n, e: rng.poisson(3.0 + e, n).astype(float), welch, (0.5, 0.5)),
    "mean, 80 / 20": ("mean", {}, Expected(10.0, 3.0), 0.4,
                      lambda rng, n, e: rng.normal(10.0 + e, 3.0, n), welch, (0.8, 0.2)),
    "winsorised mean": ("mean", {}, Expected(float(CAPPED.mean()), float(CAPPED.std())), 0.25,
                        capped, welch, (0.5, 0.5)),
    "ratio": ("ratio", {}, Expected(0.3, float(RATIO_SD)), 0.03, orders_a_visit, ratio, (0.5, 0.5)),
    "quantile": ("quantile", {"q": 0.8}, Expected(float(WAIT.ppf(0.8)), float(WAIT_SD)), 0.5,
                 lambda rng, n, e: rng.normal(10.0 + e, 3.0, n), quantile, (0.5, 0.5)),
    "CUPED": ("mean", {"covariates": ["past"]}, Expected(10.0, 1.0, 0.64), 0.08,
              with_past, cuped, (0.5, 0.5)),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_planned_power_holds(name: str) -> None:
    kind, more, expected, effect, draw, p_value, shares = CASES[name]
    m = metric("m", kind, mde=Effect(effect, "absolute"), **more)  # type: ignore[arg-type]
    decision = (
        ONCE if expected.variance_reduction is None else DecisionPlan(sequential_share=0.0, estimate="cuped")
    )
    plan = plan_metric(experiment(m, shares=shares, decision=decision), m, given=expected)
    assert plan.required_users is not None
    assert plan.required_users > 1000, "else this is no test of large samples"
    n0, n1 = (plan.required_by_variant[v] for v in ("control", "t1"))
    rng = np.random.default_rng(sorted(CASES).index(name))
    found = np.mean([
        p_value(draw(rng, n0, 0.0), draw(rng, n1, m.direction * effect)) < plan.alpha
        for _ in range(REPLICATES)
    ])  # fmt: skip
    assert found == pytest.approx(0.8, abs=BAND)


def test_a_guardrail_that_nothing_happens_to_is_proven_within_its_margin_as_often_as_planned() -> None:
    """By the platform's own verdict, at 80 / 20 and a margin of 4 % of control."""
    guarded = metric("m", role=Role.GUARDRAIL, guardrail=Guardrail(Effect(0.04, "relative"), "critical"))
    spec = experiment(metric("orders"), guarded, shares=(0.8, 0.2), decision=ONCE)
    plan = plan_metric(spec, guarded, given=Expected(10.0, 5.0))
    rng, verdicts = np.random.default_rng(11), []
    for _ in range(REPLICATES):
        blocks = [block("m", v, rng.normal(10.0, 5.0, n)) for v, n in plan.required_by_variant.items()]
        (row,) = guardrails.analyse(spec, aggregates(blocks))
        verdicts.append(row.verdict)  # type: ignore[union-attr]
    assert verdicts.count("non_inferior") / REPLICATES == pytest.approx(0.8, abs=BAND)


def test_power_of_one_look_at_always_valid_evidence_holds() -> None:
    """At the users it is planned with, the sequence of level .005 leaves out 0 as often as promised."""
    m = metric("m", mde=Effect(0.5, "absolute"))
    spec, expected = experiment(m), Expected(10.0, 3.0)
    users = required_always_valid(spec, m, expected)
    assert users is not None
    n = users // 2
    rng, found = np.random.default_rng(9), 0
    for _ in range(REPLICATES):
        a, b = (arm_mean(Moments.of(rng.normal(10.0 + e, 3.0, n))) for e in (0.0, 0.5))
        variance = a.variance_of_mean + b.variance_of_mean
        found += abs(b.mean - a.mean) > half_width(2 * n, 2 * n * variance, rho(0.005, 5000), 0.005)
    assert found / REPLICATES == pytest.approx(0.8, abs=BAND)
