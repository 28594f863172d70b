"""Post-stratified rows, without and with covariates, agree with regressions on users; strata are merged and named."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import stats

from analyses.simulated import aggregates, block, experiment, metric
from exp_platform.aggregates import Aggregates, Pooled
from exp_platform.analyses import ab, cuped, evidence, guardrails
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect, Guardrail
from exp_platform.config.plans import AnalysisPlan, DecisionPlan
from exp_platform.config.readings import NOTHING_READ
from exp_platform.decision.findings import Case, findings

PLAN = AnalysisPlan(strata=("tier",))
LEVELS = {"free": 0.0, "plus": 4.0, "pro": 9.0}


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def frame_of(seed: int, sizes: dict[str, int], shares: tuple[float, ...] = (0.5, 0.3, 0.2)) -> pd.DataFrame:
    """Users whose level, effect and slope depend on their tier."""
    rng = np.random.default_rng(seed)
    arm = np.repeat(list(sizes), list(sizes.values()))
    tier = rng.choice(list(LEVELS), len(arm), p=shares)
    level = np.array([LEVELS[t] for t in tier])
    treated = (arm != "control").astype(float)
    x = rng.gamma(2.0, 1.0, len(arm)) + 0.2 * level
    y = 10 + level + x + treated * (0.2 + 0.1 * level) + rng.normal(0, 1 + treated, len(arm))
    return pd.DataFrame({"arm": arm, "tier": tier, "x": x, "y": y})


def day_of(frame: pd.DataFrame) -> Aggregates:
    columns, names = ["y", "x"], ("value", "before")
    blocks = [block("orders", arm, part[columns].to_numpy(), names) for arm, part in frame.groupby("arm")]
    blocks += [
        block("orders", arm, part[columns].to_numpy(), names, segment="tier", segment_value=tier)
        for (arm, tier), part in frame.groupby(["arm", "tier"])
    ]
    return aggregates(blocks)


def spec_of(**more: object) -> Experiment:
    m = metric(covariates=["before"])
    return experiment(m, segments=("tier",), analyses=PLAN, **more)  # type: ignore[arg-type]


def rows_of(frame: pd.DataFrame, spec: Experiment | None = None) -> dict[str, ResultRow]:
    rows = cuped.analyse(spec or spec_of(), day_of(frame))
    return {r.method: r for r in rows if isinstance(r, ResultRow)}


def test_post_stratification_is_the_saturated_regression_and_what_the_shares_add() -> None:
    """Effect and HC2 variance by statsmodels; the strata's shares are estimates too, which adds var(effect) / N."""
    frame = frame_of(1, {"control": 700, "t1": 500})
    t = (frame.arm == "t1").to_numpy().astype(float)
    strata = pd.get_dummies(frame.tier, drop_first=True).to_numpy().astype(float)
    strata -= strata.mean(axis=0)
    design = np.column_stack([np.ones_like(t), t, strata, strata * t[:, None]])
    fit = sm.OLS(frame.y, design).fit(cov_type="HC2")
    variance = fit.bse.iloc[1] ** 2 + np.var(strata @ fit.params.to_numpy()[4:], ddof=1) / len(frame)
    cell = frame.groupby(["arm", "tier"]).y
    own = (frame.groupby("tier").size() / len(frame)) ** 2 * cell.var() / cell.size()
    df = own.sum() ** 2 / (own**2 / (cell.size() - 1)).sum()

    row = rows_of(frame)["post_stratified"]
    assert (row.status, row.stratified_by, row.strata, row.health) == (Status.OK, "tier", 3, "ok")
    assert row.estimate == near(fit.params.iloc[1])
    assert row.standard_error == near(variance**0.5)
    assert row.degrees_of_freedom == near(df)
    assert row.p_value == near(2 * stats.t(df).sf(abs(fit.params.iloc[1]) / variance**0.5))
    plain = frame.groupby("arm").y
    assert row.variance_reduction == near(1 - variance / (plain.var() / plain.size()).sum())
    assert row.variance_reduction is not None
    assert row.variance_reduction > 0.6
    assert row.balance_p == near(
        stats.chi2_contingency(pd.crosstab(frame.arm, frame.tier), correction=False).pvalue
    )
    assert (row.theta, row.rho, row.covariates, row.slopes) == (None, None, None, None)


def test_both_together_are_a_regression_within_strata() -> None:
    """Arm and tier dummies with one slope: the effect is the average over users of the difference of predictions."""
    frame = frame_of(2, {"control": 600, "t1": 600})
    cells = pd.get_dummies(frame.arm + frame.tier, dtype=float)
    fit = sm.OLS(frame.y, cells.assign(x=frame.x)).fit()
    share = frame.groupby("tier").size() / len(frame)
    effect = sum(s * (fit.params["t1" + tier] - fit.params["control" + tier]) for tier, s in share.items())
    rows = rows_of(frame)
    both = rows["cuped_post_stratified"]
    assert both.estimate == near(effect)
    assert (both.theta, both.covariates, both.strata) == (near(fit.params["x"]), "before", 3)
    least = min(r.standard_error or 0 for r in rows.values())
    assert both.standard_error == least, "each takes out what the other leaves"


def test_adjusted_rows_of_two_treatments_share_their_control() -> None:
    frame = frame_of(3, {"control": 500, "t1": 400, "t2": 300})
    spec = spec_of(shares=(0.4, 0.3, 0.3))
    rows = [r for r in cuped.analyse(spec, day_of(frame)) if isinstance(r, ResultRow)]
    for method in ("cuped", "post_stratified", "cuped_post_stratified"):
        first, second = (r for r in rows if r.method == method)
        assert (first.treatment_id, second.treatment_id) == ("t1", "t2")
        assert first.adjusted_mean_control == second.adjusted_mean_control


def test_small_strata_are_merged_and_named() -> None:
    frame = frame_of(4, {"control": 400, "t1": 400})
    frame.loc[frame.index[:3], "tier"] = "gold"  # of control only
    frame.loc[frame.index[-12:], "tier"] = "vip"  # of t1 only
    row = rows_of(frame)["post_stratified"]
    assert row.strata == 3
    assert row.message is not None
    assert "fewer than 10 users: gold, pro, vip" in row.message
    together = frame.assign(tier=frame.tier.replace({"gold": "pro", "vip": "pro"}))
    again = rows_of(together)["post_stratified"]
    assert (row.estimate, row.standard_error) == (near(again.estimate or 0), near(again.standard_error or 0))


def test_one_stratum_is_none() -> None:
    frame = frame_of(5, {"control": 200, "t1": 200}, shares=(0.97, 0.02, 0.01))
    rows = rows_of(frame)
    assert rows["cuped"].status is Status.OK
    for method in ("post_stratified", "cuped_post_stratified"):
        assert (rows[method].status, rows[method].estimate) == (Status.NOT_APPLICABLE, None)
        assert "fewer than two strata" in str(rows[method].message)


def test_strata_that_say_nothing_of_the_metric_are_named_as_such() -> None:
    frame = frame_of(6, {"control": 900, "t1": 900})
    frame["y"] = np.random.default_rng(1).normal(size=len(frame))
    row = rows_of(frame)["post_stratified"]
    assert row.health == "unrelated"
    assert row.variance_reduction == pytest.approx(0, abs=0.01)


def test_arms_with_other_shares_of_the_strata_sound_the_alarm() -> None:
    frame = pd.concat(
        [frame_of(7, {"control": 900}), frame_of(8, {"t1": 900}, shares=(0.3, 0.4, 0.3))], ignore_index=True
    )
    row = rows_of(frame)["post_stratified"]
    assert row.health == "unbalanced"
    assert "the strata differ between the arms" in str(row.message)


def test_without_strata_there_are_cuped_rows_only() -> None:
    frame = frame_of(9, {"control": 300, "t1": 300})
    assert set(rows_of(frame, replace(spec_of(), analyses=AnalysisPlan()))) == {"cuped"}


def test_a_metric_without_covariates_is_still_post_stratified() -> None:
    frame = frame_of(10, {"control": 300, "t1": 300})
    bare = replace(spec_of(), metrics=(metric(),))
    day = day_of(frame)
    found = {r.method: r.status for r in cuped.analyse(bare, day)}  # type: ignore[union-attr]
    assert found == {
        "cuped": Status.NOT_APPLICABLE,
        "post_stratified": Status.OK,
        "cuped_post_stratified": Status.NOT_APPLICABLE,
    }


def test_tiny_arms_have_no_numbers() -> None:
    rows = rows_of(frame_of(11, {"control": 30, "t1": 300}))
    assert {r.status for r in rows.values()} == {Status.INSUFFICIENT_DATA}


def test_it_decides_and_judges_guardrails_where_it_is_declared() -> None:
    frame = frame_of(12, {"control": 700, "t1": 700})
    guarded = metric(covariates=["before"], guardrail=Guardrail(Effect(0.02, "relative"), "critical"))
    spec = replace(spec_of(), metrics=(guarded,), decision=DecisionPlan(estimate="cuped_post_stratified"))
    day = day_of(frame)
    rows = [*ab.analyse(spec, day), *cuped.analyse(spec, day), *guardrails.analyse(spec, day)]
    both = next(r for r in rows if isinstance(r, ResultRow) and r.method == "cuped_post_stratified")
    read = tuple(evidence.analyse(spec, day, NOTHING_READ, rows))
    (finding,) = findings(Case(spec, NOTHING_READ, read), (guarded,))
    assert finding.row == replace(both, method=evidence.METHOD, estimated_by=both.method)
    judged = rows[-1]
    assert isinstance(judged, ResultRow)
    assert (judged.method, judged.standard_error) == ("guardrails", both.standard_error)


def test_strata_of_pooled_values_are_told_where_strata_adjust() -> None:
    frame = frame_of(3, {"control": 800, "t1": 800})
    pooled = {"tier": {"tier": Pooled("(rarer values)", 59, 7, True, 310)}}
    rows = {r.method: r for r in cuped.analyse(spec_of(), replace(day_of(frame), pooled=pooled))}
    for method, row in rows.items():
        assert ("more than 7 rarer ones of 310 users" in (row.message or "")) == ("strat" in method)
    assert len(rows) == 3
