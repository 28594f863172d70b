"""The DAG files parse, without a database, into DAGs that Airflow can schedule: for the shipped specs and for 500."""

from __future__ import annotations

import copy
import json
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.exceptions import ParamValidationError
from airflow.sdk import DAG, TriggerRule
from airflow.sdk.definitions.param import ParamsDict
from airflow.serialization.serialized_objects import DagSerialization

from exp_platform.config.experiment import Experiment
from exp_platform.config.loading import load_all
from exp_platform.orchestration.dag import build_dag
from exp_platform.orchestration.operators import StageOperator
from exp_platform.stages.graph import stages_of
from orchestration.airflow_home import ROOT
from orchestration.deployment import SPEC

EXPERIMENTS = load_all(ROOT / "configs").experiments
POOLS = json.loads((ROOT / "configs" / "pools.json").read_text())


@pytest.fixture(scope="module")
def bag() -> DagBag:
    return DagBag(ROOT / "dags")


@pytest.fixture(params=EXPERIMENTS)
def pair(request: pytest.FixtureRequest, bag: DagBag) -> tuple[Experiment, DAG]:
    return EXPERIMENTS[request.param], bag.dags[f"exp__{request.param}"]


def test_the_dag_files_import(bag: DagBag) -> None:
    assert bag.import_errors == {}


def test_there_is_a_dag_for_each_spec_and_the_platforms_own(bag: DagBag) -> None:
    assert set(bag.dags) == {f"exp__{id}" for id in EXPERIMENTS} | {"run_experiment", "maintenance"}


def test_a_dag_has_a_task_for_each_stage_and_no_cycle(pair) -> None:
    experiment, dag = pair
    dag.check_cycle()
    assert dag.task_ids == ["check", *(stage.name for stage in stages_of(experiment)), "release"]
    for stage in stages_of(experiment):
        assert dag.get_task(stage.name).upstream_task_ids == (set(stage.needs) or {"check"})


def test_a_run_is_one_at_a_time_and_never_refused_for_its_date(pair) -> None:
    experiment, dag = pair
    assert dag.max_active_runs == 1
    assert dag.catchup is False
    assert (dag.start_date, dag.end_date) == (None, None)
    assert dag.is_paused_upon_creation is not experiment.schedule.active


def test_every_task_has_an_owner_retries_with_backoff_and_a_timeout(pair) -> None:
    experiment, dag = pair
    for task in dag.tasks:
        assert task.owner == experiment.owner
        assert task.retries == experiment.schedule.retries
        assert task.retry_exponential_backoff > 1
        assert task.retry_delay < task.max_retry_delay
        assert timedelta(0) < task.execution_timeout <= timedelta(hours=4)


def test_every_spark_task_waits_in_a_pool_that_set_up_imports(pair) -> None:
    _, dag = pair
    for task in (task for task in dag.tasks if isinstance(task, StageOperator)):
        assert task.pool in POOLS
        assert task.pool_slots <= POOLS[task.pool]["slots"]  # else it would wait for ever


def test_a_failed_required_stage_blocks_and_a_skipped_one_does_not(pair) -> None:
    experiment, dag = pair
    assert {dag.get_task(s.name).trigger_rule for s in stages_of(experiment)} == {TriggerRule.NONE_FAILED}
    assert dag.get_task("release").is_teardown
    assert not dag.get_task("release").on_failure_fail_dagrun
    assert {"memo", "ab"} <= dag.get_task("release").upstream_task_ids


def test_the_page_of_a_dag_tells_what_is_tested_and_what_to_do(pair) -> None:
    experiment, dag = pair
    told = [experiment.hypothesis, *(v.id for v in experiment.variants), *(m.id for m in experiment.metrics)]
    for word in [*told, experiment.owner, experiment.spec_file, '{"force": true}', "When a stage fails"]:
        assert word in dag.doc_md
    assert {"experiment", experiment.source.kind, *experiment.tags} <= dag.tags


def test_the_decision_updates_the_experiments_asset(pair) -> None:
    experiment, dag = pair
    (asset,) = dag.get_task("decision").outlets
    assert asset.uri == f"exp-platform://decisions/{experiment.id}"


def test_a_dag_survives_serialisation_with_its_timetable(pair) -> None:
    _, dag = pair
    copy = DagSerialization.deserialize_dag(json.loads(json.dumps(DagSerialization.serialize_dag(dag))))
    assert copy.timetable.serialize() == dag.timetable.serialize()
    assert list(copy.task_dict) == dag.task_ids


def _with_conf(dag: DAG, conf: dict) -> ParamsDict:
    params = copy.deepcopy(dag.params)
    params.update(conf)
    return params


@pytest.mark.parametrize("conf", [{"as_of": "soon"}, {"as_of": 20260105}, {"force": "perhaps"}])
def test_params_of_the_wrong_type_are_refused(bag: DagBag, conf) -> None:
    with pytest.raises(ParamValidationError):
        _with_conf(bag.dags["exp__exp_checkout_button_001"], conf).validate()


def test_run_experiment_refuses_unknown_and_absent_ids(bag: DagBag) -> None:
    dag = bag.dags["run_experiment"]
    assert _with_conf(dag, {"experiment_id": "exp_checkout_button_001"}).validate()
    for conf in ({}, {"experiment_id": "exp_checkout_button_002"}):
        with pytest.raises(ParamValidationError):
            _with_conf(dag, conf).validate()


# ---------------------------------------------------------------- specs that are broken, and specs that are many


def _configs(folder: Path, experiments: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    (folder / "dev.yaml").write_text(json.dumps({"environment": "embedded", "experiments": experiments}))
    monkeypatch.setenv("EXP_CONFIG_DIR", str(folder))


def test_a_broken_spec_is_an_import_error_and_hurts_no_other_one(tmp_path, monkeypatch) -> None:
    _configs(tmp_path, {"good": SPEC, "broken": SPEC | {"n_user": 3}}, monkeypatch)
    bag = DagBag(ROOT / "dags")
    assert "exp__good" in bag.dags
    assert "exp__broken" not in bag.dags
    ((file, error),) = bag.import_errors.items()
    assert file.endswith("config_errors.py")
    assert "experiments.broken.n_user" in error
    assert "did you mean n_users?" in error


def test_no_specs_at_all_are_no_error(tmp_path, monkeypatch) -> None:
    _configs(tmp_path, {}, monkeypatch)
    assert DagBag(ROOT / "dags").import_errors == {}


@pytest.mark.parametrize("data_dir", ["/data", "s3://lake"])
def test_500_specs_are_500_dags(data_dir: str, tmp_path, monkeypatch) -> None:
    """In both forms of a spec. How long that takes is measured by benchmarks/parse_dags.py."""
    monkeypatch.setenv("EXP_DATA_DIR", data_dir)
    _hillstroms(tmp_path, 250)
    _configs(tmp_path, {f"flat_{number}": SPEC for number in range(250)}, monkeypatch)
    bag = DagBag(ROOT / "dags" / "experiments.py")
    assert bag.import_errors == {}
    assert set(bag.dags) == {f"exp__{form}{n}" for form in ("e", "flat_") for n in range(250)}
    assert ("wait_for_source" in bag.dags["exp__e1"].task_ids) is data_dir.startswith("s3://")


def test_a_tasks_own_parse_builds_only_its_dag(tmp_path, monkeypatch) -> None:
    _hillstroms(tmp_path, 500)
    _configs(tmp_path, {}, monkeypatch)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "exp__e321")
    built, loaded = [], []
    monkeypatch.setattr(
        "exp_platform.orchestration.dag.build_dag",
        lambda experiment: built.append(experiment.id) or build_dag(experiment),
    )
    read = Path.read_bytes
    monkeypatch.setattr(Path, "read_bytes", lambda file: loaded.append(file) or read(file))
    source = compile((ROOT / "dags" / "experiments.py").read_text(), "experiments.py", "exec")
    names: dict = {"__name__": "experiments"}
    exec(source, names)
    assert built == ["e321"]
    assert isinstance(names["exp__e321"], DAG)
    assert [file.name for file in loaded if file.parent.name == "experiments"] == ["e321.yaml"]


def _hillstroms(configs: Path, count: int) -> None:
    """So many specs in files of their own."""
    folder = configs / "experiments"
    folder.mkdir()
    full = (ROOT / "configs" / "experiments" / "hillstrom.yaml").read_text()
    for number in range(count):
        (folder / f"e{number}.yaml").write_text(full.replace("id: hillstrom", f"id: e{number}"))
