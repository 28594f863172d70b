"""A run whose data come by S3 waits for them before it takes the lease, and says what has not come."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.providers.amazon.aws.sensors.s3 import S3KeySensor
from airflow.sdk.exceptions import AirflowFailException, AirflowSensorTimeout, TaskDeferred
from airflow.serialization.serialized_objects import DagSerialization

from exp_platform.config.environment import load_environment
from exp_platform.config.loading import load_experiment
from exp_platform.orchestration import source_sensor
from exp_platform.orchestration.dag import build_dag
from exp_platform.orchestration.s3_arrival import ArrivalTrigger
from exp_platform.orchestration.source_sensor import SourceSensor
from exp_platform.tables.lease import holder_of
from orchestration.deployment import EXPERIMENT, SPEC, Deployment
from orchestration.fake_s3 import ACCESS_DENIED, FakeS3, fake_s3

pytestmark = pytest.mark.e2e  # with real commits, or Airflow's own tasks: longer than a unit test may take

FULL = {
    "owner": "growth",
    "hypothesis": "A green button sells.",
    "variants": [{"id": "control", "control": True}, {"id": "green"}],
    "window": {"start": "2026-01-05", "days": 3},
    "source": {
        "kind": "events",
        "exposures": {"path": "s3://lake/exposures/"},
        "outcomes": {"path": "s3://lake/outcomes/*.csv.gz", "format": "csv"},
    },
    "metrics": [{"id": "buys", "type": "proportion", "event": "purchase", "role": "primary"}],
    "schedule": {"retries": 1},
}
MARKED = FULL | {"schedule": {"retries": 1, "wait_for": "s3://lake/{as_of}/_SUCCESS", "wait_hours": 2.5}}
DATA = ("lake/exposures/0.parquet", "lake/outcomes/0.csv.gz")


@pytest.fixture
def s3(deployment: Deployment, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeS3]:
    deployment.up_to_date = True  # what comes after `check` is not this file's business
    with fake_s3() as store:
        store.put("lake/anything")
        monkeypatch.setenv("AIRFLOW_CONN_AWS_DEFAULT", store.connection())
        monkeypatch.setattr(source_sensor, "POKE_SECONDS", 0.01)
        deployment.specs({EXPERIMENT: FULL})
        yield store


@pytest.fixture
def as_scheduled(monkeypatch: pytest.MonkeyPatch) -> None:
    """Runs of `dag.test()` wait as a scheduled run does: deferred, with the trigger in this process."""
    monkeypatch.setattr(source_sensor, "under_dags_test", lambda context: False)


def _last_line(capfd: pytest.CaptureFixture[str]) -> str:
    """What the task's failure says: the last line of its traceback."""
    lines = capfd.readouterr().out.splitlines()
    return next(line for line in reversed(lines) if line.startswith("airflow.sdk.exceptions."))


# ---------------------------------------------------------------- which DAGs wait


def test_only_a_source_on_s3_is_waited_for(deployment: Deployment, monkeypatch) -> None:
    local = FULL | {"source": {"kind": "events", "exposures": {"path": "x"}, "outcomes": {"table": "lake.y"}}}
    variable = json.loads(json.dumps(FULL).replace("s3://lake", "${EXP_LAKE}"))
    specs = {"local": local, "full": FULL, "marked": MARKED, "variable": variable, "synthetic": SPEC}
    deployment.specs(specs)
    monkeypatch.setenv("EXP_LAKE", "/data")
    dags = {name: build_dag(load_experiment(name)) for name in specs}
    assert [name for name, dag in dags.items() if "wait_for_source" in dag.task_ids] == ["full", "marked"]
    monkeypatch.setenv("EXP_LAKE", "s3://elsewhere")
    assert build_dag(load_experiment("variable")).get_task("wait_for_source").bucket_key == [
        "s3://elsewhere/exposures/",
        "s3://elsewhere/outcomes/*.csv.gz",
    ]
    variable = build_dag(load_experiment("variable"))
    assert "`${EXP_LAKE}/exposures/`" in variable.doc_md
    shown = json.dumps(DagSerialization.serialize_dag(variable))
    assert "elsewhere" not in shown.replace(json.dumps(variable.get_task("wait_for_source").bucket_key), "")
    for name, dag in dags.items():
        assert ("wait_for_source" in dag.doc_md) is (name in ("full", "marked"))


def test_the_wait_is_deferred_before_check_and_ends_when_the_spec_says(deployment: Deployment) -> None:
    deployment.specs({"marked": MARKED})
    dag = build_dag(load_experiment("marked"))
    wait = dag.get_task("wait_for_source")
    assert isinstance(wait, S3KeySensor)
    assert (wait.deferrable, wait.aws_conn_id) == (True, "aws_default")
    assert (wait.timeout, wait.poke_interval) == (2.5 * 3600, 60)
    assert (wait.upstream_task_ids, wait.downstream_task_ids) == (set(), {"check"})
    assert wait.bucket_key == ["s3://lake/{as_of}/_SUCCESS"]
    assert wait.execution_timeout < timedelta(hours=1)  # of looking; a deferred task does not run
    assert "`s3://lake/{as_of}/_SUCCESS`" in dag.doc_md
    stored = DagSerialization.deserialize_dag(json.loads(json.dumps(DagSerialization.serialize_dag(dag))))
    assert stored.task_dict["check"].upstream_task_ids == {"wait_for_source"}


def test_a_deployment_without_s3_does_not_import_the_sensor() -> None:
    program = (
        "import sys\n"
        "from exp_platform.config.loading import load_experiment\n"
        "from exp_platform.orchestration.dag import build_dag\n"
        "build_dag(load_experiment('exp_checkout_button_001'))\n"
        "print([m for m in sys.modules if 'source_sensor' in m or m.endswith('amazon.aws.sensors.s3')])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"


# ---------------------------------------------------------------- runs


def test_a_run_whose_data_are_there_goes_on_at_once(deployment: Deployment, s3: FakeS3) -> None:
    s3.put(*DATA)
    outcome = deployment.test_dag()
    assert outcome.state == "success"
    assert [outcome.tasks[name] for name in ("wait_for_source", "check", "release")] == ["success"] * 3


def test_dags_test_says_at_once_what_is_missing(deployment: Deployment, s3: FakeS3, capfd) -> None:
    s3.put(DATA[1])
    outcome = deployment.test_dag()
    assert (outcome.state, outcome.tries["wait_for_source"]) == ("failed", 1)
    assert (outcome.tasks["check"], outcome.tasks["memo"]) == ("upstream_failed", "upstream_failed")
    assert [set(start) for start in deployment.starts] == [{"now"}]  # its day was asked for, nothing started
    assert holder_of(load_environment(), EXPERIMENT) is None
    said = _last_line(capfd)
    assert "s3://lake/exposures/ (exposures, parquet) is not there" in said
    assert "`airflow dags test` does not wait" in said
    assert "outcomes" not in said


@pytest.mark.usefixtures("as_scheduled")
def test_a_run_goes_on_when_the_last_of_its_data_come_and_holds_no_lease_till_then(
    deployment: Deployment, s3: FakeS3
) -> None:
    holders = []

    def deliver() -> None:
        holders.append(holder_of(load_environment(), EXPERIMENT))
        s3.put(DATA[0])

    s3.put(DATA[1])
    s3.after[12] = deliver
    outcome = deployment.test_dag()
    assert outcome.state == "success"
    assert (outcome.tasks["wait_for_source"], outcome.tries["wait_for_source"]) == ("success", 1)
    assert len(s3.asked) > 12
    assert holders == [None]


@pytest.mark.parametrize(
    ("conf", "day"),
    [({}, "2026-01-07"), ({"as_of": "2026-01-06"}, "2026-01-06"), ({"as_of": "2026-02-01"}, "2026-01-07")],
    ids=["the day of check", "the run's own", "after the last useful day: that one"],
)
def test_the_marker_is_that_of_the_day_that_check_takes(
    deployment: Deployment, s3: FakeS3, conf, day
) -> None:
    deployment.specs({EXPERIMENT: MARKED})
    s3.put(f"lake/{day}/_SUCCESS")
    outcome = deployment.test_dag(run_conf=conf)
    assert outcome.state == "success"
    assert s3.asked[0] == f"lake/{day}/_SUCCESS"


def test_a_day_that_check_would_refuse_is_not_waited_for(deployment: Deployment, s3: FakeS3, capfd) -> None:
    deployment.specs({EXPERIMENT: MARKED})
    outcome = deployment.test_dag(run_conf={"as_of": "2025-12-31"})
    assert (outcome.tasks["wait_for_source"], outcome.tries["wait_for_source"]) == ("failed", 1)
    assert s3.asked == []
    assert "as_of: found 2025-12-31; allowed are days from 2026-01-05" in _last_line(capfd)


@pytest.mark.usefixtures("as_scheduled")
def test_a_bucket_that_does_not_exist_fails_at_once(deployment: Deployment, s3: FakeS3, capfd) -> None:
    s3.buckets.clear()
    outcome = deployment.test_dag()
    assert (outcome.tasks["wait_for_source"], outcome.tries["wait_for_source"]) == ("failed", 1)
    assert _last_line(capfd).endswith(
        "exposures: s3://lake/exposures/: S3 refuses (NoSuchBucket: The specified bucket does not exist); correct the "
        "location in the spec, or make the bucket"
    )


@pytest.mark.usefixtures("as_scheduled")
def test_a_permission_that_goes_while_a_run_waits_fails_it(deployment: Deployment, s3: FakeS3, capfd) -> None:
    def forbid() -> None:
        s3.refusal = ACCESS_DENIED

    s3.after[12] = forbid
    outcome = deployment.test_dag()
    assert (outcome.tasks["wait_for_source"], outcome.tries["wait_for_source"]) == ("failed", 1)
    assert "S3 refuses (AccessDenied: Access Denied)" in _last_line(capfd)


@pytest.mark.usefixtures("as_scheduled")
def test_an_s3_that_does_not_answer_is_asked_again(deployment: Deployment, s3: FakeS3, monkeypatch) -> None:
    monkeypatch.setenv(
        "AIRFLOW_CONN_AWS_DEFAULT", s3.connection(extra={"endpoint_url": "http://127.0.0.1:1"})
    )
    outcome = deployment.test_dag()
    assert (outcome.tasks["wait_for_source"], outcome.tries["wait_for_source"]) == ("failed", 2)


# ---------------------------------------------------------------- the end of the wait


@pytest.fixture
def marked(deployment: Deployment, s3: FakeS3) -> SourceSensor:
    deployment.specs({EXPERIMENT: MARKED})
    return build_dag(load_experiment(EXPERIMENT)).get_task("wait_for_source")


CONTEXT: Any = {
    "params": {},
    "dag_run": SimpleNamespace(
        logical_date=datetime(2026, 1, 8, tzinfo=UTC),
        run_after=None,
        triggering_user_name=None,
        run_type="manual",
        conf={},
    ),
}


def _time_is_over(task: SourceSensor) -> None:
    """What the scheduler has a deferred task do once its time is over."""
    task.resume_execution("__fail__", {"error": "Trigger timeout"}, CONTEXT)


def test_a_task_that_waits_says_until_when_and_for_what(marked: SourceSensor) -> None:
    with pytest.raises(TaskDeferred) as deferred:
        marked.execute(CONTEXT)
    assert deferred.value.timeout == timedelta(hours=2.5)
    assert isinstance(deferred.value.trigger, ArrivalTrigger)
    marker = "s3://lake/2026-01-07/_SUCCESS"
    assert deferred.value.trigger.awaited == [["schedule.wait_for", marker, None, marker]]


def test_a_wait_in_vain_names_what_has_not_come_and_the_remedy(marked: SourceSensor) -> None:
    with pytest.raises(AirflowSensorTimeout) as told:  # which Airflow does not retry
        _time_is_over(marked)
    assert str(told.value) == (
        "s3://lake/2026-01-07/_SUCCESS (schedule.wait_for) has not come within 2.5 hours; deliver it and clear this "
        f"task with downstream, raise schedule.wait_hours, or correct the location in {_spec_file()}"
    )


def test_what_comes_at_the_last_moment_is_not_too_late(marked: SourceSensor, s3: FakeS3) -> None:
    s3.put("lake/2026-01-07/_SUCCESS")
    _time_is_over(marked)


def test_a_triggerer_that_cannot_ask_where_the_task_can_is_told(marked: SourceSensor, s3: FakeS3) -> None:
    event = {"status": "error", "message": "no route to S3"}
    with pytest.raises(
        Exception, match="the triggerer could not ask S3, and this task could: no route to S3"
    ):
        marked.execute_complete(CONTEXT, event)
    s3.put("lake/2026-01-07/_SUCCESS")
    marked.execute_complete(CONTEXT, event)


def test_a_spec_that_has_become_invalid_ends_the_wait(marked: SourceSensor, deployment: Deployment) -> None:
    deployment.specs({})
    with pytest.raises(AirflowFailException, match=EXPERIMENT):
        marked.execute(CONTEXT)


def _spec_file() -> str:
    return load_experiment(EXPERIMENT).spec_file
