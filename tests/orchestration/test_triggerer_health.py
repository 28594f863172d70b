"""A triggerer that dies again and again, or takes nothing up, is told, though Airflow calls it healthy."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta

import pytest
from sqlalchemy import text

from exp_platform.orchestration.triggerer_health import faults
from orchestration import airflow_home

pytestmark = pytest.mark.e2e  # with Airflow's own database

NOW = datetime(2026, 1, 5, 12, tzinfo=UTC)
BEATING = NOW - timedelta(seconds=4)


class Jobs:
    """Airflow's own tables, as its models write them."""

    def __init__(self) -> None:
        from airflow.jobs.job import Job
        from airflow.models.trigger import Trigger
        from airflow.utils.session import create_session

        self._job, self._trigger, self._session = Job, Trigger, create_session

    def started(self, ago: timedelta, *, heartbeat: datetime = BEATING, ended: bool = False) -> int:
        job = self._job(job_type="TriggererJob", state="running")
        job.start_date, job.latest_heartbeat, job.hostname = NOW - ago, heartbeat, "airflow-triggerer"
        job.end_date = NOW if ended else None
        with self._session() as session:
            session.add(job)
            session.flush()
            return int(job.id)

    def waits(self, ago: timedelta, triggerer: int | None) -> None:
        trigger = self._trigger("a.b.C", {}, created_date=NOW - ago)
        trigger.triggerer_id = triggerer
        with self._session() as session:
            session.add(trigger)

    def clear(self) -> None:
        with self._session() as session:
            session.execute(text("DELETE FROM job"))
            session.execute(text("DELETE FROM trigger"))

    def faults(self) -> list[str]:
        with self._session() as session:
            return faults(session.connection(), NOW)


@pytest.fixture
def jobs() -> Iterator[Jobs]:
    airflow_home.make_database()
    made = Jobs()
    made.clear()
    yield made
    made.clear()


def test_one_that_beats_is_well(jobs: Jobs) -> None:
    own = jobs.started(timedelta(hours=3))
    # Killed, and its row says running for ever
    jobs.started(timedelta(hours=5), heartbeat=NOW - timedelta(hours=3))
    jobs.waits(timedelta(minutes=20), own)
    jobs.waits(timedelta(seconds=20), None)
    assert jobs.faults() == []


def test_one_that_dies_every_twelve_seconds_is_told_although_it_beats(jobs: Jobs) -> None:
    for death in range(30):
        jobs.started(timedelta(seconds=12 * death))
    assert jobs.faults() == [
        "the triggerer of airflow-triggerer was started 30 times within 10 minutes, so it dies again and again; out of "
        "memory is likely: see its log, and raise its limit"
    ]


def test_some_restarts_by_hand_are_no_fault(jobs: Jobs) -> None:
    for minute in range(5):
        jobs.started(timedelta(minutes=minute), ended=minute > 0)
    assert jobs.faults() == []


@pytest.mark.parametrize("ended", [True, False])
def test_one_without_a_heartbeat_is_told(jobs: Jobs, ended: bool) -> None:
    jobs.started(timedelta(hours=1), heartbeat=NOW - timedelta(seconds=0 if ended else 31), ended=ended)
    assert jobs.faults() == ["no triggerer has given a sign of life within 30 seconds; see its log"]


def test_one_that_beats_and_takes_nothing_up_is_told(jobs: Jobs) -> None:
    jobs.started(timedelta(hours=1))
    jobs.waits(timedelta(minutes=2), None)
    jobs.waits(timedelta(minutes=2), 12345)  # of a triggerer that is gone
    assert jobs.faults() == ["2 waits have been taken up by no triggerer for a minute; see its log"]


def test_one_that_is_full_is_well(jobs: Jobs) -> None:
    own = jobs.started(timedelta(hours=1))
    jobs.waits(timedelta(hours=1), own)
    jobs.waits(timedelta(minutes=2), None)
    assert jobs.faults() == []


@pytest.mark.parametrize("by", ["variable", "command"])
def test_the_command_finds_airflow_s_database_and_fails_where_something_is_wrong(
    jobs: Jobs, by: str, tmp_path
) -> None:
    address = os.environ["AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"]
    (tmp_path / "secret").write_text(address + "\n")
    variables = {key: value for key, value in os.environ.items() if not key.startswith("AIRFLOW__DATABASE")}
    variables |= {
        "variable": {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN": address},
        "command": {"AIRFLOW__DATABASE__SQL_ALCHEMY_CONN_CMD": f"cat {tmp_path}/secret"},
    }[by]
    command = [sys.executable, "-m", "exp_platform.orchestration.triggerer_health"]
    done = subprocess.run(command, env=variables, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr.strip()) == (
        1,
        "no triggerer has given a sign of life within 30 seconds; see its log",
    )
