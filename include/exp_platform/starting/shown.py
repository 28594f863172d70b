"""What `exp preview` found, as tables on a terminal."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from rich.table import Table

from exp_platform import numbers
from exp_platform.escaping import line
from exp_platform.starting.preview import MOST_ROWS, Preview

_MOST_DAYS = 21
_LONG = 40  # of a cell


def preview_parts(found: Preview) -> Iterator[Table | str]:
    """Tables and lines in the order in which they are told."""
    window = found.experiment.window
    yield (
        f"{found.experiment.id}: what a run as of {found.as_of} would read. The window is {window.start} to {window.end} "
        f"({window.timezone})."
    )
    yield "\nWhat is read"
    yield _tables(found)
    for problem in found.problems:
        yield f"cannot be read: {problem}"
    if found.too_many:
        yield f"These are more rows than a preview reads ({MOST_ROWS:,}): `exp run {found.experiment.id}` reads them."
    if found.measured is None:
        return
    yield from _faults(found)
    yield "\nUsers by arm and day of their first exposure"
    yield _arms(found)
    yield from _checks(found)
    yield "\nMetrics, all arms together: by arm is what a run is for"
    yield _means(found)
    for name, rows in found.first.items():
        if len(rows):
            yield f"\nThe first rows of {name}, as they were understood"
            yield _rows(rows)


def _tables(found: Preview) -> Table:
    table = Table()
    for name in ("Table", "Files opened", "Rows in them", "Read", "Left out, and why"):
        table.add_column(name, justify="left" if name in ("Table", "Left out, and why") else "right")
    for read in found.tables:
        reasons = "\n".join(f"{n:,} {reason}" for reason, n in read.left_out.items())
        files = f"{read.places:,}" + (f" of {read.of:,}" if read.of > read.places else "")
        rows = "–" if read.rows is None else f"{read.rows:,}"
        table.add_row(line(read.table), files, f"{read.planned:,}", rows, reasons or "none")
    return table


def _faults(found: Preview) -> Iterator[str]:
    assert found.measured is not None
    for what, counts in (
        ("null", found.measured.nulls),
        ("unreadable", found.measured.malformed),
    ):
        for column, n in sorted(counts.items()):
            total = found.measured.rows_in.get(column.split(".")[0], 0)
            if n and total:
                yield line(f"{column}: {n:,} of {total:,} ({numbers.share(n / total, 2)}) are {what}")
    unknown = found.measured.unknown_variants
    if unknown:
        total = found.measured.rows_out.get("exposures", 0)
        named = ", ".join(f"{value!r} ({n:,})" for value, n in list(unknown.items())[:5])
        yield line(
            f"variants that the spec does not have: {sum(unknown.values()):,} of {total:,} exposures: {named}"
        )


def _arms(found: Preview) -> Table:
    """Users by arm and the day of their first exposure; of many days the first and the last."""
    assert found.measured is not None
    arms = [variant.id for variant in found.experiment.variants]
    table = Table()
    for name in ("Day", *arms):
        table.add_column(line(name), justify="left" if name == "Day" else "right")
    days = sorted(found.measured.users.items())
    half = _MOST_DAYS // 2
    shown = days if len(days) <= _MOST_DAYS else [*days[:half], ("…", {}), *days[-half:]]
    for day, counts in shown:
        table.add_row(day, *(f"{counts.get(arm, 0):,}" if counts else "…" for arm in arms))
    totals = {arm: sum(counts.get(arm, 0) for _, counts in days) for arm in arms}
    table.add_row("all", *(f"{totals[arm]:,}" for arm in arms), style="bold")
    return table


def _checks(found: Preview) -> Iterator[str]:
    """The split so far, and what failed."""
    for check in found.checks:
        if check.check == "srm" and check.status != "failed":
            yield line(f"users are split as planned, so far: {check.message}")
        if check.status == "failed":
            does = "a run would refuse the data" if check.severity == "error" else "a run would warn"
            yield line(f"{does}: {check.check}: {check.message}")
    if not any(check.status == "failed" for check in found.checks):
        yield "All checks pass."


def _means(found: Preview) -> Table:
    table = Table()
    for name in ("Metric", "Type", "Users", "Value"):
        table.add_column(name, justify="left" if name in ("Metric", "Type") else "right")
    for mean in found.means:
        value = "–" if mean.value is None else f"{mean.value:,.6g}"
        table.add_row(line(mean.metric), mean.kind, f"{mean.users:,}", value)
    return table


def _rows(rows: Any) -> Table:
    table = Table()
    names = [name for name in rows.column_names if rows[name].null_count < len(rows)]
    for name in names:
        table.add_column(line(name))
    for row in rows.select(names).to_pylist():
        table.add_row(*(_cell(row[name]) for name in names))
    return table


def _cell(value: Any) -> str:
    if isinstance(value, list):  # a map, as Arrow gives it
        value = ", ".join(f"{key}: {one}" for key, one in value)
    shown = line("–" if value is None else str(value))
    return shown if len(shown) <= _LONG else f"{shown[: _LONG - 1]}…"
