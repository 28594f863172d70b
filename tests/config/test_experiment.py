"""Dates and error shares that follow from a resolved experiment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pytest

from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.metrics import DayWindow, Effect, Guardrail, Measure, Metric, Role
from exp_platform.config.plans import DecisionPlan
from exp_platform.config.sources import SyntheticSource

PRIMARY = Metric("kept", "proportion", Role.PRIMARY, 1, Measure("visit", "any"), window=DayWindow(0, 7))
SHOWN = replace(PRIMARY, id="shown", role=Role.INFORMATIONAL, window=DayWindow(0, 10))
EXPERIMENT = Experiment(
    id="x",
    owner="someone",
    hypothesis="Something happens.",
    variants=(Variant("a", 0.5), Variant("b", 0.3), Variant("c", 0.2)),
    window=Window(date(2026, 3, 28), date(2026, 4, 10), "Europe/Berlin"),
    source=SyntheticSource(100, 1, 14, 14, 0.85, 0.1, (0.0, 0.0), (0.0, 0.0), 12.5, 3.0),
    metrics=(PRIMARY, SHOWN),
)


def test_a_local_day_ends_at_local_midnight_whatever_the_clocks_do() -> None:
    window = EXPERIMENT.window

    assert window.starts_at().astimezone(UTC) == datetime(2026, 3, 27, 23, tzinfo=UTC)
    # Clocks go forward on 29 March 2026: that day has 23 hours.
    assert window.cutoff(date(2026, 3, 28)).astimezone(UTC) == datetime(2026, 3, 28, 23, tzinfo=UTC)
    assert window.cutoff(date(2026, 3, 29)).astimezone(UTC) == datetime(2026, 3, 29, 22, tzinfo=UTC)


def test_the_decision_waits_for_the_longest_window_that_decides() -> None:
    assert EXPERIMENT.decision_date == date(2026, 4, 17)
    assert EXPERIMENT.last_as_of == date(2026, 4, 20), "informational metrics are still filled"


def test_the_control_is_the_first_variant() -> None:
    assert EXPERIMENT.control.id == "a"
    assert [variant.id for variant in EXPERIMENT.treatments] == ["b", "c"]


def test_alpha_is_split_between_early_and_final_evidence() -> None:
    plan = DecisionPlan(alpha=0.05, sequential_share=0.1)

    assert (plan.sequential_alpha, plan.fixed_alpha) == (pytest.approx(0.005), pytest.approx(0.045))


def test_a_metric_is_found_by_its_id() -> None:
    assert EXPERIMENT.metric("shown") == SHOWN
    with pytest.raises(KeyError):
        EXPERIMENT.metric("none")


BERLIN = Window(date(2026, 3, 16), date(2026, 3, 28), "Europe/Berlin")


def test_the_last_evenings_users_before_clocks_go_forward_are_waited_for() -> None:
    """Exposed at 23:30 on 28 March, 168 hours are over at 00:30 on 5 April: a calendar's week is an hour short."""
    assert BERLIN.over(date(2026, 3, 28), 7) == date(2026, 4, 5)
    assert BERLIN.over(date(2026, 3, 21), 7) == date(2026, 3, 28), "clocks change on the 29th"
    spec = replace(EXPERIMENT, window=BERLIN)
    assert spec.decision_date == date(2026, 4, 5)
    assert spec.last_as_of == date(2026, 4, 8)


@pytest.mark.parametrize(
    ("zone", "last", "expected"),
    [
        ("Europe/Berlin", date(2026, 10, 24), date(2026, 10, 31)),  # the day of 25 hours has room
        ("America/New_York", date(2026, 3, 7), date(2026, 3, 15)),
        ("Australia/Sydney", date(2026, 10, 3), date(2026, 10, 11)),
        ("Asia/Kolkata", date(2026, 3, 28), date(2026, 4, 4)),
        ("UTC", date(2026, 3, 28), date(2026, 4, 4)),
    ],
)
def test_a_window_is_over_on_the_day_on_which_the_last_users_is(
    zone: str, last: date, expected: date
) -> None:
    """Whoever was exposed in the last second: found by stepping through days and asking each one."""
    window = Window(last, last, zone)
    exposed = window.cutoff(last).astimezone(UTC) - timedelta(seconds=1)
    over = exposed + timedelta(days=7)
    day = last
    while window.cutoff(day).astimezone(UTC) <= over:
        day += timedelta(days=1)
    assert window.over(last, 7) == day == expected


def test_the_decision_waits_for_a_guardrail_that_is_informational() -> None:
    guarded = replace(SHOWN, guardrail=Guardrail(Effect(0.1, "absolute"), "critical"))
    assert replace(EXPERIMENT, metrics=(PRIMARY, guarded)).decision_date == EXPERIMENT.last_as_of


def test_users_are_observed_once_their_window_is_over() -> None:
    spec = replace(EXPERIMENT, window=Window(date(2026, 6, 1), date(2026, 6, 14)))
    assert spec.observed(PRIMARY, date(2026, 6, 7)) == 0.0
    assert spec.observed(PRIMARY, date(2026, 6, 10)) == 3 / 14, "those of 1 to 3 June"
    assert spec.observed(PRIMARY, spec.decision_date) == 1.0
    assert spec.observed(PRIMARY, spec.last_as_of) == 1.0
    growing = replace(PRIMARY, window=DayWindow())
    assert spec.observed(growing, date(2026, 6, 10)) == spec.elapsed(date(2026, 6, 10)) == 10 / 21
