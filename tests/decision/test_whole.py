"""From users to a decision: simulated experiments through all analyses."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest

from analyses.simulated import BEFORE_END, END, aggregates, block, experiment, metric
from decision.cases import PASSED, before_any_run, codes
from exp_platform.aggregates import Aggregates
from exp_platform.analyses.registry import analyse_all
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect, Guardrail, Role
from exp_platform.config.plans import DecisionPlan
from exp_platform.config.readings import Memory, Reading, RunState
from exp_platform.decision import Decision, decide

GUARD = Guardrail(Effect(0.1, "relative"), "critical")

# The test of an earlier end was taken, as of 7 March.
READ_BEFORE = Memory(readings=(Reading(True, date(2025, 3, 7), date(2025, 3, 8), "data"),))


def through(spec: Experiment, day: Aggregates, state: RunState | None = None) -> Decision:
    state = state or before_any_run(spec)
    return decide(spec, state, analyse_all(spec, day, state=state), [PASSED])


def moved_after(spec: Experiment) -> RunState:
    """The state of a spec whose end was moved after the test of an earlier one."""
    return replace(before_any_run(spec), memory=READ_BEFORE, moved=True)


def conversions(n: int, rate: float) -> np.ndarray:
    return np.repeat([1.0, 0.0], [round(n * rate), n - round(n * rate)])


def test_the_better_of_two_treatments_is_shipped_with_its_own_lift() -> None:
    spec = experiment(metric("buys", "proportion"), shares=(0.4, 0.3, 0.3))
    arms = {"control": (8000, 0.10), "t1": (6000, 0.12), "t2": (6000, 0.14)}
    d = through(spec, aggregates(block("buys", v, conversions(*arm)) for v, arm in arms.items()))
    assert (d.winner, d.action, d.winning_variant) == ("treatment", "ship", "t2")
    assert (d.lift, d.effect) == (pytest.approx(0.4), pytest.approx(0.04))
    assert "RUNNER_UP_NOT_BEATEN" not in codes(d)


def test_cuped_finds_what_the_plain_test_does_not_and_compares_treatments_likewise() -> None:
    rng = np.random.default_rng(12)
    blocks = []
    for v, shift in (("control", 0.0), ("t1", 0.5), ("t2", 1.2)):
        before = rng.permutation(10 * np.linspace(-1.7, 1.7, 1000))
        blocks.append(
            block(
                "orders",
                v,
                np.column_stack([50 + before + shift + rng.normal(0, 1, 1000), before]),
                ("value", "x"),
            )
        )
    outcomes = {}
    for estimate in ("ab", "cuped"):
        spec = experiment(
            metric("orders", covariates=["x"]),
            shares=(0.34, 0.33, 0.33),
            decision=DecisionPlan(estimate=estimate),  # type: ignore[arg-type]
        )
        outcomes[estimate] = through(
            spec, aggregates(blocks, assigned={"control": 1020, "t1": 990, "t2": 990})
        )
    assert (outcomes["cuped"].action, outcomes["cuped"].winning_variant) == ("ship", "t2")
    assert "RUNNER_UP_NOT_BEATEN" not in codes(outcomes["cuped"])
    assert outcomes["cuped"].treatments[0].outcome == "better"
    assert outcomes["ab"].treatments[0].outcome == "not_significant"


def test_a_gain_that_ruins_the_guardrail_is_stopped() -> None:
    spec = experiment(
        metric("buys", "proportion"),
        metric("errors", role=Role.GUARDRAIL, direction=-1, guardrail=GUARD),
    )
    noise = np.tile([0.0, 1.0, 2.0, 1.0], 1250)
    d = through(
        spec,
        aggregates(
            [
                *(block("buys", v, conversions(5000, rate)) for v, rate in (("control", 0.1), ("t1", 0.15))),
                *(block("errors", v, noise * k) for v, k in (("control", 1.0), ("t1", 1.5))),
            ]
        ),
    )
    assert (d.winner, d.action) == ("guardrail-violated", "stop")


def test_a_broken_split_is_investigated_whatever_the_effect() -> None:
    spec = experiment(metric("buys", "proportion"))
    d = through(
        spec,
        aggregates(
            [block("buys", "control", conversions(6000, 0.1)), block("buys", "t1", conversions(5000, 0.2))]
        ),
    )
    assert (d.winner, d.action, d.trust) == ("inconclusive", "investigate", "failed")


def test_no_conversion_anywhere_is_no_error() -> None:
    spec = experiment(metric("buys", "proportion"), metric("errors", role=Role.GUARDRAIL, guardrail=GUARD))
    d = through(
        spec, aggregates(block(m, v, np.zeros(500)) for m in ("buys", "errors") for v in ("control", "t1"))
    )
    assert (d.winner, d.action, d.lift) == ("inconclusive", "investigate", None)


def test_nobody_at_all_is_no_error() -> None:
    d = through(experiment(metric("buys")), aggregates([]))
    assert (d.winner, d.action, d.trust) == ("inconclusive", "investigate", "unknown")


def test_a_significant_p_after_the_end_was_moved_does_not_ship() -> None:
    """An effect of p = .01 ships at the planned end, and not where that test had been read before the end was moved."""
    spec = experiment(metric("buys", "proportion"))
    day = aggregates(block("buys", v, conversions(5000, p)) for v, p in (("control", 0.100), ("t1", 0.1155)))
    assert through(spec, day).action == "ship"
    moved = through(spec, day, moved_after(spec))
    assert (moved.winner, moved.action, moved.final) == ("inconclusive", "extend", False)
    assert "FIXED_HORIZON_READ" in codes(moved)
    assert "BEFORE_PLANNED_END" not in codes(moved)


def test_an_interim_look_ships_what_another_day_only_shows() -> None:
    """z = 5.7 is beyond O'Brien and Fleming's bound by half of the days; on a day that is no look it says nothing."""
    plan = DecisionPlan(
        sequential="group_sequential", sequential_share=0.0, looks=(BEFORE_END,), required_sample_size=20_000
    )
    spec = experiment(metric("buys", "proportion"), decision=plan)
    blocks = [block("buys", v, conversions(5000, p)) for v, p in (("control", 0.10), ("t1", 0.137))]
    at, between, last = (
        through(spec, aggregates(blocks, as_of=day)) for day in (BEFORE_END, date(2025, 3, 11), END)
    )
    assert (at.action, at.look, at.final) == ("ship", 1, False)
    assert "INTERIM_LOOK" in codes(at)
    assert (between.action, between.look, between.winner) == ("extend", None, "inconclusive")
    assert "NOT_A_LOOK" in codes(between)
    assert (last.action, last.look, last.final) == ("ship", 2, True)
    assert "LAST_LOOK" in codes(last)
    moved = through(spec, aggregates(blocks, as_of=END), moved_after(spec))
    assert (moved.action, moved.winner) == ("extend", "inconclusive")
    assert "FIXED_HORIZON_READ" in codes(moved)
