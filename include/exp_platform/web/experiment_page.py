"""The page of one experiment: by its id, in the tab of its DAG, and in the tab of a run, there for that run's day."""

from __future__ import annotations

import logging
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

from airflow.api_fastapi.app import get_auth_manager
from airflow.api_fastapi.auth.managers.models.resource_details import DagAccessEntity, DagDetails
from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import HTMLResponse

from exp_platform.config.asset import dag_id_of, experiment_of
from exp_platform.errors import ConfigError
from exp_platform.report.content import Report
from exp_platform.report.html import body
from exp_platform.tables.damage import DamagedTableError
from exp_platform.web.access import DagId, ExperimentId, may_see_runs
from exp_platform.web.answers import tagged, unchanged
from exp_platform.web.content import contents
from exp_platform.web.last_runs import AskedRun, asked_run, paused
from exp_platform.web.listing import Line
from exp_platform.web.reading import REPORTS, one_line, results, tag
from exp_platform.web.rendering import render
from exp_platform.web.run_folders import newest_progress, progress_of
from exp_platform.web.waiting import (
    DAMAGED,
    Notice,
    another_under_way,
    last_run_failed,
    no_such_day,
    nothing_stored,
    run_stopped,
    stopped,
)

log = logging.getLogger(__name__)
router = APIRouter(default_response_class=HTMLResponse)


@dataclass(frozen=True)
class Around:
    """What surrounds the results: in which tab they are, of which run, and what is said above them."""

    tab: bool = False
    run: AskedRun | None = None
    notice: Notice | None = None


@router.get("/e/{experiment_id}")
def experiment_page(request: Request, experiment_id: ExperimentId, as_of: date | None = None) -> Response:
    """One experiment as of a day, or of the newest."""
    return _page(request, one_line(request, experiment_id), as_of, Around())


@router.get("/dag/{dag_id}")
def dag_tab(request: Request, dag_id: DagId, as_of: date | None = None) -> Response:
    """The tab of a DAG: its experiment, or what the DAG is instead."""
    experiment_id = experiment_of(dag_id)
    if experiment_id is None:
        return HTMLResponse(render(request, "no_experiment.html.j2", dag_id=dag_id))
    return _page(request, one_line(request, experiment_id), as_of, Around(tab=True))


@router.get("/dag/{dag_id}/run/{run_id:path}")
def run_tab(request: Request, dag_id: DagId, run_id: str) -> Response:
    """The tab of a DAG run: the experiment as of that run's day."""
    experiment_id = experiment_of(dag_id)
    if experiment_id is None:
        return HTMLResponse(render(request, "no_experiment.html.j2", dag_id=dag_id))
    run = asked_run(dag_id, run_id) if may_see_runs(request, dag_id) else None
    if run is None:
        raise HTTPException(404)
    line = one_line(request, experiment_id)
    day, notice = _of_run(line, run)
    return _page(request, line, day, Around(tab=True, run=run, notice=notice))


def _of_run(line: Line, run: AskedRun) -> tuple[date | None, Notice | None]:
    """The day that a run is about, and what is to be said of it."""
    progress = progress_of(line.id, run.run.run_id)
    if progress is None:
        return run.as_of or _default_day(line, run), None
    day = progress.run.as_of_date
    if progress.failed:
        return day, nothing_stored(line, progress) if line.newest is None else Notice(
            f"This run failed in {progress.failed}",
            ("What is shown, if anything, is of another run of the same day.",),
            [check for check in progress.checks if check.severity == "error"],
            task=progress.failed,
            bad=True,
        )
    if stopped(run.run, progress):
        return day, run_stopped(progress)
    return day, None


def _default_day(line: Line, run: AskedRun) -> date | None:
    from exp_platform.stages.start import default_as_of

    try:
        return default_as_of(line.experiment, run.moment) if line.experiment else None
    except ConfigError:  # before the experiment began
        return None


def _page(request: Request, line: Line, as_of: date | None, around: Around) -> Response:
    days = sorted(results().runs(line.id)) if line.newest else []
    try:
        found = REPORTS.read(line.id, as_of) if days else None
    except DamagedTableError:
        log.exception("the results of %s cannot be read", line.id)
        found, around = None, replace(around, notice=DAMAGED)
    report, key = found or (None, "")
    running = {"may_run": _may_run(request, line.id), "paused": paused(dag_id_of(line.id))}
    notice = _notice(line, report, days, as_of, around)
    told = tag(
        key, line.told, line.hypothesis, line.owner, line.last_run, days, running, as_of, around, notice
    )
    if report and (held := unchanged(request, told)):
        return held
    text = render(
        request, "experiment.html.j2", **_context(line, report, days, around), notice=notice, **running
    )
    return HTMLResponse(text, headers=tagged(told) if report else {})


def _notice(
    line: Line, report: Report | None, days: list[date], as_of: date | None, around: Around
) -> Notice | None:
    """What stands above the results, or in their place."""
    notice = around.notice
    if notice is None and around.run is None:
        progress = newest_progress(line.id)
        if days:
            notice = another_under_way(line, progress) or last_run_failed(line, progress)
        else:
            notice = nothing_stored(line, progress)
    if notice is None and report is None:
        notice = no_such_day(as_of, days) if days and as_of else nothing_stored(line, None)
    return notice


def _context(line: Line, report: Report | None, days: list[date], around: Around) -> dict[str, Any]:
    day = report.as_of_date if report else None
    return {
        "line": line,
        "dag_id": dag_id_of(line.id),
        "report": report,
        "blocks": contents(report) if report else [],
        "days": days[::-1],
        "day": day,
        "before": max((one for one in days if day and one < day), default=None),
        "body": body,
        "around": around,
    }


def _may_run(request: Request, experiment_id: str) -> bool:
    """Whether the user may start runs: Airflow decides again when they do."""
    manager: Any = get_auth_manager()
    may: bool = manager.is_authorized_dag(
        method="POST",
        access_entity=DagAccessEntity.RUN,
        details=DagDetails(id=dag_id_of(experiment_id)),
        user=request.state.reader,
    )
    return may
