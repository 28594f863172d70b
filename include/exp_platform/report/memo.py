"""The memo: one Markdown page with its charts, and the same as JSON for programs."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from functools import cache
from typing import Any

import jinja2

from exp_platform.aggregates import pooled_to_json
from exp_platform.analyses.interaction import TEST as INTERACTION
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.code_version import wording_version
from exp_platform.config.analyses import ADJUSTED, METHODS
from exp_platform.config.environment import Environment
from exp_platform.config.metrics import Role
from exp_platform.errors import shortened
from exp_platform.escaping import Markdown, code, markdown
from exp_platform.report import numbers, wording
from exp_platform.report.content import Report
from exp_platform.report.excerpt import IN_A_MEMO, clearest, left_out
from exp_platform.tables.folders import delete_file, write_file


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
    decision, stored = report.decision, report.stored
    ab = report.of_method("ab")
    plain = {(r.metric_id, r.treatment_id): r for r in ab}
    primary = [r for r in report.of_method("segments") if r.role == Role.PRIMARY]
    by_value = [r for r in primary if r.test != INTERACTION]
    joint = [r for r in primary if r.test == INTERACTION]
    segments, interactions = (clearest(rows, IN_A_MEMO) for rows in (by_value, joint))
    context: dict[str, Any] = {
        "e": report.experiment,
        "decision": decision,
        "as_of": report.as_of_date,
        "headline": wording.headline(decision),
        "ramp": wording.ramp(report.experiment),
        "why": wording.why(report),
        "adequacy": wording.adequacy(decision),
        "method_name": METHODS[report.experiment.decision.estimate].called,
        "users": {v.id: 0 for v in report.experiment.variants} | dict(stored.users),
        "skipped": [f"{s}: {skip_note(s)}" for s in stored.skipped],
        "deletion": report.deletion,
        "unreadable": report.unreadable,
        "significance": wording.significance(report),
        "ab": ab,
        "adjusted": [
            (r, plain.get((r.metric_id, r.treatment_id)))
            for method in ADJUSTED
            for r in report.of_method(method)
        ],
        "did": report.did,
        "did_windows": wording.did_windows(report),
        "sensitivity": [r for r in report.sensitivity if r.m_bar in (None, 1.0)],
        "tests": report.tests,
        "guardrails": report.of_method("guardrails"),
        "segments": segments,
        "segments_left_out": left_out(segments, by_value, report.experiment.id),
        "interactions": interactions,
        "interactions_left_out": left_out(interactions, joint, report.experiment.id),
        "pooled": wording.pooled(report),
        "bayes": report.of_method("bayes"),
        "stability": wording.stability(report),
        "srm": report.of_method("srm"),
        "quality": wording.quality(report.checks),
        "rows": wording.rows(report),
        "findings": [c for c in report.checks if c.status != "passed"],
        "distributions": _distributions(ab),
        "charts": dict.fromkeys(("effects", "over_time", "pretrends", "event_study", "stability"))
        | {name: Markdown(path) for name, path in (drawn or {}).items()},
        "provenance": stored,
        "absent": lambda stage: wording.absent(report, stage),
    }
    return _template().render(context)


def skip_note(stage: str) -> str:
    """What stands in for a skipped stage."""
    return {
        "quality": "the data was not judged, so no decision can be trusted",
        "aggregates": "the stored metric_aggregates_overall were used",
    }.get(stage, "the stored rows were used")


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
        "metrics": _plain(report.of_method("ab")),
        **{method: _plain(report.of_method(method)) for method in ADJUSTED},
        "did": _plain(report.did),
        "event_study": _plain(report.event_study),
        "did_sensitivity": _plain(report.sensitivity),
        "pretrends": _plain(report.tests),
        "guardrails": _plain(report.of_method("guardrails")),
        "segments": _plain(report.of_method("segments")),
        "bayes": _plain(report.of_method("bayes")),
        "stability": _plain(report.of_method("stability")),
        "srm": _plain(report.of_method("srm")),
        "data_quality": _plain(report.checks),
        "pooled": pooled_to_json(report.stored.pooled),
        "rows": {table: asdict(account) for table, account in report.stored.rows.items()},
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
    return json.loads(json.dumps([asdict(r) for r in rows], default=str))  # type: ignore[no-any-return]


def _distributions(ab: list[ResultRow]) -> list[dict[str, Any]]:
    """One entry for each metric and variant: control once, then each treatment."""
    entries: dict[tuple[str, str], dict[str, Any]] = {}
    for row in ab:
        if row.status != Status.OK:
            continue
        for side, variant in (("control", row.control_id), ("treatment", row.treatment_id)):
            entries.setdefault(
                (row.metric_id, variant),
                {
                    "metric": row.metric_id,
                    "variant": variant,
                    "kind": row.metric_kind,
                    "n": getattr(row, f"n_{side}"),
                    "mean": getattr(row, f"mean_{side}"),
                    "low": getattr(row, f"mean_{side}_low"),
                    "high": getattr(row, f"mean_{side}_high"),
                    "median": getattr(row, f"median_{side}"),
                    "p95": getattr(row, f"p95_{side}"),
                    "below": getattr(row, f"capped_lower_{side}"),
                    "above": getattr(row, f"capped_upper_{side}"),
                },
            )
    return list(entries.values())


def _write_charts(report: Report, environment: Environment) -> dict[str, str]:
    """Write what can be drawn, and return each chart's path relative to the memo."""
    from exp_platform.report import charts  # Altair takes a second to import

    directions = {m.id: m.direction for m in report.experiment.metrics}
    decisive = report.decision.decisive_metric
    first = decisive or report.experiment.metrics[0].id
    drawings = {
        "effects": charts.effects(report.of_method("ab"), directions),
        "over_time": charts.effect_over_time([r for r in report.series if r.metric_id == first]),
        "pretrends": charts.pretrends([r for r in report.deltas if r.metric_id == first]),
        "stability": charts.effect_by_day([r for r in report.of_method("stability") if r.metric_id == first]),
        "event_study": charts.event_study([r for r in report.event_study if r.metric_id == first]),
    }
    drawn = {}
    for name, chart in drawings.items():
        path = f"{report.experiment.id}/{name}.png"
        location = f"{environment.memos_dir}/{path}"
        if chart is not None:
            write_file(environment, location, charts.png(chart))
            drawn[name] = path
        else:
            delete_file(environment, location)  # of an earlier memo
    return drawn


def _as_text(value: object) -> object:
    """Whatever data and specs hold is text of one line, and is bounded; what we have written as Markdown stays."""
    return markdown(shortened(value)) if isinstance(value, str) else value


@cache
def _template() -> jinja2.Template:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("exp_platform.report"),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, not HTML
        finalize=_as_text,
    )
    environment.filters.update(
        level=numbers.level,
        change=numbers.change,
        percent=numbers.percent,
        share=numbers.share,
        count=numbers.count,
        code=code,
    )
    environment.globals.update(
        adjusted_by=wording.adjusted_by,
        effect=wording.effect,
        interval=numbers.interval,
        with_interval=numbers.with_interval,
        p_value=numbers.p_value,
        relative=wording.relative,
        segment=wording.segment,
        differing=wording.differing,
        frozen=wording.frozen,
        verdict=wording.reading,
        trend=wording.trend,
        sensitive=wording.sensitive,
        srm_line=wording.srm_line,
    )
    return environment.get_template("memo.md.j2")
