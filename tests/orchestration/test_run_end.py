"""How a run ended, by the states of its tasks, and what is told of it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from exp_platform.config.environment import Environment, load_environment
from exp_platform.config.notify import Notify
from exp_platform.orchestration import run_end
from exp_platform.orchestration.run_end import stopped_in, tell_end
from exp_platform.report.event import Event
from exp_platform.tables.last_runs import note_run
from stages.frozen_runs import a_run, an_experiment


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path))
    return load_environment("embedded")


def context(xcoms: dict[str, Any] | None = None, **states: str) -> Any:
    """Of a task `release` whose run's other tasks are in these states."""
    return {
        "ti": SimpleNamespace(
            dag_id="exp__one",
            run_id="r",
            get_task_states=lambda dag_id, run_ids: {"r": states | {"release": "running"}},
            xcom_pull=lambda task_ids: (xcoms or {}).get(task_ids),
        )
    }


@pytest.fixture
def told(monkeypatch: pytest.MonkeyPatch) -> list[Event]:
    """What is handed on to be told."""
    events: list[Event] = []

    def tell(context: Any, environment: Any, experiment_id: str, listeners: Any, found: list[Event]) -> None:
        assert (experiment_id, listeners) == ("one", None)  # no spec of that name: whom the environment tells
        events.extend(found)

    monkeypatch.setattr(run_end, "tell_failure", tell)
    return events


@pytest.mark.parametrize(
    ("states", "xcoms", "expected"),
    [
        ({"check": "success", "memo": "success"}, {}, []),
        ({"wait_for_source": "failed", "check": "upstream_failed"}, {}, [("data_late", "the source")]),
        ({"check": "failed", "ab": "upstream_failed"}, {}, [("run_failed", "check")]),
        (
            {"check": "success", "ab": "failed", "srm": "failed"},
            {"ab": {"error": "x"}, "srm": None},
            [("run_failed", "srm")],
        ),
    ],
)
def test_the_first_task_that_failed_says_what_is_told(
    environment: Environment, told: list[Event], states: dict[str, str], xcoms: Any, expected: Any
) -> None:
    tell_end(context(xcoms, **states), environment, "one", None)
    assert [event.key for event in told] == expected


def test_a_run_that_is_gone_is_told_by_its_task_and_error(
    environment: Environment, told: list[Event]
) -> None:
    states, xcoms = {"quality": "failed"}, {"quality": {"error": "no disk; give it one"}}
    tell_end(context(xcoms, **states), environment, "one", "/gone/run.json")
    (event,) = told
    assert (
        event.sentence == "one: the run failed in quality: no disk; give it one. The last good results stay."
    )


def test_of_a_spec_that_broke_those_are_told_whom_its_last_run_named(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    named = (Notify("slack", ("run_failed",)),)
    last = a_run(environment, "r0", of=replace(an_experiment("one"), notify=named))
    note_run(environment, "one", str(last.path / "run.json"))
    asked: list[Any] = []
    monkeypatch.setattr(run_end, "tell_failure", lambda *given: asked.append(given[3]))
    tell_end(context(check="failed"), environment, "one", None)
    assert asked == [named]


def test_a_run_that_a_person_stopped_is_known_by_its_last_stage(environment: Environment) -> None:
    assert stopped_in(context(ab="failed", srm="failed", memo="skipped"), {}) == "ab, srm"
    assert stopped_in(context(ab="failed", memo="upstream_failed"), {}) == ""


def test_so_is_one_that_was_stopped_while_none_of_its_tasks_ran(environment: Environment) -> None:
    """Between two tasks, or before another try of one: Airflow skips those, and none has failed."""
    run = a_run(environment, "r0")
    began = {"up_to_date": False, "run_path": str(run.path / "run.json")}
    optional = next(stage.name for stage in run.stages if not stage.required)
    skipped = dict.fromkeys(("aggregates", "decision", "memo"), "skipped")
    assert stopped_in(context(ingest="success", **skipped), began) == "aggregates"
    assert stopped_in(context(**{optional: "skipped"}, decision="success", memo="skipped"), began) == "memo"
    assert stopped_in(context(check="skipped", ingest="skipped", memo="skipped"), {}) == "check"
    # No other run is one: what is up to date skips all, and a stage that failed at best effort is passed over
    assert stopped_in(context(check="success", ingest="skipped", memo="skipped"), {"up_to_date": True}) == ""
    assert stopped_in(context(**{optional: "skipped"}, memo="success"), began) == ""


def test_a_run_of_the_memo_alone_is_stopped_at_the_memo(environment: Environment) -> None:
    run = replace(a_run(environment, "r0"), memo_only=True)
    run.save()
    began = {"up_to_date": False, "run_path": str(run.path / "run.json")}
    assert stopped_in(context(ingest="skipped", memo="skipped"), began) == "memo"
