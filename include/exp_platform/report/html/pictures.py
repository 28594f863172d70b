"""Small pictures within rows, as inline SVG whose colours are classes of the stylesheet: no script, no style of their own."""

from __future__ import annotations

import math
from collections.abc import Sequence
from datetime import date
from typing import NamedTuple

from markupsafe import Markup

from exp_platform import numbers
from exp_platform.aggregates import DailyRow
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.metrics import Metric
from exp_platform.report.scorecard import Line, Scale, Tone, scale_of

WIDTH, HEIGHT = 240, 26  # of an interval in its row


def interval(line: Line, scale: Scale) -> Markup:
    """The relative effect of a row with its interval on the shared scale: zero, margin, and arrows where it is cut off."""
    row = line.row
    if row.relative is None:
        return Markup("")
    told = f"{numbers.percent(row.relative)} {numbers.percent_interval(row.relative_low, row.relative_high)}"
    return _drawn(row.relative, row.relative_low, row.relative_high, scale, line.tone, told, line.margin)


def _drawn(
    value: float,
    low: float | None,
    high: float | None,
    scale: Scale,
    tone: Tone,
    told: str,
    margin: float | None = None,
) -> Markup:
    bounded = low is not None or high is not None
    left, right = (_x(scale.place(end, side)) for end, side in ((low, -math.inf), (high, math.inf)))
    parts = [_upright("zero", _x(scale.place(0.0, 0.0)))]
    if margin is not None:
        parts.append(_upright("margin", _x(scale.place(margin, 0.0))))
    middle = HEIGHT / 2
    if bounded:
        parts.append(_LINE.format("whisker", left, middle, right, middle))
        parts += [_end(left, cut=scale.beyond(low), turned=-1), _end(right, cut=scale.beyond(high), turned=1)]
    parts.append(_point(tone, _x(scale.place(value, 0.0)), middle))
    return _SVG.format(f"effect {tone}", WIDTH, HEIGHT, told, Markup("").join(parts))


def axis(scale: Scale) -> Markup:
    """The scale's labels, to stand above the rows' pictures."""
    parts = [Markup('<line class="zero" x1="0" y1="21.5" x2="{}" y2="21.5"/>').format(WIDTH)]
    free = -math.inf  # from where on there is room for a label
    for tick in scale.ticks:
        x = _x(scale.place(tick, 0.0))
        parts.append(_LINE.format("tick", x, 18, x, 25))
        anchor, left = ("start", x) if x < 20 else ("end", x - 40) if x > WIDTH - 20 else ("middle", x - 20)
        if left >= free:
            told = "0" if abs(tick) < 1e-12 else f"{100 * tick:+.4g} %"
            parts.append(_label(x, 13, anchor, told))
            free = left + 40
    return _SVG.format("axis", WIDTH, 26, "scale of relative effects", Markup("").join(parts))


class Forest(NamedTuple):
    """Rows' pictures on a scale of their own, and its labels."""

    axis: Markup
    pictures: list[Markup]


def forest(rows: Sequence[ResultRow]) -> Forest:
    """A picture for each row, of the relative effects, all on one scale. None of them is coloured: they decide nothing."""
    lines = [Line(row, "", "", Tone.OPEN, "") for row in rows]
    scale = scale_of(lines)
    return Forest(axis(scale), [interval(line, scale) if line.estimated else Markup("") for line in lines])


def progress(share: float, told: str) -> Markup:
    """A bar of how far something is."""
    done = 100 * min(max(share, 0.0), 1.0)
    bar = Markup('<rect class="whole" width="100" height="6"/><rect class="done" width="{:.1f}" height="6"/>')
    return Markup(
        '<svg class="progress" viewBox="0 0 100 6" preserveAspectRatio="none" role="img" aria-label="{}">{}</svg>'
    ).format(told, bar.format(done))


def by_day(metric: Metric, daily: Sequence[DailyRow], variants: Sequence[str]) -> Markup:
    """A metric on each local date, a line for each arm: per user exposed by then, or the ratio of that day's sums."""
    series = {variant: _series(metric, daily, variant) for variant in variants}
    series = {variant: points for variant, points in series.items() if len(points) > 1}
    if not series:
        return Markup("")
    days = sorted({day for points in series.values() for day, _ in points})
    top = max(value for points in series.values() for _, value in points)
    bottom = min(0.0, *(value for points in series.values() for _, value in points))
    width, height, foot = 520, 110, 18
    span, room = max((days[-1] - days[0]).days, 1), (top - bottom) or 1.0

    def place(day: date, value: float) -> tuple[float, float]:
        x = 46 + (width - 54) * (day - days[0]).days / span
        return x, 6 + (height - foot - 12) * (1 - (value - bottom) / room)

    parts = [_label(42, place(days[0], value)[1] + 4, "end", f"{value:,.3g}") for value in (top, bottom)]
    parts += [
        _label(place(day, bottom)[0], height - 2, anchor, f"{day:%-d %b}")
        for day, anchor in ((days[0], "start"), (days[-1], "end"))
    ]
    parts.append(_LINE.format("zero", 46, place(days[0], bottom)[1], width - 8, place(days[0], bottom)[1]))
    for number, (variant, points) in enumerate(series.items()):
        at = " ".join("{:.1f},{:.1f}".format(*place(*point)) for point in points)
        parts.append(
            Markup('<polyline class="arm arm{}" points="{}"><title>{}</title></polyline>').format(
                number % 6, at, variant
            )
        )
    return _SVG.format("by-day", width, height, f"{metric.id} by day", Markup("").join(parts))


def _series(metric: Metric, daily: Sequence[DailyRow], variant: str) -> list[tuple[date, float]]:
    rows = sorted(
        (r for r in daily if r.metric_id == metric.id and r.variant_id == variant), key=lambda r: r.local_date
    )
    points, users = [], 0
    for row in rows:
        users += row.new_users
        below = row.denominator_sum if metric.denominator is not None else users
        if below:
            points.append((row.local_date, row.value_sum / below))
    return points


_SVG = Markup(
    '<svg class="{0}" viewBox="0 0 {1} {2}" width="{1}" height="{2}" role="img" aria-label="{3}"><title>{3}</title>{4}</svg>'
)
_LINE = Markup('<line class="{}" x1="{:.1f}" y1="{:.1f}" x2="{:.1f}" y2="{:.1f}"/>')


def _x(place: float) -> float:
    return 5 + (WIDTH - 10) * place


def _upright(name: str, x: float) -> Markup:
    return _LINE.format(name, x, 1, x, HEIGHT - 1)


def _end(x: float, *, cut: bool, turned: int) -> Markup:
    """The end of an interval: a stroke, or an arrow where it goes on."""
    middle = HEIGHT / 2
    if not cut:
        return _LINE.format("whisker", x, middle - 4, x, middle + 4)
    return Markup('<path class="cut" d="M{:.1f},{:.1f} l{},-4.5 l0,9 z"/>').format(
        x + 4 * turned, middle, -7 * turned
    )


def _point(tone: Tone, x: float, y: float) -> Markup:
    """The estimate; what is shown has a filled mark, what is open a hollow one."""
    if tone in (Tone.GOOD, Tone.BAD):
        turned = -1 if tone == Tone.GOOD else 1  # up is good, down is bad, whatever the sign of the effect
        return Markup('<path class="point" d="M{:.1f},{:.1f} l5.5,{} l-11,0 z"/>').format(
            x, y + 5.5 * turned, -10 * turned
        )
    return Markup('<circle class="point" cx="{:.1f}" cy="{:.1f}" r="4.5"/>').format(x, y)


def _label(x: float, y: float, anchor: str, told: str) -> Markup:
    return Markup('<text x="{:.1f}" y="{:.1f}" text-anchor="{}">{}</text>').format(x, y, anchor, told)
