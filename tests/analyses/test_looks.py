"""A group-sequential test is read at its looks alone, each at the level that spending leaves it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analyses.simulated import END, START, aggregates, block, experiment, metric
from exp_platform.aggregates import Aggregates, DailyRow
from exp_platform.analyses import ab, cuped, guardrails
from exp_platform.analyses.planned import Expected, required_users
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import DayWindow, Effect, Guardrail, Role
from exp_platform.config.plans import DecisionPlan
from exp_platform.config.readings import NOTHING_READ, Memory, Reading, RunState
from exp_platform.stats.group_sequential import bounds, separate_bounds, spent

LOOKS = (date(2025, 3, 5), date(2025, 3, 9))
PLAN = DecisionPlan(
    sequential="group_sequential", sequential_share=0.0, looks=LOOKS, required_sample_size=14_000
)


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=0)


def plan(*metrics: Any, **more: Any) -> Experiment:
    closed = metric(window=DayWindow(0, 1))
    return experiment(*(metrics or (closed,)), decision=replace(PLAN, **more.pop("decision", {})), **more)


def day_of(spec: Experiment, as_of: date, daily: int = 500, lift: float = 0.0, days: int = 14) -> Aggregates:
    """`daily` users per arm on each of the first `days` days, and everybody's outcome."""
    rng = np.random.default_rng(1)
    dates = [START + timedelta(days=i) for i in range(days)]
    n = daily * len([d for d in dates if d <= as_of])
    blocks, rows = [], []
    for m in spec.metrics:
        for variant in ("control", "t1"):
            values = np.column_stack([rng.normal(10, 3, n), rng.normal(0, 1, n)])
            values[:, 0] += lift * (variant == "t1")
            names = ("value", "x")[: 1 + len(m.covariates)]
            blocks.append(block(m.id, variant, values[:, : len(names)], names))
            rows += [DailyRow(d, variant, m.id, daily, daily, 1.0) for d in dates if d <= as_of]
    return aggregates(blocks, as_of=as_of, daily=rows)


def only(rows: Any) -> ResultRow:
    (row,) = rows
    return row  # type: ignore[no-any-return]


def test_looks_are_the_declared_days_and_the_planned_decision_date() -> None:
    spec = plan()
    assert spec.decision_date == END + timedelta(days=1)
    assert NOTHING_READ.look_dates(spec) == (*LOOKS, spec.decision_date)
    numbers = [NOTHING_READ.look_number(spec, START + timedelta(days=i)) for i in range(17)]
    assert numbers == [None] * 4 + [1] + [None] * 3 + [2] + [None] * 5 + [3, 3, 3]


def test_a_look_has_the_bound_of_the_users_whose_window_is_over() -> None:
    """As of 9 March users of 8 days have their day over: 8,000 of the 14,000; at the look before 4,000."""
    spec = plan()
    row = only(ab.analyse(spec, day_of(spec, LOOKS[1])))
    chances = tuple(spent("obrien_fleming", t, 0.05) for t in (4 / 14, 8 / 14))
    critical = bounds((4000.0, 8000.0), chances)[1]
    assert (row.look, row.information_fraction, row.alpha_spent) == (2, near(8 / 14), near(chances[1]))
    assert row.boundary == near(critical)
    assert row.alpha == near(2 * stats.norm.sf(critical))
    assert row.ci_level == near(1 - 2 * stats.norm.sf(critical))
    assert (row.always_valid_status, row.always_valid_low) == (Status.NOT_APPLICABLE, None)


def test_the_last_look_spends_what_is_left_however_few_users_came() -> None:
    spec = plan(decision={"required_sample_size": 40_000})
    row = only(ab.analyse(spec, day_of(spec, spec.decision_date)))
    early = tuple(spent("obrien_fleming", t, 0.05) for t in (0.1, 0.2))
    assert (row.look, row.alpha_spent, row.information_fraction) == (3, 0.05, near(14_000 / 40_000))
    assert row.boundary == near(bounds((4000.0, 8000.0, 14_000.0), (*early, 0.05))[-1])


def test_an_interim_look_finds_a_large_effect_and_other_days_find_none() -> None:
    spec = plan()
    at, between = (
        only(ab.analyse(spec, day_of(spec, day, lift=1.0))) for day in (LOOKS[1], date(2025, 3, 10))
    )
    assert (at.significant, at.p_adjusted is not None and at.p_adjusted < 0.05) == (True, True)
    assert (between.significant, between.look, between.boundary) == (False, None, None)
    assert between.p_value is not None
    assert between.p_value < 1e-6


def test_p_adjusted_is_below_alpha_exactly_where_the_bound_is_crossed() -> None:
    spec = plan()
    for lift in (0.08, 0.12, 0.16, 0.2, 0.24):
        row = only(ab.analyse(spec, day_of(spec, LOOKS[1], lift=lift)))
        assert row.p_value is not None
        assert row.p_adjusted is not None
        assert row.significant is (row.p_adjusted < 0.05) is (row.p_value < float(row.alpha or 0))


def test_each_comparison_of_a_family_spends_its_share() -> None:
    spec = plan(metric(window=DayWindow(0, 1)), metric("other", role=Role.SECONDARY, window=DayWindow(0, 1)))
    rows = ab.analyse(spec, day_of(spec, LOOKS[0]))
    for row in rows:
        assert isinstance(row, ResultRow)
        assert row.alpha_spent == near(spent("obrien_fleming", 4 / 14, 0.025))


def test_outcomes_that_still_accrue_are_spent_by_the_days_and_without_correlation() -> None:
    """All users on the first day: their number says nothing of how much is known, and their values change."""
    spec = plan(metric())
    row = only(ab.analyse(spec, day_of(spec, LOOKS[1], daily=7000, days=1)))
    chances = tuple(spent("obrien_fleming", t, 0.05) for t in (5 / 14, 9 / 14))
    assert (row.information_fraction, row.alpha_spent) == (near(9 / 14), near(chances[1]))
    assert row.boundary == near(separate_bounds(chances)[1])


def test_a_look_without_new_users_spends_its_alpha_alone() -> None:
    """All 10,000 of 14,000 planned users are there at the second look: the last one cannot use the recursion."""
    spec = plan(decision={"spending": "pocock"})
    row = only(ab.analyse(spec, day_of(spec, spec.decision_date, daily=1250, days=4)))
    left = 0.05 - spent("pocock", 10_000 / 14_000, 0.05)
    assert (row.look, row.alpha_spent) == (3, 0.05)
    assert row.boundary == near(float(stats.norm.isf(left / 2)))


def test_more_users_than_planned_leave_nothing_for_later_looks() -> None:
    spec = plan(decision={"required_sample_size": 6000})
    second = only(ab.analyse(spec, day_of(spec, LOOKS[1], lift=1.0)))
    last = only(ab.analyse(spec, day_of(spec, spec.decision_date, lift=1.0)))
    assert (second.alpha_spent, second.significant) == (0.05, True)
    assert (last.alpha_spent, last.boundary, last.significant) == (0.05, None, False)
    assert last.ci_low is not None


def test_a_look_that_was_taken_counts_after_it_is_struck_from_the_spec() -> None:
    taken = Memory(readings=(Reading(False, LOOKS[0], LOOKS[0], "data"),))
    spec, state = plan(decision={"looks": (LOOKS[1],)}), RunState(taken)
    assert state.look_dates(spec) == (*LOOKS, spec.decision_date)
    assert only(ab.analyse(spec, day_of(spec, LOOKS[1]), state)).look == 2


def test_an_end_moved_after_the_last_look_leaves_no_look() -> None:
    spec = plan()
    row = only(ab.analyse(spec, day_of(spec, spec.decision_date, lift=1.0), RunState(moved=True)))
    assert (row.look, row.significant) == (None, False)


def test_cuped_rows_and_guardrails_have_the_look_of_their_own_level() -> None:
    guard = Guardrail(Effect(0.5, "absolute"), "critical")
    spec = plan(metric(window=DayWindow(0, 1), covariates=["x"], guardrail=guard))
    day = day_of(spec, LOOKS[1], lift=-2.0)
    adjusted, guarded = only(cuped.analyse(spec, day)), only(guardrails.analyse(spec, day))
    assert (adjusted.look, adjusted.significant, adjusted.boundary) == (
        2,
        True,
        near(float(guarded.boundary or 0)),
    )
    assert guarded.verdict == "proven_breach"
    between = only(guardrails.analyse(spec, day_of(spec, date(2025, 3, 10), lift=-2.0)))
    assert between.verdict == "observed_breach"


def test_looking_costs_users() -> None:
    effect = Effect(0.02, "absolute")
    m = metric(kind="proportion", mde=effect, window=DayWindow(0, 1))
    looked, once = plan(m), plan(m, decision={"looks": ()})
    more, fewer = (required_users(x, m, Expected(0.1)) for x in (looked, once))
    assert more is not None
    assert fewer is not None
    assert 1.001 * fewer < more < 1.05 * fewer
