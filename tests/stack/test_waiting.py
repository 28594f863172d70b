"""Many runs that wait, on the compose stack: the triggerer neither grows nor dies unnoticed."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable, Iterator

import pytest

from exp_platform.config.asset import dag_id_of
from stack.running import ROOT, RUNNING, Stack, until

pytestmark = RUNNING

WAITS = 20
MINUTES = 10
TRIGGERER = "airflow-triggerer"
SPEC = """
id: {id}
owner: platform
hypothesis: Data that never come are waited for, and nothing else happens.
variants: [{{id: control, control: true}}, {{id: green}}]
window: {{start: 2026-01-05, days: 3}}
source: {{kind: units, path: s3://raw/stack_test_waits/{id}.parquet}}
metrics: [{{id: buys, type: proportion, column: buys, role: primary}}]
schedule: {{cron: null, active: true}}
"""


def _held(stack: Stack) -> float:
    """The MB that the container holds and cannot give back: without the pages of files that it has read.

    The least of a few looks: for a second of every twenty its health check is in there too.
    """
    looks = []
    for _ in range(5):
        looks.append(_anonymous(stack))
        time.sleep(4)
    return min(looks)


def _anonymous(stack: Stack) -> float:
    command = ["exec", "-T", TRIGGERER, "cat", "/sys/fs/cgroup/memory.stat"]
    try:
        said = stack.compose(*command)
    except subprocess.CalledProcessError:  # control groups of version 1
        said = stack.compose(*command[:-1], "/sys/fs/cgroup/memory/memory.stat")
    found = {line.split()[0]: int(line.split()[1]) for line in said.splitlines()}
    return (found.get("anon") or found["total_rss"]) / 2**20


@pytest.fixture
def waiting(stack: Stack) -> Iterator[list[str]]:
    """The DAGs of twenty experiments whose data never come."""
    names = [f"stack_test_wait_{number:02d}" for number in range(WAITS)]
    specs = {ROOT / "configs" / "experiments" / f"{name}.yaml": SPEC.format(id=name) for name in names}
    for path, text in specs.items():
        path.write_text(text)
    try:
        dags = [dag_id_of(name) for name in names]
        until(lambda: all(map(stack.knows, dags)), 180, "the DAGs of the new experiments")
        yield dags
    finally:
        for path in specs:
            path.unlink()


def _wait_together(stack: Stack, dags: list[str]) -> tuple[dict[str, str], Callable[[], bool]]:
    """A run of each, once all of them wait; and whether they still do."""
    runs = {dag: stack.airflow.trigger(dag, {}) for dag in dags}

    def deferred() -> bool:
        tasks = [task for dag, run in runs.items() for task in stack.airflow.tasks(dag, run)]
        states = [task["state"] for task in tasks if task["task_id"] == "wait_for_source"]
        assert "failed" not in states
        return states.count("deferred") == len(dags)

    until(deferred, 600, f"{len(dags)} waits")
    return runs, deferred


def _stop(stack: Stack, runs: dict[str, str]) -> None:
    for dag, run in runs.items():
        stack.airflow.stop(dag, run)


def test_twenty_experiments_wait_for_ten_minutes_and_the_triggerer_is_as_it_was(
    stack: Stack, waiting: list[str]
) -> None:
    container = stack.ready(TRIGGERER)
    restarts = stack.restarts(container)
    # Its first wait, and the first that ends and whose log goes to S3, make it load what it keeps from then on.
    _stop(stack, _wait_together(stack, waiting[:1])[0])
    time.sleep(60)
    runs, deferred = _wait_together(stack, waiting)
    try:
        time.sleep(120)  # till each has asked
        before = _held(stack)
        time.sleep(60 * MINUTES)
        after = _held(stack)
        assert deferred()
        print(f"\nthe triggerer held {before:.0f} MB, {MINUTES} minutes later {after:.0f} MB")
        assert after - before < 20
        assert stack.restarts(container) == restarts
        assert stack.healthy(container)
    finally:
        _stop(stack, runs)


def test_a_triggerer_that_dies_again_and_again_is_not_called_healthy(stack: Stack) -> None:
    container = stack.ready(TRIGGERER)
    for _ in range(6):
        restarts = stack.restarts(container)
        stack.kill(container)
        until(lambda restarts=restarts: stack.restarts(container) > restarts, 60, "its restart")
        time.sleep(25)  # it beats by then
    assert not stack.healthy(container)
    until(lambda: stack.healthy(container), 900, "health once it has lived for a while")
