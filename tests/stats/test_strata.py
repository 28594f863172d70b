"""Strata are merged by numbers of users alone, in one way, until every arm fills each of them."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from exp_platform.stats.moments import Moments
from exp_platform.stats.strata import equal_shares, merge_small, standardised


def arms(*sizes: int, level: float = 0.0) -> list[Moments]:
    """A stratum with so many users per arm, whose values tell them from others."""
    return [Moments.of(level + np.arange(n, dtype=float)) if n else Moments.empty(1) for n in sizes]


def sizes(strata: object) -> list[tuple[int, ...]]:
    return [tuple(cell.n for cell in stratum) for stratum in zip(*strata.cells, strict=True)]  # type: ignore[attr-defined]


def test_strata_that_every_arm_fills_stay_as_they_are_in_order_of_their_names() -> None:
    found = merge_small({"b": arms(10, 12), "a": arms(50, 60)})
    assert (sizes(found), found.merged, len(found)) == ([(50, 60), (10, 12)], (), 2)


def test_small_empty_and_one_armed_strata_become_one() -> None:
    found = merge_small(
        {
            "few": arms(9, 40),
            "none": arms(0, 0),
            "one_arm": arms(0, 25),
            "large": arms(80, 80),
            "odd": arms(30, 1),
        }
    )
    assert sizes(found) == [(80, 80), (39, 66)]
    assert found.merged == ("few", "none", "odd", "one_arm")


def test_what_is_still_too_small_takes_in_the_smallest_stratum_and_of_equals_the_first() -> None:
    found = merge_small({"z": arms(30, 30), "c": arms(20, 20), "b": arms(20, 20), "few": arms(2, 3)})
    assert sizes(found) == [(20, 20), (30, 30), (22, 23)]
    assert found.merged == ("b", "few")


def test_arms_that_are_too_small_altogether_leave_one_stratum() -> None:
    found = merge_small({"a": arms(3, 100), "b": arms(4, 100)})
    assert (sizes(found), found.merged) == ([(7, 200)], ("a", "b"))
    with pytest.raises(ValueError, match="no strata"):
        merge_small({})


@settings(max_examples=60)
@given(
    st.dictionaries(
        st.sampled_from("abcdefg"), st.lists(st.integers(0, 30), min_size=3, max_size=3), min_size=1
    )
)
def test_no_user_is_lost_and_merging_again_changes_nothing(users: dict[str, list[int]]) -> None:
    strata = {name: arms(*n, level=ord(name)) for name, n in users.items()}
    found = merge_small(strata)
    for arm, whole in enumerate(zip(*strata.values(), strict=True)):
        expected, got = Moments.merge_all(whole), Moments.merge_all(found.cells[arm])
        assert got.n == expected.n
        np.testing.assert_allclose(got.mean, expected.mean, rtol=1e-12)
        np.testing.assert_allclose(got.m2, expected.m2, rtol=1e-9, atol=1e-9)
    assert len(found) == 1 or min(cell.n for arm in found.cells for cell in arm) >= 10
    again = merge_small({str(i): list(cells) for i, cells in enumerate(zip(*found.cells, strict=True))})
    assert len(found) == 1 or (again.merged == () and sizes(again) == sizes(found))
    backwards = merge_small(dict(reversed(strata.items())))
    assert (backwards.merged, sizes(backwards)) == (found.merged, sizes(found))


def test_equal_shares_is_pearsons_test_of_independence() -> None:
    control, treatment = [arms(n)[0] for n in (120, 80, 45)], [arms(n)[0] for n in (100, 95, 61)]
    expected = stats.chi2_contingency([[120, 80, 45], [100, 95, 61]], correction=False)
    assert equal_shares([(control, treatment)]) == pytest.approx(expected.pvalue, rel=1e-12, abs=0)
    assert equal_shares([(control[:1], treatment[:1])]) is None


def test_standardised_means_weigh_strata_as_all_arms_together_do() -> None:
    rng = np.random.default_rng(4)
    values = [
        [rng.normal(s, 1 + a, (n, 2)) for s, n in enumerate(sizes)]
        for a, sizes in enumerate([(90, 20), (30, 60)])
    ]
    found = standardised([[Moments.of(v) for v in arm] for arm in values])
    weights = np.array([120, 80]) / 200
    for arm, moments in zip(values, found, strict=True):
        mean = sum(w * v.mean(axis=0) for w, v in zip(weights, arm, strict=True))
        variance = sum(w**2 * np.cov(v.T) / len(v) for w, v in zip(weights, arm, strict=True))
        assert moments.n == sum(map(len, arm))
        np.testing.assert_allclose(moments.mean, mean, rtol=1e-12)
        np.testing.assert_allclose(moments.covariance() / moments.n, variance, rtol=1e-10)


def test_one_stratum_is_left_as_it_is() -> None:
    cells = [[Moments.of(np.arange(5.0))], [Moments.of(np.arange(3.0))]]
    assert standardised(cells) == [cells[0][0], cells[1][0]]


def test_shares_are_compared_within_groups_of_strata() -> None:
    groups = [([120, 80], [60, 35]), ([40, 30, 30], [220, 140, 160])]
    tests = [stats.chi2_contingency(n, correction=False) for n in groups]
    expected = stats.chi2.sf(sum(t.statistic for t in tests), 3)
    found = equal_shares([tuple([arms(n)[0] for n in arm] for arm in group) for group in groups])
    assert found == pytest.approx(expected, rel=1e-9, abs=0)
