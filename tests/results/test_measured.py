"""What was measured of every metric on newest days: the rows that decide, as stored, and none is read twice."""

from __future__ import annotations

from dataclasses import asdict
from typing import Any

import pytest

from exp_platform.analyses.rows import ResultRow
from exp_platform.config.analyses import RESULTS
from exp_platform.config.environment import Environment
from exp_platform.results import newest
from exp_platform.results.newest import NewestDecisions
from exp_platform.results.reader import Results
from stages.frozen_runs import D1, D2, D3, a_run, an_experiment, carry_out


def test_it_has_what_the_rows_that_decide_have_of_every_metric_on_the_newest_day(
    environment: Environment,
) -> None:
    carry_out(a_run(environment, "r1", (D1, D2)))
    carry_out(a_run(environment, "s1", (D3,), of=an_experiment("exp_b"), seed=4))
    found = {id: one.measured for id, one in NewestDecisions().read(environment).items()}
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
            assert all(getattr(row, name) == value for name, value in asdict(one).items())
            assert one.relative is not None


def test_effects_that_were_met_are_not_read_again_and_new_ones_are(
    environment: Environment, opened: list[str]
) -> None:
    for id in ("exp_a", "exp_b"):
        carry_out(a_run(environment, f"run_{id}", (D1,), of=an_experiment(id)))
    decisions = NewestDecisions()
    first = decisions.read(environment)
    carry_out(a_run(environment, "again", (D2,), of=an_experiment("exp_b"), seed=9))
    opened.clear()
    later = decisions.read(environment)
    assert len([path for path in opened if RESULTS in path]) == 1
    assert later["exp_a"].measured == first["exp_a"].measured != ()
    assert later["exp_b"].measured != first["exp_b"].measured


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
