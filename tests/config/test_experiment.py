"""Dates and error shares that follow from a resolved experiment."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime

import pytest

from exp_platform.config.experiment import (
    DayWindow,
    DecisionPlan,
    Experiment,
    Measure,
    Metric,
    MetricKind,
    Role,
    SyntheticSource,
    Variant,
    Window,
)

PRIMARY = Metric(
    "kept", MetricKind.PROPORTION, Role.PRIMARY, 1, Measure("visit", "any"), window=DayWindow(0, 7)
)
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
