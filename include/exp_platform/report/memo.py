"""The memo: one Markdown page with its charts, and the same as JSON for programs."""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from typing import Any, TypeVar

from exp_platform.aggregates import pooled_to_json
from exp_platform.analyses import pretrends, stability
from exp_platform.analyses.row_codec import as_columns
from exp_platform.analyses.rows import EventStudyRow, PretrendDeltaRow, Row
from exp_platform.code_version import wording_version
from exp_platform.config.analyses import METHODS, UNADJUSTED
from exp_platform.config.environment import Environment
from exp_platform.escaping import Markdown
from exp_platform.report import charts
from exp_platform.report.content import Report
from exp_platform.report.sections import sections
from exp_platform.tables.folders import delete_file, write_file

RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True)
class MemoFiles:
    """Where a memo was written: paths or URIs."""

    markdown: str
    json: str


def write_memo(report: Report, environment: Environment) -> MemoFiles:
    """Write the charts, `<memos_dir>/<experiment_id>.md` and last its JSON twin; each file is replaced whole."""
    memo = f"{environment.memos_dir}/{report.experiment.id}"
    files = MemoFiles(markdown=f"{memo}.md", json=f"{memo}.json")
    drawn = _write_charts(report, environment)
    write_file(environment, files.markdown, render(report, drawn).encode())
    write_file(environment, files.json, json.dumps(as_json(report), indent=1, default=str).encode())
    return files


def render(report: Report, drawn: dict[str, str] | None = None) -> str:
    """The memo as Markdown; `drawn` maps a chart's name to its file's path relative to the memo."""
    context: dict[str, Any] = {
        "report": report,
        "e": report.experiment,
        "decision": report.decision,
        "charts": defaultdict(str, {name: Markdown(path) for name, path in (drawn or {}).items()}),
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


def _charts(report: Report) -> dict[str, charts.Chart | None]:
    """Each chart by its name, or None where there is nothing to draw."""
    directions = {m.id: m.direction for m in report.experiment.metrics}
    return {
        "effects": charts.effects(report.of_method(UNADJUSTED), directions),
        "over_time": charts.effect_over_time(_of_first(report, report.series)),
        pretrends.METHOD: charts.pretrends(_of_first(report, report.of(PretrendDeltaRow))),
        stability.METHOD: charts.effect_by_day(_of_first(report, report.of_method(stability.METHOD))),
        "event_study": charts.event_study(_of_first(report, report.of(EventStudyRow))),
    }


def _of_first(report: Report, rows: Iterable[RowT]) -> list[RowT]:
    """The rows of the metric that decides or, failing that, of the spec's first."""
    first = report.decision.decisive_metric or report.experiment.metrics[0].id
    return [row for row in rows if row.metric_id == first]


def _write_charts(report: Report, environment: Environment) -> dict[str, str]:
    """Write what can be drawn, and return each chart's path relative to the memo."""
    drawn = {}
    for name, chart in _charts(report).items():
        path = f"{report.experiment.id}/{name}.png"
        location = f"{environment.memos_dir}/{path}"
        if chart is not None:
            write_file(environment, location, charts.png(chart))
            drawn[name] = path
        else:
            delete_file(environment, location)  # of an earlier memo
    return drawn
