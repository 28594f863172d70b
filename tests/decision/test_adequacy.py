"""Required users, users so far and days remaining, from the plan and the last seven days."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta

import numpy as np
import pytest
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.proportion import power_proportions_2indep

from analyses.simulated import aggregates, block
from decision.cases import BEFORE_END, END, Given, early, effect, experiment, metric, nothing, unread
from exp_platform.aggregates import DailyRow
from exp_platform.analyses.rows import Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import DayWindow, Effect
from exp_platform.config.plans import AnalysisPlan, DecisionPlan
from exp_platform.decision import Adequacy


def of(spec: Experiment, n: int = 500, as_of: date = BEFORE_END, **more: object) -> Adequacy:
    """Adequacy with n users per arm observed in the first metric."""
    blocks = [block("orders", v.id, np.linspace(0, 1, n)) for v in spec.variants]
    day = aggregates(blocks, as_of, **more)
    row = nothing() if as_of == END else early(nothing())
    return Given([row], spec, day=day).decide().adequacy


def arrivals(first: date, last: date, a_day: int) -> list[DailyRow]:
    """`a_day` new users in each of two arms; two metrics repeat the count."""
    days = [first + timedelta(days=i) for i in range((last - first).days + 1)]
    return [
        DailyRow(d, v, m, new_users=a_day, active_users=0, value_sum=0.0)
        for d in days
        for v in ("control", "t1")
        for m in ("orders", "visits")
    ]


def test_required_users_from_mde_and_what_control_shows() -> None:
    """Control's mean is 10 and its standard deviation 5 in the rows; 5 % of it is 0.5."""
    a = of(experiment(metric("orders", mde=Effect(0.05, "relative"))))
    expected = 2 * TTestIndPower().solve_power(0.5 / 5, alpha=0.045, power=0.8)
    assert a.required_users == pytest.approx(expected, rel=2e-3)
    assert (a.basis, a.current_users, a.planned_size_reached) == ("mde", 1000, False)
    assert (a.mde, a.baseline) == (pytest.approx(0.5), 10.0)
    assert a.power == pytest.approx(TTestIndPower().power(0.5 / 5, 500, 0.045), rel=1e-9)


def test_the_planned_baseline_comes_first() -> None:
    a = of(experiment(metric("orders", mde=Effect(0.05, "relative"), baseline=20.0)))
    assert (a.mde, a.baseline) == (pytest.approx(1.0), 20.0)


def test_a_planned_proportion_needs_no_data() -> None:
    m = metric("orders", "proportion", mde=Effect(0.02, "absolute"), baseline=0.1)
    row = early(unread(Status.INSUFFICIENT_DATA))
    a = Given([row], experiment(m), as_of=BEFORE_END).decide().adequacy
    assert a.basis == "mde"
    assert a.required_users == pytest.approx(7930, rel=0.02)  # 3,964 an arm by the classical formula


def test_cuped_needs_fewer_users() -> None:
    m = metric("orders", mde=Effect(0.05, "relative"), covariates=["before"])
    spec = experiment(m, decision=DecisionPlan(estimate="cuped"))
    adjusted = Given([effect(method="cuped", variance_reduction=0.75)], spec).decide().adequacy
    plain = Given([nothing()], experiment(m)).decide().adequacy
    assert plain.required_users is not None
    assert adjusted.required_users == pytest.approx(plain.required_users / 4, rel=0.01)


def test_the_score_test_at_unequal_arms_needs_what_it_needs() -> None:
    """statsmodels' power of the pooled z at 9 to 1; Welch's formula would ask for a fifth more."""
    m = metric("orders", "proportion", mde=Effect(0.02, "absolute"), baseline=0.1, test="score")
    row = early(unread(Status.INSUFFICIENT_DATA))
    unequal = experiment(m, shares=(0.9, 0.1))
    a = Given([row], unequal, as_of=BEFORE_END).decide().adequacy
    assert a.required_users is not None
    found = power_proportions_2indep(
        0.02, 0.1, nobs1=0.1 * a.required_users, ratio=9, alpha=0.045, return_results=False
    )
    assert found == pytest.approx(0.8, abs=1e-4)


def test_a_ratio_needs_users_by_its_linearised_spread() -> None:
    """Control's ratio is 10 and the linearised value's standard deviation 5, as the rows have it."""
    m = metric("orders", "ratio", mde=Effect(0.05, "relative"))
    assert of(experiment(m)).required_users == of(experiment(replace(m, kind="mean"))).required_users


def test_a_quantiles_ranks_cost_users() -> None:
    m = metric("orders", "quantile", mde=Effect(0.05, "relative"), q=0.9)
    of_quantile, of_mean = (of(experiment(x)).required_users for x in (m, replace(m, kind="mean", q=None)))
    assert of_quantile is not None
    assert of_mean is not None
    assert of_mean < of_quantile < 1.1 * of_mean


def test_strata_that_decide_need_fewer_users_too() -> None:
    m = metric("orders", mde=Effect(0.05, "relative"))
    spec = experiment(
        m,
        analyses=AnalysisPlan(strata=("device",)),
        segments=("device",),
        decision=DecisionPlan(estimate="post_stratified"),
    )
    adjusted = Given([effect(method="post_stratified", variance_reduction=0.5)], spec).decide().adequacy
    plain = Given([nothing()], experiment(m)).decide().adequacy
    assert plain.required_users is not None
    assert adjusted.required_users == pytest.approx(plain.required_users / 2, rel=0.01)


def test_looks_cost_users() -> None:
    m = metric("orders", "proportion", mde=Effect(0.02, "absolute"), baseline=0.1)
    m = replace(m, window=DayWindow(0, 1))
    looks = tuple(date(2025, 3, 3 * i) for i in (1, 2, 3, 4))
    plans = (
        DecisionPlan(sequential_share=0.0),
        DecisionPlan(sequential="group_sequential", sequential_share=0.0, looks=looks, spending="pocock"),
    )
    row = early(unread(Status.INSUFFICIENT_DATA))
    once, often = (
        Given([row], experiment(m, decision=d), as_of=BEFORE_END).decide().adequacy.required_users
        for d in plans
    )
    assert once is not None
    assert often == pytest.approx(1.228 * once, rel=0.02)  # Pocock's five looks: Jennison and Turnbull 2000


def test_the_specs_size_stands_in_for_an_mde() -> None:
    spec = experiment(metric("orders"), decision=DecisionPlan(required_sample_size=800))
    assert (of(spec).basis, of(spec).required_users, of(spec).planned_size_reached) == (
        "required_sample_size",
        800,
        True,
    )
    assert of(spec, n=399).planned_size_reached is False


def test_with_no_size_planned_the_window_stands_for_it() -> None:
    early_on, at_end = of(experiment(metric("orders"))), of(experiment(metric("orders")), as_of=END)
    assert (early_on.basis, early_on.required_users, early_on.power) == ("none", None, None)
    assert (early_on.planned_size_reached, early_on.days_remaining) == (False, 4)
    assert (at_end.planned_size_reached, at_end.days_remaining) == (True, 0)


def test_the_primary_metric_that_is_furthest_from_its_plan_is_told() -> None:
    easy, hard = (
        metric("orders", mde=Effect(0.5, "relative")),
        metric("revenue", mde=Effect(0.01, "relative")),
    )
    rows = [early(nothing()), early(nothing(metric_id="revenue"))]
    assert Given(rows, experiment(easy, hard), as_of=BEFORE_END).decide().adequacy.metric_id == "revenue"


class TestDaysRemaining:
    """1,000 users of 3,000 are observed."""

    SPEC = experiment(metric("orders"), decision=DecisionPlan(required_sample_size=3000, daily_users=50.0))

    def test_from_the_last_seven_days(self) -> None:
        slow = arrivals(date(2025, 3, 1), date(2025, 3, 3), 5)
        a = of(self.SPEC, daily=[*slow, *arrivals(date(2025, 3, 4), BEFORE_END, 100)])
        assert (a.daily_users, a.days_remaining) == (pytest.approx(200.0), 10)

    def test_from_the_days_there_were(self) -> None:
        a = of(self.SPEC, as_of=date(2025, 3, 2), daily=arrivals(date(2025, 3, 1), date(2025, 3, 2), 100))
        assert a.daily_users == pytest.approx(200.0)

    def test_after_the_window_from_its_last_seven_days(self) -> None:
        waiting = experiment(
            metric("orders", window=DayWindow(0, 7)), decision=DecisionPlan(required_sample_size=3000)
        )
        a = of(waiting, as_of=date(2025, 3, 18), daily=arrivals(date(2025, 3, 1), END, 100))
        assert (a.daily_users, a.days_remaining) == (pytest.approx(200.0), 10 + 7)

    def test_from_the_spec_where_nobody_arrived(self) -> None:
        assert (of(self.SPEC).daily_users, of(self.SPEC).days_remaining) == (50.0, 40)

    def test_unknown_where_neither_says(self) -> None:
        a = of(experiment(metric("orders"), decision=DecisionPlan(required_sample_size=3000)))
        assert (a.daily_users, a.days_remaining) == (None, None)

    def test_users_who_are_exposed_only_need_to_be_observed(self) -> None:
        spec = experiment(
            metric("orders", window=DayWindow(0, 5)), decision=DecisionPlan(required_sample_size=3000)
        )
        assert of(spec, assigned={"control": 1500, "t1": 1500}).days_remaining == 5

    def test_users_without_a_value_must_be_made_up_for(self) -> None:
        """1,400 came in 7 days, and 1,000 have a value: 3,000 with one are 4,200 users, 14 days more."""
        m = metric("orders", missing="exclude")
        spec = experiment(m, decision=DecisionPlan(required_sample_size=3000))
        came = arrivals(date(2025, 3, 4), BEFORE_END, 100)
        a = of(spec, daily=came, assigned={"control": 700, "t1": 700})
        assert (a.current_users, a.days_remaining) == (1000, 14)
        counted = experiment(metric("orders"), decision=DecisionPlan(required_sample_size=3000))
        assert of(counted, daily=came, assigned={"control": 700, "t1": 700}).days_remaining == 8

    def test_crossovers_count_where_they_are_kept(self) -> None:
        for policy, days in (("first", 0), ("exclude", 2)):
            spec = experiment(
                metric("orders"),
                analyses=AnalysisPlan(crossovers=policy),  # type: ignore[arg-type]
                decision=DecisionPlan(required_sample_size=3000, daily_users=50.0),
            )
            a = of(spec, assigned={"control": 1500, "t1": 1500}, crossovers={"control": 50, "t1": 50})
            assert a.days_remaining == days

    def test_none_once_the_size_is_reached(self) -> None:
        assert of(self.SPEC, n=1500).days_remaining == 0
