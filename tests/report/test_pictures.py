"""Small pictures: what they draw lies where the numbers say, and says in words what it shows."""

from __future__ import annotations

import re
from dataclasses import replace
from datetime import date, timedelta

import pytest

from exp_platform.aggregates import DailyRow
from exp_platform.config.metrics import Measure
from exp_platform.report import charts
from exp_platform.report.drawings import planned_by_day
from exp_platform.report.html import pictures
from exp_platform.report.scorecard import Line, Scale, Tone
from report.reports import report
from report.several import three_arms

DAY = date(2025, 3, 1)
SCALE = Scale(-0.5, 0.5)


def drawn(tone: Tone = Tone.OPEN, margin: float | None = None, **numbers: float | None) -> str:
    row = replace(
        report().rows[0], **{"relative": 0.25, "relative_low": 0.0, "relative_high": 0.4, **numbers}
    )
    return str(pictures.interval(Line(row, "", "", tone, "", margin), SCALE))


def across(share: float) -> str:
    """Where a share of the scale's width lies, within the margins of 5."""
    return f"{5 + (pictures.WIDTH - 10) * share:.1f}"


def test_ends_estimate_zero_and_margin_lie_where_they_should() -> None:
    svg = drawn(margin=-0.25)
    assert f'<line class="whisker" x1="{across(0.5)}" y1="13.0" x2="{across(0.9)}"' in svg
    assert f'cx="{across(0.75)}"' in svg
    assert f'<line class="zero" x1="{across(0.5)}"' in svg
    assert f'<line class="margin" x1="{across(0.25)}"' in svg
    assert 'aria-label="+25.0 % [+0.0 %, +40.0 %]"' in svg
    assert "cut" not in svg


@pytest.mark.parametrize(("high", "cuts"), [(0.6, 1), (None, 1), (0.5, 0)])
def test_an_end_beyond_the_scale_is_an_arrow(high: float | None, cuts: int) -> None:
    assert drawn(relative_high=high).count('class="cut"') == cuts


def test_what_is_shown_differs_in_shape_and_not_in_colour_alone() -> None:
    shapes = {
        tone: re.findall(r'<(circle|path) class="point"(?: d="M[\d.,]+ (\S+))?', drawn(tone)) for tone in Tone
    }
    assert shapes[Tone.GOOD] != shapes[Tone.BAD]
    assert shapes[Tone.OPEN] == shapes[Tone.MUTED] == [("circle", "")]


def test_a_row_without_a_relative_effect_has_no_picture() -> None:
    assert drawn(relative=None) == ""


def days(variant: str, values: list[float], users: int = 100, below: float | None = None) -> list[DailyRow]:
    return [
        DailyRow(DAY + timedelta(days=i), variant, "buys", users, 1, v, below) for i, v in enumerate(values)
    ]


def heights(svg: str) -> list[list[float]]:
    return [[float(at.split(",")[1]) for at in line.split()] for line in re.findall(r'points="([^"]+)"', svg)]


def test_a_series_is_per_user_exposed_by_then() -> None:
    """A hundred come each day, and with them as many more buy: per user it is the same every day."""
    metric = report().experiment.metrics[0]
    daily = days("control", [10.0, 20.0, 30.0]) + days("t1", [5.0, 10.0, 15.0])
    control, treated = heights(str(pictures.by_day(metric, daily, ("control", "t1"))))
    assert len(set(control)) == len(set(treated)) == 1
    assert control[0] < treated[0]  # higher up


def test_a_ratios_series_is_of_the_days_sums() -> None:
    metric = replace(report().experiment.metrics[0], denominator=Measure("visits", "sum"))
    (line,) = heights(str(pictures.by_day(metric, days("t1", [10.0, 20.0], below=40.0), ("t1",))))
    assert line[1] < line[0]


def test_one_day_is_no_series() -> None:
    metric = report().experiment.metrics[0]
    assert pictures.by_day(metric, days("t1", [10.0]), ("t1",)) == ""


def test_users_come_in_against_what_the_plan_asks_of_each_arm() -> None:
    """18,811 users are planned over 14 days and three equal arms: about 448 a day and arm; a hundred come."""
    made = three_arms()
    planned = planned_by_day(made)
    assert planned == pytest.approx(
        dict.fromkeys(("control", "t1", "t2"), made.decision.adequacy.required_users / 42)
    )
    chart = charts.users_by_day(made.daily, planned)
    assert chart is not None
    assert {(d["arm"], d["users"]) for d in chart["data"]["values"]} == {(arm, 100) for arm in planned}
    assert len({d["day"] for d in chart["data"]["values"]}) == 14
    (rule,) = [layer for layer in chart["layer"] if layer["mark"]["type"] == "rule"]
    assert len(rule["data"]["values"]) == 1  # the same of all arms


def test_a_plan_by_users_per_day_is_taken_as_it_is_and_of_a_ramp_there_is_none() -> None:
    made = report()
    plan = replace(made.experiment, decision=replace(made.experiment.decision, daily_users=1000.0))
    assert planned_by_day(replace(made, experiment=plan)) == {"control": 500.0, "t1": 500.0}
    ramped = replace(plan, ramp=plan.allocations)
    assert planned_by_day(replace(made, experiment=ramped)) == {}
    assert charts.users_by_day(days("t1", [1.0]), {}) is None


def test_an_arm_has_one_colour_in_every_picture() -> None:
    made = three_arms()
    over_time = charts.effect_over_time([r for r in made.series if r.metric_id == "buys"])
    users = charts.users_by_day(made.daily, planned_by_day(made))
    assert over_time is not None
    assert users is not None
    domains = [
        layer["encoding"]["color"]["scale"]["domain"]
        for chart in (over_time, users)
        for layer in chart["layer"]
        if "scale" in layer["encoding"].get("color", {})
    ]
    assert domains
    assert all(domain == ["control", "t1", "t2"] for domain in domains)
