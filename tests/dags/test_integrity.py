"""The DAG files parse, without a database, into DAGs that Airflow can schedule: for the shipped specs and for 500."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from airflow.dag_processing.dagbag import DagBag
from airflow.exceptions import ParamValidationError
from airflow.models.serialized_dag import SerializedDagModel
from airflow.sdk import DAG, TriggerRule
from airflow.sdk.definitions.param import ParamsDict
from airflow.serialization.serialized_objects import DagSerialization

from config.shared import METRICS, configs, spec
from exp_platform.config.analyses import NAMES
from exp_platform.config.experiment import Experiment
from exp_platform.config.loading import load_all
from exp_platform.orchestration.dag import build_dag
from exp_platform.orchestration.operators import StageOperator
from exp_platform.stages.graph import stages_of
from orchestration import airflow_home
from orchestration.airflow_home import ROOT
from orchestration.deployment import SPEC

EXPERIMENTS = load_all(ROOT / "configs").experiments
BUYERS = "[{use: buyers, role: primary}]"
POOLS = json.loads((ROOT / "configs" / "pools.json").read_text())


@pytest.fixture(scope="module", autouse=True)
def no_runs(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A state without runs: experiments that ran here and whose specs are gone have DAGs too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("EXP_STATE_DIR", str(tmp_path_factory.mktemp("state")))
        yield


@pytest.fixture(scope="module")
def bag(no_runs: None) -> DagBag:
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
    assert dag.task_ids == ["check", *(stage.name for stage in stages_of(experiment)), "ended", "release"]
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
    # Tasks of several widths in one pool would leave slots idle, and those of one slot hold up those of two
    widths = {(task.pool, task.pool_slots) for task in dag.tasks if isinstance(task, StageOperator)}
    assert len(widths) == len({pool for pool, _ in widths}) == 2


def test_a_failed_required_stage_blocks_and_a_skipped_one_does_not(pair) -> None:
    experiment, dag = pair
    assert {dag.get_task(s.name).trigger_rule for s in stages_of(experiment)} == {TriggerRule.NONE_FAILED}
    ended, release = dag.get_task("ended"), dag.get_task("release")
    assert {"memo", "ab"} <= ended.upstream_task_ids
    assert release.upstream_task_ids == {"ended"}
    # Airflow judges a run by tasks before which only teardowns come that may fail: by the last stage and by `release`
    assert [task.on_failure_fail_dagrun for task in (ended, release) if task.is_teardown] == [False, True]


def test_the_analyses_are_one_group_and_their_tasks_keep_their_names(pair) -> None:
    experiment, dag = pair
    of_group = {task.task_id for task in dag.tasks if task.task_group.group_id == "analyses"}
    assert of_group == {stage.name for stage in stages_of(experiment)} & {*NAMES}
    assert {"check", "aggregates", "decision", "memo", "release"} <= {*dag.task_ids} - of_group


def test_the_page_of_a_dag_tells_what_is_tested_and_what_to_do(pair) -> None:
    experiment, dag = pair
    told = [experiment.hypothesis, *(v.id for v in experiment.variants), *(m.id for m in experiment.metrics)]
    for word in [*told, experiment.owner, experiment.spec_file, '{"force": true}', "When a stage fails"]:
        assert word in dag.doc_md
    assert f"[Results](/dags/{dag.dag_id}/plugin/results)" in dag.doc_md
    assert {"experiment", experiment.source.kind, *experiment.tags} <= dag.tags


def test_the_last_stage_updates_the_experiments_asset(pair) -> None:
    """So that whoever is started by it finds the memo too."""
    experiment, dag = pair
    ((task, asset),) = [(task.task_id, asset) for task in dag.tasks for asset in task.outlets]
    assert task == "memo"
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


def test_run_experiment_refuses_what_can_be_no_id(bag: DagBag) -> None:
    dag = bag.dags["run_experiment"]
    assert _with_conf(dag, {"experiment_id": "exp_checkout_button_001"}).validate()
    for conf in ({}, {"experiment_id": ""}, {"experiment_id": "../x"}, {"experiment_id": 5}):
        with pytest.raises(ParamValidationError):
            _with_conf(dag, conf).validate()


def test_a_dag_that_is_made_again_is_the_same_version(pair) -> None:
    """Airflow stores another one wherever its hash of a DAG differs; addresses of objects in it would differ at each parse."""
    experiment, dag = pair
    kept = [build_dag(experiment) for _ in range(2)]  # both live, so that no two objects share an address
    versions = {SerializedDagModel.hash(DagSerialization.to_dict(one)) for one in kept}
    assert len(versions) == 1
    assert " at 0x" not in json.dumps(DagSerialization.to_dict(dag))


def test_run_experiment_is_the_same_dag_whatever_experiments_there_are(tmp_path, monkeypatch) -> None:
    """Airflow keeps another version of a DAG that is another one; and its form names no experiment to who may not see it."""

    def stored(experiments: dict) -> str:
        _configs(tmp_path, experiments, monkeypatch)
        dag = DagBag(ROOT / "dags").dags["run_experiment"]
        return json.dumps(DagSerialization.serialize_dag(dag), sort_keys=True, default=str)

    few = stored({"one": SPEC})
    assert stored({"one": SPEC, "secret": SPEC, "broken": SPEC | {"n_user": 3}}) == few
    assert "secret" not in few


# ---------------------------------------------------------------- specs that are broken, and specs that are many


def _configs(folder: Path, experiments: dict, monkeypatch: pytest.MonkeyPatch) -> None:
    text = json.dumps({"environment": "embedded", "experiments": experiments}, ensure_ascii=False)
    (folder / "dev.yaml").write_text(text)
    monkeypatch.setenv("EXP_CONFIG_DIR", str(folder))


def test_a_broken_spec_is_an_import_error_and_hurts_no_other_one(tmp_path, monkeypatch) -> None:
    _configs(tmp_path, {"good": SPEC, "broken": SPEC | {"n_user": 3}}, monkeypatch)
    bag = DagBag(ROOT / "dags")
    assert "exp__good" in bag.dags
    assert bag.dags["exp__broken"].task_ids == ["spec"]
    ((file, error),) = bag.import_errors.items()
    assert file.endswith("config_errors.py")
    assert "experiments.broken.n_user" in error
    assert "did you mean n_users?" in error


def test_a_broken_definition_of_the_library_is_an_import_error_and_hurts_only_its_users(
    tmp_path, monkeypatch
) -> None:
    """A DAG is made of the library as it lies there at each parse: nothing of it is remembered."""
    monkeypatch.setenv("EXP_CONFIG_DIR", str(configs(tmp_path, spec(), spec("other", metrics=BUYERS))))
    bag = DagBag(ROOT / "dags")
    assert bag.import_errors == {}
    page = bag.dags["exp__checkout_v2"].doc_md
    assert "mean of `orders.revenue` where category is shoes" in page
    assert "shoes; in " in page
    (tmp_path / "metrics" / "shop.yaml").write_text(METRICS.replace("value: items", "values: items"))
    bag = DagBag(ROOT / "dags")
    assert bag.dags["exp__checkout_v2"].task_ids == ["spec"]
    assert len(bag.dags["exp__other"].task_ids) > 1
    ((file, error),) = bag.import_errors.items()
    assert file.endswith("config_errors.py")
    assert (
        f"{tmp_path}/metrics/shop.yaml:5: metrics[1].values: found an unknown key; did you mean value?"
        in error
    )


def test_a_file_that_ended_the_process_is_an_import_error_and_hides_no_experiment(
    tmp_path, monkeypatch
) -> None:
    """Brackets ended it in C; tags and digits raised; 300 bytes of aliases are told in little memory; base 8 was silent."""
    bomb = "\n".join(f"a{n}: &a{n} [{f'*a{n - 1},' * 9 if n else 'x'}]" for n in range(9))
    odd = {
        "brackets": "id: " + "[" * 100_000,
        "tag": "id: tag\nowner: !!int abc",
        "digits": f"id: digits\nowner: {'9' * 5_000}",
        "bomb": f"id: bomb\n{bomb}",
        "keys": "".join(f"key_{n}: 1\n" for n in range(600_000)),
        "octal": "id: octal\nwindow: {start: 2026-01-05, days: 010}",
    }
    _configs(tmp_path, {"good": SPEC, "other": SPEC}, monkeypatch)
    (tmp_path / "experiments").mkdir()
    for name, text in odd.items():
        (tmp_path / "experiments" / f"{name}.yaml").write_text(text)
    bag = DagBag(ROOT / "dags")
    whole = {id for id, dag in bag.dags.items() if dag.task_ids != ["spec"]}
    assert whole == {"exp__good", "exp__other", "run_experiment", "maintenance"}
    ((file, error),) = bag.import_errors.items()
    assert file.endswith("config_errors.py")
    assert all(f"experiments/{name}.yaml" in error for name in odd)


def test_an_experiment_that_no_dag_can_be_made_of_hides_no_other_one(tmp_path, monkeypatch) -> None:
    """Whatever Airflow refuses: here a text of its page, half-way through the making of one DAG."""
    from exp_platform.orchestration import dag as module

    def doc(experiment, *rest):
        if experiment.id == "odd":
            raise ValueError("tag cannot be longer than 100 characters")
        return dag_doc(experiment, *rest)

    dag_doc = module.dag_doc
    monkeypatch.setattr(module, "dag_doc", doc)
    _configs(tmp_path, {"good": SPEC, "odd": SPEC, "other": SPEC}, monkeypatch)
    bag = DagBag(ROOT / "dags")
    assert {"exp__good", "exp__odd", "exp__other", "run_experiment", "maintenance"} == set(bag.dags)
    ((file, error),) = bag.import_errors.items()
    assert file.endswith("config_errors.py")
    assert "odd: no DAG can be made of it (ValueError: tag cannot be longer" in error
    assert all(Path(dag.fileloc).name != "config_errors.py" for dag in bag.dags.values())

    assert bag.dags["exp__odd"].task_ids == ["spec"]

    monkeypatch.setattr(module, "timetable_of", None)  # fails within the making of every one
    dags = DagBag(ROOT / "dags").dags
    assert {id for id, dag in dags.items() if dag.task_ids != ["spec"]} == {"run_experiment", "maintenance"}


def _extreme_specs() -> dict[str, dict]:
    """Each as long, and as odd, as `exp validate` allows."""
    odd = "{{ x }} {% if %} \U0001f9ea 'quote\" | line\nnext.md"
    crons = (
        "0 0 29 2 *",
        ",".join(map(str, range(50))) + " * * * *",
        "0 0 * * " + ",".join(["3"] * 70),
        "*/70 */50 1-31/40 * *",
        None,
    )
    specs = {
        "x" * 64: {
            "owner": "o" * 500,
            "tags": ["t" * 100, "T" * 100, odd[:90], "t" * 100],
            "timezone": "Asia/Tokyo",
        }
    }
    specs |= {f"cron_{n}": {"schedule": {"cron": cron, "active": True}} for n, cron in enumerate(crons)}
    specs["odd"] = {"hypothesis": odd * 1000, "description": odd, "owner": odd, "timezone": "Etc/GMT+12"}
    specs["early"] = {"start_date": "1990-02-01", "schedule": {"grace_days": 3660}}
    specs["late"] = {
        "start_date": "2199-12-31",
        "days": 1,
        "schedule": {"grace_days": 3660, "active": True},
    }
    return {id: SPEC | keys for id, keys in specs.items()}


def test_what_validate_accepts_airflow_stores(tmp_path, monkeypatch) -> None:
    """All DAGs of a file go into Airflow's database in one go: one that it refuses would take all others with it.

    SQLite stores texts of any length, so lengths are held against the columns of Airflow's own models.
    """
    from airflow.dag_processing.collection import update_dag_parsing_results_in_db
    from airflow.models.dag import DagModel, DagTag
    from airflow.models.dagbundle import DagBundleModel
    from airflow.models.log import Log
    from airflow.models.taskinstance import TaskInstance
    from airflow.serialization.serialized_objects import LazyDeserializedDAG
    from airflow.utils.session import create_session

    airflow_home.make_database()
    _configs(tmp_path, _extreme_specs(), monkeypatch)
    assert load_all().errors == ()
    bag = DagBag(ROOT / "dags" / "experiments.py")
    assert (bag.import_errors, len(bag.dags)) == ({}, len(_extreme_specs()))
    dags = [
        LazyDeserializedDAG(data=json.loads(json.dumps(DagSerialization.to_dict(dag))))
        for dag in bag.dags.values()
    ]
    errors: dict = {}
    with create_session() as session:
        session.merge(DagBundleModel(name="extreme"))
        session.flush()
        update_dag_parsing_results_in_db("extreme", None, dags, errors, None, set(), session)
    assert errors == {}

    def fits(column, value: str | None) -> bool:
        return value is None or column.type.length is None or len(value) <= column.type.length

    with create_session() as session:
        stored = session.query(DagModel).filter(DagModel.bundle_name == "extreme").all()
        assert {model.dag_id for model in stored} == set(bag.dags)
        for model in stored:
            for column in DagModel.__table__.columns:
                value = getattr(model, column.key.lstrip("_"), None)
                assert not isinstance(value, str) or fits(column, value), (model.dag_id, column)
            assert all(fits(DagTag.__table__.c.name, tag.name) for tag in model.tags)
            dag = bag.dags[model.dag_id]
            for task in dag.tasks:
                assert fits(Log.__table__.c.owner, task.owner)
                assert fits(TaskInstance.__table__.c.task_id, task.task_id)


def test_no_specs_at_all_are_no_error(tmp_path, monkeypatch) -> None:
    _configs(tmp_path, {}, monkeypatch)
    assert DagBag(ROOT / "dags").import_errors == {}


def test_500_specs_are_500_dags(tmp_path, monkeypatch) -> None:
    """In both forms of a spec, every second file of data on S3. How long that takes is measured by benchmarks/parse_dags.py."""
    monkeypatch.setenv("EXP_DATA_DIR", "/data")
    _hillstroms(tmp_path, 250, on_s3=lambda number: number % 2 == 1)
    _configs(tmp_path, {f"flat_{number}": SPEC for number in range(250)}, monkeypatch)
    bag = DagBag(ROOT / "dags" / "experiments.py")
    assert bag.import_errors == {}
    assert set(bag.dags) == {f"exp__{form}{n}" for form in ("e", "flat_") for n in range(250)}
    waiting = {name for name, dag in bag.dags.items() if "wait_for_source" in dag.task_ids}
    assert waiting == {f"exp__e{number}" for number in range(1, 250, 2)}


def test_a_tasks_own_parse_builds_only_its_dag(tmp_path, monkeypatch) -> None:
    _hillstroms(tmp_path, 500)
    _configs(tmp_path, {}, monkeypatch)
    monkeypatch.setenv("_AIRFLOW_PARSING_CONTEXT_DAG_ID", "exp__e321")
    built, loaded = [], []
    monkeypatch.setattr(
        "exp_platform.orchestration.without_spec.build_dag",
        lambda experiment: built.append(experiment.id) or build_dag(experiment),
    )
    source = compile((ROOT / "dags" / "experiments.py").read_text(), "experiments.py", "exec")
    opened = Path.open
    monkeypatch.setattr(
        Path, "open", lambda file, *how, **more: loaded.append(file) or opened(file, *how, **more)
    )
    names: dict = {"__name__": "experiments"}
    exec(source, names)
    assert built == ["e321"]
    assert isinstance(names["exp__e321"], DAG)
    assert [file.name for file in loaded if file.parent.name == "experiments"] == ["e321.yaml"]


def _hillstroms(configs: Path, count: int, on_s3: Callable[[int], bool] = lambda number: False) -> None:
    """So many specs in files of their own."""
    folder = configs / "experiments"
    folder.mkdir()
    full = (ROOT / "configs" / "experiments" / "hillstrom.yaml").read_text()
    assert "${EXP_DATA_DIR}" in full
    for number in range(count):
        text = full.replace("id: hillstrom", f"id: e{number}")
        text = text.replace("${EXP_DATA_DIR}", "s3://lake") if on_s3(number) else text
        (folder / f"e{number}.yaml").write_text(text)
