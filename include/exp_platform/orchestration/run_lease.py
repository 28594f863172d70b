"""An experiment's lease, as a DAG run holds it through all its tasks and tries."""

from __future__ import annotations

import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from airflow.sdk import Context, DagRunState
from airflow.sdk.exceptions import AirflowRuntimeError

from exp_platform.config.environment import load_environment
from exp_platform.errors import LeaseError
from exp_platform.tables.lease import HEARTBEAT_EVERY, Held, Lease, holder_of

log = logging.getLogger(__name__)

# Nobody beats between two tasks, which may wait long for the pool or a retry; `release` ends the lease in any case.
LEASE_TTL = 6 * 3600.0
_QUIET = timedelta(seconds=2 * HEARTBEAT_EVERY)  # a task that still runs beats more often


def lease_of(context: Context, experiment_id: str) -> Lease:
    """The experiment's lease in the name of this DAG run, taken or not."""
    run = context["dag_run"]
    return Lease(experiment_id, f"airflow {run.dag_id} {run.run_id}", load_environment(), LEASE_TTL)


def take(lease: Lease) -> None:
    """Take a DAG run's lease, from an ended run too whose `release` failed. In a task or a trigger. Raises LeaseError."""
    try:
        lease.acquire()
    except LeaseError:
        held = holder_of(lease.environment, lease.experiment_id)
        if held is None or not _left_behind(held):
            raise
        log.warning("taking the lease that %s, which has ended, did not give back", held.holder)
        replace(lease, holder=held.holder).release()
        lease.acquire()


def give_back(context: Context, experiment_id: str) -> None:
    """Release the lease if this DAG run holds it, or one that has ended and left it."""
    lease = lease_of(context, experiment_id)
    lease.release()
    held = holder_of(lease.environment, experiment_id)
    if held is not None and _left_behind(held):
        replace(lease, holder=held.holder).release()


def _left_behind(held: Held) -> bool:
    """Whether the holder is a DAG run of this Airflow that has ended, and no task of it still beats."""
    # The supervisor's side, when it is there
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

    kind, _, run = held.holder.partition(" ")
    dag_id, _, run_id = run.partition(" ")
    if kind != "airflow" or datetime.now(UTC) - held.heartbeat < _QUIET:
        return False
    try:
        state = RuntimeTaskInstance.get_dagrun_state(dag_id, run_id)
    except AirflowRuntimeError as error:  # no run of this Airflow
        log.info("%s is not known here: %s", held.holder, error)
        return False
    return state in (DagRunState.SUCCESS, DagRunState.FAILED)
