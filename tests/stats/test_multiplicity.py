"""Adjusted p-values against statsmodels."""

from __future__ import annotations

import numpy as np
import pytest
from statsmodels.stats.multitest import multipletests

from exp_platform.stats.multiplicity import benjamini_hochberg, bonferroni, holm

P = [0.01, 0.04, 0.03, 0.005, 0.9, 0.04, 0.0, 1.0]


def test_bonferroni_multiplies_and_stops_at_one() -> None:
    expected = multipletests(P, method="bonferroni")[1]
    assert [bonferroni(p, len(P)) for p in P] == pytest.approx(list(expected), rel=1e-12, abs=0)
    assert bonferroni(0.03, 1) == 0.03


@pytest.mark.parametrize("seed", range(5))
def test_holm_and_benjamini_hochberg_equal_statsmodels(seed: int) -> None:
    for p in (P, list(np.random.default_rng(seed).beta(0.3, 2, size=40))):
        assert holm(p) == pytest.approx(list(multipletests(p, method="holm")[1]), rel=1e-12, abs=0)
        assert benjamini_hochberg(p) == pytest.approx(
            list(multipletests(p, method="fdr_bh")[1]), rel=1e-12, abs=0
        )


def test_no_comparisons_have_no_adjusted_values() -> None:
    assert holm([]) == benjamini_hochberg([]) == []


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan")])
def test_what_is_no_p_value_raises(bad: float) -> None:
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match="p-value"):
            adjust([0.5, bad])
    with pytest.raises(ValueError, match="p-value"):
        bonferroni(bad, 2)
    with pytest.raises(ValueError, match="at least one"):
        bonferroni(0.1, 0)
