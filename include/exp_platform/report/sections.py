"""The sections of the memo's appendix: templates in the order of their files' names, and what they are made of.

An analysis has a section of its name, which reads its rows by `report.of_method`. A new one is a new file.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from inspect import isfunction
from typing import Any, NamedTuple

import jinja2

from exp_platform import numbers
from exp_platform.aggregates import ALL
from exp_platform.analyses.interaction import TEST as INTERACTION
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.analyses.stability import TREND
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import ADJUSTED, METHODS, UNADJUSTED
from exp_platform.config.metrics import Provenance, Role
from exp_platform.errors import shortened
from exp_platform.escaping import Markdown, code, markdown
from exp_platform.report import wording
from exp_platform.report.content import Report
from exp_platform.report.excerpt import IN_A_MEMO, clearest, left_out

# Of which the memo's numbers are rows
TABLES = (*dict.fromkeys(m.table for m in METHODS.values()), CheckResult.TABLE, "decisions")


class Defined(NamedTuple):
    """What a metric measured, and whose definition it is."""

    metric: str
    definition: str
    owner: str
    file: str


class Excerpt(NamedTuple):
    """The rows of a long table that the memo shows, and what it says of the others."""

    shown: list[ResultRow]
    left_out: str


# What templates of every form write numbers and words by
FILTERS = {
    "level": numbers.level,
    "change": numbers.change,
    "percent": numbers.percent,
    "share": numbers.share,
    "count": numbers.count,
}
WORDS = {name: words for name, words in vars(wording).items() if isfunction(words)} | {
    "size": numbers.size,
    "interval": numbers.interval,
    "with_interval": numbers.with_interval,
    "p_value": numbers.p_value,
}


@cache
def sections() -> tuple[jinja2.Template, ...]:
    """The templates, in order."""
    environment = markdown_templates("templates/sections")
    environment.globals.update(
        of_report(), methods=METHODS, tables=Markdown(", ".join(code(name) for name in TABLES))
    )
    names = sorted(environment.list_templates(extensions=["j2"]))
    return tuple(environment.get_template(name) for name in names)


def of_report() -> dict[str, Any]:
    """What templates ask of a report's rows."""
    return {
        "rows_read": wording.rows,
        "adjusted_pairs": adjusted_pairs,
        "defined": defined,
        "against_another": against_another,
        "by_segment": by_segment,
        "distributions": distributions,
        "lasting": lasting,
    }


def markdown_templates(folder: str) -> jinja2.Environment:
    """Templates of Markdown: whatever is put into them reads as it was written, and words and numbers are at hand."""
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("exp_platform.report", folder),
        trim_blocks=True,
        keep_trailing_newline=True,
        undefined=jinja2.StrictUndefined,
        autoescape=False,  # Markdown, not HTML
        finalize=_as_text,
    )
    environment.filters.update(FILTERS, code=code)
    environment.globals.update(WORDS, verdict=wording.reading)
    return environment


def _as_text(value: object) -> object:
    """Whatever data and specs hold is text of one line, and is bounded; what we have written as Markdown stays."""
    return markdown(shortened(value)) if isinstance(value, str) else value


def defined(report: Report) -> list[Defined]:
    """What each metric measured when the results were stored; of an older version's results as the spec says now."""
    told = {m.id: m.definition for m in report.experiment.metrics} | report.stored.definitions
    whose = {id: report.experiment.provenance.get(id, Provenance()) for id in told}
    return [Defined(id, told[id], whose[id].owner, whose[id].file) for id in told]


def adjusted_pairs(report: Report) -> list[tuple[ResultRow, ResultRow | None]]:
    """Each adjusted row with the unadjusted one of its metric and treatment."""
    plain = {(r.metric_id, r.treatment_id): r for r in report.of_method(UNADJUSTED)}
    rows = (row for method in ADJUSTED for row in report.of_method(method))
    return [(row, plain.get((row.metric_id, row.treatment_id))) for row in rows]


def against_another(report: Report, rows: Sequence[ResultRow]) -> list[ResultRow]:
    """Of the rows that compare two treatments one per pair: the treatment that the spec names later against the other."""
    order = [treatment.id for treatment in report.experiment.treatments]
    pairs = [row for row in rows if row.control_id in order]
    return [row for row in pairs if order.index(row.treatment_id) > order.index(row.control_id)]


def by_segment(report: Report, rows: Sequence[ResultRow]) -> tuple[Excerpt, Excerpt]:
    """Of the primary metrics the rows of single values, and the joint tests over all of them."""
    primary = [r for r in rows if r.role == Role.PRIMARY]
    values, joint = (
        [r for r in primary if (r.test == INTERACTION) is is_joint] for is_joint in (False, True)
    )
    return _excerpt(report, values), _excerpt(report, joint)


def _excerpt(report: Report, rows: list[ResultRow]) -> Excerpt:
    shown = clearest(rows, IN_A_MEMO)
    return Excerpt(shown, left_out(shown, rows, report.experiment.id))


def lasting(rows: Sequence[ResultRow]) -> list[tuple[ResultRow, ResultRow]]:
    """The trend over days since exposure and the test of equal cohorts, of each metric and treatment that has either."""
    tests: dict[tuple[str, str], dict[str, ResultRow]] = {}
    for row in rows:
        if row.segment_value in (TREND, ALL):
            tests.setdefault((row.metric_id, row.treatment_id), {})[row.segment_value] = row
    pairs = [(both[TREND], both[ALL]) for both in tests.values() if len(both) == 2]
    return [pair for pair in pairs if any(r.status != Status.NOT_APPLICABLE for r in pair)]


def distributions(report: Report, ab: list[ResultRow]) -> list[dict[str, Any]]:
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
                    "scale": report.scale(row),
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
