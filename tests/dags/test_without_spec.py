"""An experiment whose spec breaks or goes while it is being run keeps a DAG, so that the run ends and gives its lease back.

Airflow passes over the runs of a DAG that no file makes any more: they stayed `running`, and the lease held, for ever.
"""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.sdk import DAG
from airflow.sdk.exceptions import AirflowSkipException

from exp_platform.config.environment import load_environment
from exp_platform.config.loading import load_experiment
from exp_platform.orchestration import without_spec
from exp_platform.orchestration.dag import LONGEST_RETRY_DELAY
from exp_platform.orchestration.operators import StageOperator
from exp_platform.orchestration.run_lease import LEASE_TTL
from exp_platform.orchestration.without_spec import dag_of_task
from exp_platform.stages.graph import STAGES
from exp_platform.stages.run import Run
from exp_platform.tables.last_runs import ids_run, note_run, run_json_of
from exp_platform.tables.lease import DEFAULT_TTL, Lease, holder_of
from orchestration.airflow_home import ROOT
from orchestration.deployment import EXPERIMENT, SPEC, Deployment

BROKEN = SPEC | {"n_user": 3}


@pytest.fixture
def parsed(tmp_path, monkeypatch: pytest.MonkeyPatch) -> Deployment:
    """Without Airflow's database, which no parse reads."""
    return Deployment(tmp_path, monkeypatch)


def _dags() -> dict[str, DAG]:
    return DagBag(ROOT / "dags" / "experiments.py").dags


def _frozen(deployment: Deployment) -> Run:
    """A run under way, as `check` leaves it."""
    experiment = load_experiment(EXPERIMENT)
    run = deployment._start_run(experiment, as_of_dates=()).run
    note_run(load_environment(), EXPERIMENT, str(run.path / "run.json"))
    return run


@pytest.mark.parametrize(
    ("specs", "scheduled"),
    [
        # Broken as it is, it has its daily run, which fails: that it is analysed no more must not pass unseen
        pytest.param({EXPERIMENT: BROKEN, "other_test": SPEC}, True, id="broken"),
        pytest.param({"other_test": SPEC}, False, id="gone"),
        pytest.param({"renamed": SPEC, "other_test": SPEC}, False, id="renamed"),
    ],
)
def test_a_run_that_has_begun_goes_on_as_it_was_frozen(
    parsed: Deployment, specs: dict[str, dict[str, Any]], scheduled: bool
) -> None:
    before = _dags()[f"exp__{EXPERIMENT}"]
    _frozen(parsed)
    parsed.specs(specs)
    kept = _dags()[f"exp__{EXPERIMENT}"]
    assert kept.task_ids == before.task_ids
    assert before.schedule is not None
    assert kept.schedule == (before.schedule if scheduled else None)
    assert "without spec" in kept.tags
    assert dag_of_task(EXPERIMENT, "ingest").task_ids == before.task_ids


@pytest.mark.parametrize("active", [False, True])
def test_a_spec_that_was_never_right_has_a_dag_of_one_task(parsed: Deployment, active: bool) -> None:
    """Once mended it would else be paused, or not, against what it says."""
    parsed.specs({EXPERIMENT: BROKEN | {"schedule": {"active": active, "cron": "x"}}})
    dag = _dags()[f"exp__{EXPERIMENT}"]
    assert dag.task_ids == ["spec"]
    assert (dag.is_paused_upon_creation, dag.schedule) == (not active, None)
    assert dag_of_task(EXPERIMENT, "spec").task_ids == ["spec"]
    with pytest.raises(Exception, match="n_user"):
        dag_of_task(EXPERIMENT, "check")


def test_a_run_that_only_waits_fails_when_its_spec_goes(parsed: Deployment) -> None:
    note_run(load_environment(), EXPERIMENT)
    parsed.specs({"other_test": SPEC})
    assert _dags()[f"exp__{EXPERIMENT}"].task_ids == ["spec"]


def test_what_is_noted_of_a_wait_leaves_the_run_before_it(parsed: Deployment) -> None:
    run = _frozen(parsed)
    note_run(load_environment(), EXPERIMENT)
    assert run_json_of(load_environment(), EXPERIMENT) == str(run.path / "run.json")
    assert ids_run(load_environment()) == (EXPERIMENT,)


def test_a_run_folder_that_is_gone_or_of_another_version_leaves_one_task(parsed: Deployment) -> None:
    run = _frozen(parsed)
    parsed.specs({"other_test": SPEC})
    for text in ("{}", "no JSON", None):
        if text is None:
            (run.path / "run.json").unlink()
        else:
            (run.path / "run.json").write_text(text)
        assert _dags()[f"exp__{EXPERIMENT}"].task_ids == ["spec"]


def test_a_broken_environment_costs_no_dag(parsed: Deployment) -> None:
    parsed.specs({EXPERIMENT: SPEC, "other_test": BROKEN})
    (parsed.configs / "environments" / "embedded.yaml").write_text("[")
    assert set(_dags()) == {f"exp__{EXPERIMENT}", "exp__other_test"}


def test_a_stage_that_a_run_has_not_is_skipped_where_the_spec_was_changed_in_mid_run(
    parsed: Deployment,
) -> None:
    run = _frozen(parsed)
    analyses = replace(run.experiment.analyses, enabled=("srm", "ab", "guardrails"))
    path = replace(run, experiment=replace(run.experiment, analyses=analyses)).save()
    (did,) = (stage for stage in STAGES if stage.name == "did")
    operator = StageOperator(
        task_id="did", stage=did, experiment_id=EXPERIMENT, longest_wait=timedelta(hours=1)
    )
    operator.arguments[1] = str(path)
    with pytest.raises(AirflowSkipException, match="the spec was changed after this run began"):
        operator.execute({})


def test_a_task_that_a_changed_spec_has_no_more_is_found_in_the_run_that_it_belongs_to(
    parsed: Deployment,
) -> None:
    _frozen(parsed)
    events = {"kind": "events"}
    parsed.specs({EXPERIMENT: BROKEN | events})
    assert "synth" in dag_of_task(EXPERIMENT, "synth").task_ids


def test_a_lease_outlives_the_longest_delay_before_a_retry_which_the_pages_tell() -> None:
    assert LONGEST_RETRY_DELAY.total_seconds() < min(DEFAULT_TTL, LEASE_TTL)
    minutes = f"at most {LONGEST_RETRY_DELAY.total_seconds() / 60:g} minutes"
    for page in ("04_architecture.md", "10_operations/running.md"):
        assert minutes in (ROOT / "docs" / page).read_text("utf-8")


@pytest.mark.e2e
@pytest.mark.parametrize("left_by", ["this run", "one that has ended"])
def test_the_one_task_says_what_is_wrong_and_gives_the_lease_back(
    deployment: Deployment, capfd, monkeypatch, left_by: str
) -> None:
    environment = load_environment()
    if left_by == "this run":
        monkeypatch.setattr(
            without_spec, "give_back", lambda context, id, give=without_spec.give_back: _held(context, give)
        )
    else:
        Lease(EXPERIMENT, "airflow exp__x manual__1", environment).acquire()
        monkeypatch.setattr("exp_platform.orchestration.run_lease._left_behind", lambda *_: True)
    note_run(environment, EXPERIMENT)
    deployment.specs({"other_test": SPEC})
    outcome = deployment.test_dag()
    assert (outcome.state, outcome.tasks, outcome.tries) == ("failed", {"spec": "failed"}, {"spec": 1})
    told = "".join(capfd.readouterr())
    assert f"experiment '{EXPERIMENT}' is unknown" in told
    assert f"exp delete {EXPERIMENT}" in told
    assert holder_of(environment, EXPERIMENT) is None


def _held(context, give) -> None:
    from exp_platform.orchestration.run_lease import lease_of, take

    take(lease_of(context, EXPERIMENT))
    give(context, EXPERIMENT)


def test_a_task_of_a_spec_that_was_mended_meanwhile_is_tried_again(parsed: Deployment, monkeypatch) -> None:
    """A spec that is saved in two steps costs a run nothing."""
    monkeypatch.setattr(without_spec, "give_back", lambda *_: None)
    operator = without_spec.SpecOperator(task_id="spec", experiment_id=EXPERIMENT)
    with pytest.raises(Exception, match="can be used again") as raised:
        operator.execute(SimpleNamespace())
    assert type(raised.value).__name__ == "AirflowException"  # which is retried
