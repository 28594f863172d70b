"""A run that finds the experiment's lease held waits for it without a worker, a slot or a try, and goes on when it is free."""

from __future__ import annotations

import asyncio
import json
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.exceptions import AirflowFailException, TaskDeferred
from airflow.triggers.base import TriggerEvent

from exp_platform.config.environment import load_environment
from exp_platform.config.loading import load_experiment
from exp_platform.orchestration import lease_wait
from exp_platform.orchestration.dag import build_dag
from exp_platform.orchestration.lease_wait import LeaseTrigger
from exp_platform.tables.lease import Lease, holder_of
from orchestration.deployment import EXPERIMENT, Deployment

pytestmark = pytest.mark.e2e  # with real commits, or Airflow's own tasks: longer than a unit test may take

OWN = f"airflow exp__{EXPERIMENT} manual__1"


@pytest.fixture(autouse=True)
def refused(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Runs of `dag.test()` wait as a scheduled run does: deferred, with the trigger in this process; gives what triggers heard."""
    monkeypatch.setattr(lease_wait, "under_dags_test", lambda context: False)
    monkeypatch.setattr(lease_wait, "POLL_SECONDS", 0.05)
    heard: list[str] = []
    take = LeaseTrigger._take

    def noted(trigger: LeaseTrigger) -> tuple[str, str]:
        holder, refusal = take(trigger)
        heard.extend([holder] if refusal else [])
        return holder, refusal

    monkeypatch.setattr(LeaseTrigger, "_take", noted)
    return heard


def _held_by(holder: str, ttl: float = 1e6) -> Lease:
    lease = Lease(EXPERIMENT, holder, load_environment(), ttl)
    lease.acquire()
    return lease


def _holder() -> str | None:
    held = holder_of(load_environment(), EXPERIMENT)
    return held.holder if held else None


def _once_refused(refused: list[str], act: Callable[[], object]) -> None:
    """Do it as soon as a trigger has been refused the lease."""

    def wait() -> None:
        while not refused:
            time.sleep(0.02)
        act()

    threading.Thread(target=wait, daemon=True).start()


# ---------------------------------------------------------------- whole runs


def test_a_run_goes_on_with_its_first_try_once_the_holder_is_done(
    deployment: Deployment, refused: list[str]
) -> None:
    _once_refused(refused, _held_by("somebody else").release)
    outcome = deployment.test_dag()
    assert outcome.state == "success"
    assert outcome.tries["check"] == 1
    assert set(refused) == {"somebody else"}
    assert _holder() is None


def test_an_exp_run_that_was_killed_is_waited_for_no_longer(
    deployment: Deployment, refused: list[str]
) -> None:
    """Its lease would live for days."""
    program = (
        "import sys, time\n"
        "from exp_platform.config.environment import load_environment\n"
        "from exp_platform.tables.holders import this_process\n"
        "from exp_platform.tables.lease import Lease\n"
        f"Lease('{EXPERIMENT}', this_process(), load_environment(), 1e6).acquire()\n"
        "print('held', flush=True)\n"
        "time.sleep(600)\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "held\n"

        def kill() -> None:
            process.kill()
            process.wait()

        _once_refused(refused, kill)
        outcome = deployment.test_dag()
    assert (outcome.state, outcome.tries["check"]) == ("success", 1)


def test_a_cleared_stage_waits_too(deployment: Deployment, refused: list[str]) -> None:
    """Its run's lease is gone by then, and another run may have it."""

    def another(experiment: Any, **kwargs: Any) -> Any:
        started = start(experiment, **kwargs)
        own = holder_of(load_environment(), EXPERIMENT)
        assert own is not None
        Lease(EXPERIMENT, own.holder, load_environment()).release()
        _once_refused(refused, _held_by("another run").release)
        return started

    start = deployment._start_run
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("exp_platform.stages.start.start_run", another)
        outcome = deployment.test_dag()
    assert (outcome.state, outcome.tries["synth"]) == ("success", 1)
    assert set(refused) == {"another run"}


def test_a_run_that_is_up_to_date_gives_the_lease_back_at_once(deployment: Deployment, monkeypatch) -> None:
    """Others may wait for it, and `release` comes only with the scheduler's next rounds."""
    deployment.up_to_date = True
    monkeypatch.setattr(
        "exp_platform.orchestration.operators.ReleaseOperator.execute", lambda self, context: None
    )
    assert deployment.test_dag().state == "success"
    assert _holder() is None


# ---------------------------------------------------------------- the task


def _context() -> Any:
    run = SimpleNamespace(
        dag_id=f"exp__{EXPERIMENT}",
        run_id="manual__1",
        conf={},
        run_type="manual",
        logical_date=datetime(2026, 1, 8, tzinfo=UTC),
        run_after=None,
        triggering_user_name=None,
    )
    return {"params": {}, "dag_run": run}


def _check() -> Any:
    return build_dag(load_experiment(EXPERIMENT)).get_task("check")


def test_the_wait_has_an_end_that_is_told_beforehand_and_does_not_begin_anew(
    deployment: Deployment, monkeypatch
) -> None:
    _held_by("somebody else")
    said: list[str] = []
    log = SimpleNamespace(info=lambda text, *values: said.append(text % values), warning=lambda *words: None)
    monkeypatch.setattr(lease_wait.OperatorUnderLease, "log", log)
    check = _check()
    with pytest.raises(TaskDeferred) as first:
        check.execute(_context())
    assert re.match(
        r"waiting until \d{4}-\d\d-\d\d \d\d:\d\d UTC for the lease, without a worker: button_test is being run by "
        r"somebody else since \d{4}-",
        said[0],
    )
    assert first.value.timeout == timedelta(hours=12.5)
    assert isinstance(first.value.trigger, LeaseTrigger)
    began = datetime.fromisoformat(first.value.kwargs["wait_began"])
    an_hour_before_the_end = (began - timedelta(hours=11.5)).isoformat()
    # The trigger's database was another, as with a REST catalog's leases in files
    with pytest.raises(TaskDeferred) as again:
        check.go_on(_context(), {"status": "success"}, an_hour_before_the_end)
    assert again.value.timeout <= timedelta(hours=1)


def test_a_wait_in_vain_says_who_held_the_lease_and_is_not_retried(deployment: Deployment) -> None:
    _held_by("somebody else")
    with pytest.raises(AirflowFailException) as told:
        _check().resume_execution("__fail__", {"error": "Trigger timeout"}, _context())
    assert str(told.value).startswith(
        "no lease within 12.5 hours: button_test is being run by somebody else since "
    )
    assert str(told.value).endswith("`exp unlock button_test`. Then clear this task with downstream")


def test_a_triggerer_that_cannot_ask_where_the_task_can_is_told(deployment: Deployment) -> None:
    _held_by("somebody else")
    with pytest.raises(
        Exception, match=r"the triggerer could not ask .* It said: no route\. button_test is being run by"
    ):
        _check().go_on(_context(), {"status": "error", "message": "no route"}, datetime.now(UTC).isoformat())


# ---------------------------------------------------------------- the trigger


def _stored(trigger: LeaseTrigger) -> LeaseTrigger:
    """The trigger as a triggerer makes it, from what is stored in the database."""
    path, arguments = trigger.serialize()
    assert path == "exp_platform.orchestration.lease_wait.LeaseTrigger"
    return LeaseTrigger(**json.loads(json.dumps(arguments)))


async def _fired(trigger: LeaseTrigger) -> TriggerEvent:
    return await asyncio.wait_for(anext(trigger.run()), timeout=30)


def test_of_many_that_wait_exactly_one_goes_on_at_a_time(deployment: Deployment) -> None:
    holder = _held_by("somebody else")
    order: list[str] = []

    async def wait(name: str) -> None:
        event = await _fired(_stored(LeaseTrigger(EXPERIMENT, name, 0.05)))
        assert event.payload == {"status": "success"}
        assert _holder() == name
        order.append(name)
        await asyncio.sleep(0.2)
        assert _holder() == name
        Lease(EXPERIMENT, name, load_environment()).release()

    async def together() -> None:
        waits = [asyncio.create_task(wait(f"airflow exp__{EXPERIMENT} run{n}")) for n in range(8)]
        await asyncio.sleep(0.5)
        assert order == []
        await asyncio.to_thread(holder.release)
        await asyncio.gather(*waits)

    asyncio.run(together())
    assert len(set(order)) == 8


def test_a_trigger_that_is_started_again_after_it_took_the_lease_fires(deployment: Deployment) -> None:
    _held_by(OWN)
    assert asyncio.run(_fired(LeaseTrigger(EXPERIMENT, OWN, 0.05))).payload == {"status": "success"}


def test_a_wait_sleeps_before_it_first_asks(deployment: Deployment, monkeypatch) -> None:
    """One that fired before the scheduler had read that the task's process ended cost the task its try."""
    did = []
    sleep = asyncio.sleep

    async def slept(seconds: float) -> None:
        did.append("sleep")
        await sleep(seconds)

    monkeypatch.setattr(lease_wait.asyncio, "sleep", slept)
    monkeypatch.setattr(lease_wait, "take", lambda lease: did.append("ask"))
    asyncio.run(_fired(LeaseTrigger(EXPERIMENT, OWN, 0.01)))
    assert did == ["sleep", "ask"]


def test_a_waiting_run_that_a_person_stops_leaves_no_lease(deployment: Deployment) -> None:
    _held_by(OWN)
    asyncio.run(LeaseTrigger(EXPERIMENT, OWN, 0.05).on_kill())
    assert _holder() is None
    _held_by("somebody else")
    asyncio.run(LeaseTrigger(EXPERIMENT, OWN, 0.05).on_kill())
    assert _holder() == "somebody else"


def test_a_database_that_is_away_for_a_while_ends_no_wait(deployment: Deployment, monkeypatch) -> None:
    answers = iter([OSError("away")] * 5)

    def take(lease: Lease) -> None:
        if error := next(answers, None):
            raise error

    monkeypatch.setattr(lease_wait, "take", take)
    assert asyncio.run(_fired(LeaseTrigger(EXPERIMENT, OWN, 0.01))).payload == {"status": "success"}


def test_a_database_that_stays_away_is_told_to_the_task(deployment: Deployment, monkeypatch) -> None:
    def take(lease: Lease) -> None:
        raise OSError("no route")

    monkeypatch.setattr(lease_wait, "take", take)
    event = asyncio.run(_fired(LeaseTrigger(EXPERIMENT, OWN, 0.01)))
    assert event.payload == {"status": "error", "message": "no route"}
