"""Planned sizes agree with statsmodels, scale with the arms, and use nothing that is not planned."""

from __future__ import annotations

import pytest
from statsmodels.stats.power import TTestIndPower

from analyses.simulated import experiment, metric
from exp_platform.analyses.planned import Expected, absolute, required_users, tuned_size
from exp_platform.config.metrics import Effect, Role
from exp_platform.config.plans import DecisionPlan

BUYS = metric("buys", "proportion", baseline=0.1, mde=Effect(0.02, "absolute"))
ORDERS = metric("orders", mde=Effect(0.1, "relative"))


def test_effects_are_relative_to_the_size_of_controls_mean() -> None:
    assert absolute(Effect(0.1, "absolute"), 5.0) == 0.1
    assert absolute(Effect(0.1, "relative"), -5.0) == 0.5


@pytest.mark.parametrize("ratio", [1.0, 0.25])
def test_required_users_of_a_mean(ratio: float) -> None:
    shares = (1 / (1 + ratio), ratio / (1 + ratio))
    expected = TTestIndPower().solve_power(0.3 / 2.0, alpha=0.045, power=0.8, ratio=ratio)
    found = required_users(experiment(ORDERS, shares=shares), ORDERS, Expected(3.0, 2.0))
    # Fewer degrees of freedom than pooled ones
    assert found == pytest.approx(expected * (1 + ratio), rel=3e-3)


def test_correction_and_arms_that_get_no_users_of_this_pair_count() -> None:
    second = metric("second", role=Role.SECONDARY)
    spec = experiment(ORDERS, second, shares=(0.5, 0.3, 0.2))
    expected = TTestIndPower().solve_power(0.3 / 2.0, alpha=0.045 / 4, power=0.8, ratio=0.4)
    assert required_users(spec, ORDERS, Expected(3.0, 2.0)) == pytest.approx(expected / 0.5, rel=3e-3)


def test_variance_that_cuped_takes_needs_no_users() -> None:
    spec = experiment(ORDERS)
    plain, reduced = (required_users(spec, ORDERS, Expected(3.0, 2.0, reduction)) for reduction in (0.0, 0.5))
    assert plain is not None
    assert reduced == pytest.approx(plain / 2, rel=0.01)


@pytest.mark.parametrize(
    ("m", "baseline", "sd"),
    [
        (metric("orders"), 3.0, 2.0),  # no mde
        (ORDERS, None, 2.0),
        (ORDERS, 3.0, None),
        (ORDERS, 0.0, 2.0),  # a share of nothing
        (metric("buys", "proportion", mde=Effect(0.5, "absolute")), 0.7, None),  # beyond 1
    ],
)
def test_what_cannot_be_planned_is_none(m: object, baseline: float | None, sd: float | None) -> None:
    assert required_users(experiment(m), m, Expected(baseline, sd)) is None  # type: ignore[arg-type]


def test_confidence_sequences_are_tuned_to_the_pair_of_arms() -> None:
    spec = experiment(BUYS, shares=(0.5, 0.3, 0.2))
    whole = required_users(spec, BUYS, Expected(0.1))
    assert whole is not None
    assert tuned_size(spec, BUYS, "t2") == pytest.approx(0.7 * whole)
    sized = experiment(BUYS, shares=(0.5, 0.3, 0.2), decision=DecisionPlan(required_sample_size=10_000))
    assert tuned_size(sized, BUYS, "t1") == pytest.approx(8_000)


def test_they_are_tuned_to_five_thousand_where_nothing_is_planned() -> None:
    # Its baseline would be data
    unplanned = metric("buys", "proportion", mde=Effect(0.02, "absolute"))
    assert tuned_size(experiment(unplanned), unplanned, "t1") == 5000
    assert tuned_size(experiment(ORDERS), ORDERS, "t1") == 5000
