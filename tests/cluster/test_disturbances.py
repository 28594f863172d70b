"""Servers killed in the middle of a stage: the run ends green, and what is stored is that of an undisturbed run."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster.cluster import Cluster, ClusterInstallation
from cluster.experiments import ELSEWHERE, EXPERIMENTS
from cluster.servers import wait_until
from end_to_end.airflow_runs import DagRun, DagTest
from end_to_end.installation import Installation

EXPERIMENT = "exp_c"
A_STAGE_COMES_SECONDS = 600  # seconds, but for a machine that does much else


@pytest.fixture(scope="module")
def installation(cluster: Cluster, tmp_path_factory: pytest.TempPathFactory) -> ClusterInstallation:
    made = ClusterInstallation(tmp_path_factory.mktemp("disturbed"), cluster)
    made.entries(**{EXPERIMENT: EXPERIMENTS[EXPERIMENT]})
    return made


@pytest.fixture(scope="module")
def dag_run(cluster: Cluster, installation: ClusterInstallation) -> Iterator[DagRun]:
    """In `ingest` the worker is killed with its executors, in `aggregates` Postgres; both are started again."""
    test = DagTest(installation, EXPERIMENT)
    try:
        for stage, server in (("ingest", cluster.spark.worker), ("aggregates", cluster.postgres.server)):
            application = f"{stage} {EXPERIMENT}"
            wait_until(
                lambda application=application: cluster.spark.runs_a_task_of(application),
                A_STAGE_COMES_SECONDS,
            )
            server.kill()
            server.start()
        yield test.ended()
    finally:
        test.stop()


def test_the_run_ends_green(dag_run: DagRun) -> None:
    assert dag_run.tasks == dict.fromkeys(dag_run.tasks, "success"), dag_run.log[-4000:]
    assert dag_run.code == 0


def test_content_is_that_of_an_undisturbed_run(
    dag_run: DagRun, installation: ClusterInstallation, embedded: Installation
) -> None:
    assert installation.content(EXPERIMENT, ELSEWHERE) == embedded.content(EXPERIMENT, ELSEWHERE)


def test_the_killed_worker_was_replaced_within_the_stage(cluster: Cluster, dag_run: DagRun) -> None:
    """The application outlived its executor: what Spark gave it was asked for again, not the whole stage."""
    assert dag_run.tries["ingest"] == 1
    (ended,) = [app for app in cluster.spark.applications() if app["name"] == f"ingest {EXPERIMENT}"]
    assert ended["state"] == "FINISHED"
    executors = list(cluster.spark.folder.glob(f"work/{ended['id']}/*/stderr"))
    assert len(executors) > 1
