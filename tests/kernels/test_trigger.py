"""Triggered users: when their days begin, what becomes of every row, and what is made of all exposed users beside them."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta

import pyarrow as pa
import pytest

from exp_platform.aggregates import Aggregates
from exp_platform.config.metrics import DayWindow
from exp_platform.config.plans import AnalysisPlan
from exp_platform.config.trigger import Trigger
from exp_platform.kernels.trigger import triggered
from exp_platform.kernels.unit_days import BETWEEN, unit_day_rows, unit_days
from exp_platform.kernels.users import NEVER, first_exposures
from kernels.cases import (
    ORDERS,
    REVENUE,
    Data,
    Exposure,
    Outcome,
    aggregates_of,
    events_experiment,
    exposures_table,
    local,
    metric,
    outcomes_table,
)

HOUR, MICROSECOND = timedelta(hours=1), timedelta(microseconds=1)
SPEC = events_experiment(
    metrics=(
        metric("revenue", "mean", REVENUE, window=DayWindow(0, 2)),
        metric("orders", "count", ORDERS),
        metric("median", "quantile", REVENUE, q=0.5),
    ),
    segments=(),
    trigger=Trigger("checkout", 2),
    analyses=AnalysisPlan(pre_period_days=4, anchor="first_exposure", did_days=2),
)
AT = local(SPEC, 0, 12.0)
REACHED = AT + 30 * HOUR


def users_of(*moments: datetime) -> list[int]:
    exposures = exposures_table([Exposure("a", "blue", AT), Exposure("b", "control", AT - HOUR)])
    users = first_exposures(exposures, SPEC, SPEC.window.end)
    rows = outcomes_table([Outcome("b", "checkout", m) for m in moments] + [Outcome("a", "view", AT + HOUR)])
    found = triggered(users, rows, SPEC, SPEC.window.end)
    assert found.ids.to_pylist() == ["b", "a"]
    assert found.exposed_at.tolist() == sorted(users.exposed_at.tolist())
    return found.began_at.tolist()


def micro(moment: datetime) -> int:
    return round(moment.timestamp() * 1e6)


@pytest.mark.parametrize(
    ("hours", "reached"), [(-1.5, False), (-1, True), (0, True), (46.9, True), (47, False)]
)
def test_the_trigger_counts_from_exposure_on_and_within_its_days(hours: float, reached: bool) -> None:
    """Exposed at 11:00, the first moment that counts is that one and the last is just before 48 hours."""
    at = AT + hours * HOUR
    assert users_of(at) == [micro(at) if reached else NEVER, NEVER]


def test_the_first_of_several_begins_a_users_days() -> None:
    assert users_of(AT + 5 * HOUR, AT - 2 * HOUR, AT + 3 * HOUR) == [micro(AT + 3 * HOUR), NEVER]


def test_without_a_trigger_nothing_changes() -> None:
    spec = replace(SPEC, trigger=None)
    users = first_exposures(exposures_table([Exposure("a", "blue", AT)]), spec, spec.window.end)
    assert triggered(users, outcomes_table([]), spec, spec.window.end) is users


def rows_around(user: str) -> list[Outcome]:
    """One purchase before exposure, one between it and the trigger, one each on two days from the trigger on."""
    moments = (AT - HOUR, REACHED - MICROSECOND, REACHED, REACHED + 24 * HOUR, REACHED + 48 * HOUR)
    return [Outcome(user, "purchase", at, 2.0**i) for i, at in enumerate(moments)]


def made(buckets: int = 1) -> Aggregates:
    data = Data([Exposure(u, "control" if u in "ace" else "blue", AT) for u in "abcdef"])
    for user in "abcdef":
        data.outcomes += rows_around(user)
        if user in "abc":
            data.outcomes.append(Outcome(user, "checkout", REACHED))
    (day,) = aggregates_of(data, SPEC, [SPEC.decision_date], buckets)
    return day


def test_windows_begin_with_the_trigger_and_what_lies_between_counts_nowhere() -> None:
    users = first_exposures(exposures_table([Exposure("a", "blue", AT)]), SPEC, SPEC.window.end)
    outcomes = outcomes_table([*rows_around("a"), Outcome("a", "checkout", REACHED)])
    reached = triggered(users, outcomes, SPEC, SPEC.window.end)
    days = unit_days(reached, outcomes, SPEC, SPEC.window.end)
    assert days.events["purchase"].day.tolist() == [-1, BETWEEN, 0, 1, 2]

    table = unit_day_rows(reached, days, SPEC)
    told = table.filter(pa.compute.equal(table["event"], "purchase"))
    assert told["day"].to_pylist() == [-1, None, 0, 1, 2]
    assert told["value"].to_pylist() == [1.0, 2.0, 4.0, 8.0, 16.0]


@pytest.mark.parametrize("buckets", [1, 3])
def test_the_metric_is_of_those_who_reached_it_and_exposed_blocks_are_of_all(buckets: int) -> None:
    day = made(buckets)
    assert (day.assigned, day.triggered["2025-03-27"].assigned["control"]) == (
        {"control": 3, "blue": 3, "amber": 0},
        2,
    )
    control, blue = day.block("revenue", "control"), day.block("revenue", "blue")
    assert control is not None
    assert blue is not None
    assert (control.moments.n, blue.moments.n) == (2, 1)
    assert float(control.moments.mean[0]) == 12.0  # days 0 and 1 from the trigger on
    exposed = day.block("revenue", "control", kind="exposed")
    assert exposed is not None
    assert (exposed.moments.n, float(exposed.moments.mean[0])) == (3, 6.0)  # the 48 hours from exposure on
    assert day.block("median", "control", kind="exposed") is None
    assert sum(b.kind == "exposed" and b.metric_id == "orders" for b in day.blocks) == 2


@pytest.mark.parametrize("buckets", [1, 3])
def test_every_row_is_told_of(buckets: int) -> None:
    rows = made(buckets).rows
    assert rows["users"].counted == {"analysed": 3}
    assert rows["users"].left_out == {"of users who have not reached the trigger": 3}
    assert rows["staged"].left_out == {"of users who have not reached the trigger": 3}
    outcomes = rows["outcomes"]
    assert outcomes.counted == {
        "for a metric": 9,
        "as the trigger": 3,
        "before exposure, for covariates, trends or segments": 3,  # the daily series has days before it
    }
    waiting, between = (
        "of users who have not reached the trigger",
        "from after exposure and before the trigger",
    )
    assert (outcomes.left_out[waiting], outcomes.left_out[between]) == (15, 3)
    assert all(account.adds_up() for account in rows.values())


def test_a_user_counts_from_the_as_of_date_on_that_has_the_trigger() -> None:
    data = Data([Exposure("a", "blue", AT)], [Outcome("a", "checkout", AT + 40 * HOUR)])
    days = [SPEC.window.start + timedelta(days=n) for n in range(3)]
    found = aggregates_of(data, SPEC, days)
    assert [day.triggered["2025-03-27"].assigned["blue"] for day in found] == [0, 0, 1]
    assert [day.assigned["blue"] for day in found] == [1, 1, 1]


def test_the_planned_decision_date_waits_for_the_last_users_trigger() -> None:
    assert SPEC.decision_date - replace(SPEC, trigger=None).decision_date == timedelta(days=2)
