"""The charts of a result, as Vega-Lite specifications: the memo keeps them as pictures, notebooks and pages show them.

Plain data, as https://vega.github.io/vega-lite/docs/spec.html has it: a library that builds it object by object takes longer to import
than a small experiment's stages take to run. In a notebook `altair.Chart.from_dict` shows one.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable, Mapping, Sequence
from datetime import date
from typing import Any

from exp_platform.aggregates import DailyRow
from exp_platform.analyses.rows import EventStudyRow, PretrendDeltaRow, ResultRow, Status
from exp_platform.analyses.stability import DAY, TREND
from exp_platform.config.kinds import is_share
from exp_platform.escaping import terminal
from exp_platform.stats.relative import Kind

Chart = dict[str, Any]

_VEGA_LITE = "6.4"  # of those that the renderer has
_GOOD, _BAD, _OPEN = "#1a7f5a", "#b3261e", "#5f6b7a"
# Of arms, told apart by people who see colours otherwise too; shapes tell them apart without any.
ARMS = ("#2f5f9e", "#c05717", "#3f8f6f", "#8a4fa3", "#8c6d1f", "#4b9ab0")
_READINGS = {"significantly better": _GOOD, "significantly worse": _BAD, "not significant": _OPEN}


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
    colours = {"domain": list(_READINGS), "range": list(_READINGS.values())}
    title = "Effect relative to control, with corrected interval"
    shared = {
        "y": _nominal("label", sort=None),
        "color": _nominal("reading", scale=colours),
    }
    bars = shared | {
        "x": _number("low", title=title, axis={"labelExpr": "format(100 * datum.value, '+.1~f') + ' %'"}),
        "x2": {"field": "high"},
    }
    return _layered(
        data,
        _line(x="zero"),
        _layer({"type": "rule", "strokeWidth": 2.5}, bars),
        _layer(_POINT | {"size": 70}, shared | {"x": _number("relative")}),
        height={"step": 26},
    )


def effect_over_time(
    rows: Sequence[ResultRow], planned_end: date | None = None, unit: str = ""
) -> Chart | None:
    """The absolute effect of one metric by as_of date, in its unit where it has one; None below two dates.

    With the always-valid band, or, of a group-sequential test, the interval at each of its looks; and the planned end.
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
    x = {
        "field": "as_of",
        "type": "temporal",
        "title": "as of",
        "axis": _dates([*(r.as_of_date for r in rows), *([planned_end] if planned_end else [])]),
    }
    arms = _arms("treatment", rows)
    shared = {"x": x, "color": arms}
    title = _in_unit("effect", unit)
    evidence = list[Chart]()  # a layer without marks says nothing to who hears the picture
    if any(d["look_low"] is not None for d in data):
        title = _in_unit("effect and its interval at each look", unit)
        looks = shared | {"y": _number("look_low", title=title), "y2": {"field": "look_high"}}
        evidence = [_layer({"type": "rule", "strokeWidth": 2.5}, looks, "isValid(datum.look_low)")]
    elif any(d["low"] is not None and d["high"] is not None for d in data):
        title = _in_unit("effect and always-valid band", unit)
        band = shared | {"y": _number("low", title=title), "y2": {"field": "high"}}
        both = "isValid(datum.low) && isValid(datum.high)"
        evidence = [_layer({"type": "area", "opacity": 0.18}, band, both)]
    told = [
        _nominal("treatment", title="treatment"),
        _told("as_of", "as of"),
        *(_number(f, title=_in_unit(f, unit), format="+.4~g") for f in ("estimate", "low", "high")),
    ]
    y = _number("estimate", title=title, axis=_axis(rows[0].metric_kind))
    estimate = shared | {"y": y, "tooltip": told}
    return _layered(
        data,
        _line(y="zero"),
        *_planned_end(planned_end),
        *evidence,
        _layer({"type": "line"}, estimate),
        _layer(_POINT | {"size": 40}, estimate | {"shape": arms}),
        height=220,
        width=_WIDE,
    )


def users_by_day(rows: Sequence[DailyRow], planned: Mapping[str, float]) -> Chart | None:
    """New users of each arm on each local date, and how many a day the plan asks of it; None below two dates."""
    new: dict[tuple[date, str], int] = {}
    for r in rows:
        new[r.local_date, r.variant_id] = max(r.new_users, new.get((r.local_date, r.variant_id), 0))
    data = [{"day": day.isoformat(), "arm": arm, "users": n} for (day, arm), n in sorted(new.items())]
    if len({d["day"] for d in data}) < 2:
        return None
    x = {
        "field": "day",
        "type": "temporal",
        "title": "day of first exposure",
        "axis": _dates(day for day, _ in new),
    }
    arm = _nominal("arm", scale={"domain": list(dict.fromkeys((*planned, *(d["arm"] for d in data))))})
    users = {"x": x, "color": arm, "y": _number("users", title="new users", axis={"format": ",d"})}
    told = users | {
        "tooltip": [_nominal("arm", title="arm"), _told("day", "day"), _number("users", format=",d")]
    }
    return _layered(
        data,
        *_plan(planned, arm),
        _layer({"type": "line"}, users),
        _layer(_POINT | {"size": 40}, told | {"shape": arm}),
        height=180,
        width=_WIDE,
    )


def pretrends(rows: Sequence[PretrendDeltaRow], unit: str = "") -> Chart | None:
    """Daily differences before exposure against the reference day; None where there are none."""
    data = [
        _of_day(r.day, r.delta_from_reference, r)
        for r in rows
        if r.status == Status.OK and r.delta_from_reference is not None
    ]
    return _layered(data, _line(y="zero"), *_by_day(_in_unit("difference from reference day", unit), rows))


def event_study(rows: Sequence[EventStudyRow], unit: str = "") -> Chart | None:
    """The gap between the arms on each day around first exposure against the day before it; None where there is none."""
    data = [
        _of_day(r.first_day, r.estimate, r)
        for r in rows
        if r.status == Status.OK and r.first_day == r.last_day
    ]
    exposure = {"mark": {"type": "rule", "color": "#888"}, "encoding": {"x": _number("exposure")}}
    between = {"data": {"values": [{"exposure": -0.5}]}}  # the day before and the day of it
    by_day = _by_day(_in_unit("gap against day −1", unit), rows, continuous=True)
    return _layered(data, _line(y="zero"), exposure | between, *by_day)


def effect_by_day(rows: Sequence[ResultRow], unit: str = "") -> Chart | None:
    """The effect on each day since exposure, of the same users throughout; None where there is none."""
    data = [
        _of_day(int(r.segment_value), r.estimate, r)
        for r in rows
        if r.status == Status.OK and r.segment == DAY and r.segment_value != TREND
    ]
    return _layered(data, _line(y="zero"), *_by_day(_in_unit("effect of that day", unit), rows))


def png(chart: Chart, scale: float = 2) -> bytes:
    """A Vega-Lite specification as PNG, drawn offline: an SVG's text is cut off wherever another font is installed."""
    return png_of(svg(chart), scale)


def png_of(drawn: str, scale: float = 2) -> bytes:
    """A chart that was drawn as SVG, as PNG."""
    import vl_convert

    made: bytes = vl_convert.svg_to_png(drawn, scale=scale, ppi=72)
    return made


def svg(chart: Chart) -> str:
    """A Vega-Lite specification as SVG, drawn offline on white."""
    import vl_convert

    roomy = themed(chart) | {"padding": _PADDING}
    drawn: str = vl_convert.vegalite_to_svg(_printable(roomy), vl_version=_VEGA_LITE)
    return drawn


def _printable(part: Any) -> Any:
    """The same with all texts as a terminal shows them: at a control character, which XML has no way to write, the renderer ends the process."""
    if isinstance(part, str):
        return terminal(part)
    if isinstance(part, dict):
        return {key: _printable(value) for key, value in part.items()}
    return [_printable(one) for one in part] if isinstance(part, (list, tuple)) else part


def themed(chart: Chart) -> Chart:
    """The specification with the look that pictures have; in a page its script sets one by the page's theme."""
    config = chart.get("config", {})
    view = config.get("view", {}) | {"stroke": None}
    return chart | {"config": {"range": {"category": list(ARMS)}} | config | {"view": view}}


def small_png(chart: Chart) -> bytes:
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


_WIDE = 760  # of what runs over the days
# Legends stand at the right: in a page's own font their texts may be wider than they were measured
_PADDING: Chart = {"left": 5, "top": 5, "right": 30, "bottom": 5}
_POINT: Chart = {"type": "point", "filled": True, "opacity": 1}


def _layered(data: list[Chart], *layers: Chart, height: Any = 200, width: int = 520) -> Chart | None:
    """Layers of one picture over the same rows, but for those that have rows of their own; None where there are no rows."""
    if not data:
        return None
    return {"data": {"values": data}, "layer": list(layers), "width": width, "height": height}


def _layer(mark: Chart, encoding: Chart, among: str | None = None) -> Chart:
    """Marks of the rows, or of those that a Vega expression is true of."""
    kept = {"transform": [{"filter": among}]} if among else {}
    return {"mark": mark, "encoding": encoding, **kept}


def _dates(days: Iterable[date]) -> Chart:
    """An axis of dates with at most some eight of them, each once."""
    found = set(days)
    span = (max(found) - min(found)).days
    return {"format": "%-d %b", "labelOverlap": True, "tickCount": {"interval": "day", "step": span // 8 + 1}}


def _told(field: str, title: str) -> Chart:
    """A date as a tooltip tells it."""
    return {"field": field, "type": "temporal", "title": title, "format": "%-d %B %Y"}


def _axis(kind: str) -> Chart:
    """How an absolute effect is written beside an axis: percentage points for shares."""
    if is_share(kind):
        return {"labelExpr": "format(100 * datum.value, '+.3~g') + ' pp'"}
    return {"format": "+,.4~g"}


def _in_unit(title: str, unit: str) -> str:
    return f"{title}, {unit}" if unit else title


def _arms(field: str, rows: Sequence[Any]) -> Chart:
    """Treatments, each with the colour and shape that it has where control is there too; one alone needs no legend."""
    treatments = list(dict.fromkeys(r.treatment_id for r in rows))
    controls = list(dict.fromkeys(r.control_id for r in rows))
    legend = {"values": treatments} if len(treatments) > 1 else None
    return _nominal(field, scale={"domain": [*controls, *treatments]}, legend=legend)


def _plan(planned: Mapping[str, float], arm: Chart) -> list[Chart]:
    """Dashed lines of what the plan asks a day: one where it asks the same of all arms."""
    rows = [{"arm": name, "planned": n} for name, n in planned.items()]
    mark: Chart = {"type": "rule", "strokeDash": [6, 4], "strokeWidth": 1.5}
    encoding: Chart = {"y": _number("planned"), "tooltip": [_number("planned", format=",.0f")]}
    if len(set(planned.values())) == 1:
        rows, mark = rows[:1], mark | {"color": "#888"}
    else:
        encoding = encoding | {"color": arm}
    return [{"data": {"values": rows}, "mark": mark, "encoding": encoding}] if rows else []


def _planned_end(day: date | None) -> list[Chart]:
    """A line at the planned end, where one is given."""
    if day is None:
        return []
    at = {"data": {"values": [{"planned": day.isoformat(), "said": "planned end"}]}}
    x = {"x": {"field": "planned", "type": "temporal"}}
    rule = {"mark": {"type": "rule", "strokeDash": [2, 3], "color": "#888"}, "encoding": x}
    said = {"mark": {"type": "text", "align": "right", "dx": -4, "dy": 6, "baseline": "top", "color": "#888"}}
    return [at | rule, at | said | {"encoding": x | {"text": _nominal("said"), "y": {"value": 0}}}]


def _line(**axis: str) -> Chart:
    """A dashed line at zero of an axis."""
    mark = {"type": "rule", "strokeDash": [4, 4], "color": "#888"}
    encoding = {name: _number(field) for name, field in axis.items()}
    return {"data": {"values": [{"zero": 0}]}, "mark": mark, "encoding": encoding}


def _of_day(day: int, estimate: float | None, row: Any) -> Chart:
    return {
        "day": day,
        "estimate": estimate,
        "low": row.ci_low,
        "high": row.ci_high,
        "treatment": row.treatment_id,
    }


def _by_day(title: str, rows: Sequence[Any], *, continuous: bool = False) -> tuple[Chart, Chart]:
    """Intervals and points of what `_of_day` gives."""
    kind = "quantitative" if continuous else "ordinal"
    shared = {
        "x": {"field": "day", "type": kind, "title": "days since first exposure"},
        "color": (arms := _arms("treatment", rows)),
    }
    bars = shared | {"y": _number("low", title=title), "y2": {"field": "high"}}
    told = [
        _nominal("treatment", title="treatment"),
        _number("day"),
        *(_number(f, format="+.4~g") for f in ("estimate", "low", "high")),
    ]
    points = shared | {"y": _number("estimate"), "shape": arms, "tooltip": told}
    return _layer({"type": "rule", "strokeWidth": 2}, bars), _layer(_POINT | {"size": 50}, points)


def _number(field: str, **more: Any) -> Chart:
    return {"field": field, "type": "quantitative", **more}


def _nominal(field: str, **more: Any) -> Chart:
    return {"field": field, "type": "nominal", "title": None, **more}


def _reading(row: ResultRow, direction: int) -> str:
    if not row.significant and not row.always_valid_significant:
        return "not significant"
    return "significantly better" if (row.estimate or 0) * direction > 0 else "significantly worse"
