"""Which events a report holds, in which words; and over days: each is told once, until it goes away and comes back."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta

import pytest

from analyses.simulated import BEFORE_END, END
from exp_platform.checks import CheckResult
from exp_platform.decision import Reason
from exp_platform.report.content import Report
from exp_platform.report.event import (
    WAITED,
    Event,
    Told,
    after_failure,
    after_good_run,
    after_results,
    event_of_waiting,
    events_of_failure,
    untold,
)
from exp_platform.report.events import events_of
from report.reports import report
from report.several import three_arms

DROP = CheckResult(END, "row_drop", "warning", "failed", 0.4, 0.3, "40 % fewer rows; see the delivery")


def with_reason(code: str, text: str, **data: object) -> Report:
    """A report whose decision has one more reason."""
    made = report()
    decision = made.decision
    return replace(
        made, decision=replace(decision, reasons=(*decision.reasons, Reason(code, text, dict(data))))
    )


def of_kind(events: Iterable[Event], kind: str) -> list[Event]:
    return [event for event in events if event.kind == kind]


def test_a_decision_is_a_sentence_with_the_numbers_of_the_metric_that_decides() -> None:
    (decided,) = of_kind(events_of(report()), "decision_changed")
    assert decided.sentence.startswith(
        "exp_test as of 2025-03-14: ship t1. buys went from 10.00 % to 15.00 % (+50.0 % ["
    )
    told = dict(decided.numbers)
    assert (told["metric"], told["control"], told["t1"], told["users"]) == (
        "buys",
        "10.00 %",
        "15.00 %",
        "8,000",
    )
    assert told["relative effect (97.75 % interval)"].startswith("+50.0 % [")
    assert told["absolute effect (97.75 % interval)"].startswith("+5.00 pp [")
    assert decided.next_step.startswith("Roll out t1 to everybody.")
    assert decided.about == "treatment ship t1"


def test_a_decision_that_is_another_one_than_on_the_day_before_says_what_it_was() -> None:
    made = three_arms()
    *_, before, last = made.history
    other = replace(before, winner="inconclusive", action="extend", winning_variant=None)
    (decided,) = of_kind(events_of(replace(made, history=(other, last))), "decision_changed")
    assert f": ship t1 (as of {before.as_of_date}: inconclusive, keep running). " in decided.sentence
    (same,) = of_kind(events_of(made), "decision_changed")
    assert ": ship t1. " in same.sentence


def test_a_proven_breach_of_a_critical_guardrail_names_the_treatment_and_its_margin() -> None:
    (breach,) = of_kind(events_of(three_arms()), "guardrail_breached")
    assert breach.about == "latency of t2"
    assert (
        "critical guardrail latency is proven to be beyond its margin with t2: it went from 100.2 to 129.3"
        in breach.sentence
    )
    assert dict(breach.numbers)["margin"] == "+10.0 %"
    assert breach.next_step == "Roll t2 back."


def test_a_breach_that_is_a_warning_or_not_proven_is_no_event() -> None:
    made = three_arms()
    changed = {"severity": "warning"}, {"verdict": "observed_breach"}
    for change in changed:
        rows = tuple(replace(r, **change) if r.method == "guardrails" else r for r in made.rows)
        assert of_kind(events_of(replace(made, rows=rows)), "guardrail_breached") == []


def test_the_planned_date_is_an_event_from_that_day_on() -> None:
    assert of_kind(events_of(three_arms(as_of=BEFORE_END)), "planned_date") == []
    (reached,) = of_kind(events_of(three_arms()), "planned_date")
    assert (reached.about, reached.sentence) == (
        END.isoformat(),
        "exp_test: the planned end, 2025-03-14, has come: ship t1.",
    )


def test_a_failed_check_and_a_failed_split_are_events_with_their_remedy() -> None:
    (failed,) = of_kind(events_of(report(checks=(DROP,))), "quality_failed")
    assert failed.about == "row_drop"
    assert failed.sentence.endswith("the quality check row_drop failed: 40 % fewer rows; see the delivery.")
    assert dict(failed.numbers) == {"observed": "0.4", "threshold": "0.3"}
    made = with_reason("SRM_MISMATCH", "Users were not split as planned: x.", users="assigned", p_value=1e-9)
    (split,) = of_kind(events_of(made), "srm")
    assert split.sentence == "exp_test as of 2025-03-14: users were not split as planned: x."
    assert dict(split.numbers) == {"p": "1.0e-09"}
    assert split.next_step.startswith("Find out which users are missing")


def test_an_arm_whose_rows_come_late_and_a_source_that_did_not_come_are_two_events() -> None:
    text = "Rows of t1 seem to come late: x."
    (late,) = of_kind(
        events_of(with_reason("DATA_LATE", text, metric_id="buys", variant_id="t1")), "data_late"
    )
    assert late.about == "buys t1"
    assert event_of_waiting("exp_test").key == ("data_late", WAITED)


def test_a_run_that_failed_names_the_task_and_why_and_refused_data_each_check() -> None:
    (failed,) = events_of_failure("exp_test", "ab", "the disk is full")
    assert failed.sentence == "exp_test: the run failed in ab: the disk is full. The last good results stay."
    (unknown,) = events_of_failure("exp_test", "check", "")
    assert "failed in check: its log says why." in unknown.sentence
    refused = replace(DROP, severity="error")
    assert [e.key for e in events_of_failure("exp_test", "quality", "x", [refused])] == [
        ("quality_failed", "row_drop")
    ]


def test_events_come_back_from_json_as_they_were() -> None:
    import json

    events = events_of(three_arms(checks=(DROP,)))
    assert [Event.from_json(e) for e in json.loads(json.dumps([e.to_json() for e in events]))] == events


# ---------------------------------------------------------------- over days

GO_ON = Event("decision_changed", "inconclusive extend", "", beginning=True)
SHIP, SHIP_T2 = (Event("decision_changed", f"treatment ship {arm}", "") for arm in ("t1", "t2"))
BREACH, BREACH_T2 = (Event("guardrail_breached", f"latency of {arm}", "") for arm in ("t1", "t2"))
SRM, LATE = Event("srm", "assigned", ""), event_of_waiting("x")
(NULLS,) = events_of_failure("x", "quality", "", [replace(DROP, check="nulls")])
(IN_AB,), (IN_MEMO,) = (events_of_failure("x", task, "") for task in ("ab", "memo"))
Day = tuple[
    str, list[Event]
]  # how its run ended (results, failed, idle: nothing was new), and with which events


def results(*events: Event) -> Day:
    return "results", list(events)


def failed(*events: Event) -> Day:
    return "failed", list(events)


IDLE: Day = "idle", []


@pytest.mark.parametrize(
    ("days", "expected"),
    [
        pytest.param([results(GO_ON)] * 3, [[], [], []], id="nobody is told that it goes on"),
        pytest.param([results(GO_ON), results(SHIP), results(SHIP)], [[], [SHIP], []], id="changed once"),
        pytest.param([results(SHIP), results(SHIP)], [[SHIP], []], id="a first decision that ends it"),
        pytest.param([results(SHIP), results(GO_ON), results(SHIP)], [[SHIP], [GO_ON], [SHIP]], id="back and forth"),
        pytest.param([results(SHIP), results(SHIP_T2)], [[SHIP], [SHIP_T2]], id="another variant"),
        pytest.param(
            [results(GO_ON, BREACH), results(GO_ON, BREACH), results(GO_ON), results(GO_ON, BREACH)],
            [[BREACH], [], [], [BREACH]],
            id="a breach that went away and came back",
        ),
        pytest.param(
            [results(GO_ON, BREACH), results(GO_ON, BREACH, BREACH_T2), results(GO_ON, BREACH_T2)],
            [[BREACH], [BREACH_T2], []],
            id="a second treatment",
        ),
        pytest.param(
            [results(GO_ON, SRM), failed(IN_AB), failed(IN_AB), results(GO_ON, SRM)],
            [[SRM], [IN_AB], [], []],
            id="a failed run says nothing of what results say",
        ),
        pytest.param([failed(IN_AB), failed(IN_MEMO), failed(IN_AB)], [[IN_AB], [IN_MEMO], [IN_AB]], id="tasks"),
        pytest.param([failed(IN_AB), results(GO_ON), failed(IN_AB)], [[IN_AB], [], [IN_AB]], id="failed again"),
        pytest.param([failed(NULLS), failed(NULLS), results(GO_ON)], [[NULLS], [], []], id="bad data for days"),
        pytest.param([failed(LATE), failed(LATE), IDLE, failed(LATE)], [[LATE], [], [], [LATE]], id="late again"),
        pytest.param([results(SHIP), IDLE, results(SHIP)], [[SHIP], [], []], id="nothing new between"),
    ],
)  # fmt: skip
def test_each_is_told_once(days: list[Day], expected: list[list[Event]]) -> None:
    told: Told = frozenset()
    heard = []
    for ended, events in days:
        heard.append(untold(events, told))
        if ended == "results":
            told = after_results(events)
        elif ended == "failed":
            told = after_failure(events, told)
        else:
            told = after_good_run(told)
    assert heard == expected


def test_the_same_report_again_tells_nothing_and_so_does_the_next_day_that_says_the_same() -> None:
    first = events_of(three_arms(as_of=BEFORE_END))
    assert [e.kind for e in untold(first, frozenset())] == ["decision_changed", "guardrail_breached"]
    again = events_of(three_arms(as_of=BEFORE_END))
    next_day = events_of(three_arms(as_of=BEFORE_END + timedelta(days=1), users=4004))
    assert untold(again, after_results(first)) == untold(next_day, after_results(first)) == []
