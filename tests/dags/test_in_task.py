"""Where an environment says so, stages without a session run in their task: the same manifests, retries, kills, timeouts and logs."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta

import pytest

from exp_platform.config.environment import load_environment
from exp_platform.config.loading import load_experiment
from exp_platform.errors import DataError
from exp_platform.orchestration.in_task import InTask, Stopped
from exp_platform.stages import execute
from exp_platform.stages.graph import stages_of
from exp_platform.stages.run import Run, StageResult
from exp_platform.tables.lease import holder_of
from orchestration.deployment import EXPERIMENT, SPEC, Deployment
from stages.frozen_runs import D3, a_run

pytestmark = pytest.mark.e2e  # with Airflow's own tasks: longer than a unit test may take

Work = Callable[[], None]
SUBMITTED = ["ingest", "aggregates"]


@pytest.fixture
def own_signal_handler() -> Iterator[None]:
    before = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, before)


@pytest.fixture
def work(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> dict[str, list[Work]]:
    """What the tries of stages do in their task, one after another; a stage that is not named ends well."""
    path = deployment.configs / "environments" / "embedded.yaml"
    path.write_text(path.read_text().replace("spark:\n", "spark:\n  submit: sessions\n"))
    tries: dict[str, list[Work]] = {}

    def run(run: Run, stage: str) -> StageResult:
        if tries.get(stage):
            tries[stage].pop(0)()
        return StageResult(rows_out=7, details={"pid": os.getpid()})

    monkeypatch.setattr(execute, "_run", run)
    return tries


def refuse() -> None:
    raise DataError("nothing found; give it something")


def break_down() -> None:
    raise RuntimeError("a passing fault")


def hang() -> None:
    time.monotonic()
    end = time.monotonic() + 60
    while time.monotonic() < end:
        time.sleep(0.05)


def test_only_stages_with_a_session_are_submitted_and_each_has_its_manifest(
    deployment: Deployment, work: dict[str, list[Work]]
) -> None:
    outcome = deployment.test_dag()
    assert outcome.state == "success"
    assert [call["stage"] for call in deployment.submits] == SUBMITTED
    stages = [stage.name for stage in stages_of(load_experiment(EXPERIMENT))]
    here = [name for name in stages if name not in SUBMITTED]
    assert {outcome.xcoms[name]["stage"]: outcome.xcoms[name]["rows_out"] for name in here} == dict.fromkeys(
        here, 7
    )
    assert {outcome.xcoms[name]["details"]["pid"] for name in here} == {os.getpid()}  # dags test has one
    for name in here:
        manifest = deployment.state / "runs" / EXPERIMENT / outcome.xcoms[name]["run_id"] / "manifests"
        assert (manifest / f"{name}.1.json").is_file()


def test_a_fault_is_retried_and_its_traceback_is_in_the_log_and_bad_data_are_not_retried(
    deployment: Deployment, work: dict[str, list[Work]], capfd: pytest.CaptureFixture[str]
) -> None:
    work |= {"quality": [break_down], "segments": [refuse], "ab": [refuse]}
    outcome = deployment.test_dag()
    assert (outcome.tasks["quality"], outcome.tries["quality"]) == ("success", 2)
    assert (outcome.tasks["segments"], outcome.tries["segments"]) == ("skipped", 1)
    assert (outcome.tasks["ab"], outcome.tries["ab"]) == ("failed", 1)
    assert outcome.xcoms["ab"]["error"] == "nothing found; give it something"
    assert outcome.state == "failed"
    assert "RuntimeError: a passing fault" in capfd.readouterr().out
    assert holder_of(load_environment(), EXPERIMENT) is None


@pytest.mark.usefixtures("own_signal_handler")
def test_a_task_that_is_stopped_leaves_the_stage_at_once_and_is_tried_again(
    deployment: Deployment, work: dict[str, list[Work]]
) -> None:
    began: list[float] = []

    def stopped() -> None:
        began.append(time.monotonic())
        threading.Timer(0.2, os.kill, (os.getpid(), signal.SIGTERM)).start()
        hang()

    work["quality"] = [stopped, refuse]
    outcome = deployment.test_dag()
    assert time.monotonic() - began[0] < 50
    assert (outcome.tasks["quality"], outcome.tries["quality"]) == ("failed", 2)
    (first,) = deployment.state.glob(f"runs/{EXPERIMENT}/*/manifests/quality.1.json")
    assert "the task was stopped before it ended; clear it to run it again" in first.read_text()


def test_the_execution_timeout_ends_the_stage(
    deployment: Deployment, work: dict[str, list[Work]], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("exp_platform.orchestration.dag.PLAIN_TIMEOUT", timedelta(seconds=3))
    deployment.specs({EXPERIMENT: SPEC | {"schedule": {"retries": 0}}})
    work["quality"] = [hang]
    began = datetime.now(UTC)
    outcome = deployment.test_dag()
    assert outcome.tasks["quality"] == "failed"
    assert "no end within 0:00:03" in outcome.xcoms["quality"]["error"]
    assert (datetime.now(UTC) - began).total_seconds() < 50


def test_a_lost_lease_ends_no_other_thread_s_work_and_a_disk_that_is_full_is_told(
    deployment: Deployment, work: dict[str, list[Work]], monkeypatch: pytest.MonkeyPatch
) -> None:
    stage = InTask(a_run(load_environment(), "r1", (D3,)), "ab", 1)

    def lost() -> None:
        other = threading.Thread(target=stage.end)
        other.start()
        other.join()

    work["ab"] = [lost, stage.end]
    stage.run()
    with pytest.raises(Stopped):
        stage.run()
    stage.end()  # nothing runs any more

    def full(manifest: object, run: Run) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("exp_platform.stages.run.Manifest.save", full)
    with pytest.raises(Exception, match="the disk is full: "):
        stage.run()
