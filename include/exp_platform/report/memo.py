"""The memo's files: one page, an appendix with everything behind it, the same as HTML, and as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import Any

from exp_platform.aggregates import pooled_to_json
from exp_platform.analyses.row_codec import as_columns
from exp_platform.code_version import wording_version
from exp_platform.config.analyses import METHODS
from exp_platform.config.environment import Environment
from exp_platform.escaping import Markdown
from exp_platform.report import charts
from exp_platform.report.content import Report
from exp_platform.report.drawings import drawings
from exp_platform.report.html.file import html_file
from exp_platform.report.one_page import PICTURES, Picture, render
from exp_platform.report.sections import sections
from exp_platform.tables.folders import delete_file, write_file


@dataclass(frozen=True)
class MemoFiles:
    """Where a memo was written: paths or URIs."""

    markdown: str
    appendix: str
    html: str
    json: str


def memo_files(environment: Environment, experiment_id: str) -> MemoFiles:
    """The files of an experiment's memo; the appendix and the charts lie in a folder of their own."""
    memo = f"{environment.memos_dir}/{experiment_id}"
    return MemoFiles(f"{memo}.md", f"{memo}/appendix.md", f"{memo}.html", f"{memo}.json")


def write_memo(report: Report, environment: Environment) -> MemoFiles:
    """Write the picture, appendix, HTML, the page and last the JSON twin; each file is replaced whole."""
    files = memo_files(environment, report.experiment.id)
    svgs: dict[str, str] = {}
    page = html_file(report, svgs)
    picture = _write_picture(report, environment, svgs)
    write_file(environment, files.appendix, appendix(report).encode())
    write_file(environment, files.html, page.encode())
    write_file(environment, files.markdown, render(report, picture).encode())
    write_file(environment, files.json, json.dumps(as_json(report), indent=1, default=str).encode())
    return files


def appendix(report: Report) -> str:
    """Everything behind the memo as Markdown."""
    context: dict[str, Any] = {
        "report": report,
        "e": report.experiment,
        "decision": report.decision,
        "memo": Markdown(f"../{report.experiment.id}"),
    }
    return "".join(section.render(context) for section in sections())


def as_json(report: Report) -> dict[str, Any]:
    """The JSON twin: the decision's keys first, then every row behind it."""
    decision = report.decision
    return {
        "experiment_id": report.experiment.id,
        "as_of_date": report.as_of_date.isoformat(),
        "winner": decision.winner,
        "winning_variant": decision.winning_variant,
        "confidence": decision.confidence,
        "lift": decision.lift,
        "action": decision.action,
        "primary_metric": decision.decisive_metric,
        "final": decision.final,
        "reasons": [asdict(r) for r in decision.reasons],
        "adequacy": asdict(decision.adequacy),
        **{
            method.twin_key: _plain(report.of_method(method.name))
            for method in METHODS.values()
            if method.twin_key is not None
        },
        "data_quality": _plain(report.checks),
        "units": report.experiment.units,
        "pooled": pooled_to_json(report.stored.pooled),
        "rows": {table: asdict(account) for table, account in report.stored.rows.items()},
        "refresh": report.stored.refresh,
        "skipped": list(report.stored.skipped),
        "user_level_deleted_on": str(report.deleted_on) if report.deleted_on else None,
        "unreadable": list(report.unreadable),
        "run_id": report.stored.run_id,
        "config_hash": report.stored.config_hash,
        "code_version": report.stored.code_version,
        "wording_version": wording_version(),
        "computed_at": report.stored.computed_at,
    }


def _plain(rows: Any) -> list[dict[str, Any]]:
    return json.loads(json.dumps([as_columns(r) for r in rows], default=str))  # type: ignore[no-any-return]


def _write_picture(report: Report, environment: Environment, svgs: dict[str, str]) -> Picture | None:
    """Write the memo's one picture as PNG, of what was drawn already where it was; those of earlier memos go."""
    found = drawings(report)
    chosen = next((name for name in PICTURES if found[name] is not None), None)
    picture = None
    for name, chart in found.items():
        path = f"{report.experiment.id}/{name}.png"
        location = f"{environment.memos_dir}/{path}"
        if name == chosen and chart is not None:
            write_file(environment, location, charts.png_of(svgs.get(name) or charts.svg(chart)))
            picture = Picture(name, path)
        else:
            delete_file(environment, location)
    return picture
