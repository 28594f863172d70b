"""The manifest of `memo` holds the events of the newest day, as whoever tells them reads them."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import date

import pytest

from analyses.simulated import BEFORE_END, END
from exp_platform.config.analyses import NAMES
from exp_platform.config.environment import Environment
from exp_platform.report.event import Event
from exp_platform.results.reader import Results
from exp_platform.stages import memo
from exp_platform.tables.status import status_of
from report.reports import report
from stages.frozen_runs import D2, D3, a_run, carry_out


def test_the_manifest_says_what_holds_as_of_the_newest_day(environment: Environment) -> None:
    for name, days in (("r1", (D3,)), ("r2", (D2,))):  # the second words the newest day again
        run = a_run(environment, name, days)
        carry_out(run, "publish", *NAMES, "decision")
        manifest = json.loads(json.dumps(carry_out(run, "memo").to_json()))
        decided, *_ = map(Event.from_json, manifest["details"]["events"])
        stored = Results(environment).latest_decision("exp_a", D3)
        assert stored is not None
        assert decided.key == (
            "decision_changed",
            " ".join(filter(None, (stored.winner, stored.action, stored.winning_variant))),
        )
        assert decided.sentence.startswith(f"exp_a as of {D3}: ")


def test_it_notes_where_the_experiment_stands(environment: Environment) -> None:
    """For the tag of its DAG, which is made without a clock: the window of `exp_a` ends on 14 March."""
    noted = []
    for name, day in (("r1", D2), ("r2", D3)):
        run = a_run(environment, name, (day,))
        carry_out(run, "publish", *NAMES, "decision", "memo")
        noted.append(status_of(environment, "exp_a"))
    assert (D2.isoformat(), D3.isoformat()) == ("2025-03-13", "2025-03-14")
    stored = Results(environment).latest_decision("exp_a", D3)
    assert stored is not None
    assert stored.action in ("ship", "stop")
    assert noted == ["running", "decided"]


@pytest.mark.parametrize(
    ("action", "as_of", "status"),
    [("ship", END, "decided"), ("investigate", END, "ended"), ("ship", BEFORE_END, "running")],
)
def test_what_ended_without_an_answer_is_not_decided_and_an_early_ship_not_either(
    action: str, as_of: date, status: str
) -> None:
    """As long as it runs, a decision may still be another one tomorrow; the list of experiments says the same."""
    made = report()
    final = as_of == END
    decision = replace(made.decision, action=action, final=final, as_of_date=as_of)  # type: ignore[arg-type]
    stored = replace(made.stored, as_of_date=as_of)
    assert memo._status(replace(made, decision=decision, stored=stored)) == status
