"""The charts are specifications as Vega-Lite's own schema has them, and every row is in the picture that is about it."""

from __future__ import annotations

import re
from datetime import date
from itertools import pairwise
from types import SimpleNamespace
from typing import Any
from xml.etree import ElementTree

import altair as alt
import pytest

from exp_platform.analyses.rows import Status
from exp_platform.analyses.stability import DAY, TREND
from exp_platform.report import charts, drawing
from exp_platform.stats.relative import Kind

DAYS = range(-3, 3)


def result(**given: Any) -> Any:
    """A row with what charts ask of one."""
    row = {
        "metric_id": "orders",
        "treatment_id": "treatment",
        "relative": 0.1,
        "relative_low": -0.02,
        "relative_high": 0.22,
        "relative_kind": Kind.APPROXIMATE,
        "significant": False,
        "always_valid_significant": False,
        "estimate": 0.4,
        "ci_low": -0.5,
        "ci_high": 1.3,
        "always_valid_low": -1.0,
        "always_valid_high": None,
        "look": 1,
        "status": Status.OK,
        "as_of_date": date(2026, 3, 5),
        "segment": "all",
        "segment_value": "all",
    }
    return SimpleNamespace(**row | given)


def by_day(*of_day: str) -> list[Any]:
    """A row for each day, of one arm."""
    return [result(**dict.fromkeys(of_day, day), delta_from_reference=day / 9) for day in DAYS]


OF_DAYS = [result(segment=DAY, segment_value=str(day)) for day in range(4)]
DRAWN = {
    "effects": (charts.effects([result(), result(significant=True)], {"orders": -1}), 2),
    "effect_over_time": (
        charts.effect_over_time([result(), result(as_of_date=date(2026, 3, 6), look=None)]),
        2,
    ),
    "pretrends": (charts.pretrends(by_day("day")), len(DAYS)),
    "event_study": (charts.event_study(by_day("first_day", "last_day")), len(DAYS)),
    "effect_by_day": (charts.effect_by_day([*OF_DAYS, result(segment=DAY, segment_value=TREND)]), 4),
}


@pytest.mark.parametrize("name", DRAWN)
def test_a_chart_is_as_the_schema_says_and_has_all_rows(name: str) -> None:
    """A word that Vega-Lite does not know would be passed over in silence when it is drawn."""
    chart, rows = DRAWN[name]
    assert chart is not None
    alt.Chart.from_dict(chart).to_dict()  # raises where the schema does not know a word
    assert len(chart["data"]["values"]) == rows


def test_the_reading_goes_by_what_is_better() -> None:
    rows = [result(significant=True), result(significant=True, estimate=-0.4), result()]
    chart = charts.effects(rows, {"orders": -1})
    assert chart is not None
    assert [row["reading"] for row in chart["data"]["values"]] == [
        "significantly worse",
        "significantly better",
        "not significant",
    ]


def test_nothing_is_drawn_of_nothing() -> None:
    failed = [result(status=Status.OK, relative=None, estimate=None)]
    assert charts.effects(failed, {}) is None
    assert charts.effect_over_time([result()]) is None
    assert charts.pretrends([]) is None
    assert charts.event_study([]) is None
    assert charts.effect_by_day([result()]) is None


def shapes(chart: dict[str, Any] | None, tag: str) -> list[ElementTree.Element]:
    """The elements of a chart's SVG; it is XML whatever the chart holds."""
    assert chart is not None
    return list(ElementTree.fromstring(drawing.svg(chart)).iter(f"{{http://www.w3.org/2000/svg}}{tag}"))


@pytest.mark.parametrize("name", DRAWN)
def test_every_row_is_drawn_and_what_is_written_lies_within_the_picture(name: str) -> None:
    chart, rows = DRAWN[name]
    dots = [one for one in shapes(chart, "circle") if one.get("opacity")]  # those of the legend have none
    assert len(dots) == rows
    assert charts.png(chart or {})[:8] == b"\x89PNG\r\n\x1a\n"
    (whole,) = shapes(chart, "svg")
    (moved,) = (one for one in shapes(chart, "g") if one.get("transform"))
    left = float(re.findall(r"[\d.]+", moved.get("transform") or "")[0])
    ends = [one for one in shapes(chart, "text") if one.get("text-anchor") == "end"]
    assert ends
    assert all(left + float(one.get("x") or 0) > 5 * len(one.text or "") for one in ends)
    starts = [one for one in shapes(chart, "text") if one.get("text-anchor") == "start"]
    room = float(whole.get("width") or 0) - left
    assert all(room - float(one.get("x") or 0) > 4.5 * len(one.text or "") for one in starts)


def test_places_are_as_far_apart_as_their_values() -> None:
    """Against the labels of the axis, which a reader goes by."""
    values = [-0.31, 0.02, 0.045, 0.4]
    rows = [
        result(relative=v, relative_low=v - 0.01, relative_high=v + 0.02, metric_id=f"m{v}") for v in values
    ]
    chart = charts.effects(rows, {})
    told = {
        float((one.text or "").replace("−", "-").rstrip("%")) / 100: float(one.get("x") or 0)
        for one in shapes(chart, "text")
        if (one.text or "").endswith("%")
    }
    (low, left), (high, right) = min(told.items()), max(told.items())
    dots = [float(one.get("cx") or 0) for one in shapes(chart, "circle") if one.get("opacity")]
    assert dots == pytest.approx([left + (v - low) / (high - low) * (right - left) for v in values], abs=0.02)
    bars = [one.get("d") or "" for one in shapes(chart, "path") if one.get("stroke-width") == "2.5"]
    ends = [[float(part.split(",")[0]) for part in bar[1:].split("L")] for bar in bars]
    wide = 0.03 / (high - low) * (right - left)
    assert [b - a for a, b in ends] == pytest.approx([wide] * 4, abs=0.03)


def test_labels_of_many_days_do_not_touch() -> None:
    rows = [result(segment=DAY, segment_value=str(day)) for day in range(120)]
    labels = [one for one in shapes(charts.effect_by_day(rows), "text") if (one.text or "").isdigit()]
    places = [float(one.get("x") or 0) for one in labels]
    assert 5 < len(places) < 60
    assert all(b - a > 18 for a, b in pairwise(places))


@pytest.mark.parametrize("value", [0.0, 3.0, 1e-12, 7e14, 1e300, float("nan"), float("inf")])
def test_any_number_can_be_drawn(value: float) -> None:
    """What lies beyond all measure is left out, and the others are drawn."""
    rows = [
        result(as_of_date=date(2026, 3, day), estimate=value if day > 5 else 0.1, look=None) for day in (5, 6)
    ]
    dots = [one for one in shapes(charts.effect_over_time(rows), "circle") if one.get("opacity")]
    assert len(dots) == (2 if value < 1e150 else 1)
    assert all(0 <= float(one.get("cy") or "nan") <= 220 for one in dots)


def test_texts_are_texts_and_bounded() -> None:
    name = '<script>&"\x1b' + "w" * 500
    written = [one.text or "" for one in shapes(charts.effects([result(metric_id=name)], {}), "text")]
    (label,) = (text for text in written if text.startswith("<script>&"))
    assert "\x1b" not in label
    assert label.endswith("…")
    assert len(label) < 50


@pytest.mark.parametrize("change", [{"title": "x"}, {"layer": [{"mark": {"type": "bar"}, "encoding": {}}]}])
def test_a_word_that_the_memo_cannot_draw_is_an_error(change: dict[str, Any]) -> None:
    """Else a chart that gets one would lose it in the memo alone."""
    chart, _ = DRAWN["effects"]
    with pytest.raises(ValueError, match="nothing is drawn of"):
        drawing.svg({**(chart or {}), **change})
