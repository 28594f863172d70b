"""Adjusted p-values against statsmodels, and intervals that say the same; what the intervals cover is counted."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy import stats
from statsmodels.stats.multitest import multipletests

from exp_platform.stats.multiplicity import Correction, benjamini_hochberg, bonferroni, correct, holm

NAMES: dict[Correction, str] = {"bonferroni": "bonferroni", "holm": "holm", "bh": "fdr_bh"}
# Few different values, so that there are ties; and values of any size that is a normal number: below 2e-308 a product has
# few digits left, so whether one multiplies or divides first changes it by percents.
P_VALUES = st.lists(
    st.one_of(
        st.sampled_from([0.0, 1e-300, 0.001, 0.01, 0.02, 0.04, 1.0]), st.floats(0, 1, allow_subnormal=False)
    ),
    min_size=1,
    max_size=12,
)

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
    for adjust in (holm, benjamini_hochberg):
        with pytest.raises(ValueError, match="more than a family of 1"):
            adjust([0.1, 0.2], 1)
    with pytest.raises(ValueError, match="alpha"):
        correct("holm", [0.1], 1.0)


@given(P_VALUES, st.integers(0, 5), st.floats(0.001, 0.3), st.sampled_from(sorted(NAMES)))
def test_rejected_by_its_own_level_by_adjusted_p_and_by_statsmodels_alike(
    p_values: list[float], untested: int, alpha: float, correction: Correction
) -> None:
    """Comparisons without a p-value are as good as ones of p = 1."""
    found = correct(correction, p_values, alpha, len(p_values) + untested)
    rejected, adjusted, _, _ = multipletests([*p_values, *[1.0] * untested], alpha, method=NAMES[correction])
    assume(all(abs(p / alpha - 1) > 1e-9 for p in adjusted))  # at the very limit rounding decides
    assert [each.p for each in found] == pytest.approx(list(adjusted[: len(p_values)]), rel=1e-12, abs=0)
    own = [p < each.alpha for p, each in zip(p_values, found, strict=True)]
    assert own == [each.p < alpha for each in found] == [bool(r) for r in rejected[: len(p_values)]]
    for p, each in zip(p_values, found, strict=True):
        if 0 < p < 1:
            z, half = stats.norm.isf(p / 2), stats.norm.isf(each.alpha / 2)
            assume(abs(z - half) > 1e-6)
            assert (z - half > 0) == (p < each.alpha)  # the interval z -+ half excludes zero


@given(P_VALUES, st.randoms(use_true_random=False), st.sampled_from(sorted(NAMES)))
def test_order_does_not_matter_and_equal_p_values_are_treated_alike(
    p_values: list[float], random: object, correction: Correction
) -> None:
    shuffled = list(p_values)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, other = correct(correction, p_values, 0.05), correct(correction, shuffled, 0.05)
    assert dict(zip(p_values, one, strict=True)) == dict(zip(shuffled, other, strict=True))
    assert len(set(zip(p_values, one, strict=True))) == len(set(p_values))


@pytest.mark.parametrize(
    ("correction", "p_values", "size", "levels"),
    [
        ("bonferroni", [0.001, 0.5, 0.02], None, [0.06 / 3] * 3),
        # One rejected: the rest at alpha / 2
        ("holm", [0.001, 0.5, 0.04], None, [0.06 / 3, 0.06 / 2, 0.06 / 2]),
        ("holm", [0.001, 0.5, 0.02], None, [0.06 / 3, 0.06, 0.06 / 2]),
        ("holm", [0.001, 0.05, 0.02], None, [0.06 / 3, 0.06, 0.06 / 2]),  # all rejected: nothing is left
        ("holm", [0.001, 0.05, 0.02], 4, [0.06 / 4, 0.06 / 3, 0.06 / 3]),  # the fourth has no p-value
        ("holm", [0.5, 0.9], None, [0.06 / 2] * 2),  # none rejected
        ("holm", [0.01, 0.01, 0.5], None, [0.06 / 3, 0.06 / 3, 0.06]),  # tied: both at the first one's level
        ("bh", [0.5, 0.9, 0.8], None, [0.06 / 3] * 3),
        ("bh", [0.001, 0.5, 0.8], None, [0.06 / 3] * 3),
        ("bh", [0.001, 0.039, 0.8], None, [2 * 0.06 / 3] * 3),
        ("bh", [0.03, 0.05, 0.05], None, [0.06] * 3),  # step-up: the last passes, so all do
        ("bh", [0.001, 0.029], 4, [2 * 0.06 / 4] * 2),
    ],
)
def test_levels_of_the_intervals_by_hand(
    correction: Correction, p_values: list[float], size: int | None, levels: list[float]
) -> None:
    found = correct(correction, p_values, 0.06, size)
    assert [each.alpha for each in found] == pytest.approx(levels, rel=1e-12)


def test_each_kind_of_coverage_is_kept_and_holms_is_not_simultaneous() -> None:
    """Four effects in standard errors, 10,000 times; five standard errors of the count are allowed."""
    truth, alpha, runs = np.array([6.0, 6.5, 0.0, 0.0]), 0.2, 10_000
    z = np.random.default_rng(8).normal(truth, 1.0, (runs, 4))
    p = 2 * stats.norm.sf(np.abs(z))
    slack = 5 * np.sqrt(alpha * (1 - alpha) / runs)
    misses = {}
    for correction in NAMES:
        alphas = np.array([[each.alpha for each in correct(correction, row, alpha)] for row in p])
        missed = np.abs(z - truth) > stats.norm.isf(alphas / 2)
        selected = p < alphas
        any_missed = missed.any(axis=1).mean()
        zero_missed = missed[:, truth == 0].any(axis=1).mean()
        false_share = ((missed & selected).sum(axis=1) / np.maximum(1, selected.sum(axis=1))).mean()
        misses[correction] = (any_missed, zero_missed, false_share)
    assert misses["bonferroni"][0] < alpha + slack
    assert misses["holm"][1] < alpha + slack
    assert misses["holm"][0] > alpha + slack  # why its coverage has another name
    assert misses["bh"][2] < alpha + slack
