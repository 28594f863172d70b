"""Runs: buckets, dates and the order of rows do not change the numbers."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest

from exp_platform.aggregates import Aggregates, write_aggregates
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import DayWindow, Measure, Winsorise
from exp_platform.config.plans import AnalysisPlan
from exp_platform.kernels.aggregate import aggregate
from exp_platform.kernels.merge import merge_aggregates
from exp_platform.kernels.unit_days import unit_days
from exp_platform.kernels.users import first_exposures
from kernels.cases import (
    Data,
    Exposure,
    Outcome,
    aggregates_of,
    events_experiment,
    exposures_table,
    local,
    metric,
    outcomes_table,
)

SPEC = events_experiment()
DAYS = [SPEC.window.start + timedelta(days=day) for day in range(9)]


def random_data(users: int, seed: int = 5) -> Data:
    """Staggered exposures, a few crossovers, and several outcomes per user before and after."""
    rng = random.Random(seed)
    data = Data()
    for i in range(users):
        first = local(SPEC, 0, rng.uniform(0, 24 * 6))
        variant = rng.choice(["control", "blue", "amber"])
        attributes = {"device": rng.choice(["mobile", "desktop"]), "tier": f"t{rng.randrange(3)}"}
        data.exposures.append(Exposure(f"user {i}", variant, first, attributes))
        if rng.random() < 0.1:
            data.exposures.append(
                Exposure(f"user {i}", "control", first + timedelta(hours=rng.uniform(0, 72)))
            )
        for _ in range(rng.randrange(9)):
            at = first + timedelta(hours=rng.uniform(-120, 120))
            event = rng.choice(["view", "order", "purchase"])
            data.outcomes.append(Outcome(f"user {i}", event, at, rng.lognormvariate(2, 1.5)))
    return data


DATA = random_data(300)


def as_json(days: list[Aggregates], folder: Path) -> list[dict]:
    write_aggregates(folder / "aggregates.json", days)
    return json.loads((folder / "aggregates.json").read_text())


@pytest.mark.parametrize("buckets", [2, 5])
def test_disjoint_buckets_merge_to_one(buckets: int) -> None:
    day = DAYS[5]
    (one,), (many,) = aggregates_of(DATA, SPEC, [day]), aggregates_of(DATA, SPEC, [day], buckets)
    assert len(one.blocks) > 100
    assert replace(many, blocks=(), daily=()) == replace(one, blocks=(), daily=())
    for a, b in zip(one.blocks, many.blocks, strict=True):
        # Quantiles, caps and counts are equal exactly
        assert replace(a, moments=None) == replace(b, moments=None)
        assert a.moments.n == b.moments.n
        np.testing.assert_allclose(b.moments.mean, a.moments.mean, rtol=1e-12)
        scale = np.sqrt(np.outer(np.diag(a.moments.m2), np.diag(a.moments.m2)))
        np.testing.assert_allclose(b.moments.m2, a.moments.m2, rtol=0, atol=1e-12 * max(scale.max(), 1))
    for x, y in zip(one.daily, many.daily, strict=True):
        assert replace(x, value_sum=0.0) == replace(y, value_sum=0.0)
        assert y.value_sum == pytest.approx(x.value_sum, rel=1e-12)


def test_dates_in_one_pass_equal_a_run_each_to_the_last_bit(tmp_path: Path) -> None:
    crossovers = []
    for plan in (SPEC.analyses, replace(SPEC.analyses, crossovers="first")):
        spec = replace(SPEC, analyses=plan)
        together = aggregates_of(DATA, spec, DAYS, buckets=2)
        alone = [aggregates_of(DATA, spec, [day], buckets=2)[0] for day in DAYS]
        assert as_json(together, tmp_path) == as_json(alone, tmp_path)
        crossovers.append([sum(day.crossovers.values()) for day in together])
    assert crossovers[0] == sorted(crossovers[0])
    assert crossovers[0][0] < crossovers[0][-1] == crossovers[1][-1]


def test_any_order_of_rows_gives_the_same_bits(tmp_path: Path) -> None:
    expected = as_json(aggregates_of(DATA, SPEC, DAYS[4:6], buckets=3), tmp_path)
    rng = random.Random(1)
    for _ in range(3):
        shuffled = Data(
            rng.sample(DATA.exposures, len(DATA.exposures)), rng.sample(DATA.outcomes, len(DATA.outcomes))
        )
        assert as_json(aggregates_of(shuffled, SPEC, DAYS[4:6], buckets=3), tmp_path) == expected


def test_the_daily_series_adds_up_to_the_totals_of_the_same_users() -> None:
    """One definition of a window: what the series sums is what the analyses are given."""
    metrics = tuple(m for m in SPEC.metrics if m.window == DayWindow() and m.winsorise is None)
    (day,) = aggregates_of(DATA, replace(SPEC, metrics=metrics), [DAYS[5]])
    assert {m.kind for m in metrics} == {"proportion", "mean"}
    for m in metrics:
        for variant in SPEC.variants:
            block = day.block(m.id, variant.id)
            assert block is not None
            rows = [r for r in day.daily if (r.metric_id, r.variant_id) == (m.id, variant.id)]
            assert sum(r.new_users for r in rows) == block.moments.n
            total = block.moments.n * block.moments.mean[0]
            assert total > 0
            assert sum(r.value_sum for r in rows) == pytest.approx(total, rel=1e-12)


def winsorised(winsorise: Winsorise | None) -> Experiment:
    capped = metric("m", "mean", Measure("purchase", "sum"), winsorise=winsorise)
    return replace(SPEC, metrics=(capped,), segments=("device",), analyses=AnalysisPlan(enabled=("ab",)))


def test_caps_pool_all_arms_and_buckets_and_medians_stay_uncapped() -> None:
    """A user of blue alone sets the cap: a quantile of one arm would have left control's values as they are."""
    data = Data()
    for i in range(100):
        variant = "control" if i < 50 else "blue"
        at = local(SPEC, 0, 1.0)
        data.exposures.append(Exposure(f"u{i}", variant, at, {"device": "mobile"}))
        data.outcomes.append(Outcome(f"u{i}", "purchase", at, float(i + 1)))
    for buckets in (1, 4):
        (day,) = aggregates_of(data, winsorised(Winsorise(0.02, 0.9)), [SPEC.window.end], buckets)
        assert day.caps == {"m": (2.0, 90.0)}
        control, blue = day.block("m", "control"), day.block("m", "blue", "device", "mobile")
        assert control is not None
        assert blue is not None
        assert control.moments.mean[0] == pytest.approx((2 + 2 + sum(range(3, 51))) / 50)
        assert blue.moments.mean[0] == pytest.approx((sum(range(51, 91)) + 10 * 90) / 50)
        assert (control.capped_share, day.block("m", "blue").capped_share) == (0.02, 0.2)
        assert (control.median, day.block("m", "blue").p95) == (
            25.5,
            np.quantile(np.arange(51.0, 101.0), 0.95),
        )
        assert (blue.capped_share, blue.median) == (None, None)


def test_a_cap_beyond_every_value_changes_nothing() -> None:
    (capped,) = aggregates_of(DATA, winsorised(Winsorise(upper=1.0)), [DAYS[5]])
    (free,) = aggregates_of(DATA, winsorised(None), [DAYS[5]])
    for a, b in zip(capped.blocks, free.blocks, strict=True):
        np.testing.assert_array_equal(a.moments.m2, b.moments.m2)
    assert capped.block("m", "blue").capped_share == 0.0


def test_did_blocks_are_made_only_where_an_analysis_reads_them() -> None:
    metrics = tuple(replace(m, window=DayWindow()) for m in SPEC.metrics)
    for enabled, kinds in {
        ("ab",): {"total"},
        ("ab", "did"): {"total", "daily"},
        ("pretrends",): {"total", "daily"},
    }.items():
        spec = replace(SPEC, metrics=metrics, analyses=replace(SPEC.analyses, enabled=enabled))
        (day,) = aggregates_of(DATA, spec, [DAYS[5]])
        assert {b.kind for b in day.blocks} == kinds


def test_parts_of_different_dates_are_refused() -> None:
    users = first_exposures(exposures_table(DATA.exposures), SPEC, DAYS[5])
    days = unit_days(users, outcomes_table(DATA.outcomes), SPEC, DAYS[5])
    parts = [aggregate(users, days, SPEC, day) for day in DAYS[4:6]]
    with pytest.raises(ValueError, match="one as_of date"):
        merge_aggregates(parts, SPEC)
