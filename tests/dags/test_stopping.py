"""A stage that is stopped, by whatever stops it, leaves no process behind."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Iterator
from datetime import timedelta

import psutil
import pytest

from orchestration.deployment import EXPERIMENT, SPEC, Deployment

pytestmark = pytest.mark.e2e  # with real commits, or Airflow's own tasks: longer than a unit test may take


@pytest.fixture(autouse=True)
def own_signal_handlers() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
    yield
    signal.signal(signal.SIGTERM, before[0])
    signal.signal(signal.SIGINT, before[1])


def _running(pids: list[int]) -> list[int]:
    return [
        pid for pid in pids if psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    ]


def _send_once_it_hangs(deployment: Deployment, number: signal.Signals) -> threading.Thread:
    def send() -> None:
        while not deployment.hanging:
            time.sleep(0.05)
        assert _running(deployment.hanging) == deployment.hanging
        os.kill(os.getpid(), number)

    thread = threading.Thread(target=send, daemon=True)
    thread.start()
    return thread


@pytest.mark.parametrize(
    ("number", "tries"),
    [
        pytest.param(signal.SIGTERM, 2, id="killed in the UI, or a worker that shuts down"),
        pytest.param(signal.SIGINT, 1, id="Ctrl-C under dags test, which nobody wants retried"),
    ],
)
def test_a_signal_ends_spark_submit_with_its_children(deployment: Deployment, number, tries) -> None:
    deployment.plan({"synth": ["hang", "fatal"]})
    thread = _send_once_it_hangs(deployment, number)
    outcome = deployment.test_dag()
    thread.join()
    assert len(deployment.hanging) == 2
    assert _running(deployment.hanging) == []
    assert (outcome.tasks["synth"], outcome.tries["synth"]) == ("failed", tries)


def test_the_execution_timeout_ends_spark_submit_with_its_children(
    deployment: Deployment, monkeypatch
) -> None:
    monkeypatch.setattr("exp_platform.orchestration.dag.SESSION_TIMEOUT", timedelta(seconds=3))
    deployment.specs({EXPERIMENT: SPEC | {"schedule": {"retries": 0}}})
    deployment.plan({"ingest": ["hang"]})
    outcome = deployment.test_dag()
    assert len(deployment.hanging) == 2
    assert _running(deployment.hanging) == []
    assert outcome.tasks["ingest"] == "failed"
    assert "no end within 0:00:03" in outcome.xcoms["ingest"]["error"]
