"""Which task goes first is stored with the DAG: the scheduler weighs by it without our state."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.sdk import DAG
from airflow.serialization.serialized_objects import DagSerialization

from exp_platform.config.environment import load_environment
from exp_platform.config.loading import load_all
from exp_platform.orchestration.dag import build_dags
from exp_platform.orchestration.priority import SIZES, size_of
from exp_platform.tables.last_runs import note_seconds
from orchestration.airflow_home import ROOT

EXPERIMENTS = load_all(ROOT / "configs").experiments


@pytest.fixture(autouse=True)
def no_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path))


def _weights(dag: DAG, run_id: str) -> dict[str, int]:
    """As the scheduler has them of what is stored of the DAG."""
    stored = DagSerialization.from_dict(DagSerialization.to_dict(dag))
    return {
        task.task_id: task.weight_rule.get_weight(SimpleNamespace(task=task, run_id=run_id))
        for task in stored.tasks
    }


@pytest.mark.parametrize("id", EXPERIMENTS)
def test_of_many_runs_at_once_the_one_that_has_come_farthest_goes_first(id: str) -> None:
    """With Airflow's own rule all came to their decision at the end, within seconds of each other."""
    experiment = EXPERIMENTS[id]
    (dag,), _ = build_dags([experiment])
    old, new = (_weights(dag, f"scheduled__{day}T00:00:00+00:00") for day in ("2026-03-03", "2026-03-04"))
    for task in dag.tasks:
        # However much older the other run is, and however long
        assert all(new[task.task_id] >= old[before] + SIZES for before in task.upstream_task_ids)
        assert old[task.task_id] == new[task.task_id] + SIZES  # of two as far the older
    assert {weight % SIZES for weight in new.values()} == {size_of(experiment, None)}
    assert max(old.values()) < 2**31  # what Airflow's database holds


def test_of_two_runs_of_a_night_the_one_that_was_measured_to_be_longer_goes_first() -> None:
    hillstrom = EXPERIMENTS["hillstrom"]
    run = "scheduled__2026-03-03T00:00:00+00:00"

    def ingest() -> int:
        (dag,), _ = build_dags([hillstrom])
        return _weights(dag, run)["ingest"]

    weights = [ingest()]
    for seconds in (40, 400, 4_000):
        note_seconds(load_environment(), "hillstrom", seconds)
        weights.append(ingest())
    unmeasured, *measured = weights
    assert measured == sorted(set(measured))
    assert unmeasured > max(measured)  # it may be the longest of all
