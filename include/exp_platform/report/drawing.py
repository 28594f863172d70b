"""Our own charts as SVG, without a browser's engine, whose start costs more CPU than a small experiment's stages together.

It knows the words of Vega-Lite that `charts` uses, and refuses any other, so that no chart is drawn as something else.
"""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from html import escape
from typing import Any

_COLOURS = [
    "#4c78a8",
    "#f58518",
    "#e45756",
    "#72b7b2",
    "#54a24b",
    "#eeca3b",
    "#b279a2",
    "#ff9da6",
    "#9d755d",
    "#bab0ac",
]
_MARKS = {"type", "strokeWidth", "strokeDash", "color", "opacity", "filled", "size", "point"}
_FIELDS = {"field", "type", "title", "axis", "scale", "sort"}
_FILTER = re.compile(r"isValid\(datum\.(\w+)\)")
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_LARGEST = 1e150  # beyond it differences overflow
_FONT, _TITLE, _LONGEST = 10, 11, 200  # pixels: heights of letters, and the length of a label


@dataclass(frozen=True)
class _Axis:
    """Where values lie along one direction, in pixels from the picture's left or top, and what is written beside it."""

    at: Callable[[Any], float]
    ticks: Sequence[tuple[float, str]]
    title: str | None
    grid: bool  # whether lines go through the picture: not between names


@dataclass(frozen=True)
class _Layer:
    mark: Mapping[str, Any]
    encoding: Mapping[str, Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]  # those that have all that is drawn of them

    def values(self, *channels: str) -> list[Any]:
        """What the rows have on those of these channels that the layer uses."""
        fields = [self.encoding[channel]["field"] for channel in channels if channel in self.encoding]
        return [row[field] for field in fields for row in self.rows]


def svg(chart: Mapping[str, Any]) -> str:
    """A chart of `charts` as SVG, its size in pixels. Raises ValueError for a word of Vega-Lite that is not known here."""
    _only(chart, {"data", "layer", "width", "height"})
    layers = [_layer(chart, layer) for layer in chart["layer"]]
    names = list(dict.fromkeys(v for layer in layers for v in layer.values("y")))
    width, height = float(chart["width"]), chart["height"]
    height = float(height["step"] * max(len(names), 1) if isinstance(height, Mapping) else height)
    x, y = _axis(layers, "x", width), _axis(layers, "y", height)
    colours = _colours(layers)
    drawn = [mark for layer in layers for mark in _marks(layer, x, y, colours, (width, height))]
    left = max((_width(label) for _, label in y.ticks), default=0) + 10 + (2 * _TITLE if y.title else 0)
    right = 10 + (40 + max(map(_width, colours)) if colours else 20)
    body = "".join([*_frame(x, y, width, height, left), *drawn, *_legend(colours, width)])
    whole, tall = math.ceil(left + width + right), math.ceil(max(height + 42, 16 * len(colours)) + 12)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{whole}" height="{tall}" viewBox="0 0 {whole} {tall}" '
        f'font-family="sans-serif" font-size="{_FONT}"><rect width="{whole}" height="{tall}" fill="white"/>'
        f'<g transform="translate({left + 5:.1f},7)">{body}</g></svg>'
    )


def _only(found: Mapping[str, Any], known: set[str]) -> None:
    if unknown := found.keys() - known:
        raise ValueError(
            f"nothing is drawn of {', '.join(sorted(unknown))}; known are {', '.join(sorted(known))}"
        )


def _layer(chart: Mapping[str, Any], layer: Mapping[str, Any]) -> _Layer:
    _only(layer, {"mark", "encoding", "transform", "data"})
    _only(layer["mark"], _MARKS)
    _only({layer["mark"]["type"]: None}, {"rule", "point", "line", "area"})
    _only(layer["encoding"], {"x", "y", "x2", "y2", "color"})
    for encoding in layer["encoding"].values():
        _only(encoding, _FIELDS)
    wanted = [encoding["field"] for encoding in layer["encoding"].values()]
    for transform in layer.get("transform", ()):
        _only(transform, {"filter"})
        if _FILTER.sub("", transform["filter"]).strip(" &"):
            raise ValueError(f"nothing is drawn of the filter {transform['filter']}")
        wanted += _FILTER.findall(transform["filter"])
    rows = layer.get("data", chart["data"])["values"]
    return _Layer(
        layer["mark"], layer["encoding"], [r for r in rows if all(_is_there(r.get(f)) for f in wanted)]
    )


def _is_there(value: Any) -> bool:
    return abs(value) < _LARGEST if isinstance(value, (int, float)) else value is not None


def _axis(layers: Sequence[_Layer], channel: str, length: float) -> _Axis:
    encodings = [layer.encoding[channel] for layer in layers if channel in layer.encoding]
    values = [v for layer in layers for v in layer.values(channel, f"{channel}2")]
    (kind,) = {encoding["type"] for encoding in encodings}
    title = next((e["title"] for e in encodings if e.get("title")), None)
    if kind == "quantitative":
        (form,) = {e["axis"]["format"] for e in encodings if "axis" in e} or {None}
        return _numbers(values, length, title, form, upwards=channel == "y")
    if kind == "temporal":
        return _days(values, length, title)
    order = list(dict.fromkeys(values)) if kind == "nominal" else sorted(set(values))
    place = {value: (i + 0.5) * length / len(order) for i, value in enumerate(order)}
    ticks = [
        (at, _shortened(str(value).replace("-", "−") if kind == "ordinal" else str(value)))
        for value, at in place.items()
    ]
    return _Axis(place.__getitem__, ticks if channel == "y" else _apart(ticks), title, grid=False)


def _numbers(
    values: Sequence[float], length: float, title: str | None, form: str | None, *, upwards: bool
) -> _Axis:
    low, high = min(values, default=0.0), max(values, default=1.0)
    if low == high:
        low, high = low - (abs(low) or 1) / 2, high + (abs(high) or 1) / 2
    rough = (high - low) / max(length / (40 if upwards else 65), 2)
    power = 10.0 ** math.floor(math.log10(rough))
    step = power * next(factor for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999 or factor == 10)
    first, last = math.floor(low / step), math.ceil(high / step)
    decimals = max(0, -math.floor(math.log10(step)))
    form = form or (f",.{decimals}f" if decimals < 8 and step < 1e9 else ".3g")

    def at(value: float) -> float:
        share = (value / step - first) / (last - first)
        return length * (1 - share if upwards else share)

    ticks = [(at(i * step), format(i * step + 0.0, form).replace("-", "−")) for i in range(first, last + 1)]
    return _Axis(at, ticks if upwards else _apart(ticks), title, grid=True)


def _days(values: Sequence[str], length: float, title: str | None) -> _Axis:
    days = sorted({date.fromisoformat(value) for value in values})
    span = max((days[-1] - days[0]).days, 1)

    def at(day: str) -> float:
        return (date.fromisoformat(day) - days[0]).days / span * length

    every = math.ceil((span + 1) / 8)
    shown = [str(days[0] + timedelta(i)) for i in range(0, span + 1, every)]
    return _Axis(at, [(at(day), day) for day in shown], title, grid=True)


def _apart(ticks: Sequence[tuple[float, str]]) -> list[tuple[float, str]]:
    """The ticks, so few of them with a label that no two labels touch."""
    if len(ticks) < 2:
        return list(ticks)
    every = math.ceil((max(_width(label) for _, label in ticks) + 6) / (ticks[1][0] - ticks[0][0]))
    return [(at, "" if i % every else label) for i, (at, label) in enumerate(ticks)]


def _colours(layers: Sequence[_Layer]) -> dict[str, str]:
    """What the legend names -> its colour."""
    found: dict[str, str] = {}
    for layer in layers:
        scale = layer.encoding.get("color", {}).get("scale")
        if scale:
            return dict(zip(scale["domain"], scale["range"], strict=True))
        found |= dict.fromkeys(layer.values("color"), "")
    return {name: _COLOURS[i % len(_COLOURS)] for i, name in enumerate(sorted(found))}


def _marks(
    layer: _Layer, x: _Axis, y: _Axis, colours: Mapping[str, str], size: tuple[float, float]
) -> list[str]:
    """A layer's shapes, of one colour after another."""
    mark, colour = layer.mark, str(layer.encoding.get("color", {}).get("field"))

    def places(channel: str, axis: _Axis) -> list[float]:
        return [axis.at(value) for value in layer.values(channel)]

    across, down = places("x", x), places("y", y)
    x2 = places("x2", x) or across or [size[0]] * len(down)
    y2 = places("y2", y) or down or [size[1]] * len(across)
    across, down = across or [0.0] * len(down), down or [0.0] * len(across)
    painted = [mark.get("color") or colours[row[colour]] for row in layer.rows]
    points = sorted(zip(painted, across, down, x2, y2, strict=True))
    shade = f'opacity="{mark.get("opacity", 1)}"'
    if mark["type"] == "rule":
        dash = f' stroke-dasharray="{" ".join(map(str, mark["strokeDash"]))}"' if "strokeDash" in mark else ""
        pen = f'stroke-width="{mark.get("strokeWidth", 1)}"{dash} {shade}'
        return [
            f'<path d="M{a:.2f},{b:.2f}L{c:.2f},{d:.2f}" stroke="{p}" {pen}/>' for p, a, b, c, d in points
        ]
    dots = [_dot(a, b, mark.get("size", 30), p, shade) for p, a, b, _, _ in points]
    if mark["type"] == "point":
        return dots
    shapes = []
    for paint in dict.fromkeys(painted):
        way = [(a, b, d) for p, a, b, _, d in points if p == paint]
        there = "L".join(f"{a:.2f},{b:.2f}" for a, b, _ in way)
        if mark["type"] == "area":
            back = "".join(f"L{a:.2f},{d:.2f}" for a, _, d in reversed(way))
            shapes.append(f'<path d="M{there}{back}Z" fill="{paint}" {shade}/>')
        else:
            shapes.append(f'<path d="M{there}" fill="none" stroke="{paint}" stroke-width="2" {shade}/>')
    return [*shapes, *(dots if mark.get("point") else ())]


def _dot(x: float, y: float, area: float, colour: str, shade: str = "") -> str:
    return f'<circle cx="{x:.2f}" cy="{y:.2f}" r="{math.sqrt(area / math.pi):.2f}" fill="{colour}" {shade}/>'


def _frame(x: _Axis, y: _Axis, width: float, height: float, left: float) -> list[str]:
    """Grid, axes, what is written at them, and their titles."""
    lines = [f"M{at:.2f},0v{height}" for at, _ in x.ticks if x.grid] + [
        f"M0,{at:.2f}h{width}" for at, _ in y.ticks if y.grid
    ]
    marks = [f"M{at:.2f},{height}v5" for at, _ in x.ticks] + [f"M0,{at:.2f}h-5" for at, _ in y.ticks]
    return [
        f'<path d="{"".join(lines)}" stroke="#ddd" fill="none"/>',
        f'<path d="M0,0V{height}H{width}{"".join(marks)}" stroke="#888" fill="none"/>',
        *(_text(at, height + 15, label, "middle") for at, label in x.ticks),
        *(_text(-8, at + 3, label, "end") for at, label in y.ticks),
        _text(width / 2, height + 30, x.title or "", "middle", f'font-weight="bold" font-size="{_TITLE}"'),
        _text(
            0,
            0,
            y.title or "",
            "middle",
            f'font-weight="bold" font-size="{_TITLE}" transform="translate({_TITLE - left:.1f},{height / 2}) rotate(-90)"',
        ),
    ]


def _legend(colours: Mapping[str, str], width: float) -> list[str]:
    """A dot and a name for each colour, right of the picture."""
    return [
        shape
        for i, (name, colour) in enumerate(colours.items())
        for shape in (
            _dot(width + 24, 6 + 16 * i, 100, colour),
            _text(width + 34, 9 + 16 * i, _shortened(name), "start"),
        )
    ]


def _text(x: float, y: float, words: str, anchor: str, more: str = "") -> str:
    said = escape(_NO_XML.sub("\N{REPLACEMENT CHARACTER}", words))
    return f'<text x="{x:.2f}" y="{y:.2f}" text-anchor="{anchor}" {more}>{said}</text>' if words else ""


def _shortened(words: str) -> str:
    while _width(words) > _LONGEST:
        words = words[: -2 if words.endswith("…") else -1].rstrip("…") + "…"
    return words


def _width(words: str) -> float:
    """At most so many pixels a text is long, in the letters of Arial and Helvetica."""
    wide = {"%": 0.9, "@": 1.02, "W": 0.95, "M": 0.84, "m": 0.84, "w": 0.73} | dict.fromkeys(
        " .,:;!|/'()[]ijltfr-I", 0.34
    )
    return _FONT * sum(
        wide.get(c, 1.0 if c > "~" and c != "−" else 0.78 if c.isupper() else 0.585) for c in words
    )
