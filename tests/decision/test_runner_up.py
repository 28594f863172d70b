"""Rule 3 with several treatments: whether the winner is ahead of the next one is told."""

from __future__ import annotations

import numpy as np
import pytest

from decision.cases import (
    BEFORE_END,
    TWO,
    Given,
    codes,
    early,
    effect,
    experiment,
    metric,
    nothing,
    users,
)


def arms(gap: float) -> dict[str, np.ndarray]:
    values = users(("control", "t1", "t2"))
    return values | {"t2": values["t2"] + gap}


@pytest.mark.parametrize(("gap", "told"), [(0.05, True), (1.0, False)])
@pytest.mark.parametrize("final", [True, False])
def test_told_unless_it_is_beaten(gap: float, told: bool, final: bool) -> None:
    rows = [effect("t1", 0.5), effect("t2", 0.5 + gap)]
    if not final:
        rows = [early(r, always_valid=True) for r in rows]
    as_of = {} if final else {"as_of": BEFORE_END}
    d = Given(rows, TWO, blocks=arms(gap), **as_of).decide()  # type: ignore[arg-type]
    assert d.winning_variant == "t2"
    assert ("RUNNER_UP_NOT_BEATEN" in codes(d)) is told


def test_a_gap_between_the_two_tests_counts_at_the_end_only() -> None:
    """A gap of 0.3 with standard error 0.098: p = .002, but the confidence sequence includes 0."""
    rows = [effect("t1", 0.5), effect("t2", 0.8)]
    late = Given(rows, TWO, blocks=arms(0.3)).decide()
    soon = Given(
        [early(r, always_valid=True) for r in rows], TWO, as_of=BEFORE_END, blocks=arms(0.3)
    ).decide()
    assert "RUNNER_UP_NOT_BEATEN" not in codes(late)
    assert "RUNNER_UP_NOT_BEATEN" in codes(soon)


def test_the_runner_up_need_not_be_significant_itself() -> None:
    d = Given([nothing("t1", 0.45), effect("t2", 0.5)], TWO, blocks=arms(0.05)).decide()
    reason = next(r for r in d.reasons if r.code == "RUNNER_UP_NOT_BEATEN")
    assert (reason.data["treatment_id"], reason.data["runner_up"]) == ("t2", "t1")


@pytest.mark.parametrize("constant", [True, False])
def test_arms_that_cannot_be_compared_do_not_beat_each_other(constant: bool) -> None:
    arms = dict.fromkeys(("control", "t1", "t2"), np.ones(500) if constant else np.ones(20))
    d = Given([effect("t1", 0.5), effect("t2", 0.6)], TWO, blocks=arms).decide()
    assert "RUNNER_UP_NOT_BEATEN" in codes(d)


def test_a_decrease_that_is_good_is_ahead_when_it_is_larger() -> None:
    spec = experiment(metric("errors", direction=-1), shares=(0.4, 0.3, 0.3))
    rows = [effect("t1", -0.5, metric_id="errors"), effect("t2", -1.5, metric_id="errors")]
    d = Given(rows, spec, blocks=arms(-1.0)).decide()
    assert d.winning_variant == "t2"
    assert "RUNNER_UP_NOT_BEATEN" not in codes(d)
