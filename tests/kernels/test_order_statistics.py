"""Order statistics through brackets are those of all users sorted, however they are dealt to buckets."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from exp_platform.aggregates import ALL
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Measure
from exp_platform.config.plans import AnalysisPlan
from exp_platform.kernels import order_statistics
from exp_platform.kernels.order_statistics import (
    Bracket,
    Bracketed,
    Marks,
    QuantileNumbers,
    bracket,
    quantile_numbers,
    wanted_ranks,
)
from exp_platform.stats.quantile import rank_interval
from kernels.cases import Data, Exposure, Outcome, aggregates_of, events_experiment, local, metric

VALUES = st.lists(st.sampled_from([0.0, 0.0, 1.0, 2.5, -3.0, 1e9]) | st.floats(-1e3, 1e3), max_size=40)


def naive(values: Sequence[float], q: float) -> QuantileNumbers | None:
    """From all values, sorted, user by user: nothing of buckets, marks or counts of distinct values."""
    y, n, ranks = np.sort(np.array(values, float)), len(values), rank_interval(len(values), q)
    if ranks is None:
        return None
    low, high, at, position = y[ranks.low - 1], y[ranks.high - 1], np.quantile(y, q), (n - 1) * q
    if low == high:
        return QuantileNumbers(at, low, high, 0.0)
    smooth = (high - low) / ranks.width
    slopes, steep = [smooth], False
    for rank, value in enumerate(y, 1):
        missed = stats.binom.sf(rank - 1, n, q) if value > at else stats.binom.cdf(rank - 1, n, q)
        if missed >= 5e-4 and value != at:
            t = stats.t.isf(min(missed, 0.5), (ranks.high - ranks.low) / 2)
            slopes.append(abs(value - at) / max(t, 1.0))
            between = max(abs(rank - 1 - position), np.sqrt(n * q * (1 - q)))
            steep |= bool(slopes[-1] > smooth * min(1 + 2 / np.sqrt(between), 2))
    return QuantileNumbers(at, low, high, max(slopes) if steep else smooth)


def same(got: QuantileNumbers | None, expected: QuantileNumbers | None) -> None:
    """The values to the bit; the error, whose chances come from elsewhere, to 1e-9."""
    assert (got is None) == (expected is None)
    if got is not None and expected is not None:
        assert got[:3] == expected[:3]
        assert got.quantile_error == pytest.approx(expected.quantile_error, rel=1e-9, abs=0)


def through_buckets(parts: Sequence[np.ndarray], q: float) -> QuantileNumbers | None:
    n = sum(map(len, parts))
    wanted = wanted_ranks(n, q)
    if wanted is None:
        return None
    inside = bracket([Marks.of(part) for part in parts], *wanted)
    return quantile_numbers(Bracketed.pooled([Bracketed.of(part, inside) for part in parts]), n, q)


@given(st.lists(VALUES, min_size=1, max_size=5), st.sampled_from([0.5, 0.2, 0.75, 0.9]), st.integers(2, 50))
def test_buckets_give_what_all_users_sorted_give(parts: list[list[float]], q: float, marks: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_statistics, "MARKS", marks)
        got = through_buckets([np.array(part, float) for part in parts], q)
    same(got, naive([value for part in parts for value in part], q))


@given(st.lists(VALUES, min_size=1, max_size=5), st.integers(2, 50), st.data())
def test_brackets_hold_the_ranks_they_were_made_for(
    parts: list[list[float]], marks: int, data: st.DataObject
) -> None:
    together = np.sort(np.array([value for part in parts for value in part], float))
    if not len(together):
        return
    lowest = data.draw(st.integers(0, len(together) - 1))
    highest = data.draw(st.integers(lowest, len(together) - 1))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(order_statistics, "MARKS", marks)
        low, high = bracket([Marks.of(np.array(part, float)) for part in parts], lowest, highest)
    assert low <= together[lowest] <= together[highest] <= high


def test_ranks_beyond_the_users_are_refused() -> None:
    with pytest.raises(ValueError, match="ranks 1 to 3 are not those of 3 users"):
        bracket([Marks.of(np.array([1.0, 2.0, 3.0]))], 1, 3)


def test_what_travels_is_a_small_part_of_many_users() -> None:
    """Of 400,000 users in 8 buckets 4,096 marks and then less than 2 % of the values, where all would be 400,000."""
    rng = np.random.default_rng(4)
    parts = [rng.lognormal(size=50_000) for _ in range(8)]
    wanted = wanted_ranks(400_000, 0.9)
    assert wanted is not None
    marks = [Marks.of(part) for part in parts]
    inside = bracket(marks, *wanted)
    assert sum(len(m.values) for m in marks) == 8 * 512
    returned = sum(len(Bracketed.of(part, inside).within.values) for part in parts)
    assert wanted[1] - wanted[0] < returned < 8_000
    got, everybody = through_buckets(parts, 0.9), np.concatenate(parts)
    assert got is not None
    assert got.quantile == np.quantile(everybody, 0.9)


def test_a_mass_of_equal_values_beside_the_quantile_widens_the_error_to_the_next_value() -> None:
    """By hand: the median of 100 users is 10 to its 50th and 11 from its 51st on, so half of all samples jump by 1."""
    values = np.repeat([0.0, 10.0, 11.0, 50.0], [10, 41, 39, 10])
    numbers = quantile_numbers(Bracketed.of(values, Bracket(-np.inf, np.inf)), 100, 0.5)
    assert numbers is not None
    assert numbers[:3] == (10.0, 10.0, 11.0)
    assert numbers.quantile_error == 1.0


def quantile_experiment(q: float = 0.75) -> Experiment:
    spent = metric("spent", "quantile", Measure("purchase", "sum"), q=q)
    return replace(
        events_experiment(), metrics=(spent,), segments=("device",), analyses=AnalysisPlan(enabled=("ab",))
    )


@pytest.mark.parametrize("buckets", [1, 3])
def test_blocks_of_everybody_and_of_segments_hold_exact_quantiles_at_every_date(buckets: int) -> None:
    spec, rng, data = quantile_experiment(), np.random.default_rng(9), Data()
    spent: dict[str, dict[tuple[str, str, str], list[float]]] = {"early": {}, "late": {}}
    for i in range(600):
        variant, device = ("control", "blue", "amber")[i % 3], ("mobile", "desktop")[i % 2]
        data.exposures.append(Exposure(f"u{i}", variant, local(spec, 0), {"device": device}))
        amounts = [round(float(rng.lognormal(2, 1)), 2) if rng.random() < 0.8 else 0.0 for _ in range(2)]
        for day, amount in zip((1, 4), amounts, strict=True):
            if amount:
                data.outcomes.append(Outcome(f"u{i}", "purchase", local(spec, day), amount))
        for key in ((variant, ALL, ALL), (variant, "device", device)):
            spent["early"].setdefault(key, []).append(amounts[0])
            spent["late"].setdefault(key, []).append(amounts[0] + amounts[1])
    days = [spec.window.cutoff(spec.window.start).date(), spec.window.end]
    for day, values in zip(aggregates_of(data, spec, days, buckets), spent.values(), strict=True):
        assert len(day.blocks) == len(values)
        for (variant, segment, value), expected in values.items():
            block, numbers = day.block("spent", variant, segment, value), naive(expected, 0.75)
            assert block is not None
            assert numbers is not None
            assert block.moments.n == len(expected)
            assert block.quantile is not None
            same(
                QuantileNumbers(*(getattr(block, name) for name in QuantileNumbers._fields)),
                numbers,
            )
            assert (block.median, block.p95) == (None, None)


def test_too_few_users_have_a_block_without_a_quantile() -> None:
    spec, data = quantile_experiment(0.99), Data()
    for i in range(120):
        data.exposures.append(
            Exposure(f"u{i}", "control" if i % 2 else "blue", local(spec, 0), {"device": "mobile"})
        )
    (day,) = aggregates_of(data, spec, [spec.window.end], 2)
    block = day.block("spent", "blue")
    assert block is not None
    assert (block.moments.n, block.quantile, block.quantile_error) == (60, None, None)
