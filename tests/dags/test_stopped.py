"""A run that a person stops, as the UI does it, is no success: by Airflow's own rules, with the tasks that are left run by it."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime

import pytest
from airflow.api.common.mark_tasks import set_dag_run_state_to_failed
from airflow.dag_processing.bundles.manager import DagBundlesManager
from airflow.dag_processing.dagbag import DagBag, sync_bag_to_db
from airflow.models.dagrun import DagRun
from airflow.models.serialized_dag import SerializedDagModel
from airflow.sdk import DAG
from airflow.sdk.definitions.dag import _run_task
from airflow.utils.session import create_session
from airflow.utils.state import DagRunState, TaskInstanceState
from airflow.utils.types import DagRunTriggeredByType, DagRunType
from sqlalchemy import delete
from sqlalchemy.orm import Session

from exp_platform.orchestration.priority import CHECK
from exp_platform.stages.graph import STAGES
from orchestration.airflow_home import ROOT
from orchestration.deployment import EXPERIMENT, Deployment

pytestmark = pytest.mark.e2e  # with Airflow's own tasks: longer than a unit test may take

DAG_ID = f"exp__{EXPERIMENT}"


@pytest.fixture
def bag(deployment: Deployment) -> Iterator[DagBag]:
    found = DagBag(ROOT / "dags")
    assert not found.import_errors
    DagBundlesManager().sync_bundles_to_db()
    sync_bag_to_db(found, "dags-folder", None)
    yield found
    with create_session() as session:
        session.execute(delete(DagRun).where(DagRun.dag_id == DAG_ID))


@pytest.mark.parametrize("stopped_in", ["check", "ingest", "memo"])
def test_a_stopped_run_is_failed(stopped_in: str, bag: DagBag) -> None:
    with create_session() as session:
        run = stopped(stopped_in, session)
        run = run_what_is_left(run, bag.dags[DAG_ID], session)
        found = {ti.task_id: str(ti.state) for ti in run.get_task_instances(session=session)}
        assert (str(run.state), found[stopped_in]) == ("failed", "failed")
        assert found["release"] == (
            "success" if stopped_in == "memo" else "failed"
        )  # the last stage tells by itself


@pytest.mark.parametrize("state", [None, TaskInstanceState.QUEUED, TaskInstanceState.UP_FOR_RETRY])
def test_so_is_one_that_was_stopped_while_none_of_its_tasks_ran(
    state: TaskInstanceState | None, bag: DagBag
) -> None:
    """Airflow skips what was due and what was to be tried again, and calls a run green in which nothing has failed."""
    with create_session() as session:
        run = stopped("ingest", session, state)
        run = run_what_is_left(run, bag.dags[DAG_ID], session)
        found = {ti.task_id: str(ti.state) for ti in run.get_task_instances(session=session)}
        assert (str(run.state), found["ingest"], found["release"]) == ("failed", "skipped", "failed")


def stopped(
    task_id: str, session: Session, state: TaskInstanceState | None = TaskInstanceState.RUNNING
) -> DagRun:
    """A run that had come to a task, which was in this state when a person marked the run as failed."""
    dag = SerializedDagModel.get_dag(DAG_ID, session=session)
    assert dag is not None
    run = dag.create_dagrun(
        run_id="by_hand",
        run_after=datetime.now(UTC),
        run_type=DagRunType.MANUAL,
        triggered_by=DagRunTriggeredByType.TEST,
        state=DagRunState.RUNNING,
        session=session,
    )
    run.dag = dag
    before = [CHECK, *(stage.name for stage in STAGES)]
    for ti in run.get_task_instances(session=session):
        if ti.task_id in before[: before.index(task_id)]:
            ti.state = TaskInstanceState.SUCCESS
        elif ti.task_id == task_id:
            ti.state = state
    session.commit()
    set_dag_run_state_to_failed(dag=dag, run_id=run.run_id, commit=True, session=session)
    session.commit()
    return run


def run_what_is_left(run: DagRun, dag: DAG, session: Session) -> DagRun:
    """As the scheduler does until the run has ended."""
    serialized = run.dag
    while due := run.update_state(session=session, execute_callbacks=False)[0]:
        for ti in due:
            ti.try_number, ti.state = 1, TaskInstanceState.SCHEDULED
            session.commit()
            _run_task(ti=ti, task=dag.get_task(ti.task_id))
        session.expire_all()
        run = session.get_one(DagRun, run.id)  # a task's end takes the other one out of the session
        run.dag = serialized
    return run
