"""DAG runs by Airflow itself (`dag.test()`), with a spark-submit that starts no Spark: the wiring, not the numbers."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest

from exp_demo.laptop import faults_of_run, what_is_left
from exp_platform.config.environment import load_environment
from exp_platform.config.loading import load_experiment
from exp_platform.stages.graph import stages_of
from exp_platform.tables.audit import person
from exp_platform.tables.last_runs import seconds_of
from exp_platform.tables.lease import Held, Lease, holder_of
from orchestration import airflow_home
from orchestration.deployment import EXPERIMENT, SPEC, DagRunOutcome, Deployment

pytestmark = pytest.mark.e2e  # with real commits, or Airflow's own tasks: longer than a unit test may take


def _stages() -> list[str]:
    return [stage.name for stage in stages_of(load_experiment(EXPERIMENT))]


def _lease() -> Held | None:
    return holder_of(load_environment(), EXPERIMENT)


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Deployment, DagRunOutcome]]:
    """One run in which every stage ends well, long after the experiment's window."""
    airflow_home.make_database()
    with pytest.MonkeyPatch.context() as monkeypatch:
        deployment = Deployment(tmp_path_factory.mktemp("good"), monkeypatch)
        yield deployment, deployment.test_dag(logical_date=datetime(2100, 1, 1, 6, tzinfo=UTC))


def test_a_run_after_the_end_runs_every_task_once(good) -> None:
    """Airflow ends a run past a DAG's own end_date green and without a task; this one is 74 years past the window."""
    deployment, outcome = good
    assert outcome.state == "success"
    assert outcome.tasks == dict.fromkeys(["check", *_stages(), "ended", "release"], "success")
    assert sorted(call["stage"] for call in deployment.submits) == sorted(_stages())
    assert deployment.starts[0]["now"] == datetime(2100, 1, 1, 6, tzinfo=UTC)
    # For whose turn it is the next time: each stage told of 0.1 s
    assert seconds_of(load_environment(), EXPERIMENT) == pytest.approx(0.1 * len(_stages()), abs=5)
    assert deployment.starts[1]["started_by"].startswith(f"{person()} by airflow dags test, manual__")


def test_the_manifest_of_every_task_is_its_xcom(good) -> None:
    _, outcome = good
    assert {task: manifest["stage"] for task, manifest in outcome.xcoms.items()} == {
        t: t
        for t in outcome.tasks
        if t != "ended"  # which does nothing
    }
    assert {manifest["run_id"] for manifest in outcome.xcoms.values()} == {"run2"}
    assert {manifest["status"] for manifest in outcome.xcoms.values()} == {"success"}
    assert all(outcome.xcoms[stage]["rows_out"] == 7 for stage in _stages())  # what the submitted stage wrote
    assert outcome.xcoms["check"]["as_of_dates"] == ["2026-01-07"]


def test_what_the_demo_looks_for_is_there(good) -> None:
    states, xcoms = what_is_left(f"exp__{EXPERIMENT}", since=datetime(2026, 1, 1, tzinfo=UTC))
    assert states == good[1].tasks
    assert faults_of_run(load_experiment(EXPERIMENT), states, xcoms, submits=len(good[0].submits)) == []


def test_stages_run_in_the_order_of_their_needs(good) -> None:
    deployment, _ = good
    order = [call["stage"] for call in deployment.submits]
    for stage in stages_of(load_experiment(EXPERIMENT)):
        assert all(order.index(need) < order.index(stage.name) for need in stage.needs)


def test_a_submit_names_the_master_the_mode_and_the_properties_that_its_stage_needs(good) -> None:
    deployment, _ = good
    argv = {call["stage"]: " ".join(call["argv"]) for call in deployment.submits}
    assert "--master local[*]" in argv["ab"]
    assert "--deploy-mode client" in argv["ab"]
    assert f"--properties-file {deployment.state}/spark/embedded-python.properties" in argv["ab"]
    assert f"--properties-file {deployment.state}/spark/embedded-session.properties" in argv["aggregates"]


def test_a_run_leaves_no_lease_behind(good) -> None:
    assert _lease() is None


def test_a_run_without_logical_date_counts_as_of_the_moment_it_may_start(deployment: Deployment) -> None:
    deployment.plan({"synth": ["fatal"]})
    deployment.test_dag(logical_date=None, run_after=datetime(2026, 1, 8, 3, tzinfo=UTC))
    assert deployment.starts[0]["now"] == datetime(2026, 1, 8, 3, tzinfo=UTC)


def test_conf_reaches_the_start_of_the_run(deployment: Deployment) -> None:
    deployment.plan({"synth": ["fatal"]})
    deployment.test_dag(run_conf={"as_of": "2026-01-06", "force": True, "full": True})
    (start,) = deployment.starts
    assert (str(start["as_of_dates"][0]), start["force"], start["full"]) == ("2026-01-06", True, True)


def test_a_failure_that_a_retry_may_mend_is_retried_at_once_under_dags_test(deployment: Deployment) -> None:
    deployment.plan({"ingest": ["fail", "ok"], "quality": ["fatal"]})
    began = datetime.now(UTC)
    outcome = deployment.test_dag()
    assert outcome.tasks["ingest"] == "success"
    assert outcome.xcoms["ingest"]["try_number"] == 2
    assert [call["try"] for call in deployment.submits if call["stage"] == "ingest"] == [1, 2]
    assert (datetime.now(UTC) - began).total_seconds() < 25  # a task's own retry_delay is 30 s


def test_a_failure_that_a_retry_cannot_mend_is_not_retried_and_fails_the_run(
    deployment: Deployment, capfd
) -> None:
    deployment.plan({"quality": ["fatal", "ok"]})
    outcome = deployment.test_dag()
    assert outcome.state == "failed"
    assert (outcome.tasks["quality"], outcome.tries["quality"]) == ("failed", 1)
    later = _stages()[_stages().index("publish") :]
    assert {outcome.tasks[name] for name in later} == {"upstream_failed"}
    assert [call["stage"] for call in deployment.submits] == ["synth", "ingest", "quality"]
    assert outcome.xcoms["quality"]["error"] == "quality found nothing; give it something"
    assert (
        "\nairflow.sdk.exceptions.AirflowFailException: quality failed: quality found nothing; give it"
        in (
            capfd.readouterr().out  # the last line of the traceback
        )
    )


def test_best_effort_stages_that_fail_end_skipped_and_do_not_fail_the_run(deployment: Deployment) -> None:
    deployment.plan({"segments": ["fail"], "did": ["fatal"], "pretrends": ["crash"]})
    outcome = deployment.test_dag()
    assert outcome.state == "success"
    assert [outcome.tasks[name] for name in ("segments", "did", "pretrends")] == ["skipped"] * 3
    assert [outcome.tries[name] for name in ("segments", "did", "pretrends")] == [2, 1, 2]
    assert [outcome.tasks[name] for name in ("decision", "memo")] == ["success"] * 2
    assert outcome.xcoms["segments"]["status"] == "failed"


def test_a_required_analysis_that_fails_blocks_the_decision_and_fails_the_run(deployment: Deployment) -> None:
    deployment.plan({"guardrails": ["fail"], "segments": ["fatal"]})
    outcome = deployment.test_dag()
    assert outcome.state == "failed"
    assert (outcome.tasks["guardrails"], outcome.tries["guardrails"]) == ("failed", 2)
    assert [outcome.tasks[name] for name in ("decision", "memo")] == ["upstream_failed"] * 2
    assert outcome.tasks["ab"] == "success"


def test_a_try_that_leaves_no_manifest_gets_one_that_says_what_spark_submit_said(
    deployment: Deployment,
) -> None:
    deployment.plan({"synth": ["crash"]})
    outcome = deployment.test_dag()
    assert (outcome.state, outcome.tries["synth"]) == ("failed", 2)
    error = outcome.xcoms["synth"]["error"]
    assert error.startswith("spark-submit ended with exit code 52 before the stage was done, saying ")
    assert "java.lang.OutOfMemoryError: Java heap space. Memory is likely" in error


def test_a_try_whose_jvm_was_killed_says_so_and_not_its_harmless_banner(deployment: Deployment) -> None:
    deployment.plan({"synth": ["killed", "ok"]})
    deployment.specs({EXPERIMENT: SPEC | {"schedule": {"retries": 0}}})
    error = deployment.test_dag().xcoms["synth"]["error"]
    assert error.startswith(
        "spark-submit was killed by signal 9 (SIGKILL) before the stage was done, saying fake spark-submit"
    )
    assert "incubator" not in error


@pytest.mark.parametrize("failing", ["synth", "ab", "memo"])
def test_the_lease_is_released_and_a_failed_run_stays_failed(deployment: Deployment, failing: str) -> None:
    deployment.plan({failing: ["fatal"]})
    outcome = deployment.test_dag()
    assert outcome.tasks["release"] == "success"
    assert outcome.state == "failed"
    assert _lease() is None


def test_up_to_date_skips_everything_but_the_release(deployment: Deployment) -> None:
    deployment.up_to_date = True
    outcome = deployment.test_dag()
    assert outcome.state == "success"
    ran = dict.fromkeys(["check", "ended", "release"], "success")
    assert outcome.tasks == ran | dict.fromkeys(_stages(), "skipped")
    assert outcome.xcoms["check"]["up_to_date"] is True
    assert '{"force": true}' in outcome.xcoms["check"]["message"]
    assert deployment.submits == []
    assert _lease() is None


def test_a_run_of_the_memo_alone_submits_nothing_else(deployment: Deployment) -> None:
    deployment.memo_only = True
    outcome = deployment.test_dag()
    assert outcome.state == "success"
    ran = dict.fromkeys(["check", "memo", "ended", "release"], "success")
    assert outcome.tasks == dict.fromkeys(_stages(), "skipped") | ran
    assert outcome.xcoms["check"]["up_to_date"] is False
    assert len(deployment.submits) == 1
    assert _lease() is None


def test_dags_test_beside_another_run_says_who_holds_the_lease_and_never_takes_it(
    deployment: Deployment, capfd
) -> None:
    Lease(EXPERIMENT, "somebody else", load_environment()).acquire()
    outcome = deployment.test_dag()
    assert (outcome.state, outcome.tries["check"]) == ("failed", 1)
    assert deployment.submits == []
    said = capfd.readouterr().out
    assert f"{EXPERIMENT} is being run by somebody else since " in said
    assert f"`exp unlock {EXPERIMENT}`. `airflow dags test` does not wait for it" in said
    held = _lease()
    assert held is not None
    assert held.holder == "somebody else"


def test_a_lease_that_an_ended_run_could_not_give_back_is_taken(deployment: Deployment, monkeypatch) -> None:
    monkeypatch.setattr("exp_platform.orchestration.run_lease._QUIET", timedelta(0))
    ended = deployment.test_dag()
    Lease(EXPERIMENT, f"airflow exp__{EXPERIMENT} {ended.run_id}", load_environment(), ttl=1e6).acquire()
    assert deployment.test_dag().state == "success"
    assert _lease() is None


@pytest.mark.parametrize("holder", ["exp run", "airflow exp__button_test of-another-airflow"])
def test_a_lease_of_whom_airflow_does_not_know_is_left_alone(
    deployment: Deployment, monkeypatch, holder: str
) -> None:
    monkeypatch.setattr("exp_platform.orchestration.run_lease._QUIET", timedelta(0))
    Lease(EXPERIMENT, holder, load_environment(), ttl=1e6).acquire()
    assert deployment.test_dag().state == "failed"
    held = _lease()
    assert held is not None
    assert held.holder == holder


def test_a_task_that_still_beats_keeps_the_lease_though_its_run_has_ended(deployment: Deployment) -> None:
    ended = deployment.test_dag()
    Lease(EXPERIMENT, f"airflow exp__{EXPERIMENT} {ended.run_id}", load_environment(), ttl=1e6).acquire()
    assert deployment.test_dag().state == "failed"


def test_a_spec_that_has_become_invalid_fails_check_at_once(deployment: Deployment, monkeypatch) -> None:
    def break_it_after_parsing(*args, **kwargs):
        deployment.specs({})
        return load_experiment(EXPERIMENT)

    monkeypatch.setattr("exp_platform.orchestration.operators.load_experiment", break_it_after_parsing)
    outcome = deployment.test_dag()
    assert (outcome.state, outcome.tries["check"]) == ("failed", 1)
    assert deployment.submits == []


def test_an_absent_connection_is_an_error_and_never_a_yarn_cluster(
    deployment: Deployment, monkeypatch, capfd
) -> None:
    monkeypatch.delenv("AIRFLOW_CONN_SPARK_DEFAULT")
    outcome = deployment.test_dag()
    assert (outcome.state, outcome.tries["synth"]) == ("failed", 1)
    assert deployment.submits == []
    assert "AIRFLOW_CONN_SPARK_DEFAULT" in capfd.readouterr().out


def test_run_experiment_refuses_under_dags_test_and_names_the_command(deployment: Deployment, capfd) -> None:
    outcome = deployment.test_dag("run_experiment", run_conf={"experiment_id": EXPERIMENT})
    assert outcome.state == "failed"
    assert f"airflow dags test exp__{EXPERIMENT}" in capfd.readouterr().out


def test_run_experiment_names_the_nearest_id_where_no_spec_has_the_one_that_was_asked_for(
    deployment: Deployment, capfd
) -> None:
    outcome = deployment.test_dag("run_experiment", run_conf={"experiment_id": EXPERIMENT + "s"})
    assert (outcome.state, outcome.tries["run"]) == ("failed", 1)
    said = capfd.readouterr().out
    assert f"did you mean {EXPERIMENT}?" in said


def test_a_run_that_is_gone_is_told_and_not_retried(deployment: Deployment, monkeypatch, capfd) -> None:
    monkeypatch.setattr("exp_platform.stages.run.Run.save", lambda run: None)
    monkeypatch.setattr("exp_platform.stages.run.Manifest.save", lambda manifest, run: None)
    outcome = deployment.test_dag()
    assert (outcome.state, outcome.tries["synth"]) == ("failed", 1)
    assert deployment.submits == []
    assert "is gone, as old runs are after some days; trigger a new one" in capfd.readouterr().out
