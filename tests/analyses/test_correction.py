"""What a family's correction makes of its rows: adjusted p, level, interval and significance tell the same."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from analyses.simulated import aggregates, block, experiment, metric
from exp_platform.analyses import ab, guardrails, segments
from exp_platform.analyses.family import level_of
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect, Guardrail, Role
from exp_platform.config.plans import DecisionPlan

METHODS = {"bonferroni": "bonferroni", "holm": "holm", "bh": "fdr_bh"}
COVERAGE = {"bonferroni": "SIMULTANEOUS", "holm": "NO_EFFECT", "bh": "FALSE_COVERAGE_RATE"}
ALPHA = 0.045
Z = {"main": (3.2, 2.2), "s1": (2.4, 0.3), "s2": (-2.6, 1.0)}  # effects in standard errors, a treatment each


def arms(z: tuple[float, ...], n: int = 400) -> dict[str, np.ndarray]:
    noise = np.linspace(-1, 1, n)
    error = noise.std(ddof=1) * np.sqrt(2 / n)
    return {"control": noise} | {f"t{i}": noise + shift * error for i, shift in enumerate(z, 1)}


def spec(correction: str, family: str = "all", **more: object) -> Experiment:
    return experiment(
        metric("main"),
        metric("s1", role=Role.SECONDARY),
        metric("s2", role=Role.SECONDARY),
        shares=(0.4, 0.3, 0.3),
        decision=DecisionPlan(correction=correction, family=family),  # type: ignore[arg-type]
        **more,
    )


def results(rows: list[Row]) -> list[ResultRow]:
    return [r for r in rows if isinstance(r, ResultRow)]


def run(correction: str, family: str = "all") -> list[ResultRow]:
    blocks = [block(m, v, x) for m, z in Z.items() for v, x in arms(z).items()]
    return results(ab.analyse(spec(correction, family), aggregates(blocks)))


@pytest.mark.parametrize("correction", METHODS)
def test_peer_defect_intervals_agree_with_what_is_rejected_and_the_family_with_statsmodels(
    correction: str,
) -> None:
    rows = run(correction)
    rejected, adjusted, _, _ = multipletests([r.p_value for r in rows], ALPHA, method=METHODS[correction])
    assert [r.p_adjusted for r in rows] == pytest.approx(list(adjusted), rel=1e-9, abs=0)
    assert [r.significant for r in rows] == list(rejected)
    assert {(r.correction, r.family_size, r.coverage) for r in rows} == {
        (correction, 6, COVERAGE[correction])
    }
    for row in rows:
        assert row.ci_low is not None
        assert row.ci_high is not None
        assert row.ci_level == 1 - (row.alpha or 0)
        assert row.significant is (row.ci_low > 0 or row.ci_high < 0)


def test_the_corrections_differ_where_they_should() -> None:
    """p from .001 to .76: Bonferroni finds the first only, Holm no more here, BH two more."""
    counts = {c: sum(bool(r.significant) for r in run(c)) for c in METHODS}
    assert counts["bonferroni"] <= counts["holm"] < counts["bh"]


@pytest.mark.parametrize("correction", ["holm", "bh"])
def test_always_valid_evidence_and_the_planned_level_are_bonferronis_whatever_is_chosen(
    correction: str,
) -> None:
    for chosen, plain in zip(run(correction), run("bonferroni"), strict=True):
        assert chosen.always_valid_low == plain.always_valid_low
        assert chosen.always_valid_significant == plain.always_valid_significant
    m = metric("main")
    assert level_of(spec(correction), m).alpha == pytest.approx(ALPHA / 6, rel=1e-12)


@pytest.mark.parametrize("correction", METHODS)
def test_a_row_without_a_test_keeps_its_place_in_the_family_and_is_not_in_the_ranking(
    correction: str,
) -> None:
    blocks = [block(m, v, x) for m, z in Z.items() for v, x in arms(z).items() if (m, v) != ("s1", "t2")]
    rows = results(ab.analyse(spec(correction), aggregates(blocks)))
    tested = [r for r in rows if r.status is Status.OK]
    (missing,) = (r for r in rows if r.status is not Status.OK)
    assert (missing.p_adjusted, missing.ci_level, missing.significant) == (None, None, None)
    p = [*(r.p_value for r in tested), 1.0]
    rejected, adjusted, _, _ = multipletests(p, ALPHA, method=METHODS[correction])
    assert [r.p_adjusted for r in tested] == pytest.approx(list(adjusted[:-1]), rel=1e-9, abs=0)
    assert [r.significant for r in tested] == list(rejected[:-1])


@pytest.mark.parametrize("correction", ["holm", "bh"])
def test_behind_a_gate_each_treatment_is_a_family_with_its_share_of_alpha(correction: str) -> None:
    """t1's primary opens the gate of t1's secondaries, and hands nothing on to t2."""
    rows = {(r.metric_id, r.treatment_id): r for r in run(correction, "primary_first")}
    for treatment in ("t1", "t2"):
        primary = rows["main", treatment]
        assert primary.p_adjusted == pytest.approx(min(1.0, 2 * (primary.p_value or 0)), rel=1e-9, abs=0)
        assert primary.alpha == pytest.approx(ALPHA / 2, rel=1e-12)
        p = [rows[m, treatment].p_value for m in ("s1", "s2")]
        adjusted = multipletests(p, ALPHA / 2, method=METHODS[correction])[1]
        for m, expected in zip(("s1", "s2"), adjusted, strict=True):
            hurdle = primary.p_adjusted or 0.0
            assert rows[m, treatment].p_adjusted == pytest.approx(
                max(hurdle, min(1.0, 2 * expected)), rel=1e-9, abs=0
            )
    assert rows["main", "t1"].significant is True
    assert [rows[m, "t1"].significant for m in ("s1", "s2")] == [True, True]
    assert [rows[m, "t2"].significant for m in ("main", "s1", "s2")] == [False, False, False]


def test_a_guardrail_and_what_only_informs_stand_alone() -> None:
    guard = metric("errors", role=Role.GUARDRAIL, guardrail=Guardrail(Effect(1.0, "absolute"), "warning"))
    shown = metric("shown", role=Role.INFORMATIONAL)
    spec = experiment(metric("main"), guard, shown, decision=DecisionPlan(correction="holm"))
    day = aggregates(block(m, v, x) for m in ("main", "errors", "shown") for v, x in arms((1.0,)).items())
    told = {r.metric_id: (r.correction, r.family_size, r.coverage) for r in results(ab.analyse(spec, day))}
    assert told["main"] == ("holm", 1, "NO_EFFECT")
    assert told["errors"] == told["shown"] == ("none", 1, "INDIVIDUAL")
    (row,) = results(guardrails.analyse(spec, day))
    assert (row.correction, row.coverage, row.p_adjusted) == ("none", "INDIVIDUAL", row.p_value)


@pytest.mark.parametrize("correction", METHODS)
def test_segments_are_a_family_of_what_can_be_tested(correction: str) -> None:
    """Three values, one of them too small: two comparisons, apart from the metric's own."""
    values = {"a": arms((2.2,)), "b": arms((2.5,)), "c": arms((3.0,), n=40)}
    blocks = [
        block("main", v, x, segment="device", segment_value=value)
        for value, sides in values.items()
        for v, x in sides.items()
    ]
    plan = experiment(
        metric("main"),
        segments=("device",),
        decision=DecisionPlan(correction=correction),  # type: ignore[arg-type]
    )
    rows = [r for r in results(segments.analyse(plan, aggregates(blocks))) if r.test != "interaction"]
    tested = [r for r in rows if r.status is Status.OK]
    assert [(r.segment_value, r.status) for r in rows if r not in tested] == [("c", Status.INSUFFICIENT_DATA)]
    rejected, adjusted, _, _ = multipletests([r.p_value for r in tested], ALPHA, method=METHODS[correction])
    assert [r.p_adjusted for r in tested] == pytest.approx(list(adjusted), rel=1e-9, abs=0)
    assert [(r.significant, r.family_size) for r in tested] == [(bool(x), 2) for x in rejected]
