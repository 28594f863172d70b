"""The stack's demo: what it makes of Airflow's answers, and links that a browser can open."""

from __future__ import annotations

import io
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from rich.console import Console

from exp_demo import stack as stack_demo
from exp_demo.stack import Followed, StackDemoError, follow, link, trigger
from exp_platform.orchestration.rest import AirflowError


class Airflow:
    """Answers as the REST client does: one experiment whose tasks end one after another."""

    def __init__(self, *moments: tuple[str, list[dict[str, Any]]]) -> None:
        self.moments = list(moments)
        self.calls: list[tuple[Any, ...]] = []

    def unpause(self, dag_id: str) -> None:
        self.calls.append(("unpause", dag_id))

    def trigger(self, dag_id: str, conf: dict[str, Any]) -> str:
        self.calls.append(("trigger", dag_id, conf))
        return f"manual__{len(self.calls)}"

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str) -> str:
        assert (dag_id, task_id, key) == ("run_experiment", "run", "trigger_run_id")
        if not self.moments[0][1]:
            raise AirflowError("404")
        return "own"

    def run_state(self, dag_id: str, run_id: str) -> str:
        if not self.moments[0][1]:
            return self.moments.pop(0)[0]
        return self.moments[0][0]

    def tasks(self, dag_id: str, run_id: str) -> list[dict[str, Any]]:
        assert (dag_id, run_id) == ("exp__a", "own")
        return self.moments.pop(0)[1]


def task(name: str, state: str, try_number: int = 1) -> dict[str, Any]:
    ended = "2026-01-01T00:00:00Z" if state != "running" else None
    return {"task_id": name, "state": state, "try_number": try_number, "duration": 1.5, "end_date": ended}


@pytest.fixture(autouse=True)
def no_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(stack_demo, "_PAUSE_SECONDS", 0)


def test_all_experiments_are_unpaused_before_any_run_starts() -> None:
    airflow = Airflow()
    runs = trigger(airflow, ["a", "b"])  # type: ignore[arg-type]
    assert [call[0] for call in airflow.calls] == ["unpause", "unpause", "trigger", "trigger"]
    assert airflow.calls[-1] == ("trigger", "run_experiment", {"experiment_id": "b", "force": True})
    assert [run.experiment_id for run in runs] == ["a", "b"]


def test_every_task_is_shown_once_when_it_has_ended() -> None:
    airflow = Airflow(
        ("running", []),
        ("running", [task("check", "success"), task("ingest", "running")]),
        ("running", [task("check", "success"), task("ingest", "success", 2)]),
        ("success", [task("check", "success"), task("ingest", "success", 2), task("did", "skipped")]),
    )
    out = io.StringIO()
    follow(airflow, [Followed("a", "manual__1")], Console(file=out, width=100))  # type: ignore[arg-type]
    assert [line.split() for line in out.getvalue().splitlines()] == [
        ["a", "check", "1.5", "s", "success"],
        ["a", "ingest", "1.5", "s", "success,", "try", "2"],
        ["a", "did", "1.5", "s", "skipped"],
    ]


def test_a_run_that_does_not_end_is_told_by_name() -> None:
    airflow = Airflow(*[("running", [task("check", "running")])] * 3)
    with pytest.raises(StackDemoError, match="these still run: a"):
        follow(airflow, [Followed("a", "manual__1")], Console(file=io.StringIO()), patience=-1)  # type: ignore[arg-type]


def test_a_run_that_never_triggered_its_experiment_ends_as_failed() -> None:
    run = Followed("a", "manual__1")
    follow(Airflow(("failed", [])), [run], Console(file=io.StringIO()))  # type: ignore[arg-type]
    assert (run.state, run.own_run) == ("failed", "")


def test_a_memo_s_link_is_signed_for_the_address_that_the_browser_uses(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key-of-a-test")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret-of-a-test")
    found = urlsplit(link("s3://memos/a.md", "http://127.0.0.1:9000"))
    assert (found.scheme, found.netloc, found.path) == ("http", "127.0.0.1:9000", "/memos/a.md")
    query = parse_qs(found.query)
    assert query["X-Amz-Expires"] == ["86400"]
    assert query["X-Amz-Credential"][0].startswith("key-of-a-test/")
    assert len(query["X-Amz-Signature"][0]) == 64
