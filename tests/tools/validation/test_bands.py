"""Bands: exact binomial, shared over all rates of the page, one-sided where a method promises a bound."""

from __future__ import annotations

import pytest
from scipy import stats

from exp_validation.bands import Check, judged


def check(rate: float, side: str = "both", of: int = 1000, measure: str = "false positives") -> Check:
    return Check("cell", measure, rate, of, 0.05, side)  # type: ignore[arg-type]


@pytest.mark.parametrize("checks", [1, 40])
def test_two_sided_band_is_the_binomial_quantiles(checks: int) -> None:
    low, high = check(0.05).band(checks)
    law = stats.binom(1000, 0.05)
    assert low * 1000 == pytest.approx(law.ppf(0.005 / checks), abs=1e-9)
    assert high * 1000 == pytest.approx(law.isf(0.005 / checks), abs=1e-9)


def test_a_bound_is_broken_from_one_side_only() -> None:
    assert check(0.0, "at most").holds(1)
    assert not check(0.08, "at most").holds(1)
    assert check(0.08, "at least").holds(1)
    assert not check(0.0, "at least").holds(1)
    assert check(0.9, "none").holds(1)
    assert check(0.05, "at most").band(1)[1] * 1000 == pytest.approx(
        stats.binom(1000, 0.05).isf(0.01), abs=1e-9
    )


def test_uniformity_is_kolmogorovs_law() -> None:
    low, high = check(0.0, measure="uniformity", of=10_000).band(1)
    assert (low, high) == (0.0, pytest.approx(stats.kstwobign.isf(0.01) / 100, rel=1e-9))


def test_only_judged_rates_share_the_error() -> None:
    assert judged([check(0.05), check(0.05, "none"), check(0.05, "at most")]) == 2
