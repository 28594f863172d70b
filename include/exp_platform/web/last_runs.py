"""The last DAG run of each experiment, by Airflow's own database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime

from airflow.models.dag import DagModel
from airflow.models.dagrun import DagRun
from airflow.utils.session import create_session
from sqlalchemy import and_, func, select

from exp_platform.config.asset import dag_id_of, experiment_of


@dataclass(frozen=True)
class LastRun:
    """A DAG run: its id, state (queued, running, success, failed) and when it started; `as_of` where somebody asked for a day."""

    run_id: str
    state: str
    started_at: datetime | None
    ended_at: datetime | None


def last_runs(experiment_ids: Iterable[str]) -> dict[str, LastRun]:
    """Experiment -> its newest DAG run; those that never ran are left out."""
    wanted = {dag_id_of(id) for id in experiment_ids}
    newest = select(DagRun.dag_id, func.max(DagRun.id).label("id")).group_by(DagRun.dag_id)
    if len(wanted) == 1:
        newest = newest.where(DagRun.dag_id == next(iter(wanted)))
    last = newest.subquery()
    columns = (DagRun.dag_id, DagRun.run_id, DagRun.state, DagRun.start_date, DagRun.end_date)
    asked = select(*columns).join(last, and_(DagRun.dag_id == last.c.dag_id, DagRun.id == last.c.id))
    with create_session() as session:
        rows = session.execute(asked).all()
    return {
        id: LastRun(run_id, str(state), started, ended)
        for dag_id, run_id, state, started, ended in rows
        if dag_id in wanted and (id := experiment_of(dag_id)) is not None
    }


@dataclass(frozen=True)
class AskedRun:
    """One DAG run, and the day that it was asked for; None where it takes the last complete day before it."""

    run: LastRun
    as_of: date | None
    moment: datetime


def asked_run(dag_id: str, run_id: str) -> AskedRun | None:
    """One run of a DAG; None where there is none."""
    with create_session() as session:
        found = session.scalar(select(DagRun).where(DagRun.dag_id == dag_id, DagRun.run_id == run_id))
        if found is None:
            return None
        run = LastRun(found.run_id, str(found.state), found.start_date, found.end_date)
        return AskedRun(run, _day((found.conf or {}).get("as_of")), found.logical_date or found.run_after)


def _day(asked: object) -> date | None:
    try:
        return date.fromisoformat(asked) if isinstance(asked, str) else None
    except ValueError:
        return None


def paused(dag_id: str) -> bool:
    """Whether a DAG is paused, so that a run of it would wait."""
    with create_session() as session:
        return bool(session.scalar(select(DagModel.is_paused).where(DagModel.dag_id == dag_id)))
