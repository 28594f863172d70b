"""Results as tables on a terminal."""

from __future__ import annotations

from typing import Literal, cast

from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from exp_platform.analyses.rows import ResultRow
from exp_platform.config.analyses import UNADJUSTED
from exp_platform.errors import shortened
from exp_platform.escaping import terminal
from exp_platform.report import numbers
from exp_platform.report.content import Report
from exp_platform.report.excerpt import ON_A_TERMINAL, clearest, left_out
from exp_platform.report.wording import headline, pooled, reading, rows, segment, why
from exp_platform.stats.relative import Kind

_COLOUR = {"ship": "green", "stop": "red", "investigate": "yellow", "extend": "cyan"}


def decision_panel(report: Report) -> Panel:
    """The decision with its reasons."""
    decision = report.decision
    lines = [why(report), *(f"• {r.text}" for r in decision.reasons)]
    lines += [f"• {report.deletion}"] if report.deletion else []
    lines += [f"• damaged, so not shown: {fault}" for fault in report.unreadable]
    title = f"{report.experiment.id} as of {report.as_of_date}: {headline(decision)}"
    return Panel(
        _text("\n".join(lines)),
        title=title,
        title_align="left",
        border_style=_COLOUR.get(decision.action, "white"),
    )


def results_table(report: Report, method: str = UNADJUSTED, *, width: int = 80) -> Table:
    """One row for each metric and treatment of a method; below 120 columns without absolute effects and raw p.

    Of more rows than a person reads the clearest; the caption says so, and which values of segments are pooled.
    """
    every = report.of_method(method)
    found = clearest(every, ON_A_TERMINAL)
    wide = width >= 120
    shown = {
        "Metric": True,
        "Treatment": len(report.experiment.treatments) > 1,
        "Segment": method == "segments",
        "Control": True,
        "Treated": True,
        "Effect": wide,
        "Relative effect": True,
        "p": wide,
        "Adj. p": True,
        "Reading": True,
    }
    words = ("Metric", "Treatment", "Segment", "Reading")
    table = Table(
        title=f"{method}, as of {report.as_of_date}",
        title_justify="left",
        caption=_caption(report, found, every),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name in (name for name, wanted in shown.items() if wanted):
        # Numbers keep their line; words give way where the terminal is narrow.
        gives_way = name in ("Segment", "Reading")
        justify: Literal["left", "right"] = "left" if name in words else "right"
        table.add_column(name, justify=justify, no_wrap=not gives_way)
    for row in found:
        cells = _cells(row)
        table.add_row(*(_text(cells[name]) for name, wanted in shown.items() if wanted))
    return table


def _caption(report: Report, shown: list[ResultRow], every: list[ResultRow]) -> Text | None:
    notes = [left_out(shown, every, report.experiment.id), *pooled(report)]
    return _text("\n".join(note for note in notes if note)) if any(notes) else None


def rows_table(report: Report) -> Table:
    """What became of all rows that were read: a row for each table."""
    table = Table(
        title=f"rows read, as of {report.as_of_date}",
        title_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    for name, justify in (("Of", "left"), ("Read", "right"), ("Count", "left"), ("Do not count", "left")):
        table.add_column(name, justify=cast(Literal["left", "right"], justify), no_wrap=justify == "right")
    for told in rows(report):
        table.add_row(*(_text(cell.replace("; ", "\n")) for cell in told))
    return table


def _text(cell: str) -> Text:
    """Text as it is: a value of the data such as `[/a]` is no markup, nor are its bytes orders to the terminal."""
    return Text(terminal(shortened(cell)))


def _cells(row: ResultRow) -> dict[str, str]:
    kind = row.metric_kind
    relative = [numbers.percent(row.relative)]
    if row.relative_low is not None:
        relative.append(numbers.percent_interval(row.relative_low, row.relative_high))
    if row.relative_kind == Kind.APPROXIMATE:
        relative.append("approximate")
    effect = [numbers.change(row.estimate, kind)]
    if row.estimate is not None:
        effect.append(numbers.interval(row.ci_low, row.ci_high, kind))
    return {
        "Metric": row.metric_id,
        "Treatment": row.treatment_id,
        "Segment": segment(row),
        "Control": numbers.level(row.mean_control, kind),
        "Treated": numbers.level(row.mean_treatment, kind),
        "Effect": "\n".join(effect),
        "Relative effect": "\n".join(relative),
        "p": numbers.p_value(row.p_value, row.log10_p),
        "Adj. p": numbers.p_value(row.p_adjusted),
        "Reading": reading(row),
    }
