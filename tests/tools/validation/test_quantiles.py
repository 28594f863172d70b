"""Quantiles keep their level beside masses of equal values and gaps, whatever the arms' sizes; the plain error does not."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest

from exp_platform.kernels.order_statistics import Bracket, Bracketed, quantile_numbers
from exp_validation import quantiles
from exp_validation.cells import cells
from exp_validation.quantiles import Quantile, laws, quantiles_drawn

CELLS = [cell for cell in cells() if isinstance(cell, Quantile)]


@pytest.mark.simulations
def test_quantiles_find_no_more_than_they_promise_beside_whatever_jumps() -> None:
    """Every cell of the validation, at .05, .005 and one-sided: A/A, so the truth is known."""
    checks = [check for cell in CELLS for check in cell.checks(4_000)]
    assert [c for c in checks if not c.holds(len(checks))] == []
    assert Counter(c.measure for c in checks)["one-sided at 0.05"] == len(CELLS) > 100


def test_the_error_of_the_rank_interval_alone_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    """What was wrong: with as many zeros as users below the quantile nearly half of all A/A tests found a difference."""
    monkeypatch.setattr(quantiles, "widened", lambda n, q, quantile, smooth, values, ranks: smooth)
    law = next(law for law in laws(0.9, 5_000) if law.name.startswith("zeros"))
    found = {c.measure: c.rate for c in Quantile(0.9, law, (5_000, 5_000)).checks(500)}
    assert found["false positives at 0.05"] > 0.3


@pytest.mark.parametrize("law", list(laws(0.9, 400)), ids=lambda law: law.name)
def test_quantiles_drawn_are_those_that_the_kernels_make_of_users(law: quantiles.Law) -> None:
    """The same distribution: quantiles of 500 draws each, and of their errors, agree by Kolmogorov and Smirnov at 1e-4."""
    rng = np.random.default_rng(3)
    drawn = quantiles_drawn(rng, law.of_share, 400, 0.9, 500)
    made = []
    for _ in range(500):
        values = law.of_share(rng.random(400))
        numbers = quantile_numbers(Bracketed.of(values, Bracket(-np.inf, np.inf)), 400, 0.9)
        assert numbers is not None
        made.append((numbers.quantile, numbers.quantile_error))
    for ours, kernels in zip(drawn, np.array(made).T, strict=True):
        points = np.unique(np.round(np.concatenate([ours, kernels]), 9)) + 1e-9
        shares = [np.searchsorted(np.sort(x), points, side="right") / 500 for x in (ours, kernels)]
        assert np.abs(shares[0] - shares[1]).max() < 2.2 * np.sqrt(2 / 500)
