"""Whether Airflow's triggerers are well: `python -m exp_platform.orchestration.triggerer_health`, as a health check calls it.

Airflow's own answers (`airflow jobs check`, the API's `monitor/health`) look for a young heartbeat. A triggerer that runs
out of memory is started again and beats at once, so they call it healthy while it dies every few seconds and nothing
that waits ever goes on. Airflow's table of jobs has a row for every start, which tells.

Reads Airflow's database without Airflow, which would take two seconds of CPU to import, again and again.
"""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta

from sqlalchemy import Connection, DateTime, NullPool, column, create_engine, func, or_, select, table

BEATS_WITHIN = timedelta(seconds=30)  # as [triggerer] triggerer_health_check_threshold; it beats every 5
WINDOW = timedelta(minutes=10)
STARTS = 5  # within the window; more are no maintenance
TAKEN_UP_WITHIN = timedelta(minutes=1)

_SETTING = "AIRFLOW__DATABASE__SQL_ALCHEMY_CONN"
_TIME = DateTime(timezone=True)
_job = table(
    "job",
    column("id"),
    column("job_type"),
    column("hostname"),
    column("start_date", _TIME),
    column("end_date", _TIME),
    column("latest_heartbeat", _TIME),
)
_trigger = table("trigger", column("id"), column("triggerer_id"), column("created_date", _TIME))
_TRIGGERERS = _job.c.job_type == "TriggererJob"


def faults(connection: Connection, now: datetime) -> list[str]:
    """What is wrong with the triggerers, at an aware time; nothing where they are well."""
    found = [_beats(connection, now), *_restless(connection, now), _idle(connection, now)]
    return [fault for fault in found if fault]


def _beats(connection: Connection, now: datetime) -> str:
    newest = connection.execute(select(func.max(_job.c.latest_heartbeat)).where(_TRIGGERERS, _alive(now)))
    if newest.scalar_one() is not None:
        return ""
    return f"no triggerer has given a sign of life within {BEATS_WITHIN.seconds} seconds; see its log"


def _alive(now: datetime):  # type: ignore[no-untyped-def]
    return (_job.c.end_date.is_(None)) & (_job.c.latest_heartbeat > now - BEATS_WITHIN)


def _restless(connection: Connection, now: datetime) -> list[str]:
    started = (
        select(_job.c.hostname, func.count().label("starts"))
        .where(_TRIGGERERS, _job.c.start_date > now - WINDOW)
        .group_by(_job.c.hostname)
        .having(func.count() > STARTS)
    )
    return [
        f"the triggerer of {host} was started {starts} times within {WINDOW.seconds // 60} minutes, so it dies again and "
        "again; out of memory is likely: see its log, and raise its limit"
        for host, starts in connection.execute(started)
    ]


def _idle(connection: Connection, now: datetime) -> str:
    alive = select(_job.c.id).where(_TRIGGERERS, _alive(now))
    untaken = or_(_trigger.c.triggerer_id.is_(None), _trigger.c.triggerer_id.not_in(alive))
    waiting = select(func.count()).select_from(_trigger)
    if connection.scalar(waiting.where(_trigger.c.triggerer_id.in_(alive))):
        return ""  # others may be more than it has room for
    left = connection.scalar(waiting.where(untaken, _trigger.c.created_date < now - TAKEN_UP_WITHIN))
    if not left:
        return ""
    return f"{left} waits have been taken up by no triggerer for a minute; see its log"


def _database() -> str:
    """The address of Airflow's database, from where Airflow takes it: a variable, or what a command prints."""
    if address := os.environ.get(_SETTING):
        return address
    if command := os.environ.get(f"{_SETTING}_CMD"):
        return subprocess.run(command.split(), check=True, capture_output=True, text=True).stdout.strip()
    sys.exit(f"set {_SETTING}, or {_SETTING}_CMD to a command that prints it")


def main() -> None:
    """Print what is wrong and end with 1, or end with 0."""
    engine = create_engine(_database(), poolclass=NullPool)
    with engine.connect() as connection:
        found = faults(connection, datetime.now(UTC))
    if found:
        sys.exit("\n".join(found))


if __name__ == "__main__":
    main()
