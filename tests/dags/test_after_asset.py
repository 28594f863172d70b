"""An asset of another DAG starts a run: by Airflow's own scheduler, from the task that updates it to the day that is computed."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.jobs.job import Job
from airflow.jobs.scheduler_job_runner import SchedulerJobRunner
from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.models.xcom import XComModel
from airflow.providers.standard.operators.empty import EmptyOperator
from airflow.sdk import DAG, Asset
from airflow.sdk.definitions.dag import _run_task
from airflow.utils.session import create_session
from airflow.utils.state import TaskInstanceState
from sqlalchemy import delete, select

from orchestration.airflow_home import ROOT
from orchestration.deployment import SPEC, Deployment

pytestmark = pytest.mark.e2e  # with Airflow's own tasks: longer than a unit test may take

EXPERIMENT = "after_lake"


def upstream() -> DAG:
    with DAG("load_lake", schedule=None) as dag:
        EmptyOperator(task_id="load", outlets=[Asset("lake exports", uri="s3://lake/exports")])
    return dag


class Scheduled:
    """Both DAGs as a scheduler knows them."""

    def __init__(self) -> None:
        self.bag = DagBag(ROOT / "dags")
        assert not self.bag.import_errors
        self.upstream = upstream()
        self.bag.bag_dag(self.upstream)
        DagBundlesManager().sync_bundles_to_db()
        sync_bag_to_db(self.bag, "dags-folder", None)

    def load(self) -> None:
        """The upstream DAG runs; its task updates the asset, as any does that names it as an outlet."""
        assert str(self.upstream.test().state) == "success"

    def schedule(self, experiment_id: str = EXPERIMENT) -> list[DagRun]:
        """What the scheduler does in its loop for DAGs that assets start; all runs of the experiment that there are then."""
        with create_session() as session:
            due, _ = DagModel.dags_needing_dagruns(session)
            models = [model for model in due if model.dag_id.startswith("exp__after_")]
            SchedulerJobRunner(Job())._create_dag_runs_asset_triggered(dag_models=models, session=session)
        with create_session() as session:
            of_dag = DagRun.dag_id == f"exp__{experiment_id}"
            return list(session.scalars(select(DagRun).where(of_dag).order_by(DagRun.id)))

    def check(self, run: DagRun) -> tuple[str, dict[str, Any]]:
        """How the task `check` of a run ends, and its XCom."""
        with create_session() as session:
            ti = session.get_one(DagRun, run.id).get_task_instance("check", session=session)
            assert ti is not None
            ti.try_number, ti.state = 1, TaskInstanceState.SCHEDULED
            session.commit()
            _run_task(ti=ti, task=self.bag.dags[run.dag_id].get_task("check"))
        with create_session() as session:
            after = session.get_one(DagRun, run.id).get_task_instance("check", session=session)
            found = XComModel.get_many(run_id=run.run_id, dag_ids=run.dag_id, key="return_value")
            assert after is not None
            return str(after.state), XComModel.deserialize_value(session.scalars(found).one())


def after(asset: str, **changes: Any) -> dict[str, Any]:
    return {**SPEC, **changes, "schedule": {"after": asset, "active": True, "retries": 0}}


@pytest.fixture
def scheduled(deployment: Deployment) -> Iterator[Callable[..., Scheduled]]:
    def make(**specs: dict[str, Any]) -> Scheduled:
        deployment.specs(specs)
        return Scheduled()

    yield make
    with create_session() as session:
        session.execute(delete(DagRun).where(DagRun.dag_id.startswith("exp__after_")))


def test_updates_of_an_asset_start_one_run_for_the_last_complete_day(
    scheduled: Callable[..., Scheduled], deployment: Deployment
) -> None:
    airflow = scheduled(after_lake=after("s3://lake/exports/", days=3000))
    assert airflow.schedule() == []
    airflow.load()
    airflow.load()
    (run,) = airflow.schedule()
    assert (run.run_type, run.logical_date, run.state) == ("asset_triggered", None, "queued")
    airflow.load()
    assert len(airflow.schedule()) == 1  # the next one waits until this one has ended
    state, told = airflow.check(run)
    assert (state, told["up_to_date"]) == ("success", False)
    assert deployment.starts[0]["now"] == run.run_after


def test_an_update_after_the_experiment_ends_its_run_green_with_nothing_done(
    scheduled: Callable[..., Scheduled], deployment: Deployment
) -> None:
    airflow = scheduled(after_lake=after("s3://lake/exports/"))  # its window was in January 2026
    airflow.load()
    (run,) = airflow.schedule()
    state, told = airflow.check(run)
    assert (state, told["up_to_date"]) == ("success", True)
    assert "the last day that counts for after_lake was 2026-01-07" in told["message"]
    assert deployment.starts == []


def test_a_name_starts_runs_too_and_another_asset_does_not(scheduled: Callable[..., Scheduled]) -> None:
    airflow = scheduled(after_name=after("lake exports"), after_other=after("lake exports 2"))
    airflow.load()
    assert len(airflow.schedule("after_name")) == 1
    assert airflow.schedule("after_other") == []
