"""Results as tables on a terminal."""

from __future__ import annotations

from typing import Literal, cast

from rich import box
from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from exp_platform import numbers
from exp_platform.aggregates import ALL
from exp_platform.analyses.rows import DidRow, LateRow, ResultRow, Row
from exp_platform.config.analyses import METHODS, RESULTS, UNADJUSTED
from exp_platform.errors import shortened
from exp_platform.escaping import terminal
from exp_platform.report.content import Report
from exp_platform.report.excerpt import ON_A_TERMINAL, clearest, left_out
from exp_platform.report.wording import (
    headline,
    period,
    pooled,
    reading,
    reading_of_days,
    refreshed,
    rows,
    segment,
    why,
)
from exp_platform.stats.relative import Kind

_COLOUR = {"ship": "green", "stop": "red", "investigate": "yellow", "extend": "cyan"}

_LEAST = {"Metric": 8, "Reading": len("significant")}  # letters of a line


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
    """The rows of a method; effects relative to control stay below 120 columns, absolute ones and raw p do not.

    Where a method has no relative effects its absolute ones stay, and columns that would be empty are left out.
    Of more rows than a person reads the clearest; the caption says so, and which values of segments are pooled.
    """
    every = report.of_method(method)
    found = clearest(every, ON_A_TERMINAL)
    cells = [_of_result(report, r) if isinstance(r, ResultRow) else _of_days(report, r) for r in found]
    told = {name for of_row in cells for name, cell in of_row.items() if cell not in ("", numbers.DASH)}
    related = (METHODS[method].table == RESULTS and any(row.treatment_id for row in every)) or not every
    broad = width >= 120
    wide = broad or not related
    several = len(report.experiment.treatments) > 1
    if several and not broad:  # a row has two lines anyway, for the interval
        for of_row in cells:
            of_row["Metric"] += f"\n{of_row['Treatment']}"
    shown = {
        "Metric": True,
        "Treatment": several and broad,
        "Of": "Of" in told,
        "Control": True,
        "Treated": True,
        "Effect": wide,
        "Relative effect": True,
        "p": wide,
        "Adj. p": True,
        "Reading": True,
    }
    words = ("Metric", "Treatment", "Of", "Reading")
    table = Table(
        title=f"{method}, as of {report.as_of_date}",
        title_justify="left",
        caption=_caption(report, found, every),
        caption_justify="left",
        box=box.SIMPLE_HEAD,
        padding=(0, 1, 0, 0),
        pad_edge=False,
    )
    columns = [name for name, wanted in shown.items() if wanted and (related or name in told)]
    for name in columns:
        # Numbers keep their line; words give way where the terminal is narrow.
        gives_way = name in ("Metric", "Of", "Reading")
        justify: Literal["left", "right"] = "left" if name in words else "right"
        table.add_column(
            name,
            justify=justify,
            no_wrap=not gives_way,
            overflow="fold",
            min_width=_LEAST.get(name) if related else None,
        )
    for of_row in cells:
        table.add_row(*(_text(of_row[name]) for name in columns))
    return table


def _caption(report: Report, shown: list[Row], every: list[Row]) -> Text | None:
    notes = [left_out(shown, every, report.experiment.id), *pooled(report)]
    return _text("\n".join(note for note in notes if note)) if any(notes) else None


def rows_table(report: Report) -> Table:
    """What became of all rows that were read: a row for each table."""
    table = Table(
        title=f"rows read, as of {report.as_of_date}",
        title_justify="left",
        caption=_text(refreshed(report)) if report.stored.refresh else None,
        caption_justify="left",
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


def _of_days(report: Report, row: Row) -> dict[str, str]:
    """A row of another table, such as DiD's or that of planned sizes: its effect is per user and day, if it has one."""
    effect = getattr(row, "delta_from_reference", getattr(row, "estimate", None))
    interval = (getattr(row, "ci_low", None), getattr(row, "ci_high", None))
    unit = report.scale(row).unit
    told = {
        side: numbers.level(getattr(row, f"mean_{side}", None), unit=unit)
        for side in ("control", "treatment")
    }
    if isinstance(row, DidRow) and row.estimate is not None:
        both = ("pre", "post")
        told = {
            side: "\nto ".join(numbers.level(getattr(row, f"{when}_mean_{side}"), unit=unit) for when in both)
            for side in told
        }
    return {
        "Metric": row.metric_id,
        "Treatment": row.variant_id if isinstance(row, LateRow) else getattr(row, "treatment_id", ""),
        "Of": period(row),
        "Control": told["control"],
        "Treated": told["treatment"],
        "Effect": numbers.with_interval(effect, *interval, unit=unit).replace(" [", "\n[", 1),
        "Relative effect": numbers.DASH,
        "p": numbers.p_value(getattr(row, "p_value", None), getattr(row, "log10_p", None)),
        "Adj. p": numbers.DASH,
        "Reading": reading_of_days(report, row),
    }


def _of_result(report: Report, row: ResultRow) -> dict[str, str]:
    scale = report.scale(row)
    relative = [numbers.percent(row.relative)]
    if row.relative_low is not None:
        relative.append(numbers.percent_interval(row.relative_low, row.relative_high))
    if row.relative_kind == Kind.APPROXIMATE:
        relative.append("approximate")
    effect = numbers.with_interval(row.estimate, row.ci_low, row.ci_high, *scale)
    return {
        "Metric": row.metric_id,
        "Treatment": row.treatment_id
        if row.control_id == report.experiment.control.id
        else f"{row.treatment_id}\nagainst {row.control_id}",
        "Of": "" if row.segment == ALL else segment(row),
        "Control": numbers.level(row.mean_control, *scale),
        "Treated": numbers.level(row.mean_treatment, *scale),
        "Effect": effect.replace(" [", "\n[", 1),
        "Relative effect": "\n".join(relative),
        "p": numbers.p_value(row.p_value, row.log10_p),
        "Adj. p": numbers.p_value(row.p_adjusted),
        "Reading": reading(row),
    }
