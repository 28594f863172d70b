"""Airflow's own backfill of ten days, the newest first and three at a time: one run computes them all, also where one is stopped."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import date, timedelta

import pytest

from cluster.cluster import USER, Cluster
from cluster.standing_airflow import StandingAirflow, standing_airflow, until
from end_to_end.installation import Installation
from exp_platform.orchestration.rest import AirflowError

EXPERIMENT = "signup_test"
DAG = f"exp__{EXPERIMENT}"
SMALL = {"days": 14, "n_users": 600, "start_date": "2026-03-02", "schedule": {"retries": 1}}
DAYS = 10
FIRST = date(2026, 3, 3)  # of the runs; each is about the day before
LAST = FIRST + timedelta(days=DAYS - 1)


@pytest.fixture(scope="module")
def airflow(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Installation, StandingAirflow]]:
    installation = Installation(tmp_path_factory.mktemp("backfills"))
    installation.rewrite("embedded", "master: local[*]", "master: local[*]\n  submit: sessions")
    installation.entries(**{EXPERIMENT: SMALL})
    cluster.postgres.make_database("airflow_backfills", USER)
    database = f"postgresql+psycopg2://{USER}:{cluster.password}@{cluster.postgres.address}/airflow_backfills"
    with standing_airflow(installation, database) as started:
        until(lambda: started.knows(DAG), 300, "the DAG")
        started.api.unpause(DAG)
        yield installation, started


def _computed(installation: Installation) -> dict[date, str]:
    """The run that counts for each day."""
    return {row["as_of_date"]: row["run_id"] for row in installation.rows("decisions", EXPERIMENT)}


def _ingested(installation: Installation) -> set[str]:
    """The runs whose ingest ended well, by their folders: a forgotten one would be among them."""
    manifests = (installation.state / "runs" / EXPERIMENT).glob("*/ingest.json")
    return {path.parent.name for path in manifests}


def test_the_newest_first_and_three_at_a_time_are_one_computation(
    airflow: tuple[Installation, StandingAirflow],
) -> None:
    """Seven of the runs are only in the queue when the first begins."""
    installation, started = airflow
    started.api.backfill(DAG, FIRST, LAST, max_active_runs=3, backwards=True)
    runs = started.api.run_ids(DAG)
    assert len(runs) == DAYS
    until(lambda: started.all_ended(DAG), 900, "the end of all runs")
    assert {started.api.run_state(DAG, run) for run in runs} == {"success"}
    assert len(_ingested(installation)) == 1
    days = _computed(installation)
    assert sorted(days) == [FIRST + timedelta(days=number - 1) for number in range(DAYS)]
    assert set(days.values()) == _ingested(installation)
    made = [run for run in runs if not started.api.returned(DAG, run, "check")["up_to_date"]]
    assert len(made) == 1
    assert made[0] in sorted(runs)[-3:]  # one of the newest days'


def test_reprocessed_runs_recompute_once_and_the_next_goes_on_where_the_first_is_stopped(
    airflow: tuple[Installation, StandingAirflow],
) -> None:
    installation, started = airflow
    before = _computed(installation)
    installation.entries(**{EXPERIMENT: SMALL | {"n_users": 700}})  # other data: every day is out of date

    def accepted() -> bool:
        try:
            started.api.backfill(DAG, FIRST, LAST, max_active_runs=3, backwards=True, reprocess="completed")
        except AirflowError as error:  # Airflow looks twice a minute whether one has ended
            if "already a running backfill" not in str(error):
                raise
            return False
        return True

    started.slots("spark", 0)  # the run that computes waits before its ingest
    until(accepted, 300, "a second backfill")
    runs = started.api.run_ids(DAG)
    assert len(runs) == DAYS  # the same, cleared

    def through(task: str) -> str | None:
        return next((run for run in runs if started.state(DAG, run, task) == "success"), None)

    stopped = until(lambda: through("synth"), 300, "a run that computes")
    started.slots("stages", 0)  # and then after it: its work is there to be counted twice, and no decision
    started.slots("spark", 4)
    until(lambda: through("ingest"), 300, "its ingest")
    started.api.stop(DAG, stopped)
    started.slots("stages", 4)
    until(lambda: started.all_ended(DAG), 900, "the end of all runs")
    states = {run: started.api.run_state(DAG, run) for run in runs}
    assert states == {run: "failed" if run == stopped else "success" for run in runs}
    after = _computed(installation)
    again = {day for day in after if after[day] != before[day]}
    # Whoever goes on may have asked whose turn it is before the stopped run was called failed
    assert after.keys() - again <= {sorted(after)[sorted(runs).index(stopped)]}
    assert len({after[day] for day in again}) == 1
    assert len(_ingested(installation) - set(before.values())) <= 2  # the stopped one's, and one
