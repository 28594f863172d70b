"""The API, version 1: what the pages show, typed and in parts, for dashboards and people's own tools."""

from __future__ import annotations

from datetime import date
from typing import Annotated, Any

from fastapi import APIRouter, HTTPException, Query, Request, Response
from fastapi.openapi.utils import get_openapi
from fastapi.responses import JSONResponse

from exp_platform.analyses.rows import ROW_TYPES, Row
from exp_platform.config.analyses import METHODS, RESULTS
from exp_platform.config.asset import dag_id_of
from exp_platform.results.reader import Results
from exp_platform.web.access import ExperimentId, Readable
from exp_platform.web.answers import tagged, unchanged
from exp_platform.web.api_types import (
    AskedPart,
    DecisionOf,
    ExperimentDetail,
    ExperimentSummary,
    PageOf,
    decision_of,
    page_of,
    plan,
    summary,
)
from exp_platform.web.listing import AskedFor
from exp_platform.web.portfolio import AskedPortfolio, Portfolio
from exp_platform.web.reading import lines, one_line, results, tag

router = APIRouter(prefix="/api/v1", tags=["experiments"])

AsOf = Annotated[date | None, Query(description="a day with stored results, such as 2026-01-31")]


@router.get("/experiments", response_model=PageOf[ExperimentSummary])
def list_experiments(
    request: Request,
    response: Response,
    readable: Readable,
    part: AskedPart,
    wanted: AskedFor,
) -> Any:
    """The experiments whose DAG you may read. `q` searches id, hypothesis, owner and tags."""
    found = wanted.of(lines(request, readable))
    told = page_of([summary(line, dag_id_of(line.id)) for line in found], part)
    return _unless_held(request, response, tag(told), told)


@router.get("/experiments/{experiment_id}", response_model=ExperimentDetail)
def get_experiment(request: Request, response: Response, experiment_id: ExperimentId) -> Any:
    """One experiment, its plan, and the days that are stored."""
    line = one_line(request, experiment_id)
    days = sorted(results().runs(experiment_id))
    told = summary(line, dag_id_of(experiment_id)) | plan(line.experiment) | {"days": days}
    return _unless_held(request, response, tag(told), told)


@router.get("/experiments/{experiment_id}/results", response_model=PageOf[Row])
def list_results(
    request: Request,
    response: Response,
    experiment_id: ExperimentId,
    part: AskedPart,
    as_of: AsOf = None,
    method: Annotated[str | None, Query(description="one of: " + ", ".join(METHODS))] = None,
) -> Any:
    """The rows of a day, or of the newest; of one method, or all of the table analysis_results. 404 for a day without any."""
    if method is not None and method not in METHODS:
        raise HTTPException(422)
    stored = results()
    day, runs = _day_of(stored, experiment_id, as_of)
    table = METHODS[method].table if method else RESULTS
    found = tag(experiment_id, day, runs[day], method, part)
    if held := unchanged(request, found):
        return held
    response.headers.update(tagged(found))
    of_table = method if table == RESULTS else None
    rows = stored.rows(ROW_TYPES[table], experiment_id, day, method=of_table)
    return page_of(sorted(rows, key=_order), part)


@router.get("/experiments/{experiment_id}/decisions", response_model=PageOf[DecisionOf])
def list_decisions(request: Request, response: Response, experiment_id: ExperimentId, part: AskedPart) -> Any:
    """The decisions of all stored days, the newest first."""
    stored = results()
    found = tag(experiment_id, sorted(stored.runs(experiment_id).items()), part)
    if held := unchanged(request, found):
        return held
    response.headers.update(tagged(found))
    newest_first = sorted(stored.decisions(experiment_id), key=lambda d: d.as_of_date, reverse=True)
    told = page_of(newest_first, part)
    return {**told, "items": [decision_of(one) for one in told["items"]]}


@router.get("/portfolio", response_model=Portfolio)
def get_portfolio(request: Request, response: Response, asked: AskedPortfolio) -> Any:
    """The experiments whose DAG you may read, together: counts, and what shipping has brought on each shared metric."""
    return _unless_held(request, response, tag(asked), asked)


@router.get("/openapi.json", include_in_schema=False)
def openapi(request: Request) -> JSONResponse:
    """The API in the words of OpenAPI."""
    root = request.scope.get("root_path", "")
    told = get_openapi(
        title="Experiments",
        version="1",
        description="Results of experiments, read only. Log in as for Airflow's own API: a cookie, or a bearer token.",
        routes=router.routes,
        servers=[{"url": root or "/"}],
    )
    return JSONResponse(told)


def _unless_held(request: Request, response: Response, found: str, told: Any) -> Any:
    if held := unchanged(request, found):
        return held
    response.headers.update(tagged(found))
    return told


def _day_of(stored: Results, experiment_id: str, as_of: date | None) -> tuple[date, dict[date, str]]:
    runs = stored.runs(experiment_id)
    day = max(runs, default=None) if as_of is None else as_of
    if day is None or day not in runs:
        raise HTTPException(404)
    return day, runs


def _order(row: Row) -> tuple[str, ...]:
    """By what tells rows apart, so that parts of a list neither overlap nor leave anything out."""
    names = ("method", "metric_id", "treatment_id", "control_id", "variant_id", "segment", "segment_value")
    days = ("first_day", "day", "m_bar", "since", "test")
    return tuple(_sortable(getattr(row, name, None)) for name in (*names, *days))


def _sortable(value: object) -> str:
    return f"{value + 1e6:020.6f}" if isinstance(value, (int, float)) else str(value or "")
