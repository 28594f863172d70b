"""Two experiments that share a lake's source and metrics through real Airflow; every number of `ab` against DuckDB.

The shipped example (`configs/examples/lake`) on a lake with a log of five experiments, orders with JSON properties and sessions
in structs, by day over half a year, of which 28 days count.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from datetime import date
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from end_to_end.airflow_runs import DagRun, DagTest
from end_to_end.installation import Installation
from exp_demo.lake import write_lake
from exp_demo.lake_demo import EXAMPLE, faults_of_rows
from exp_demo.lake_reference import METRICS, Lake
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.loading import load_all
from exp_platform.stages.graph import stages_of

EXPERIMENTS = [*METRICS]


class OnALake(Installation):
    """The example's configs, and a lake of its own."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        for name in ("sources", "metrics", "experiments"):
            shutil.copytree(EXAMPLE / name, self.configs / name, dirs_exist_ok=True)

    @property
    def lake(self) -> Path:
        return self.folder / "lake"

    @property
    def variables(self) -> dict[str, str]:
        return super().variables | {"EXP_LAKE": str(self.lake)}


@pytest.fixture(scope="module")
def installation(tmp_path_factory: pytest.TempPathFactory) -> OnALake:
    made = OnALake(tmp_path_factory.mktemp("lake"))
    write_lake(made.lake, users=2000, first=date(2025, 10, 6))
    return made


@pytest.fixture(scope="module")
def dag_runs(installation: OnALake) -> Iterator[dict[str, DagRun]]:
    """Both at once."""
    started = {name: DagTest(installation, name) for name in EXPERIMENTS}
    yield {name: test.ended() for name, test in started.items()}
    for test in started.values():
        test.stop()


@pytest.fixture(scope="module")
def reference(installation: OnALake) -> Lake:
    return Lake(installation.lake)


@pytest.mark.parametrize("experiment_id", EXPERIMENTS)
def test_every_task_succeeds(installation: OnALake, dag_runs: dict[str, DagRun], experiment_id: str) -> None:
    with installation.here():
        experiment = load_all().experiments[experiment_id]
    run = dag_runs[experiment_id]

    assert run.code == 0, run.log[-3000:]
    assert {task for task, state in run.tasks.items() if state != "success"} == set()
    assert {"check", *(stage.name for stage in stages_of(experiment)), "release"} <= run.tasks.keys()


@pytest.mark.parametrize("experiment_id", EXPERIMENTS)
def test_every_number_of_ab_is_what_duckdb_finds(
    installation: OnALake, dag_runs: dict[str, DagRun], reference: Lake, experiment_id: str
) -> None:
    rows = list(installation.results.rows(ResultRow, experiment_id, method="ab"))

    assert list(faults_of_rows(experiment_id, rows, reference)) == []
    assert len(rows) == len(METRICS[experiment_id])


def test_users_of_other_experiments_are_none_of_this_one(
    installation: OnALake, dag_runs: dict[str, DagRun]
) -> None:
    """The log holds five experiments; each run publishes its own users alone."""
    log = pq.read_table(installation.lake / "exposures", columns=["exp_key", "uid", "ts"]).to_pandas()
    days = log.ts.dt.tz_convert("Europe/Berlin").dt.date
    within = (days >= date(2026, 3, 2)) & (days <= date(2026, 3, 29))
    for experiment_id in EXPERIMENTS:
        own = log.exp_key == experiment_id
        published = {row["user_id"] for row in installation.rows("exposures", experiment_id)}
        assert set(log.uid[own & within]) <= published <= set(log.uid[own])
        assert {row["user_id"] for row in installation.rows("outcomes", experiment_id)} <= set(log.uid[own])
