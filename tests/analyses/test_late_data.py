"""An arm whose newest rows are missing is told before anybody reads its numbers; arms that only differ are left in peace."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyses.simulated import END, START, UNITS, aggregates, block, experiment, metric
from decision.cases import Given, codes, effect
from exp_platform.aggregates import Aggregates, DailyRow
from exp_platform.analyses.late_data import late_days
from exp_platform.analyses.row_codec import read_rows, write_rows
from exp_platform.analyses.rows import LateRow
from exp_platform.config.allocation import Allocation
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import DayWindow, Effect, Guardrail, Role
from exp_platform.config.readings import NOTHING_READ

SPEC = experiment(metric("orders"))
DAYS = (END - START).days + 1

# Of arm and day, what a user's activity is multiplied by
Rate = Callable[[np.ndarray, np.ndarray], np.ndarray]


def same(arm: np.ndarray, day: np.ndarray) -> np.ndarray:
    return np.ones(np.broadcast(arm, day).shape)


def late(share: float, days: int) -> Rate:
    """So much of the treatment's rows of the last days is there."""
    return lambda arm, day: np.where((arm == 1) & (day >= DAYS - days), share, 1.0)


def told(spec: Experiment = SPEC, rate: Rate = same, as_of: date = END, **drawn: Any) -> list[LateRow]:
    daily = drawn_days(spec, rate, as_of=as_of, **drawn)
    return late_days(spec, Aggregates(as_of, {}, {}, daily=daily), NOTHING_READ)


def drawn_days(
    spec: Experiment = SPEC,
    rate: Rate = same,
    users: int = 2_000,
    activity: float = 0.1,
    seed: int = 1,
    as_of: date = END,
) -> tuple[DailyRow, ...]:
    """Of users who come evenly, each as active on every day of the window as their own habit is."""
    rng = np.random.default_rng(seed)
    came = rng.integers(0, DAYS, users)
    on = [START + timedelta(days=int(d)) for d in came]
    shares = [next(a.shares for a in reversed(spec.allocations) if a.start <= d) for d in on]
    arm = np.array([rng.choice(len(spec.variants), p=s) for s in shares])
    habit = np.minimum(1.0, activity * rng.gamma(0.5, 2.0, users))
    last = (as_of - START).days + 1
    day = np.arange(last)
    since = day[None, :] - came[:, None]
    window = spec.metrics[0].window
    closes = DAYS if window.end is None else last
    inside = (since >= window.start) & (since < (window.end or last)) & (day[None, :] < closes)
    active = inside & (
        rng.random((users, last)) < np.minimum(1.0, habit[:, None] * rate(arm[:, None], day[None, :]))
    )
    rows = [
        DailyRow(
            START + timedelta(days=int(d)), v.id, m.id,
            int(((came == d) & (arm == i)).sum()), int(active[arm == i, d].sum()), 0.0,
        )
        for m in spec.metrics
        for i, v in enumerate(spec.variants)
        for d in day
    ]  # fmt: skip
    return tuple(rows)


@pytest.mark.parametrize("days", [1, 2, 5])
@pytest.mark.parametrize("share", [0.0, 0.2])
def test_an_arm_without_its_last_days_is_told(share: float, days: int) -> None:
    (row,) = told(rate=late(share, days), users=8_000)
    assert (row.metric_id, row.variant_id) == ("orders", "t1")
    since = END - timedelta(days=days - 1)
    if share == 0:
        assert row.since == since
    assert row.since >= since
    assert row.days == (END - row.since).days + 1


def test_the_rows_of_late_arms_can_be_written(tmp_path: Path) -> None:
    rows = told(rate=late(0.0, 2), users=8_000)
    write_rows(tmp_path / "rows.json", rows)
    assert read_rows(tmp_path / "rows.json") == rows != []


def test_control_may_be_late_as_well_and_a_third_arm_too() -> None:
    assert [r.variant_id for r in told(rate=lambda arm, day: late(0.0, 2)(1 - arm, day))] == ["control"]
    three = experiment(metric("orders"), shares=(0.4, 0.3, 0.3))
    assert [r.variant_id for r in told(three, rate=late(0.0, 2))] == ["t1"]


def test_all_arms_late_are_not_this_fault() -> None:
    """`freshness` tells of those."""
    assert told(rate=lambda arm, day: np.where(day >= DAYS - 3, 0.0, 1.0) + 0 * arm) == []


@pytest.mark.parametrize(
    "rate",
    [
        same,
        lambda arm, day: np.where(arm == 1, 3.0, 1.0) + 0 * day,  # a large effect
        lambda arm, day: np.where(arm == 1, 0.2, 1.0) + 0 * day,  # a harmful one
        lambda arm, day: np.where(arm == 1, 1 + np.exp(-day / 4), 1.0),  # one that fades
        lambda arm, day: np.where((arm == 1) & (day < 2), 20.0, 1.0),  # one on the first days only
        lambda arm, day: np.where((day % 7 > 4), 0.3, 1.0) + 0 * arm,  # weekends
    ],
)
def test_arms_that_only_differ_are_left_in_peace(rate: Rate) -> None:
    for seed in range(12):
        for users in (60, 400, 3_000):
            assert told(rate=rate, users=users, seed=seed) == []


@pytest.mark.parametrize("window", [DayWindow(0, 1), DayWindow(0, 7), DayWindow(3, None), DayWindow()])
def test_a_ramp_that_changes_who_is_there_is_not_late(window: DayWindow) -> None:
    ramp = (Allocation(START, (0.95, 0.05)), Allocation(START + timedelta(days=10), (0.5, 0.5)))
    spec = replace(experiment(metric("orders", window=window), shares=(0.5, 0.5)), ramp=ramp)
    back = replace(spec, ramp=tuple(Allocation(a.start, tuple(reversed(a.shares))) for a in ramp))
    falling = replace(spec, ramp=(Allocation(START, (0.5, 0.5)), Allocation(ramp[1].start, (0.95, 0.05))))
    for seed in range(5):
        for ramped in (spec, back, falling):
            assert told(ramped, seed=seed, users=3_000) == []


def test_days_after_the_windows_end_are_looked_at_as_far_as_a_metric_reads() -> None:
    week = experiment(metric("orders", window=DayWindow(0, 7)))
    later = END + timedelta(days=4)
    missing: Rate = lambda arm, day: np.where((arm == 1) & (day >= DAYS + 2), 0.0, 1.0)  # noqa: E731
    assert [r.since for r in told(week, missing, users=20_000, as_of=later)] == [date(2025, 3, 17)]
    # This one closes with the experiment: what is missing lies before the as_of date.
    assert [r.since for r in told(rate=late(0.0, 2), as_of=later)] == [date(2025, 3, 13)]


def test_only_metrics_that_decide_are_looked_at() -> None:
    guardrail = Guardrail(Effect(0.05, "relative"), "warning")
    spec = experiment(
        metric("orders"),
        metric("views", role=Role.SECONDARY),
        metric("errors", role=Role.SECONDARY, guardrail=guardrail),
    )
    assert [r.metric_id for r in told(spec, late(0.0, 3))] == ["orders", "errors"]


def test_a_table_of_users_has_no_days() -> None:
    assert told(replace(SPEC, source=UNITS), late(0.0, 3)) == []


def test_nothing_is_decided_on_them() -> None:
    arms = {"control": np.arange(1_000.0), "t1": np.arange(1_000.0) + 100}
    day = aggregates([block("orders", v, x) for v, x in arms.items()], as_of=END)
    for rate, action in ((same, "ship"), (late(0.0, 2), "investigate")):
        daily = drawn_days(rate=rate)
        decision = Given([effect(p=1e-6)], day=replace(day, daily=daily)).decide()
        assert decision.action == action
        assert ("DATA_LATE" in codes(decision)) == (action == "investigate")
        assert decision.trust == ("ok" if action == "ship" else "failed")
        for reason in decision.reasons:
            if reason.code == "DATA_LATE":
                assert reason.data["variant_id"] == "t1"
                assert f"(since {reason.data['since']})" in reason.text
                assert "schedule.grace_days" in reason.text
