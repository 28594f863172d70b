"""When an interval excludes the smallest effect that was looked for: both directions, both scales, both signs."""

from __future__ import annotations

from dataclasses import replace

import pytest

from decision.cases import Given, effect, experiment, metric
from exp_platform.analyses.rows import Status
from exp_platform.config.metrics import Effect
from exp_platform.config.plans import DecisionPlan
from exp_platform.decision.findings import excludes_mde, is_practical


@pytest.mark.parametrize(
    ("direction", "estimate", "excluded"),
    [
        (1, 0.05, True),
        (1, 0.2, False),
        (1, -3.0, True),
        (-1, -0.05, True),
        (-1, -0.2, False),
        (-1, 3.0, True),
    ],
)
@pytest.mark.parametrize("mde", [Effect(0.3, "absolute"), Effect(0.03, "relative")])
def test_only_the_side_of_improvement_counts(
    direction: int, estimate: float, excluded: bool, mde: Effect
) -> None:
    """The interval is the estimate +- 0.2, control's mean 10."""
    assert excludes_mde(metric("orders", direction=direction, mde=mde), effect(estimate=estimate)) is excluded


def test_a_negative_baseline_turns_no_relative_effect() -> None:
    """Control -10, treatment -9.99: an improvement of 0.1 % of control's size, which is a relative effect of +0.1 %."""
    m = metric("profit", mde=Effect(0.01, "relative"))
    row = effect(mean_control=-10.0, estimate=0.01, relative=0.001, relative_low=-0.2, relative_high=0.003)
    assert excludes_mde(m, row) is True
    assert excludes_mde(m, effect(mean_control=-10.0, relative_low=0.0, relative_high=0.02)) is False


def test_an_unbounded_relative_interval_excludes_nothing() -> None:
    m = metric("orders", mde=Effect(0.01, "relative"))
    assert excludes_mde(m, effect(relative_low=None, relative_high=None)) is False


def test_an_approximate_interval_excludes_nothing_beside_fiellers() -> None:
    m = metric("orders", mde=Effect(0.1, "relative"))
    row = effect(relative_kind="APPROXIMATE", relative_low=0.0, relative_high=0.05)
    assert excludes_mde(m, row) is False  # Fieller's set is no interval
    assert excludes_mde(m, replace(row, fieller_low=0.0, fieller_high=0.12)) is False
    assert excludes_mde(m, replace(row, fieller_low=0.0, fieller_high=0.08)) is True
    no_log = replace(row, relative_kind="UNDEFINED", relative_low=None, relative_high=None)
    assert excludes_mde(m, replace(no_log, fieller_low=-1.8, fieller_high=-1.2)) is True


def test_without_mde_or_numbers_nothing_is_excluded() -> None:
    assert excludes_mde(metric("orders"), effect(estimate=-5.0)) is False
    unread = effect(status=Status.DEGENERATE)
    assert excludes_mde(metric("orders", mde=Effect(0.1, "absolute")), unread) is False


def test_without_a_smallest_effect_every_effect_is_practical() -> None:
    assert is_practical(None, effect(estimate=1e-9)) is True


@pytest.mark.parametrize("correction", ["bonferroni", "holm", "bh"])
@pytest.mark.parametrize(("p", "outcome"), [(0.03, "not_significant"), (0.02, "better")])
def test_an_unadjusted_row_that_stands_in_is_held_to_bonferronis_level(
    correction: str, p: float, outcome: str
) -> None:
    """Two primaries share .045. Among the unadjusted rows Holm and BH let .03 pass; among those that decide it is not."""
    spec = experiment(
        metric("orders"),
        metric("speed"),
        decision=DecisionPlan(estimate="cuped", correction=correction),  # type: ignore[arg-type]
    )
    unadjusted = {"p_adjusted": 2 * p, "significant": p < 0.0225} if correction == "bonferroni" else {}
    rows = [
        effect(p=0.5, method="cuped"),  # not significant itself
        effect(p=1e-9, metric_id="orders"),
        effect(metric_id="speed", method="cuped", status=Status.NOT_APPLICABLE),
        effect(metric_id="speed", p=p, **unadjusted),
    ]
    found = Given(rows, spec).decide()
    assert found.treatments[0].outcome == outcome
    if outcome == "better":
        assert found.confidence == pytest.approx(1 - 2 * p)
