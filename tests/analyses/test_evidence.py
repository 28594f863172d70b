"""What the decision rests on: which estimate decides, and treatments against one another."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy import stats

from analyses.simulated import aggregates, block, experiment, metric
from decision.cases import PASSED, TWO, before_any_run
from exp_platform.aggregates import Aggregates
from exp_platform.analyses import ab, cuped, evidence
from exp_platform.analyses.registry import analyse_all
from exp_platform.analyses.rows import ResultRow, Row, SizeRow, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Role
from exp_platform.config.plans import DecisionPlan
from exp_platform.config.readings import NOTHING_READ
from exp_platform.decision import decide
from exp_platform.errors import DataError

ARMS = ("control", "t1", "t2")
THREE = (0.4, 0.3, 0.3)


def day_of(spec: Experiment, gap: float = 0.4, seed: int = 1) -> Aggregates:
    """Values with a covariate where the metric has one, t2's larger by `gap`."""
    rng = np.random.default_rng(seed)
    blocks = []
    for m in spec.metrics:
        for arm in ARMS:
            n = 1200 if arm == "control" else 900
            before = rng.normal(10, 3, n)
            values = before + rng.normal(0, 1, n) + gap * (arm == "t2")
            columns = ("value", "x") if m.covariates else ("value",)
            blocks.append(block(m.id, arm, np.column_stack([values, before])[:, : len(columns)], columns))
    return aggregates(blocks)


def found(spec: Experiment, day: Aggregates) -> tuple[list[Row], list[ResultRow]]:
    """The tests' rows, and of the evidence those of `analysis_results`."""
    tested = [*ab.analyse(spec, day), *cuped.analyse(spec, day)]
    rows = evidence.analyse(spec, day, NOTHING_READ, tested)
    return tested, [row for row in rows if isinstance(row, ResultRow)]


def only(rows: list[ResultRow], **of: object) -> ResultRow:
    (row,) = [r for r in rows if all(getattr(r, name) == value for name, value in of.items())]
    return row


def test_each_metric_has_the_row_of_the_declared_estimate_or_the_unadjusted_one() -> None:
    spec = experiment(
        metric("orders", covariates=["x"]), metric("spend", role=Role.INFORMATIONAL), shares=THREE
    )
    spec = replace(spec, decision=DecisionPlan(estimate="cuped"))
    tested, rows = found(spec, day_of(spec))
    for metric_id, by in (("orders", "cuped"), ("spend", "ab")):
        for treatment in ("t1", "t2"):
            row = only(rows, metric_id=metric_id, treatment_id=treatment, control_id="control")
            (of_test,) = [
                r
                for r in tested
                if isinstance(r, ResultRow)
                and (r.method, r.metric_id, r.treatment_id) == (by, metric_id, treatment)
            ]
            assert replace(row, method=by, estimated_by=None) == of_test
            assert row.estimated_by == by


def test_treatments_are_compared_by_the_same_test_both_ways() -> None:
    spec = experiment(metric("orders"), metric("spend", role=Role.SECONDARY), shares=THREE)
    _, rows = found(spec, day_of(spec))
    against = [row for row in rows if row.control_id != "control"]
    assert {(r.metric_id, r.treatment_id, r.control_id) for r in against} == {
        ("orders", "t1", "t2"),
        ("orders", "t2", "t1"),
    }
    there, back = only(against, treatment_id="t2"), only(against, treatment_id="t1")
    t1, t2 = (next(b for b in day_of(spec).blocks if b.variant_id == v).moments for v in ("t1", "t2"))
    expected = stats.ttest_ind_from_stats(
        t2.mean[0], np.sqrt(t2.m2[0, 0] / (t2.n - 1)), t2.n,
        t1.mean[0], np.sqrt(t1.m2[0, 0] / (t1.n - 1)), t1.n,
        equal_var=False,
    )  # fmt: skip
    assert there.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert there.estimate == pytest.approx(-(back.estimate or 0.0), rel=1e-12)
    # The level that the comparisons with control have, as the decision takes no other.
    assert there.alpha == only(rows, metric_id="orders", treatment_id="t2", control_id="control").alpha


def test_treatments_are_adjusted_where_their_estimate_is() -> None:
    spec = experiment(metric("orders", covariates=["x"]), shares=THREE)
    adjusted = replace(spec, decision=DecisionPlan(estimate="cuped"))
    plain, narrow = (
        only(found(s, day_of(spec))[1], treatment_id="t2", control_id="t1") for s in (spec, adjusted)
    )
    assert (plain.estimated_by, narrow.estimated_by) == ("ab", "cuped")
    assert (narrow.standard_error or 0.0) < 0.5 * (plain.standard_error or 0.0)


def test_the_order_of_rows_makes_no_difference() -> None:
    spec = replace(TWO, segments=("device", "country"))
    day = day_of(spec, gap=1.0)
    state = before_any_run(spec)
    rows = analyse_all(spec, day, state=state)
    decision = decide(spec, state, rows, [PASSED])
    assert decide(spec, state, rows[::-1], [PASSED]) == decision
    assert decision.winning_variant == "t2"


def test_nothing_is_decided_without_it() -> None:
    day = day_of(TWO)
    state = before_any_run(TWO)
    rows = [row for row in analyse_all(TWO, day, state=state) if not isinstance(row, SizeRow)]
    with pytest.raises(DataError, match="run that stage first"):
        decide(TWO, state, rows, [PASSED])


def test_arms_that_cannot_be_compared_have_a_row_that_says_so() -> None:
    spec = experiment(metric("orders"), shares=THREE)
    day = aggregates([block("orders", arm, np.ones(500)) for arm in ARMS])
    _, rows = found(spec, day)
    assert only(rows, treatment_id="t2", control_id="t1").status is Status.DEGENERATE
