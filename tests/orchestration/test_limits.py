"""How long a DAG run may take follows from its tasks' timeouts and from what it waits for."""

from __future__ import annotations

from datetime import timedelta

import pytest

from exp_platform.config.loading import load_experiment
from exp_platform.orchestration.dag import build_dag
from exp_platform.orchestration.limits import lease_wait, run_timeout

SYNTHETIC, FILES = "exp_checkout_button_001", "cookie_cats"


@pytest.mark.parametrize(
    ("experiment_id", "hours"),
    [
        # ingest and aggregates 4 each; check, synth, quality, publish, one analysis, decision, memo, release
        (SYNTHETIC, 12.5),
        (FILES, 12.0),  # the same without synth
    ],
)
def test_a_run_works_at_most_as_long_as_the_longest_way_through_its_tasks(
    experiment_id: str, hours: float
) -> None:
    experiment = load_experiment(experiment_id)
    work = timedelta(hours=hours)
    assert lease_wait(experiment) == work
    assert run_timeout(experiment, waits_for_data=False) == 2 * work  # another run's, and its own
    waits = timedelta(hours=experiment.schedule.wait_hours)
    assert run_timeout(experiment, waits_for_data=True) == waits + 2 * work


def test_every_experiment_s_dag_ends_by_itself(monkeypatch) -> None:
    experiment = load_experiment(SYNTHETIC)
    dag = build_dag(experiment)
    assert dag.dagrun_timeout == timedelta(hours=25)
    longest = sum((task.execution_timeout for task in dag.tasks if task.execution_timeout), timedelta())
    assert dag.dagrun_timeout > lease_wait(experiment)
    assert all(task.execution_timeout for task in dag.tasks)
    assert longest < dag.dagrun_timeout
