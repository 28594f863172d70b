"""A day whose rows never came is told; days on which there was nothing, and series that ebb away, are left in peace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path

import numpy as np
import pytest

from analyses.simulated import START, experiment, metric
from exp_platform.aggregates import Aggregates, DailyRow
from exp_platform.analyses.missing_days import SILENT, missing_days
from exp_platform.checks import CheckResult
from exp_platform.config.allocation import Allocation
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import DayWindow
from exp_platform.config.plans import QualityThresholds
from stages.raw_data import units_experiment

SPEC = experiment(metric("orders"))
DAYS = 28
SPEC = replace(SPEC, window=replace(SPEC.window, end=START + timedelta(days=DAYS - 1)))
MONDAY = -START.weekday() % 7  # the first one, in days from the start

PerDay = Callable[[np.ndarray], np.ndarray]  # days since the start -> the share of users that a plain day has


def plain(day: np.ndarray) -> np.ndarray:
    return np.ones(len(day))


def falling_to(rest: float) -> PerDay:
    """So much less from the fifteenth day on."""
    return lambda day: np.where(day >= 14, rest, 1.0)


def without(*days: int) -> PerDay:
    """Nothing on these days."""
    return lambda day: np.where(np.isin(day, days), 0.0, 1.0)


def judged(
    came: PerDay = plain,
    active: PerDay = plain,
    spec: Experiment = SPEC,
    days: int = DAYS,
    users: int = 2_000,
    seed: int = 1,
    arm: str | None = None,
) -> CheckResult:
    """Of users who come evenly but for `came`, one in ten of those whose window is open is active each day but for `active`.

    Both are of the arm, where one is named, and the others' days are plain.
    """
    rng, day = np.random.default_rng(seed), np.arange(days)
    rows = []
    for variant in spec.variants:
        mine = arm in (None, variant.id)
        new = rng.poisson(users / DAYS / 2 * (came(day) if mine else 1.0), days)
        end = spec.metrics[0].window.end
        open_now = np.array([new[max(0, d - (end or days)) : d + 1].sum() for d in day])
        busy = rng.poisson(open_now * 0.1 * (active(day) if mine else 1.0))
        rows += [
            DailyRow(START + timedelta(days=int(d)), variant.id, "orders", int(n), int(b), float(b))
            for d, n, b in zip(day, new, busy, strict=True)
        ]
    as_of = START + timedelta(days=days - 1)
    return missing_days(spec, Aggregates(as_of, {}, {}, daily=tuple(rows)))


def on(day: int) -> date:
    return START + timedelta(days=day)


def test_a_lost_day_of_either_table_is_told_with_what_it_should_have() -> None:
    exposures, outcomes = judged(came=without(9)), judged(active=without(12))
    assert exposures.status == outcomes.status == "failed"
    assert (exposures.severity, exposures.observed, exposures.threshold) == ("warning", 1.0, 0.0)
    assert f"{on(9)} has 0 of about" in exposures.message
    assert "users first exposed: deliver these days" in exposures.message
    assert f"{on(12)} has 0 of about" in outcomes.message
    assert "users with 'orders': " in outcomes.message
    both = judged(came=without(9), active=without(12))
    assert both.observed == 2


@pytest.mark.parametrize("rest", [0.0, 0.05])
def test_hours_that_another_days_file_brought_hide_nothing(rest: float) -> None:
    assert judged(active=lambda day: np.where(day == 12, rest, 1.0), users=20_000).status == "failed"


def test_a_lost_day_is_known_the_day_after_unless_it_is_of_a_weekend() -> None:
    lost = MONDAY + 1
    assert judged(active=without(lost), days=lost + 2, users=20_000).status == "failed"
    sunday = MONDAY - 1
    for days, status in ((sunday + 2, "passed"), (sunday + 7, "passed"), (sunday + 8, "failed")):
        assert judged(active=without(sunday), days=days, users=20_000).status == status
    next_one = sunday + 7  # a Sunday is known by then
    assert judged(active=without(next_one), days=next_one + 2, users=20_000).status == "failed"


def test_who_closes_on_a_working_day_is_told_so_until_the_week_after() -> None:
    """Of an experiment of one week a lost day would never be known else."""
    closed = next(day for day in range(2, 9) if (day - MONDAY) % 7 == 2)
    for days in range(1, DAYS + 1):
        check = judged(active=lambda day: np.where(day % 7 == closed % 7, 0.0, 1.0), days=days, users=20_000)
        early = closed + 2 <= days <= closed + 7
        assert check.status == ("failed" if early else "passed"), (days, check.message)


def test_several_lost_days_in_a_row_are_told() -> None:
    check = judged(active=without(10, 11, 12, 13, 14))
    assert check.observed == 5
    assert "(and 2 more days)" in check.message


def test_that_there_was_nothing_may_be_said() -> None:
    holiday = replace(SPEC, quality=QualityThresholds(max_missing_days=1))
    check = judged(active=without(12), spec=holiday)
    assert (check.status, check.observed) == ("passed", 1.0)
    assert judged(active=without(12, 15), spec=holiday).status == "failed"


@pytest.mark.parametrize(
    "shape",
    [
        plain,
        lambda day: np.where(day % 7 == (MONDAY + 6) % 7, 0.0, 1.0),  # closed on Sundays
        lambda day: np.where((day - MONDAY) % 7 >= 5, 0.002, 1.0),  # hardly anybody on weekends
        lambda day: np.where(day % 7 == 1, 1.0, 0.0),  # a mail each week
        lambda day: np.where(day % 14 == 1, 1.0, 0.0),  # bills twice a month
        lambda day: 0.6**day,  # it ebbs away
        lambda day: np.where(day < 5, 0.0, 1.0),  # it begins later
        lambda day: 1 + 4 * (day == 10),  # one day of a sale
        lambda day: np.where(day >= 20, 1.0, 0.02),  # most come at the end
    ],
)
@pytest.mark.parametrize("seed", range(5))
def test_whatever_else_days_are_like_nothing_is_told_on_any_day(shape: PerDay, seed: int) -> None:
    for days in range(1, DAYS + 1):
        found = judged(came=shape, days=days, users=20_000, seed=seed)
        assert found.status == "passed", (days, found.message)
        found = judged(active=shape, days=days, users=20_000, seed=seed)
        assert found.status == "passed", (days, found.message)
        found = judged(came=shape, active=shape, days=days, users=20_000, seed=seed)
        assert found.status == "passed", (days, found.message)


@pytest.mark.parametrize("rest", [0.0, 0.01])
@pytest.mark.parametrize("end", [None, 3])
def test_what_stops_though_users_come_is_told_from_the_third_day_on(rest: float, end: int | None) -> None:
    """Such as an event that a release of the product forgot to send; one day or two a delivery may be behind."""
    (orders,) = SPEC.metrics
    spec = replace(SPEC, metrics=(replace(orders, window=DayWindow(0, end)),))
    for days in range(1, DAYS + 1):
        check = judged(active=lambda day: np.where(day >= 12, rest, 1.0), spec=spec, days=days, users=20_000)
        assert check.status == ("failed" if days >= 12 + SILENT else "passed"), (days, check.message)
    assert check.observed == DAYS - 12
    assert f"{on(12)} has" in check.message


def test_what_stops_with_the_exposures_or_after_a_few_days_is_no_loss() -> None:
    stops, hardly = falling_to(0.0), falling_to(0.01)
    for came, active in ((stops, plain), (hardly, plain), (stops, stops), (hardly, hardly)):
        for days in range(1, DAYS + 1):
            check = judged(came=came, active=active, days=days, users=20_000)
            assert check.status == "passed", (days, check.message)
    for days in range(1, DAYS + 1):
        assert judged(active=lambda day: np.where(day >= 2, 0.0, 1.0), days=days).status == "passed"


def test_a_day_that_one_arm_lacks_is_told_with_the_arm() -> None:
    exposures, outcomes = judged(came=without(9), arm="t1"), judged(active=without(12), arm="t1")
    assert (exposures.status, exposures.observed) == (outcomes.status, outcomes.observed) == ("failed", 1.0)
    assert "users first exposed to t1: " in exposures.message
    assert "users of t1 with 'orders': " in outcomes.message
    back = tuple(
        Allocation(on(day), shares) for day, shares in ((0, (0.5, 0.5)), (9, (1.0, 0.0)), (10, (0.5, 0.5)))
    )
    assert judged(came=without(9), arm="t1", spec=replace(SPEC, ramp=back)).status == "passed"


def test_a_day_that_all_arms_lack_is_told_once() -> None:
    check = judged(active=without(12), users=20_000)
    assert check.message.count(str(on(12))) == 1


def test_a_day_of_the_last_week_stays_told_after_the_end_when_nobody_comes() -> None:
    after = range(DAYS, DAYS + 10)
    for days in (DAYS - 2, DAYS, DAYS + 5, DAYS + 10):
        assert judged(came=without(DAYS - 4, *after), days=days).observed == 1, days
        assert judged(came=without(*after), days=days).observed == 0, days


def test_few_users_are_no_evidence() -> None:
    assert judged(active=without(12), users=60).status == "passed"


def test_days_of_which_no_window_is_open_are_not_expected() -> None:
    (orders,) = SPEC.metrics
    spec = replace(SPEC, metrics=(replace(orders, window=DayWindow(0, 2)),))
    assert judged(came=lambda day: np.where(day >= 10, 0.0, 1.0), spec=spec).status == "passed"


def test_stored_days_of_a_metric_that_the_spec_has_no_more_are_passed_over() -> None:
    (orders,) = SPEC.metrics
    renamed = replace(SPEC, metrics=(replace(orders, id="purchases"),))
    assert judged(active=without(12), spec=renamed).status == "passed"  # none of its own


def test_a_table_of_users_has_no_days(tmp_path: Path) -> None:
    units = units_experiment(tmp_path)
    assert missing_days(units, Aggregates(units.window.end, {}, {})).status == "skipped"
