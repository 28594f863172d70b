"""Results as tables on a terminal."""

from __future__ import annotations

from rich.panel import Panel
from rich.table import Table
from rich.text import Text

from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.report import numbers
from exp_platform.report.content import Report
from exp_platform.report.wording import headline, reading, relative, why

_COLOUR = {"ship": "green", "stop": "red", "investigate": "yellow", "extend": "cyan"}


def decision_panel(report: Report) -> Panel:
    """The decision with its reasons."""
    decision = report.decision
    lines = [why(report), *(f"• {r.text}" for r in decision.reasons)]
    title = f"{report.experiment.id} as of {report.as_of_date}: {headline(decision)}"
    return Panel(
        Text("\n".join(lines)),
        title=title,
        title_align="left",
        border_style=_COLOUR.get(decision.action, "white"),
    )


def results_table(report: Report, method: str = "ab") -> Table:
    """One row for each metric and treatment of a method."""
    table = Table(title=f"{method}, as of {report.as_of_date}", title_justify="left")
    for name in ("Metric", "Treatment"):
        table.add_column(name)
    if method == "segments":
        table.add_column("Segment")
    for name in ("Control", "Treated", "Effect", "Relative", "p", "Adjusted p"):
        table.add_column(name, justify="right")
    table.add_column("Reading")
    for row in report.of_method(method):
        table.add_row(*_cells(row, with_segment=method == "segments"))
    return table


def _cells(row: ResultRow, *, with_segment: bool) -> list[str]:
    kind = row.metric_kind
    cells = [row.metric_id, row.treatment_id]
    if with_segment:
        cells.append(f"{row.segment} = {row.segment_value}")
    if row.status != Status.OK:
        return [*cells, *[numbers.DASH] * 6, f"{row.status}: {row.message or ''}".rstrip(": ")]
    return [
        *cells,
        numbers.level(row.mean_control, kind),
        numbers.level(row.mean_treatment, kind),
        f"{numbers.change(row.estimate, kind)} {numbers.interval(row.ci_low, row.ci_high, kind)}",
        relative(row),
        numbers.p_value(row.p_value, row.log10_p),
        numbers.p_value(row.p_adjusted),
        reading(row),
    ]
