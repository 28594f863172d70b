"""Rule 1: numbers that cannot be believed overrule everything, and what was not looked at is not believed."""

from __future__ import annotations

from dataclasses import replace

import pytest

from decision.cases import (
    BEFORE_END,
    GUARDED,
    ONE,
    PASSED,
    TWO,
    Given,
    codes,
    effect,
    experiment,
    guard_row,
    metric,
    outcome,
    split,
)
from exp_platform.checks import CheckResult
from exp_platform.config.plans import DecisionPlan


def test_a_failed_check_overrules_a_clear_win() -> None:
    failed = CheckResult(
        BEFORE_END, "crossovers", "warning", "failed", 0.03, 0.01, "3 % of users are in two arms"
    )
    d = Given([effect()], checks=[PASSED, failed]).decide()
    assert outcome(d) == ("inconclusive", "investigate", None)
    assert (d.trust, d.confidence) == ("failed", 0.0)
    assert d.reasons[0].code == "CHECK_FAILED"
    assert d.reasons[0].data == {
        "check": "crossovers",
        "severity": "warning",
        "observed": 0.03,
        "threshold": 0.01,
    }


@pytest.mark.parametrize(
    ("of", "code"),
    [("assigned", "SRM_MISMATCH"), ("analysed", "SRM_MISMATCH"), ("crossovers", "CROSSOVERS_UNEVEN")],
)
def test_a_split_that_was_not_planned(of: str, code: str) -> None:
    d = Given([effect()], split=[split(), split("mismatch", users=of)]).decide()
    assert outcome(d) == ("inconclusive", "investigate", None)
    assert (d.trust, codes(d)[0]) == ("failed", code)


def test_a_broken_split_is_told_once() -> None:
    """The check of the data finds it too, and those who are analysed are split as those who were assigned."""
    check = replace(PASSED, check="srm", severity="warning", status="failed")
    rows = [split("mismatch"), split("mismatch", users="analysed"), split("mismatch", users="crossovers")]
    d = Given([effect()], checks=[PASSED, check], split=rows).decide()
    assert [code for code in codes(d) if code in ("CHECK_FAILED", "SRM_MISMATCH", "CROSSOVERS_UNEVEN")] == [
        "SRM_MISMATCH",
        "CROSSOVERS_UNEVEN",
    ]
    alone = Given([effect()], checks=[PASSED, check]).decide()
    assert codes(alone)[0] == "CHECK_FAILED", "the rows do not say it, as where stored ones stand in"


def test_a_split_that_depends_on_a_segment_is_told_where_all_together_are_as_planned() -> None:
    device = replace(split("mismatch", users="all"), segment="device")
    d = Given([effect()], split=[split(), device]).decide()
    assert outcome(d) == ("inconclusive", "investigate", None)
    assert codes(d)[0] == "SRM_WITHIN_SEGMENT"
    assert "within device" in d.reasons[0].text
    both = Given([effect()], split=[split("mismatch"), device]).decide()
    assert codes(both).count("SRM_MISMATCH") == 1
    assert "SRM_WITHIN_SEGMENT" not in codes(both)


def test_faults_are_told_in_the_order_of_the_spec_whatever_the_order_of_the_rows() -> None:
    spec = replace(ONE, segments=("device", "country"))
    within = [replace(split("mismatch", users="all"), segment=name) for name in ("device", "country")]
    rows = [split(), *within]
    there, back = (Given([effect()], spec, split=order).decide() for order in (rows, rows[::-1]))
    assert there == back
    assert [r.data["users"] for r in there.reasons[:2]] == ["device", "country"]


def test_skipped_checks_are_unknown_trust() -> None:
    d = Given([effect()], skipped=("quality",)).decide()
    assert outcome(d) == ("inconclusive", "investigate", None)
    assert d.trust == "unknown"
    assert codes(d)[0] == "CHECKS_SKIPPED"
    assert codes(d)[-1] == "STAGES_SKIPPED"
    assert d.skipped == ("quality",)


def test_no_checks_at_all_are_unknown_trust_too() -> None:
    assert Given([effect()], checks=[]).decide().trust == "unknown"


def test_a_check_that_had_nothing_to_look_at_costs_nothing() -> None:
    idle = replace(PASSED, check="row_count_drop", status="skipped")
    assert Given([effect()], checks=[PASSED, idle]).decide().action == "ship"


def test_covariates_that_differ_between_the_arms_are_not_trusted_where_they_decide() -> None:
    spec = experiment(metric("orders", covariates=["before"]), decision=DecisionPlan(estimate="cuped"))
    adjusted = effect(method="cuped", health="unbalanced", balance_p=1e-6, message="the covariates differ")
    d = Given([effect(), adjusted], spec).decide()
    assert (d.action, d.trust, codes(d)[0]) == ("investigate", "failed", "COVARIATES_UNBALANCED")
    assert Given([effect(), adjusted]).decide().action == "ship", "the unadjusted estimate decides"
    assert Given([effect(), replace(adjusted, health="undated")], spec).decide().action == "ship"


def test_a_split_that_was_not_tested() -> None:
    d = Given([effect()], split=[]).decide()
    assert (d.action, d.trust, codes(d)[0]) == ("investigate", "unknown", "SRM_NOT_TESTED")


def test_a_split_of_another_day_is_not_tested() -> None:
    assert Given([effect()], split=[split(as_of=BEFORE_END)]).decide().trust == "unknown"


def test_no_result_of_the_estimate_that_decides() -> None:
    d = Given([effect(method="cuped")]).decide()
    assert (d.action, d.trust, codes(d)[0]) == ("investigate", "unknown", "ESTIMATE_MISSING")
    assert (d.lift, d.decisive_metric, d.treatments[0].outcome) == (None, "orders", "no_estimate")


def test_a_guardrail_that_was_not_tested() -> None:
    d = Given([effect()], GUARDED).decide()
    assert (d.action, d.trust, codes(d)[0]) == ("investigate", "unknown", "GUARDRAIL_NOT_TESTED")


def test_a_critical_breach_is_still_told() -> None:
    d = Given([effect(), guard_row("proven_breach")], GUARDED, split=[split("mismatch")]).decide()
    assert outcome(d) == ("inconclusive", "investigate", None)
    assert "GUARDRAIL_PROVEN_BREACH" in codes(d)
    assert d.treatments[0].outcome == "breach"


def test_the_leading_treatment_is_reported_without_confidence() -> None:
    d = Given([effect("t1", 0.5), effect("t2", 0.7)], TWO, split=[split("mismatch")]).decide()
    assert (d.reported_variant, d.lift, d.confidence) == ("t2", pytest.approx(0.07), 0.0)


def test_values_lost_unevenly_cost_trust() -> None:
    row = replace(split("mismatch", users="with_value"), metric_id="orders")
    d = Given([effect()], split=[split(), row]).decide()
    assert (d.action, d.trust) == ("investigate", "failed")
    assert codes(d)[0] == "VALUES_LOST_UNEVENLY"
    assert d.reasons[0].text.startswith("Users were lost unevenly from orders for want of a value: ")
