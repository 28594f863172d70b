"""An experiment's files to take away: results, the decision with all rows behind it, the spec as it ran, the memo."""

from __future__ import annotations

import csv
import io
import json
import pickle
import subprocess
import sys
from dataclasses import asdict
from datetime import date

from fastapi import APIRouter, HTTPException, Request, Response

from exp_platform.report.content import Report
from exp_platform.report.memo import as_json
from exp_platform.report.one_page import render
from exp_platform.web.access import ExperimentId
from exp_platform.web.answers import tagged, unchanged
from exp_platform.web.downloads import attachment, text_cell
from exp_platform.web.reading import REPORTS, results

router = APIRouter(prefix="/e/{experiment_id}")


@router.get("/results.csv")
def results_file(request: Request, experiment_id: ExperimentId, as_of: date | None = None) -> Response:
    """The rows of `analysis_results` of a day that count, with the table's columns; numbers as they are stored."""
    report, tag = _report(experiment_id, as_of)
    if held := unchanged(request, tag):
        return held
    rows = results().to_arrow(experiment_id, report.as_of_date)
    written = io.StringIO()
    out = csv.writer(written)
    out.writerow(rows.column_names)
    out.writerows([text_cell(_written(value)) for value in row.values()] for row in rows.to_pylist())
    return attachment(written.getvalue().encode(), _name(report, "results.csv"), "text/csv", tagged(tag))


@router.get("/results.json")
def everything(request: Request, experiment_id: ExperimentId, as_of: date | None = None) -> Response:
    """The memo's JSON twin of that day: the decision first, then every row behind it."""
    report, tag = _report(experiment_id, as_of)
    if held := unchanged(request, tag):
        return held
    told = json.dumps(as_json(report), indent=1, default=str).encode()
    return attachment(told, _name(report, "results.json"), "application/json", tagged(tag))


@router.get("/spec.json")
def spec_file(request: Request, experiment_id: ExperimentId, as_of: date | None = None) -> Response:
    """The spec with every default filled in, as the run of that day froze it."""
    report, tag = _report(experiment_id, as_of)
    if held := unchanged(request, tag):
        return held
    told = json.dumps(asdict(report.experiment), indent=1, default=str).encode()
    return attachment(told, _name(report, "spec.json"), "application/json", tagged(tag))


@router.get("/report.html")
def report_file(request: Request, experiment_id: ExperimentId, as_of: date | None = None) -> Response:
    """The report of that day as one file with its pictures inside."""
    report, tag = _report(experiment_id, as_of)
    if held := unchanged(request, tag):
        return held
    return attachment(_drawn(report), _name(report, "report.html"), "text/html", tagged(tag))


@router.get("/report.md")
def memo_file(request: Request, experiment_id: ExperimentId, as_of: date | None = None) -> Response:
    """The memo of that day, without its pictures."""
    report, tag = _report(experiment_id, as_of)
    if held := unchanged(request, tag):
        return held
    return attachment(render(report).encode(), _name(report, "memo.md"), "text/markdown", tagged(tag))


def _report(experiment_id: str, as_of: date | None) -> tuple[Report, str]:
    found = REPORTS.read(experiment_id, as_of)
    if found is None:
        raise HTTPException(404)
    return found


def _drawn(report: Report) -> bytes:
    """The file, made in a process of its own: what draws its pictures would stay with the server, 100 MB of it."""
    code = (
        "import pickle, sys; from exp_platform.report.html.file import html_file; "
        "sys.stdout.buffer.write(html_file(pickle.load(sys.stdin.buffer)).encode())"
    )
    made = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(report), capture_output=True, check=True
    )
    return made.stdout


def _name(report: Report, what: str) -> str:
    return f"{report.experiment.id}_{report.as_of_date}_{what}"


def _written(value: object) -> object:
    """A float so that it reads back as the same number; a moment as ISO 8601."""
    return value.isoformat() if hasattr(value, "isoformat") else value
