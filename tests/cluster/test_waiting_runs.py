"""A real Airflow: a backfill is one computation, runs that meet a held lease wait without spending tries, an asset starts one."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from sqlalchemy import create_engine, text

from cluster.cluster import USER, Cluster
from cluster.standing_airflow import StandingAirflow, standing_airflow, until
from end_to_end.installation import ROOT, Installation
from exp_platform.orchestration.rest import AirflowError
from exp_platform.tables.lease import Lease, holder_of

EXPERIMENT = "signup_test"
DAG = f"exp__{EXPERIMENT}"
SMALL = {"days": 14, "n_users": 600, "start_date": "2026-03-02", "schedule": {"retries": 1}}
DAYS = 4  # of the backfill; fourteen are the compose stack's test

AFTER = "after_the_lake"
# Somebody else's DAG, in a bundle of its own.
LOADER = """
from airflow.sdk import DAG, Asset, task
with DAG("load_the_lake", schedule=None):
    task(lambda: None, task_id="load", outlets=[Asset("the lake")])()
"""

# A process that holds the lease as `exp run` does, for days if nobody ends it.
HOLDER = f"""
import time
from exp_platform.config.environment import load_environment
from exp_platform.tables.holders import this_process
from exp_platform.tables.lease import Lease
Lease("{EXPERIMENT}", this_process(), load_environment(), 1e6).acquire()
print("held", flush=True)
time.sleep(600)
"""


@pytest.fixture(scope="module")
def airflow(
    cluster: Cluster, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Installation, StandingAirflow]]:
    """Airflow's own database is on Postgres; the experiment's tables are files, and its stages start no Spark."""
    installation = Installation(tmp_path_factory.mktemp("backfill"))
    # What needs no session runs in its task, here under the real scheduler and its supervisors.
    installation.rewrite("embedded", "master: local[*]", "master: local[*]\n  submit: sessions")
    began = datetime.now(UTC).date() - timedelta(days=3)
    lake = {**SMALL, "start_date": str(began), "schedule": {"after": "the lake"}}
    installation.entries(**{EXPERIMENT: SMALL, AFTER: lake})
    others = installation.folder / "others"
    others.mkdir()
    (others / "load_the_lake.py").write_text(LOADER)
    cluster.postgres.make_database("airflow", USER)
    database = f"postgresql+psycopg2://{USER}:{cluster.password}@{cluster.postgres.address}/airflow"
    with standing_airflow(installation, database, **bundles(ours=ROOT / "dags", others=others)) as started:
        until(lambda: started.knows(DAG), 120, "the DAG")
        started.api.unpause(DAG)
        yield installation, started


def bundles(**folders: Path) -> dict[str, str]:
    """The setting by which Airflow reads DAGs in several folders."""
    local = "airflow.dag_processing.bundles.local.LocalDagBundle"
    listed = [
        {"name": name, "classpath": local, "kwargs": {"path": str(path)}} for name, path in folders.items()
    ]
    return {"AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_CONFIG_LIST": json.dumps(listed)}


def _tries(airflow: StandingAirflow, run: str) -> dict[str, int]:
    return {task["task_id"]: task["try_number"] for task in airflow.api.tasks(DAG, run)}


def _waiting_for_another(installation: Installation, started: StandingAirflow) -> tuple[Lease, str]:
    """A lease that somebody else holds, and a run that waits for it."""
    other = Lease(EXPERIMENT, "somebody else", installation.environment)
    other.acquire()
    run = started.api.trigger(DAG, {})
    until(lambda: started.state(DAG, run, "check") == "deferred", 120, "the wait")
    return other, run


def test_a_backfill_is_green_with_one_computation(
    airflow: tuple[Installation, StandingAirflow],
) -> None:
    installation, started = airflow
    started.api.backfill(DAG, date(2026, 3, 3), date(2026, 3, 2) + timedelta(days=DAYS))
    runs = started.api.run_ids(DAG)
    assert len(runs) == DAYS
    until(lambda: started.all_ended(DAG), 600, "the end of all runs")
    assert {started.api.run_state(DAG, run) for run in runs} == {"success"}
    checks = {run: started.api.returned(DAG, run, "check") for run in runs}
    computed = [check for check in checks.values() if not check["up_to_date"]]
    assert [len(check["as_of_dates"]) for check in computed] == [DAYS]
    decisions = installation.rows("decisions", EXPERIMENT)
    assert len({row["as_of_date"] for row in decisions}) == DAYS
    assert {row["run_id"] for row in decisions} == {computed[0]["run_id"]}
    assert len(list((installation.state / "runs" / EXPERIMENT).iterdir())) == 1


def test_a_run_waits_for_an_exp_run_without_a_try_and_goes_on_when_that_is_killed(
    airflow: tuple[Installation, StandingAirflow],
) -> None:
    installation, started = airflow
    with installation.process("-c", HOLDER) as holder:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        run = started.api.trigger(DAG, {"as_of": "2026-03-03"})
        until(lambda: started.state(DAG, run, "check") == "deferred", 120, "the wait")
        said = started.api.log(DAG, run, "check", 1)
        assert re.search(rf"waiting until .*: {EXPERIMENT} is being run by \S+ pid {holder.pid}", said)
        holder.kill()
        holder.wait()
    until(lambda: started.all_ended(DAG), 300, "the end of the run")
    assert started.api.run_state(DAG, run) == "success"
    assert _tries(started, run)["check"] == 1
    assert holder_of(installation.environment, EXPERIMENT) is None


def test_a_waiting_run_that_is_stopped_gives_up_its_place(
    airflow: tuple[Installation, StandingAirflow],
) -> None:
    installation, started = airflow
    other, run = _waiting_for_another(installation, started)
    started.api.stop(DAG, run)
    until(lambda: started.api.run_state(DAG, run) == "failed", 120, "its end")
    assert started.state(DAG, run, "release") == "failed"  # by which Airflow sees that it was stopped
    held = holder_of(installation.environment, EXPERIMENT)
    assert held is not None
    assert held.holder == "somebody else"
    other.release()


def test_a_run_that_was_timed_out_leaves_the_lease_to_the_next(
    airflow: tuple[Installation, StandingAirflow],
) -> None:
    """Airflow skips all that is left of such a run, `release` too."""
    installation, started = airflow
    other, late = _waiting_for_another(installation, started)
    _execute(started.database, "UPDATE dag_run SET start_date = start_date - interval '25 hours'")
    until(lambda: started.api.run_state(DAG, late) == "failed", 120, "its timeout")
    assert started.state(DAG, late, "release") == "skipped"
    other.release()
    # As if the timed-out run had had it
    Lease(EXPERIMENT, f"airflow {DAG} {late}", installation.environment, ttl=1e6).acquire()
    leases = installation.environment.lease_database.sqlalchemy_uri
    _execute(leases, "UPDATE exp_leases SET heartbeat_at = heartbeat_at - 61")
    run = started.api.trigger(DAG, {"as_of": "2026-03-03"})
    until(lambda: started.all_ended(DAG), 300, "the end of the run")
    assert started.api.run_state(DAG, run) == "success"
    assert holder_of(installation.environment, EXPERIMENT) is None


def _execute(database: str, statement: str) -> None:
    with create_engine(database).begin() as connection:
        connection.execute(text(statement))


def test_an_unknown_key_of_a_run_s_conf_is_named(airflow: tuple[Installation, StandingAirflow]) -> None:
    _, started = airflow
    run = started.api.trigger(DAG, {"asof": "2026-03-15"})
    until(lambda: started.all_ended(DAG), 300, "the end of the run")
    assert (started.api.run_state(DAG, run), _tries(started, run)["check"]) == ("failed", 1)
    assert "unknown key 'asof'; did you mean as_of? allowed: as_of, force" in started.api.log(
        DAG, run, "check", 1
    )
    with pytest.raises(AirflowError, match="400"):  # Airflow's own answer to a value of another type
        started.api.trigger(DAG, {"force": "yes"})


def test_an_update_of_somebody_else_s_asset_starts_a_run_of_the_last_complete_day(
    airflow: tuple[Installation, StandingAirflow],
) -> None:
    installation, started = airflow
    dag = f"exp__{AFTER}"
    until(lambda: started.knows("load_the_lake") and started.knows(dag), 120, "both DAGs")
    started.api.unpause(dag)
    assert started.api.run_ids(dag) == []
    started.api.unpause("load_the_lake")
    started.api.trigger("load_the_lake", {})
    until(lambda: started.api.run_ids(dag), 300, "the run that the update starts")
    until(lambda: started.all_ended(dag), 600, "its end")
    (run,) = started.api.run_ids(dag)
    assert (started.api.run_state(dag, run), run.split("__")[0]) == ("success", "asset_triggered")
    yesterday = datetime.now(UTC).date() - timedelta(days=1)
    assert [row["as_of_date"] for row in installation.rows("decisions", AFTER)] == [yesterday]
