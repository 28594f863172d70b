"""A ramp in a spec: its shares go to the arms in their order, and planning gets what they come to over the window."""

from __future__ import annotations

from datetime import date
from pathlib import Path

import pytest

from exp_platform.config.allocation import Allocation, effective_shares, planned_shares
from exp_platform.config.loading import load_experiment

SPECS = Path(__file__).parent / "specs" / "valid"


def test_shares_stand_in_the_order_of_the_arms_control_first() -> None:
    ramp = load_experiment("ramp", SPECS / "ramp.yaml").ramp
    assert ramp == (
        Allocation(date(2026, 3, 2), (0.9, 0.05, 0.05)),
        Allocation(date(2026, 3, 5), (0.5, 0.2, 0.3)),
    )


def test_an_arms_share_is_that_of_the_whole_window() -> None:
    """Three of fourteen days at 90, 5 and 5 %, eleven at 50, 20 and 30 %."""
    experiment = load_experiment("ramp", SPECS / "ramp.yaml")
    shares = [v.share for v in experiment.variants]
    assert shares == pytest.approx([8.2 / 14, 2.35 / 14, 3.45 / 14], rel=1e-12, abs=0)
    worth = [v.effective_share for v in experiment.variants]
    assert worth == pytest.approx(effective_shares(experiment.ramp, experiment.window.end), rel=1e-12, abs=0)
    assert sum(shares) == pytest.approx(1, rel=1e-12, abs=0)


def test_without_a_ramp_there_is_one_allocation_from_the_start() -> None:
    experiment = load_experiment("first_own", SPECS / "first_own.yaml")
    assert experiment.ramp == ()
    assert experiment.allocations == (Allocation(date(2026, 3, 2), (0.5, 0.5)),)
    assert [v.effective_share for v in experiment.variants] == [0.5, 0.5]


def test_planned_and_effective_shares_are_arithmetic_and_harmonic_means_over_the_days() -> None:
    ramp = (Allocation(date(2026, 3, 1), (0.9, 0.1)), Allocation(date(2026, 3, 6), (0.5, 0.5)))
    end = date(2026, 3, 10)  # five days each
    assert planned_shares(ramp, end) == pytest.approx((0.7, 0.3), rel=1e-12, abs=0)
    assert effective_shares(ramp, end) == pytest.approx((9 / 14, 1 / 6), rel=1e-12, abs=0)
