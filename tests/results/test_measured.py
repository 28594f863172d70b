"""What was measured of every metric on newest days: the rows that decide, as stored, and none is read twice."""

from __future__ import annotations

from typing import Any

import pytest

from exp_platform.analyses.rows import ResultRow
from exp_platform.config.environment import Environment
from exp_platform.results import newest
from exp_platform.results.measured import MeasuredEffects
from exp_platform.results.newest import NewestDecisions
from exp_platform.results.reader import Results
from stages.frozen_runs import D1, D2, D3, a_run, an_experiment, carry_out


def test_it_has_what_the_rows_that_decide_have_of_every_metric_on_the_newest_day(
    environment: Environment,
) -> None:
    carry_out(a_run(environment, "r1", (D1, D2)))
    carry_out(a_run(environment, "s1", (D3,), of=an_experiment("exp_b"), seed=4))
    decided = NewestDecisions().read(environment)
    found = MeasuredEffects().read(environment, decided)
    assert set(found) == {"exp_a", "exp_b"}
    for id, day in (("exp_a", D2), ("exp_b", D3)):
        rows = [
            row
            for row in Results(environment).rows(ResultRow, id, day, method="evidence")
            if row.status == "OK" and row.segment == "all"
        ]
        assert {row.metric_id for row in rows} == {"orders", "buys"}
        for row in rows:
            (one,) = (
                m for m in found[id] if (m.metric_id, m.treatment_id) == (row.metric_id, row.treatment_id)
            )
            assert all(getattr(row, name) == value for name, value in vars(one).items())
            assert one.relative is not None


def test_a_decision_that_was_met_is_not_read_again_and_a_new_one_is(
    environment: Environment, opened: list[str]
) -> None:
    for id in ("exp_a", "exp_b"):
        carry_out(a_run(environment, f"run_{id}", (D1,), of=an_experiment(id)))
    decisions, effects = NewestDecisions(), MeasuredEffects()
    first = effects.read(environment, decisions.read(environment))
    opened.clear()
    assert effects.read(environment, decisions.read(environment)) == first
    assert opened == []
    carry_out(a_run(environment, "again", (D2,), of=an_experiment("exp_b"), seed=9))
    asked = decisions.read(environment)
    opened.clear()
    later = effects.read(environment, asked)
    assert len(opened) == 1
    assert later["exp_a"] == first["exp_a"]
    assert later["exp_b"] != first["exp_b"]
    assert effects.read(environment, {"exp_a": asked["exp_a"]}) == {"exp_a": first["exp_a"]}


def test_where_nothing_is_stored_nothing_is_measured(environment: Environment) -> None:
    assert MeasuredEffects().read(environment, {}) == {}


def test_the_newest_decision_says_when_it_was_decided_and_whether_the_split_held(
    environment: Environment,
) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    one = NewestDecisions().read(environment)["exp_a"]
    stored = Results(environment).latest_decision("exp_a")
    assert stored is not None
    assert one.definitions == stored.definitions
    codes = {reason.code for reason in stored.decision.reasons}
    assert one.split == ("untested" if "SRM_NOT_TESTED" in codes else "ok")
    decided = one.final and one.action in ("ship", "stop")
    assert one.decided_on == (one.as_of_date if decided else None)


@pytest.mark.parametrize(
    ("readings", "action", "final", "expected"),
    [
        ([], "ship", True, "2025-03-20"),
        ([("2025-03-14", True, "ship")], "ship", True, "2025-03-14"),
        ([("2025-03-14", True, "extend")], "ship", True, "2025-03-20"),
        ([("2025-03-10", False, "ship"), ("2025-03-14", True, "ship")], "ship", True, "2025-03-14"),
        ([("2025-03-14", True, "ship")], "ship", False, None),
        ([("2025-03-14", True, "investigate")], "investigate", True, None),
    ],
)
def test_the_day_of_a_decision_is_that_of_the_final_reading_which_made_it(
    readings: list[tuple[str, bool, str]], action: str, final: bool, expected: str | None
) -> None:
    from datetime import date

    told = {
        "memory": {
            "readings": [
                {"as_of_date": day, "final": of_end, "verdict": {"action": verdict}}
                for day, of_end, verdict in readings
            ]
        }
    }
    row = {"final": final, "action": action, "as_of_date": date(2025, 3, 20)}
    found = newest._decided_on(row, told)
    assert (found and found.isoformat()) == expected


@pytest.mark.parametrize(
    ("told", "expected"),
    [
        ({}, "untested"),
        ({"reasons": []}, "ok"),
        ({"reasons": [{"code": "SRM_NOT_TESTED"}]}, "untested"),
        ({"reasons": [{"code": "FINAL_STANDS"}, {"code": "SRM_WITHIN_SEGMENT"}]}, "mismatch"),
        ({"reasons": [{"code": "SRM_MISMATCH"}]}, "mismatch"),
    ],
)
def test_the_split_is_what_the_reasons_say_of_it(told: dict[str, Any], expected: str) -> None:
    assert newest._split(told) == expected
