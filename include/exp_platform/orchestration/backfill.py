"""The days of an Airflow backfill, which the first of its runs that gets the lease computes in one pass.

A backfill makes a DAG run for each day, all at once and whatever `max_active_runs` says. Each is about a day of its own. All
of these days come from the same data, and computing one costs as much as computing all; so one does, and the others find
their day up to date.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from datetime import UTC, date, datetime

from airflow.sdk import Context, DagRunState
from airflow.sdk.types import DagRunProtocol

from exp_platform.config.awaited import Awaited, awaited
from exp_platform.config.experiment import Experiment
from exp_platform.config.locations import current_rules
from exp_platform.errors import ConfigError
from exp_platform.orchestration.connections import AWS_CONNECTION

_BACKFILL: str = "backfill"  # the type of its runs
_AFTER_ALL = datetime(9000, 1, 1, tzinfo=UTC)


def other_days(context: Context, experiment: Experiment) -> tuple[date, ...]:
    """The days of the backfill's other runs that have not ended and whose data are there; none of any other kind of run.

    None either where a day was asked for, which is then the one of all, or where the runs are forced, or full: each computes its own.
    """
    from exp_platform.stages.start import default_as_of

    run, params = context["dag_run"], context["params"]
    if run.run_type != _BACKFILL or any(params.get(name) for name in ("as_of", "force", "full")):
        return ()
    found = set()
    for state in (DagRunState.RUNNING, DagRunState.QUEUED):
        for other in _backfilled(run.dag_id, state):
            moment = min(other.logical_date or other.run_after, datetime.now(UTC))
            with suppress(ConfigError):  # one that is due before the window: it fails by itself
                found.add(default_as_of(experiment, moment))
    waits_for = awaited(experiment, current_rules())
    return tuple(day for day in sorted(found) if _is_there(waits_for, day))


def _backfilled(dag_id: str, state: DagRunState) -> Iterator[DagRunProtocol]:
    """The backfills' runs of a DAG that are in this state, the latest first."""
    from airflow.sdk.execution_time.comms import GetPreviousDagRun, PreviousDagRunResult
    from airflow.sdk.execution_time.task_runner import SUPERVISOR_COMMS

    before = _AFTER_ALL
    while True:
        answer = SUPERVISOR_COMMS.send(GetPreviousDagRun(dag_id=dag_id, logical_date=before, state=state))
        if not isinstance(answer, PreviousDagRunResult) or answer.dag_run is None:
            return
        run = answer.dag_run
        if run.run_type == _BACKFILL:
            yield run
        if run.logical_date is None:
            return
        before = run.logical_date


def _is_there(waits_for: tuple[Awaited, ...], day: date) -> bool:
    if not waits_for:
        return True
    from exp_platform.orchestration.s3_arrival import S3  # half a second, where it is not needed

    return not S3.of(AWS_CONNECTION).missing([item.at(day) for item in waits_for])
