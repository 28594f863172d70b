"""Under a ramp arms are compared within its periods: no change of the shares can pass for an effect, nor hide one."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from hypothesis import given, settings
from hypothesis import strategies as st

from analyses.ramped import STARTS, day_of, ramped, users_of
from analyses.simulated import aggregates, metric
from exp_platform.aggregates import ALL, Aggregates, Arrivals, Block, DailyRow
from exp_platform.analyses import ab, bayes, cuped, did, evidence, guardrails, pretrends, segments, stability
from exp_platform.analyses.comparison import Compared, Comparison, compare, pair_of
from exp_platform.analyses.family import level_of
from exp_platform.analyses.looks import at_look
from exp_platform.analyses.planned import Expected, required_users
from exp_platform.analyses.rows import DidRow, PretrendTestRow, ResultRow, Status
from exp_platform.config.allocation import in_period
from exp_platform.config.experiment import Variant
from exp_platform.config.metrics import DayWindow, Effect, Guardrail
from exp_platform.config.plans import AnalysisPlan, DecisionPlan
from exp_platform.config.readings import NOTHING_READ
from exp_platform.decision.findings import Case, findings
from exp_platform.decision.runner_up import runner_up
from exp_platform.stats.group_sequential import bounds, spent
from exp_platform.stats.moments import Moments

RAMP = ((0.9, 0.1), (0.5, 0.5))
THREE = ((0.8, 0.1, 0.1), (0.3, 0.2, 0.5), (0.2, 0.5, 0.3))
FALLING = (9.0, 3.0, 1.0)  # control's level: most of its users come while it is high


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def only(rows: list[Any], method: str = "ab", **where: str) -> ResultRow:
    (row,) = [r for r in rows if r.method == method and all(getattr(r, k) == v for k, v in where.items())]
    return row


def saturated(frame: pd.DataFrame, covariates: tuple[str, ...] = ()) -> tuple[pd.Series, Any]:
    """OLS of y on a dummy for each arm and period (and covariates), and the periods' shares of all users."""
    cells = pd.get_dummies(frame.arm + " " + frame.period, dtype=float)
    fit = sm.OLS(frame.y, pd.concat([cells, frame[list(covariates)]], axis=1)).fit(cov_type="HC2")
    return frame.period.value_counts(normalize=True).sort_index(), fit


def contrast(fit: Any, weights: pd.Series, treatment: str) -> np.ndarray:
    vector = pd.Series(0.0, fit.params.index)
    for period, w in weights.items():
        vector[f"{treatment} {period}"], vector[f"control {period}"] = w, -w
    return vector.to_numpy()


def test_simpsons_paradox() -> None:
    """Pooled, the treatment loses; in every period it wins. So does the platform say, as a regression on users does."""
    frame = users_of(1, (12_000, 12_000), RAMP, FALLING)
    spec, day = ramped(metric(), shares=RAMP), day_of(frame, "orders", ["y"], ["value"])
    pooled = frame.groupby("arm").y.mean()
    assert pooled["t1"] < pooled["control"] - 1

    row = only(ab.analyse(spec, day))

    weights, fit = saturated(frame)
    vector = contrast(fit, weights, "t1")
    within = fit.params.to_numpy() @ vector
    effects = np.array([fit.params[f"t1 {p}"] - fit.params[f"control {p}"] for p in weights.index])
    of_shares = weights.to_numpy() @ (effects - within) ** 2 / (len(frame) - 1)
    assert row.estimate == near(within)
    assert row.standard_error == near(np.sqrt(vector @ fit.cov_params().to_numpy() @ vector + of_shares))
    assert row.estimate > 0
    assert row.significant
    assert row.mean_control == near(sum(w * fit.params[f"control {p}"] for p, w in weights.items()))
    assert row.relative == near(row.estimate / row.mean_control)
    assert (row.stratified_by, row.strata, row.median_control) == ("allocation_period", 2, None)
    assert (row.n_control, row.n_treatment) == tuple(frame.arm.value_counts()[["control", "t1"]])
    assert row.always_valid_low > 0


def test_three_arms_weigh_periods_by_all_users_so_that_treatments_are_comparable() -> None:
    frame = users_of(2, (3000, 5000, 4000), THREE, FALLING)
    spec, day = ramped(metric(), shares=THREE), day_of(frame, "orders", ["y"], ["value"])
    rows = ab.analyse(spec, day)
    weights, fit = saturated(frame)
    for treatment in ("t1", "t2"):
        row = only(rows, treatment_id=treatment)
        assert row.estimate == near(fit.params.to_numpy() @ contrast(fit, weights, treatment))
    assert only(rows, treatment_id="t1").mean_control == only(rows, treatment_id="t2").mean_control

    case = Case(spec, NOTHING_READ, tuple(evidence.analyse(spec, day, NOTHING_READ, rows)))
    best, other = sorted(findings(case, case.primaries), key=lambda f: -f.improvement)
    assert best.treatment_id == "t2"
    assert runner_up(case, best, [best, other]) is None  # 0.2 ahead, though with fewer users of good days


@settings(max_examples=25)
@given(
    st.integers(0, 10_000), st.lists(st.tuples(st.integers(1, 6), st.floats(-5, 5)), min_size=1, max_size=3)
)
def test_equal_shares_in_all_periods_change_nothing(seed: int, periods: list[tuple[int, float]]) -> None:
    """Where every period is divided alike the standardised effect is the difference of plain means."""
    rng = np.random.default_rng(seed)
    frames = [
        pd.DataFrame(
            {
                "arm": np.repeat(["control", "t1"], [60 * size, 90 * size]),
                "period": str(start),
                "tier": "free",
                "y": rng.normal(level, 1, 150 * size),
            }
        )
        for start, (size, level) in zip(STARTS, periods, strict=False)
    ]
    frame = pd.concat(frames, ignore_index=True)
    row = only(
        ab.analyse(ramped(metric(), shares=[(0.4, 0.6)] * 3), day_of(frame, "orders", ["y"], ["value"]))
    )
    means = frame.groupby("arm").y.mean()
    assert row.estimate == pytest.approx(means["t1"] - means["control"], rel=1e-9, abs=1e-9)


def test_one_allocation_throughout_has_the_variance_of_welch_up_to_what_days_explain() -> None:
    frame = users_of(3, (4000, 4000), ((0.5, 0.5), (0.5, 0.5)), (3.0, 3.0))
    day = day_of(frame, "orders", ["y"], ["value"])
    spec = ramped(metric(), shares=((0.5, 0.5), (0.5, 0.5)))
    by_period, welch = (only(ab.analyse(s, d)) for s, d in ((spec, day), (spec, replace(day, periods={}))))
    assert by_period.standard_error == pytest.approx(welch.standard_error, rel=0.001, abs=0)
    assert by_period.sd_control == pytest.approx(welch.sd_control, rel=0.001, abs=0)


def test_a_ratio_is_that_of_standardised_numerator_and_denominator() -> None:
    frame = users_of(4, (4000, 5000), RAMP, FALLING)
    m = metric("aov", "ratio")
    row = only(
        ab.analyse(ramped(m, shares=RAMP), day_of(frame, "aov", ["y", "den"], ["value", "denominator"]))
    )
    weights = frame.period.value_counts(normalize=True)
    ratio, own, linear = {}, 0.0, {}
    for arm, users in frame.groupby("arm"):
        means = users.groupby("period")[["y", "den"]].mean().mul(weights, axis=0).sum()
        ratio[arm] = means.y / means.den
        value = (users.y - ratio[arm] * users.den) / means.den
        by_period = value.groupby(users.period)
        own += (weights**2 * by_period.var() / by_period.size()).sum()
        linear[arm] = by_period.mean()
    gap = linear["t1"] - linear["control"]
    assert row.mean_control == near(ratio["control"])
    assert row.estimate == near(ratio["t1"] - ratio["control"])
    assert row.standard_error == near(np.sqrt(own + (weights * gap**2).sum() / (len(frame) - 1)))


def test_cuped_is_the_regression_with_a_dummy_for_each_arm_and_period() -> None:
    frame = users_of(5, (4000, 5000), RAMP, FALLING)
    spec = ramped(metric(covariates=["before"]), shares=RAMP)
    day = day_of(frame, "orders", ["y", "x"], ["value", "before"])
    row = only(cuped.analyse(spec, day), "cuped")
    weights, fit = saturated(frame, ("x",))
    assert row.estimate == near(fit.params.to_numpy() @ contrast(fit, weights, "t1"))
    assert row.theta == near(fit.params["x"])
    assert row.variance_reduction is not None
    assert row.variance_reduction > 0.3
    # Covariates have other means in other periods, so pooled they differ between the arms. That is no broken assignment.
    assert (row.health, row.strata) == ("ok", 2)


def test_strata_lie_within_periods_and_their_shares_are_compared_there() -> None:
    frame = users_of(6, (4000, 5000), RAMP, FALLING)
    # Within a period tiers are split alike; over both together plus users are more of the treatment.
    frame["tier"] = np.where(frame.period == str(STARTS[1]), frame.tier.replace("free", "plus"), frame.tier)
    frame.loc[frame.sample(frac=0.2, random_state=1).index, "tier"] = "free"
    spec = ramped(metric(), shares=RAMP, segments=("tier",), analyses=AnalysisPlan(strata=("tier",)))
    row = only(cuped.analyse(spec, day_of(frame, "orders", ["y"], ["value"])), "post_stratified")
    cell = frame.period + frame.tier
    means = frame.groupby([cell, "arm"]).y.mean().unstack()
    weights = cell.value_counts(normalize=True)
    assert row.estimate == near(((means["t1"] - means["control"]) * weights).sum())
    assert (row.stratified_by, row.strata) == ("allocation_period × tier", 4)
    assert row.balance_p is not None
    assert row.balance_p > 0.001


def test_guardrails_segments_and_the_bayesian_reading_stand_on_the_same_effect() -> None:
    frame = users_of(7, (4000, 5000), RAMP, FALLING)
    m = metric(guardrail=Guardrail(Effect(0.02, "relative"), "critical"))
    plan = AnalysisPlan(bayes_prior_sd=Effect(1000.0, "absolute"))
    spec = ramped(m, shares=RAMP, segments=("tier",), analyses=plan)
    day = day_of(frame, "orders", ["y"], ["value"])
    row = only(ab.analyse(spec, day))
    guarded = only(guardrails.analyse(spec, day), "guardrails")
    assert (guarded.estimate, guarded.verdict) == (row.estimate, "non_inferior")  # pooled: a proven breach
    believed = only(
        bayes.analyse(
            spec, day, NOTHING_READ, evidence.analyse(spec, day, NOTHING_READ, ab.analyse(spec, day))
        ),
        "bayes",
    )
    assert believed.estimate == pytest.approx(row.estimate, rel=1e-6, abs=0)
    for tier, users in frame.groupby("tier"):
        weights, fit = saturated(users)
        found = only(segments.analyse(spec, day), "segments", segment_value=tier)
        assert found.estimate == near(fit.params.to_numpy() @ contrast(fit, weights, "t1"))


def test_segments_are_held_against_each_other_by_the_variance_of_their_effects() -> None:
    """Cochran's Q. Both arms of a segment share its periods, so their variances do not add up to that of the effect."""
    frame = users_of(13, (4000, 5000), RAMP, FALLING)
    spec = ramped(metric(), shares=RAMP, segments=("tier",))
    rows = segments.analyse(spec, day_of(frame, "orders", ["y"], ["value"]))
    free, plus = (only(rows, "segments", segment_value=tier) for tier in ("free", "plus"))
    joint = only(rows, "segments", segment_value=ALL)
    gap = free.estimate - plus.estimate
    assert joint.statistic == near(gap**2 / (free.standard_error**2 + plus.standard_error**2))


def test_a_period_in_which_an_arm_has_too_few_users_is_left_out_and_named() -> None:
    """Merging it into the next one would lend control its level: the effect would seem lower by a half and more."""
    frame = users_of(8, (400, 4000), ((0.95, 0.05), (0.5, 0.5)), FALLING)
    spec, day = ramped(metric(), shares=RAMP), day_of(frame, "orders", ["y"], ["value"])
    row = only(ab.analyse(spec, day))
    later = frame[frame.period == str(STARTS[1])]
    means = later.groupby("arm").y.mean()
    assert row.estimate == near(means["t1"] - means["control"])
    assert (row.n_control or 0) + (row.n_treatment or 0) == len(later)
    assert "those from 2025-03-01 on" in str(row.message)
    assert row.strata == 1

    none = day_of(frame[frame.period == str(STARTS[0])], "orders", ["y"], ["value"])
    early = only(ab.analyse(spec, none))
    assert (early.status, early.estimate) == (Status.INSUFFICIENT_DATA, None)


def test_a_constant_metric_is_degenerate() -> None:
    frame = users_of(9, (4000, 4000), RAMP, FALLING).assign(y=2.5)
    row = only(ab.analyse(ramped(metric(), shares=RAMP), day_of(frame, "orders", ["y"], ["value"])))
    assert (row.status, row.p_value) == (Status.DEGENERATE, None)
    assert "does not vary" in str(row.message)


def test_differences_in_differences_and_days_are_standardised_too() -> None:
    """A user's change from before to after is larger in the first period, whatever the arm."""
    rng = np.random.default_rng(10)
    frame = users_of(10, (3000, 4000), RAMP, FALLING)
    days = [f"day{d}" for d in range(-3, 3)]
    rise = np.where(frame.period == str(STARTS[0]), 2.0, 0.0) + 0.3 * (frame.arm == "t1")
    for i, day in enumerate(days):
        frame[day] = rng.poisson(2, len(frame)) + (i >= 3) * rise
    spec = ramped(metric(), shares=RAMP, analyses=AnalysisPlan(did_days=3))
    daily = day_of(frame, "orders", days, days, kind="daily")

    row = next(r for r in did.analyse(spec, daily) if isinstance(r, DidRow))
    change = frame[days[3:]].mean(axis=1) - frame[days[:3]].mean(axis=1)
    groups = change.groupby([frame.period, frame.arm])
    weights = frame.period.value_counts(normalize=True)
    means, errors = groups.mean().unstack(), (groups.var() / groups.size()).unstack()
    plain = change.groupby(frame.arm).mean()
    assert plain["t1"] - plain["control"] < 0 < row.estimate
    assert row.estimate == near(((means["t1"] - means["control"]) * weights).sum())
    assert row.standard_error == near(np.sqrt((errors.sum(axis=1) * weights**2).sum()))

    test = next(r for r in pretrends.analyse(spec, daily) if isinstance(r, PretrendTestRow))
    assert test.parallel
    first = next(r for r in stability.analyse(spec, daily) if r.segment_value == "0")
    assert first.estimate is not None
    assert first.estimate > 0


# ---- many experiments without an effect

BASES = (0.30, 0.10)


def proportions(counts: np.ndarray, successes: np.ndarray, arms: tuple[str, ...]) -> Aggregates:
    """A day of one proportion; both arrays of shape (periods, arms)."""

    def made(arm: str, n: int, k: int, *segment: str) -> Block:
        rate = k / n
        moments = Moments(int(n), np.array([rate]), np.array([[n * rate * (1 - rate)]]))
        return Block("total", "buys", arm, *segment, ("value",), moments, successes=int(k))

    cells = list(zip(arms, counts.sum(axis=0), successes.sum(axis=0), strict=True))
    blocks = [made(arm, n, k, ALL, ALL) for arm, n, k in cells if n]
    for start, ns, ks in zip(STARTS, counts, successes, strict=False):
        key = in_period(start, ALL, ALL)
        blocks += [made(arm, n, k, *key) for arm, n, k in zip(arms, ns, ks, strict=True) if n]
    periods = {
        str(s): Arrivals(dict(zip(arms, map(int, n), strict=True)), {})
        for s, n in zip(STARTS, counts, strict=False)
    }
    return aggregates(blocks, assigned={a: int(n) for a, n, _ in cells}, periods=periods)


def drawn(rng: np.random.Generator, shares: Any, users: int) -> tuple[np.ndarray, np.ndarray]:
    counts = np.array([rng.multinomial(users, s) for s in shares])
    return counts, rng.binomial(counts, np.array(BASES)[:, None])


def test_without_an_effect_five_in_a_hundred_are_significant() -> None:
    rng = np.random.default_rng(11)
    buys = metric("buys", "proportion")
    spec = ramped(buys, shares=RAMP, decision=DecisionPlan(sequential_share=0.0))
    wrong = pooled = 0
    for _ in range(1000):
        counts, successes = drawn(rng, RAMP, 3000)
        day = proportions(counts, successes, ("control", "t1"))
        wrong += bool(only(ab.analyse(spec, day)).significant)
        pooled += bool(only(ab.analyse(spec, replace(day, periods={}))).significant)
    assert abs(wrong / 1000 - 0.05) < 4 * np.sqrt(0.05 * 0.95 / 1000)
    assert pooled > 900  # what a comparison of plain means would say


def test_always_valid_evidence_holds_while_a_third_arm_takes_other_shares() -> None:
    """Twelve looks, of which the first five come before the shares change; every one counts."""
    rng = np.random.default_rng(12)
    shares = ((0.8, 0.1, 0.1), (0.2, 0.2, 0.6))
    spec = ramped(
        metric("buys", "proportion"),
        shares=shares,
        decision=DecisionPlan(sequential_share=0.999, required_sample_size=12_000),
    )
    level = spec.decision.sequential_alpha / 2  # two treatments
    (buys,) = spec.metrics
    first = Comparison(spec, spec.decision_date, "ab", buys, "t1", level_of(spec, buys), False)
    missed = 0
    for _ in range(250):
        counts, successes = np.zeros((2, 3), dtype=int), np.zeros((2, 3), dtype=int)
        for look in range(12):
            period = int(look >= 5)
            new = rng.multinomial(1000, shares[period])
            counts[period] += new
            successes[period] += rng.binomial(new, BASES[period])
            day = proportions(counts, successes, ("control", "t1", "t2"))
            found = compare(first, pair_of(day, buys, "control", "t1"))
            assert isinstance(found, Compared)
            if found.row().always_valid_significant:
                missed += 1
                break
    assert missed / 250 < level + 3 * np.sqrt(level / 250)


# ---- the plan


def test_looks_are_correlated_by_what_their_users_add_to_the_variance() -> None:
    """800 and 200 users, then 500 and 500: at the first look 6.25 million of 6.25 + 4 have been seen, not half."""
    m = metric("buys", "proportion", window=DayWindow(0, 3))
    looks = (date(2025, 3, 5),)
    plan = DecisionPlan(
        sequential="group_sequential", sequential_share=0.0, looks=looks, required_sample_size=2000
    )
    spec = ramped(m, shares=((0.8, 0.2), (0.5, 0.5)), decision=plan)
    daily = [
        DailyRow(day, arm, "buys", n, 0, 0.0)
        for day, split in ((STARTS[0], (800, 200)), (STARTS[1], (500, 500)))
        for arm, n in zip(("control", "t1"), split, strict=True)
    ]
    counts = np.array([[800, 200], [500, 500]])
    day = replace(proportions(counts, counts // 5, ("control", "t1")), daily=tuple(daily))
    c = Comparison(spec, spec.decision_date, "ab", m, "t1", level_of(spec, m), True)
    look = at_look(c, day).level.look
    assert look is not None
    first = spent(plan.spending, 0.5, 0.05, plan.spending_exponent)
    assert look.boundary == near(bounds((6.25, 10.25), (first, 0.05))[-1])
    assert look.information_fraction == 1.0


def test_planning_counts_with_what_early_small_shares_cost() -> None:
    """Standardised, the arm's variance is sum f / e of a constant share's: the harmonic mean of the shares stands in."""
    m = metric("buys", "proportion", mde=Effect(0.02, "absolute"))
    spec = ramped(m, shares=RAMP)
    days, shares = np.array([5, 9]) / 14, np.array(RAMP).T
    worth = [v.effective_share for v in spec.variants]
    assert worth == pytest.approx(1 / (days / shares).sum(axis=1), rel=1e-12, abs=0)
    assert [v.share for v in spec.variants] == pytest.approx(shares @ days, rel=1e-12, abs=0)
    constant = replace(spec, ramp=(), variants=tuple(Variant(v.id, v.share) for v in spec.variants))
    even, needed = (required_users(s, m, Expected(0.1)) for s in (constant, spec))
    assert even is not None
    assert needed is not None
    assert needed > 1.2 * even
