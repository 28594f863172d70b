"""The charts of a result, as Altair charts: the memo keeps them as pictures, notebooks and pages show them."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from io import BytesIO
from typing import Any

import altair as alt

from exp_platform.analyses.rows import EventStudyRow, PretrendDeltaRow, ResultRow, Status
from exp_platform.analyses.stability import DAY, TREND
from exp_platform.stats.relative import Kind

Chart = alt.LayerChart | alt.FacetChart

_GOOD, _BAD, _OPEN = "#1a7f5a", "#b3261e", "#5f6b7a"


def effects(rows: Sequence[ResultRow], directions: Mapping[str, int]) -> Chart | None:
    """Relative effects with their intervals, a line for each metric and treatment; None where no row has one."""
    data = [
        {
            "label": f"{r.metric_id}: {r.treatment_id}"
            + (", approximate" if r.relative_kind == Kind.APPROXIMATE else ""),
            "relative": r.relative,
            "low": r.relative_low,
            "high": r.relative_high,
            "reading": _reading(r, directions.get(r.metric_id, 1)),
        }
        for r in rows
        if r.status == Status.OK and r.relative is not None and r.relative_low is not None
    ]
    if not data:
        return None
    base = alt.Chart(alt.InlineData(values=data)).encode(y=alt.Y("label:N", sort=None, title=None))
    colour = alt.Color(
        "reading:N",
        title=None,
        scale=alt.Scale(
            domain=["significantly better", "significantly worse", "not significant"],
            range=[_GOOD, _BAD, _OPEN],
        ),
    )
    axis = alt.Axis(format="+.1%")
    title = "Effect relative to control, with corrected interval"
    bars = base.mark_rule(strokeWidth=2.5).encode(
        x=alt.X("low:Q", title=title, axis=axis), x2="high:Q", color=colour
    )
    points = base.mark_point(filled=True, size=70, opacity=1).encode(x="relative:Q", color=colour)
    zero = _zero_line(x="zero:Q")
    return alt.layer(zero, bars, points).properties(width=520, height=alt.Step(26))


def effect_over_time(rows: Sequence[ResultRow]) -> Chart | None:
    """The absolute effect of one metric by as_of date; None below two dates.

    With the always-valid band, or, of a group-sequential test, the interval at each of its looks.
    """
    data = [
        {
            "as_of": r.as_of_date.isoformat(),
            "treatment": r.treatment_id,
            "estimate": r.estimate,
            "low": r.always_valid_low,
            "high": r.always_valid_high,
            "look_low": r.ci_low if r.look else None,
            "look_high": r.ci_high if r.look else None,
        }
        for r in rows
        if r.status == Status.OK and r.estimate is not None
    ]
    if len({d["as_of"] for d in data}) < 2:
        return None
    grouped = any(d["look_low"] is not None for d in data)
    title = "effect and its interval at each look" if grouped else "effect and always-valid band"
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=alt.X("as_of:T", title="as of"), color=alt.Color("treatment:N", title=None)
    )
    band = (
        base.transform_filter("isValid(datum.low) && isValid(datum.high)")
        .mark_area(opacity=0.18)
        .encode(y=alt.Y("low:Q", title=title), y2="high:Q")
    )
    looks = (
        base.transform_filter("isValid(datum.look_low)")
        .mark_rule(strokeWidth=2.5)
        .encode(y=alt.Y("look_low:Q", title=title), y2="look_high:Q")
    )
    line = base.mark_line(point=True).encode(y="estimate:Q")
    zero = _zero_line(y="zero:Q")
    return alt.layer(zero, band, looks, line).properties(width=520, height=220)


def pretrends(rows: Sequence[PretrendDeltaRow]) -> Chart | None:
    """Daily differences before exposure against the reference day; None where there are none."""
    data = [
        {
            "day": r.day,
            "delta": r.delta_from_reference,
            "low": r.ci_low,
            "high": r.ci_high,
            "treatment": r.treatment_id,
        }
        for r in rows
        if r.status == Status.OK and r.delta_from_reference is not None
    ]
    if not data:
        return None
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=alt.X("day:O", title="days since first exposure"), color=alt.Color("treatment:N", title=None)
    )
    bars = base.mark_rule(strokeWidth=2).encode(
        y=alt.Y("low:Q", title="difference from reference day"), y2="high:Q"
    )
    points = base.mark_point(filled=True, size=50, opacity=1).encode(y="delta:Q")
    zero = _zero_line(y="zero:Q")
    return alt.layer(zero, bars, points).properties(width=520, height=200)


def event_study(rows: Sequence[EventStudyRow]) -> Chart | None:
    """The gap between the arms on each day around first exposure against the day before it; None where there is none."""
    data = [
        {
            "day": r.first_day,
            "gap": r.estimate,
            "low": r.ci_low,
            "high": r.ci_high,
            "treatment": r.treatment_id,
        }
        for r in rows
        if r.status == Status.OK and r.first_day == r.last_day
    ]
    if not data:
        return None
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=alt.X("day:Q", title="days since first exposure"), color=alt.Color("treatment:N", title=None)
    )
    bars = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title="gap against day −1"), y2="high:Q")
    points = base.mark_point(filled=True, size=50, opacity=1).encode(y="gap:Q")
    marks = alt.InlineData(values=[{"zero": 0, "exposure": -0.5}])
    zero = alt.Chart(marks).mark_rule(strokeDash=[4, 4], color="#888").encode(y="zero:Q")
    exposure = alt.Chart(marks).mark_rule(color="#888").encode(x="exposure:Q")
    return alt.layer(zero, exposure, bars, points).properties(width=520, height=200)


def effect_by_day(rows: Sequence[ResultRow]) -> Chart | None:
    """The effect on each day since exposure, of the same users throughout; None where there is none."""
    data = [
        {
            "day": int(r.segment_value),
            "effect": r.estimate,
            "low": r.ci_low,
            "high": r.ci_high,
            "treatment": r.treatment_id,
        }
        for r in rows
        if r.status == Status.OK and r.segment == DAY and r.segment_value != TREND
    ]
    if not data:
        return None
    base = alt.Chart(alt.InlineData(values=data)).encode(
        x=alt.X("day:O", title="days since first exposure"), color=alt.Color("treatment:N", title=None)
    )
    bars = base.mark_rule(strokeWidth=2).encode(y=alt.Y("low:Q", title="effect of that day"), y2="high:Q")
    points = base.mark_point(filled=True, size=50, opacity=1).encode(y="effect:Q")
    zero = _zero_line(y="zero:Q")
    return alt.layer(zero, bars, points).properties(width=520, height=200)


def png(chart: Any, scale: float = 2) -> bytes:
    """Any Altair chart as PNG, drawn offline: an SVG's text is cut off wherever another font is installed."""
    drawn = BytesIO()
    chart.configure_view(stroke=None).save(drawn, format="png", scale_factor=scale)
    return drawn.getvalue()


def small_png(chart: Any) -> bytes:
    """A chart as PNG, small enough for a repository: the renderer packs for speed, into four times the size."""
    picture = png(chart, scale=1)
    signature, position, chunks = picture[:8], 8, dict[bytes, bytes]()
    while position < len(picture):
        length = int.from_bytes(picture[position : position + 4], "big")
        name = picture[position + 4 : position + 8]
        chunks[name] = chunks.get(name, b"") + picture[position + 8 : position + 8 + length]
        position += length + 12
    chunks[b"IDAT"] = zlib.compress(zlib.decompress(chunks[b"IDAT"]), 9)
    return signature + b"".join(
        len(data).to_bytes(4, "big") + name + data + zlib.crc32(name + data).to_bytes(4, "big")
        for name, data in chunks.items()
    )


def _zero_line(**axis: str) -> alt.Chart:
    line: alt.Chart = alt.Chart(alt.InlineData(values=[{"zero": 0}])).mark_rule(
        strokeDash=[4, 4], color="#888"
    )
    return line.encode(**axis)


def _reading(row: ResultRow, direction: int) -> str:
    if not row.significant and not row.always_valid_significant:
        return "not significant"
    return "significantly better" if (row.estimate or 0) * direction > 0 else "significantly worse"
