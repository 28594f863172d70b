"""Rules 2 and 4: critical breaches, proven and observed; warnings and unproven ones are reasons only."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pytest

from decision.cases import (
    BEFORE_END,
    END,
    GUARDED,
    TWO_GUARDED,
    Given,
    codes,
    early,
    effect,
    experiment,
    guard_row,
    guarded,
    metric,
    nothing,
    outcome,
)
from exp_platform.analyses.rows import Status


def test_a_proven_critical_breach_stops_the_only_treatment() -> None:
    d = Given([effect(), guard_row("proven_breach")], GUARDED).decide()
    assert outcome(d) == ("guardrail-violated", "stop", None)
    assert codes(d)[0] == "GUARDRAIL_PROVEN_BREACH"
    assert d.reasons[0].data == {
        "metric_id": "latency", "treatment_id": "t1", "severity": "critical", "estimate": -1.5, "margin": -1.0
    }  # fmt: skip
    assert (d.reported_variant, d.lift) == ("t1", pytest.approx(0.05))


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({}, "-1.5 against a margin of -1"),
        ({"estimate": -1234.5678, "margin": -1000.0}, "-1,235 against a margin of -1,000"),
        ({"margin_relative": -0.1}, "-15.0 % against a margin of -10.0 %"),
        ({"margin_relative": -0.1, "relative": None}, "-1.5 against a margin of -1"),
        (
            {"estimate": -0.00526903, "margin": -0.0344247, "metric_kind": "proportion"},
            "-0.53 pp against a margin of -3.44 pp",
        ),
    ],
)
def test_a_breach_is_written_as_its_margin_was_given(row: dict[str, Any], told: str) -> None:
    d = Given([effect(), replace(guard_row("proven_breach"), **row)], GUARDED).decide()
    words = "The critical guardrail latency is proven to be beyond its margin for t1"
    assert d.reasons[0].text == f"{words}: {told}."


def test_also_before_the_planned_end() -> None:
    d = Given([early(nothing()), early(guard_row("proven_breach"))], GUARDED, as_of=BEFORE_END).decide()
    assert outcome(d) == ("guardrail-violated", "stop", None)


def test_it_takes_one_of_two_treatments_out() -> None:
    rows = [
        effect("t1", 0.9),
        effect("t2", 0.5),
        guard_row("proven_breach", "t1"),
        guard_row("non_inferior", "t2"),
    ]
    d = Given(rows, TWO_GUARDED).decide()
    assert outcome(d) == ("treatment", "ship", "t2")
    assert d.lift == pytest.approx(0.05)
    assert [t.outcome for t in d.treatments] == ["breach", "better"]
    assert "RUNNER_UP_NOT_BEATEN" not in codes(d)


def test_with_one_out_the_other_is_decided_alone() -> None:
    rows = [
        effect("t1", 0.9),
        nothing("t2"),
        guard_row("proven_breach", "t1"),
        guard_row("non_inferior", "t2"),
    ]
    d = Given(rows, TWO_GUARDED).decide()
    assert outcome(d) == ("inconclusive", "stop", None)
    assert d.reported_variant == "t2"


def test_an_observed_critical_breach_at_the_end_is_investigated() -> None:
    d = Given([nothing(), guard_row("observed_breach")], GUARDED).decide()
    assert outcome(d) == ("inconclusive", "investigate", None)
    assert codes(d)[0] == "GUARDRAIL_OBSERVED_BREACH"


def test_it_is_not_shipped_either() -> None:
    assert Given([effect(), guard_row("observed_breach")], GUARDED).decide().action == "investigate"


def test_nor_before_the_end() -> None:
    rows = [early(effect(), always_valid=True), early(guard_row("observed_breach"))]
    d = Given(rows, GUARDED, as_of=BEFORE_END).decide()
    assert outcome(d) == ("inconclusive", "investigate", None)


def test_before_the_end_it_stops_nothing_on_its_own() -> None:
    d = Given([early(nothing()), early(guard_row("observed_breach"))], GUARDED, as_of=BEFORE_END).decide()
    assert outcome(d) == ("inconclusive", "extend", None)
    assert "GUARDRAIL_OBSERVED_BREACH" in codes(d)


def test_another_treatment_is_shipped_beside_it() -> None:
    rows = [
        effect("t1", 0.9),
        effect("t2", 0.5),
        guard_row("observed_breach", "t1"),
        guard_row("unproven", "t2"),
    ]
    d = Given(rows, TWO_GUARDED).decide()
    assert outcome(d) == ("treatment", "ship", "t2")
    assert "RUNNER_UP_NOT_BEATEN" not in codes(d)  # it is no rival any more


@pytest.mark.parametrize("verdict", ["proven_breach", "observed_breach"])
def test_a_warning_is_a_reason_only(verdict: str) -> None:
    d = Given([effect(), guard_row(verdict)], experiment(metric("orders"), guarded("warning"))).decide()
    assert outcome(d) == ("treatment", "ship", "t1")
    assert codes(d)[0] == f"GUARDRAIL_{verdict.upper()}"


def test_an_unproven_critical_one_is_a_reason_only() -> None:
    d = Given([effect(), guard_row("unproven")], GUARDED).decide()
    assert (d.action, codes(d)[0]) == ("ship", "GUARDRAIL_UNPROVEN")


def test_one_that_holds_is_not_worth_a_reason() -> None:
    d = Given([effect(), guard_row("non_inferior")], GUARDED).decide()
    assert not [c for c in codes(d) if c.startswith("GUARDRAIL")]


NO_NUMBER = {"estimate": None, "message": "a reason of its own"}


@pytest.mark.parametrize(
    ("status", "action"),
    [
        (Status.INSUFFICIENT_DATA, "extend"),  # users will come
        (Status.DEGENERATE, "investigate"),
        (Status.NOT_APPLICABLE, "investigate"),
    ],
)
@pytest.mark.parametrize("as_of", [BEFORE_END, END])
def test_a_critical_guardrail_without_a_number_holds_back_a_ship(
    status: Status, action: str, as_of: date
) -> None:
    won = effect() if as_of == END else early(effect(), always_valid=True)
    row = replace(guard_row(None, status=status, **NO_NUMBER), as_of_date=as_of)
    d = Given([won, row], GUARDED, as_of=as_of).decide()
    assert outcome(d) == ("inconclusive", action, None)
    assert codes(d)[0] == "GUARDRAIL_NO_ESTIMATE"
    assert [t.outcome for t in d.treatments] == ["unread"]


def test_a_warning_without_a_number_is_a_reason_only() -> None:
    row = guard_row(None, status=Status.DEGENERATE, **NO_NUMBER)
    d = Given([effect(), row], experiment(metric("orders"), guarded("warning"))).decide()
    assert (d.action, codes(d)[0]) == ("ship", "GUARDRAIL_NO_ESTIMATE")


def test_a_treatment_whose_guardrails_can_be_read_is_shipped_beside_one_whose_cannot() -> None:
    rows = [
        effect("t1", 0.9),
        effect("t2", 0.5),
        guard_row(None, "t1", status=Status.DEGENERATE, **NO_NUMBER),
        guard_row("non_inferior", "t2"),
    ]
    d = Given(rows, TWO_GUARDED).decide()
    assert outcome(d) == ("treatment", "ship", "t2")
    assert [t.outcome for t in d.treatments] == ["unread", "better"]


def test_a_treatment_that_would_not_be_shipped_needs_no_guardrail() -> None:
    row = guard_row(None, status=Status.INSUFFICIENT_DATA, **NO_NUMBER)
    assert Given([nothing(), row], GUARDED).decide().action == "stop"
