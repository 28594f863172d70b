"""The charts are specifications as Vega-Lite's own schema has them, and every row is in the picture that is about it."""

from __future__ import annotations

from datetime import date
from types import SimpleNamespace
from typing import Any

import altair as alt
import pytest

from exp_platform.analyses.rows import Status
from exp_platform.analyses.stability import DAY, TREND
from exp_platform.report import charts
from exp_platform.stats.relative import Kind

DAYS = range(-3, 3)


def result(**given: Any) -> Any:
    """A row with what charts ask of one."""
    row = {
        "metric_id": "orders",
        "control_id": "control",
        "metric_kind": "mean",
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
