"""The REST client against a small server that answers as Airflow does, and fails as one that restarts does."""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

from exp_platform.orchestration import rest
from exp_platform.orchestration.rest import AirflowApi, AirflowError


class Answers(ThreadingHTTPServer):
    """Gives its answers (status, body) in turn, hands out tokens t1, t2, ... and keeps what it was asked."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.answers: list[tuple[int, Any]] = []
        self.asked: list[tuple[str, str, str, Any]] = []
        self.tokens = 0


class Handler(BaseHTTPRequestHandler):
    server: Answers

    def answer(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        body = json.loads(self.rfile.read(length)) if length else None
        if self.path == "/auth/token":
            self.server.tokens += 1
            status, value = 201, {"access_token": f"t{self.server.tokens}"}
        else:
            token = self.headers["Authorization"]
            self.server.asked.append((self.command, self.path, token, body))
            status, value = self.server.answers.pop(0)
        text = json.dumps(value).encode()
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text)

    do_GET = do_POST = do_PATCH = answer  # noqa: N815  names that http.server calls

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def airflow(monkeypatch: pytest.MonkeyPatch) -> Iterator[Answers]:
    monkeypatch.setattr(rest, "_PAUSE_SECONDS", 0.01)
    server = Answers()
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def api(server: Answers) -> AirflowApi:
    return AirflowApi(f"http://127.0.0.1:{server.server_port}", "admin", "secret")


def test_a_run_is_triggered_without_a_logical_date_so_that_two_at_once_never_collide(
    airflow: Answers,
) -> None:
    airflow.answers = [(200, {"dag_run_id": "manual__1"})]
    assert api(airflow).trigger("run_experiment", {"experiment_id": "a"}) == "manual__1"
    body = {"logical_date": None, "conf": {"experiment_id": "a"}}
    assert airflow.asked == [("POST", "/api/v2/dags/run_experiment/dagRuns", "Bearer t1", body)]


def test_a_token_that_is_over_is_renewed_once(airflow: Answers) -> None:
    airflow.answers = [(401, {}), (200, {"state": "running"})]
    assert api(airflow).run_state("d", "r") == "running"
    assert [token for _, _, token, _ in airflow.asked] == ["Bearer t1", "Bearer t2"]


def test_a_server_that_restarts_is_waited_for(airflow: Answers) -> None:
    airflow.answers = [(503, {}), (500, {}), (200, {"state": "success"})]
    assert api(airflow).run_state("d", "r") == "success"


def test_a_refusal_names_the_request_and_the_reason(airflow: Answers) -> None:
    airflow.answers = [(404, {"detail": "no such DAG"})]
    with pytest.raises(AirflowError, match=r"GET /dags/d/dagRuns/r: 404 .*no such DAG"):
        api(airflow).run_state("d", "r")


def test_nobody_listening_is_told_after_a_while(airflow: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(rest, "_PATIENCE_SECONDS", 0.05)
    with pytest.raises(AirflowError, match=r"http://127\.0\.0\.1:9 gave no answer"):
        AirflowApi("http://127.0.0.1:9", "admin", "secret").run_state("d", "r")


def test_a_log_is_its_events_line_by_line(airflow: Answers) -> None:
    error = {"exc_type": "AirflowException", "exc_value": "the disk is full", "frames": []}
    lines = [{"event": "one"}, "two", {"event": "Task failed", "error_detail": [error]}]
    airflow.answers = [(200, {"content": lines})]
    said = "one\ntwo\nTask failed\nAirflowException: the disk is full"
    assert api(airflow).log("d", "r", "ingest", 1) == said
