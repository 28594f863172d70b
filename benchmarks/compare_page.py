"""What `compare.py` measured, as tables and a chart of docs/10_operations/compare.md."""

from __future__ import annotations

import sys
from pathlib import Path
from statistics import median
from typing import Any

DOCS = Path(__file__).parents[1] / "docs" / "10_operations"
PAGE, CHART = DOCS / "compare.md", DOCS / "growth.png"
NAMES = {
    "ours": "`exp run`: raw files to decision and memo",
    "duckdb": "DuckDB, one query",
    "duckdb_loose": "DuckDB, rows that stand twice counted twice",
    "clickhouse": "ClickHouse's engine (chdb), one query",
    "spark": "Spark SQL, one query",
    "tea_tasting": "DuckDB to a row per user, tea-tasting on that",
}
PARTS = {  # of our CPU, the stages that are left out
    "of it without the memo": ("memo",),
    "of it from published tables on": ("start, commands, end", "ingest"),
}


def write_page(found: list[dict[str, Any]]) -> None:
    """Put each measurement between its marks on the page, and the growth into the chart too."""
    page = PAGE.read_text()
    for one in found:
        name = f"{one['kind']} {one['users']}"
        begin, end = f"<!-- {name} -->", f"<!-- end of {name} -->"
        if page.count(begin) != 1 or page.count(end) != 1:
            sys.exit(f"{PAGE}: has no {begin} ... {end}, where the table would stand")
        table = first_table(one) if one["kind"] == "first" else growth_table(one)
        before, rest = page.split(begin)
        page = "\n".join([before + begin, *table, end + rest.split(end)[1]])
        if one["kind"] == "growth":
            _chart(one)
    PAGE.write_text(page)


def first_table(found: dict[str, Any]) -> list[str]:
    """Engines by row: least CPU and wall seconds of the rounds, most memory, and CPU as a multiple of DuckDB's in the same round."""
    rounds = found["rounds"]
    lines = [
        _told(found),
        "",
        "| | CPU s | times DuckDB's CPU | wall s | MB | differs from ours by |",
        "|---|---:|---:|---:|---:|---:|",
    ]
    for name in rounds[0]:
        each = [one[name] for one in rounds]
        differs = max(one["differs"] for one in each)
        differing = (
            "–" if name == "ours" else f"{differs:.0e}" if name != "duckdb_loose" else "another answer"
        )
        wall, peak = min(one["wall"] for one in each), max(one["peak_mb"] for one in each)
        lines.append(
            f"| {NAMES[name]} | {min(one['cpu'] for one in each):.1f} | {_times(rounds, name)} | {wall:.1f} | {peak:,.0f} | {differing} |"
        )
        if name == "ours":
            for part, without in PARTS.items():
                least = min(_cpu(one, without) for one in each)
                lines.append(f"| – {part} | {least:.1f} | {_times(rounds, name, without)} | | | |")
    lines += [f"| {NAMES[name]} | {why} | | | | |" for name, why in found["absent"].items()]
    return [*lines, "", *_stages([one["ours"] for one in rounds if "ours" in one])]


def _stages(rounds: list[dict[str, Any]]) -> list[str]:
    if not rounds:
        return []
    best = min(rounds, key=lambda one: float(one["cpu"]))["stages"]
    lines = ["| stages of ours, in the round of least CPU | CPU s | wall s |", "|---|---:|---:|"]
    return lines + [f"| {name} | {taken['cpu']:.1f} | {taken['wall']:.1f} |" for name, taken in best.items()]


def _cpu(taken: dict[str, Any], without: tuple[str, ...] = ()) -> float:
    return float(taken["cpu"] - sum(taken["stages"][name]["cpu"] for name in without))


def _times(rounds: list[dict[str, Any]], name: str, without: tuple[str, ...] = ()) -> str:
    """The median of the rounds' ratios to DuckDB, with the least and the most."""
    if "duckdb" not in rounds[0]:
        return ""
    ratios = [_cpu(one[name], without) / one["duckdb"]["cpu"] for one in rounds]
    spread = f" ({min(ratios):.2f}–{max(ratios):.2f})" if len(ratios) > 1 else ""
    return f"{median(ratios):.2f}{spread}"


def _told(found: dict[str, Any]) -> str:
    rows, size = found["rows"], sum(found["bytes"].values())
    versions = ", ".join(f"{name} {version}" for name, version in found["versions"].items() if version)
    counted = f"rounds in turn: {len(found['rounds'])}" if "rounds" in found else "one run each"
    return (
        f"{found['users']:,} users, {rows['exposures']:,} exposures, {rows['outcomes']:,} outcomes in {size / 1e6:,.0f} MB of Parquet, "
        f"duplicates by {found['dedupe'].replace('_', ' ')}; {found['threads']} cores, load {found['load']:.0f}, {counted}; "
        f"version `{found['commit']}`; {versions}."
    )


def growth_table(found: dict[str, Any]) -> list[str]:
    """Days by row, where a full refresh was measured beside the daily run."""
    lines = [
        _told(found),
        "",
        "| as of day | the daily run is | daily run, CPU s | full refresh, CPU s | DuckDB's query, CPU s | daily / full | daily / DuckDB |",
    ]
    lines.append("|---:|---|---:|---:|---:|---:|---:|")
    for one in found["days"]:
        if "full" in one:
            daily, full, query = (one[name]["cpu"] for name in ("daily", "full", "duckdb"))
            kind = (one["daily"].get("refresh") or {"kind": "full"})["kind"]
            lines.append(
                f"| {one['day']} | {kind} | {daily:.1f} | {full:.1f} | {query:.1f} | {daily / full:.2f} | {daily / query:.2f} |"
            )
    if not found.get("edits"):
        return lines
    lines += [
        "",
        "| after the last day a metric is added | the run, CPU s | full refresh, CPU s | run / full |",
    ]
    lines.append("|---|---:|---:|---:|")
    for told, one in found["edits"].items():
        run, full = one["daily"]["cpu"], one["full"]["cpu"]
        lines.append(f"| {told} | {run:.1f} | {full:.1f} | {run / full:.2f} |")
    return lines


def _chart(found: dict[str, Any]) -> None:
    import altair as alt

    from exp_platform.report.charts import small_png

    names = {"daily": "daily run", "full": "full refresh", "duckdb": "DuckDB's query"}
    points = [
        {"day": one["day"], "of": told, "cpu": round(one[name]["cpu"], 2)}
        for one in found["days"]
        for name, told in names.items()
        if name in one
    ]
    chart = (
        alt.Chart(alt.InlineData(values=points), title=f"{found['users']:,} users, raw files to results")
        .mark_line(point=True)
        .encode(
            x=alt.X("day:Q", title="as of day"),
            y=alt.Y("cpu:Q", title="CPU seconds", scale=alt.Scale(zero=True)),
            color=alt.Color("of:N", title=None, sort=list(names.values())),
        )
        .properties(width=520, height=240)
    )
    CHART.write_bytes(small_png(chart.to_dict()))
