"""Portfolios whose truth is known: the shrunken sum keeps its coverage and is unbiased, the sum of winners neither."""

from __future__ import annotations

import math

import pytest

from exp_validation import portfolios as module
from exp_validation.portfolios import COVERAGE, EXPECTED, NAIVE, Portfolio, portfolios, winners_added_up


def found(cell: Portfolio, replicates: int) -> dict[str, float]:
    return {check.measure: check.rate for check in cell.checks(replicates)}


@pytest.mark.simulations
def test_shrunken_sums_cover_what_they_promise_and_do_not_count_luck() -> None:
    """Every cell of the validation, 200 portfolios each, of large ones fewer.

    Where effects are as large as their errors the expected sum is the true one to a seventh, while the winners' is two thirds
    too large.
    """
    cells = list(portfolios())
    checks = [check for cell in cells for check in cell.checks(min(200, 12_000 // cell.experiments))]
    assert [c for c in checks if not c.holds(len(cells))] == []
    for cell in cells:
        of_cell = {c.measure: c.rate for c in checks if c.cell == cell.name}
        assert of_cell[EXPECTED] < 0.5 * of_cell[NAIVE] or cell.spread > 0.5
        if cell.spread >= 0.7 and cell.experiments >= 40:
            assert of_cell[EXPECTED] == pytest.approx(1, abs=1 / 7)
            assert of_cell[NAIVE] > 1.2


def test_winners_added_up_are_found_out() -> None:
    """Of 40 experiments whose effects are as large as their errors, half of what the winners' estimates say is luck."""
    cell = winners_added_up()
    coverage = cell.checks(400)[0]
    assert coverage.measure == COVERAGE
    assert not coverage.holds(200)
    assert 1.7 < found(cell, 400)[NAIVE] < 2.1


def test_a_law_learnt_from_winners_alone_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What a portfolio page must not do: take the law of effects from what was shipped."""

    def of_winners(drawn: module.Drawn) -> module.Sum:
        chosen = drawn.shipped
        if len(chosen) < 20:
            return drawn.winners()
        names = [drawn.experiments[at] for at in chosen]
        said = module.shrink(drawn.estimates[chosen].tolist(), drawn.errors[chosen].tolist(), names).of(
            range(len(chosen))
        )
        return module.Sum(said.mean, said.low, said.high)

    cell = Portfolio(200, 1.0, said=of_winners)
    assert not cell.checks(100)[0].holds(200)


def test_errors_that_are_told_too_small_are_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    shrink = module.shrink
    monkeypatch.setattr(module, "shrink", lambda y, s, e: shrink(y, [one / 2 for one in s], e))
    assert not Portfolio(40, 1.0).checks(300)[0].holds(200)


def test_the_best_arm_is_shipped_if_it_is_significant() -> None:
    import numpy as np

    cell = Portfolio(3, 1.0, treatments=2)
    z = np.array([1.0, 1.9, 2.5, 3.0, -4.0, 2.0])
    assert cell._shipped(z).tolist() == [3, 5]
    assert math.isinf(cell.tail)
