"""Dates beside times of day: recognised, and placed by the declared rule; expected days are counted on the calendar."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pytest

from exp_platform.config.experiment import Experiment
from exp_platform.kernels.dates import with_dates
from exp_platform.kernels.unit_days import unit_days
from exp_platform.kernels.users import first_exposures
from kernels.cases import EVENTS, events_experiment

INSTANT = pa.timestamp("us", "UTC")
ZONES = ["Europe/Berlin", "America/New_York", "Asia/Kolkata", "America/Sao_Paulo", "UTC"]


def spec(zone: str, rule: Any, start: date = date(2025, 3, 20), days: int = 20) -> Experiment:
    return replace(events_experiment(start, days, zone), source=replace(EVENTS, same_day=rule))


def tables(exposed: list[datetime], happened: list[tuple[int, datetime]]) -> tuple[pa.Table, pa.Table]:
    """User i is exposed at the i-th instant; outcomes are views of a user."""
    exposures = pa.table(
        {
            "user_id": [f"u{i}" for i in range(len(exposed))],
            "variant_id": ["control"] * len(exposed),
            "exposed_at": pa.array(exposed, INSTANT),
        }
    )
    outcomes = pa.table(
        {
            "user_id": pa.array([f"u{user}" for user, _ in happened], pa.string()),
            "event": pa.array(["view"] * len(happened), pa.string()),
            "occurred_at": pa.array([at for _, at in happened], INSTANT),
            "value": pa.array([1.0] * len(happened)),
        }
    )
    return exposures, outcomes


def days_since(
    experiment: Experiment, exposed: list[datetime], happened: list[tuple[int, datetime]]
) -> list[tuple[int, str]]:
    """Day since exposure and local date of each outcome in turn, as the kernels count them."""
    experiment = replace(experiment, segments=())
    placed = with_dates(*tables(exposed, happened), experiment)
    found = []
    for i in range(len(happened)):
        users = first_exposures(placed.exposures, experiment, experiment.window.end)
        days = unit_days(users, placed.outcomes.slice(i, 1), experiment, experiment.window.end).events["view"]
        found += [(int(days.day[0]), str(date.fromordinal(int(days.date[0]) + date(1970, 1, 1).toordinal())))]
    return found


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize("hour", [0, 1, 9, 22])
@pytest.mark.parametrize(("rule", "shift"), [("after", 0), ("before", -1)])
def test_a_dated_outcome_is_as_many_days_from_exposure_as_the_calendar_says(
    zone: str, hour: int, rule: str, shift: int
) -> None:
    """Over changes of the clock too; the day of exposure is day 0, or by `before` the last one before exposure."""
    day, here = date(2025, 3, 27), ZoneInfo(zone)
    exposed = datetime(2025, 3, 27, hour, 30, 1, tzinfo=here)
    steps = [-3, -1, 0, 1, 3, 6, 9]
    happened = [(0, datetime.combine(day + timedelta(days=k), datetime.min.time(), here)) for k in steps]
    found = days_since(spec(zone, rule), [exposed], happened)
    assert found == [(k + shift, str(day + timedelta(days=k))) for k in steps]


@pytest.mark.parametrize("zone", ZONES)
@pytest.mark.parametrize(("rule", "shift"), [(None, 0), ("after", 0), ("before", -1)])
def test_two_tables_of_dates_differ_by_calendar_days(zone: str, rule: str | None, shift: int) -> None:
    """Midnights that a change of the clock lies between are 23 or 25 hours apart."""
    start, here = date(2025, 3, 27), ZoneInfo(zone)
    midnights = [
        datetime.combine(start + timedelta(days=k), datetime.min.time(), here) for k in range(-3, 12)
    ]
    found = days_since(spec(zone, rule), [midnights[3]], [(0, at) for at in midnights])
    assert [day for day, _ in found] == [k + shift for k in range(-3, 12)]


def test_dates_that_became_midnights_of_utc_are_those_dates_where_the_spec_has_a_rule() -> None:
    """In New York they would be the evening before."""
    here = ZoneInfo("America/New_York")
    happened = [(0, datetime(2025, 3, 28, tzinfo=ZoneInfo("UTC")))]
    exposed = [datetime(2025, 3, 28, 9, tzinfo=here)]
    assert days_since(spec("America/New_York", "after"), exposed, happened) == [(0, "2025-03-28")]
    assert days_since(spec("America/New_York", None), exposed, happened) == [(-1, "2025-03-27")]


def test_exposures_that_are_dates_begin_or_end_their_day_by_the_rule() -> None:
    here = ZoneInfo("Europe/Berlin")
    exposed = [datetime(2025, 3, 29, tzinfo=here)]
    happened = [(0, datetime(2025, 3, d, 12, tzinfo=here)) for d in (28, 29, 30, 31)]  # 30: 23 hours
    for rule, days in (("after", [-1, 0, 1, 2]), ("before", [-2, -1, 0, 1]), (None, [-1, 0, 1, 2])):
        assert [day for day, _ in days_since(spec("Europe/Berlin", rule), exposed, happened)] == days


def test_times_of_day_stay_as_they_are() -> None:
    exposed = [datetime(2025, 3, 28, 9, 0, 1, tzinfo=ZoneInfo("Europe/Berlin"))]
    happened = [(0, exposed[0] + timedelta(seconds=s)) for s in (-1, 0, 86_399, 86_400)]
    before = tables(exposed, happened)
    for rule in (None, "after", "before"):
        placed = with_dates(*before, spec("Europe/Berlin", rule))
        assert (placed.exposures, placed.outcomes) == before
    stranger = with_dates(
        *tables(exposed, [(7, datetime(2025, 3, 28, tzinfo=ZoneInfo("UTC")))]), spec("UTC", "after")
    )
    assert stranger.outcomes["occurred_at"].to_pylist() == [datetime(2025, 3, 28, tzinfo=ZoneInfo("UTC"))]


def test_midnights_are_counted_where_the_day_begins_later_too() -> None:
    """In Sao Paulo the clocks of 4 November 2018 went from midnight to one o'clock."""
    here = ZoneInfo("America/Sao_Paulo")
    experiment = spec("America/Sao_Paulo", None, date(2018, 11, 1), 10)
    happened = [
        (0, datetime(2018, 11, 4, 0, tzinfo=here).astimezone(ZoneInfo("UTC"))),  # it is 01:00
        (0, datetime(2018, 11, 5, 0, tzinfo=here)),
        (0, datetime(2018, 11, 5, 7, tzinfo=here)),
        (0, datetime(2018, 11, 5, 7, 0, 1, tzinfo=here)),
        (0, datetime(2018, 11, 6, tzinfo=ZoneInfo("UTC"))),
    ]
    grain = with_dates(*tables([datetime(2018, 11, 2, 8, 1, tzinfo=here)], happened), experiment).grain
    assert grain["outcomes.view"] == {"rows": 5, "local": 2, "utc": 1, "hours": 4}
    assert (
        "outcomes.order" not in grain
    )  # quality is told of an event without rows all the same: RowCounts.told
    assert grain["exposures"] == {"rows": 1, "local": 0, "utc": 0, "hours": 0}
