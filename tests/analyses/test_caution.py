"""Cautions: rows say where the calibration found that p-values do not keep their level, and only there."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from exp_platform.aggregates import ALL, Aggregates, Block
from exp_platform.analyses import ab
from exp_platform.analyses.caution import caution_of
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.experiment import Variant
from exp_platform.config.metrics import Measure
from exp_platform.stats.arms import arm_ratio
from exp_platform.stats.moments import Moments
from exp_platform.stats.skewness import Spread, of_ratio
from kernels.cases import events_experiment, metric

EVEN, UNEVEN = (10_000, 10_000), (18_000, 2_000)


def proportion(n: int, p: float) -> Spread:
    return Spread(n, p, p * (1 - p), round(n * p))


@pytest.mark.parametrize(
    ("control", "treatment", "said"),
    [
        # docs/08: 5.0 % false positives
        (proportion(10_000, 0.005), proportion(10_000, 0.005), None),
        (proportion(18_000, 0.1), proportion(2_000, 0.1), None),
        # docs/08: 7 %, and 8 % with few users
        (proportion(18_000, 0.005), proportion(2_000, 0.005), "unequal arms"),
        (proportion(450, 0.1), proportion(50, 0.1), "unequal arms"),
        # docs/08: p in steps
        (proportion(50, 0.1), proportion(50, 0.1), "5 successes or failures"),
        (proportion(60, 0.95), proportion(60, 0.95), "3 successes or failures"),
    ],
)
def test_proportions(control: Spread, treatment: Spread, said: str | None) -> None:
    found = caution_of(control, treatment, proportion=True)
    assert found is None if said is None else said in str(found)


def test_values_that_are_not_skewed_need_no_caution_however_unequal_the_arms() -> None:
    assert caution_of(Spread(900, 10, 9, 900), Spread(100, 10, 9, 100), proportion=False) is None


def test_few_users_with_a_value() -> None:
    found = caution_of(Spread(400, 0.1, 0.2, 40), Spread(400, 0.1, 0.2, 44), proportion=False)
    assert "40 users with a value other than 0" in str(found)


def test_a_heavy_tail_in_equal_arms() -> None:
    """500 spenders of 5,000 whose amounts vary seven times their mean: docs/08 finds intervals too wide."""
    spender_mean, spender_variance = 7.4, (7.4 * 7.3) ** 2
    mean = 0.1 * spender_mean
    arm = Spread(5_000, mean, 0.1 * (spender_variance + spender_mean**2) - mean**2, 500)
    assert "heavy tail" in str(caution_of(arm, arm, proportion=False))


def test_the_row_has_it() -> None:
    spec = events_experiment(
        metrics=(metric("signup", "proportion", Measure("signup", "any")),),
        segments=(),
        variants=(Variant("control", 0.9), Variant("treatment", 0.1)),
    )
    blocks = []
    for variant, n, k in zip(spec.variants, (1_800, 200), (180, 20), strict=True):
        values = Moments.of([1.0] * k + [0.0] * (n - k))
        blocks.append(Block("total", "signup", variant.id, ALL, ALL, ("value",), values, successes=k))
    aggregates = Aggregates(spec.window.end, {}, {}, tuple(blocks))
    (row,) = ab.analyse(spec, aggregates)
    assert isinstance(row, ResultRow)
    assert "unequal arms" in str(row.caution)


def test_a_ratio_with_an_event_a_user_is_the_mean_of_its_events() -> None:
    amounts = np.random.default_rng(5).lognormal(0, 1.5, 400)
    ratio = of_ratio(Moments.of(np.stack([amounts, np.ones(400)]).T), 400, counted=True)
    assert ratio.n == 400
    assert ratio.nonzero == 400
    assert ratio.mean == pytest.approx(amounts.mean(), rel=1e-12)
    assert ratio.variance == pytest.approx(amounts.var(ddof=1), rel=1e-12)
    # Users who buy nothing change the number of users, and not that of purchases.
    among = np.zeros((1_000, 2))
    among[:400] = np.stack([amounts, np.ones(400)]).T
    for counted in (True, False):
        others = of_ratio(Moments.of(among), 400, counted=counted)
        assert others.n == pytest.approx(400)
        assert others.variance == pytest.approx(amounts.var(ddof=1), rel=0.01)


@pytest.mark.parametrize("scale", [1e-3, 1.0, 100.0])
def test_the_unit_of_a_summed_denominator_does_not_matter(scale: float) -> None:
    rng = np.random.default_rng(6)
    spent, visits = rng.lognormal(0, 1.5, 500), rng.integers(1, 9, 500).astype(float)
    plain, scaled = (
        of_ratio(Moments.of(np.stack([spent, visits * s]).T), 500, counted=False) for s in (1.0, scale)
    )
    assert plain.n == pytest.approx(visits.sum() ** 2 / (visits**2).sum())
    assert (scaled.n, scaled.nonzero) == (pytest.approx(plain.n), plain.nonzero)
    assert scaled.mean * scale == pytest.approx(plain.mean)
    assert scaled.variance * scale**2 == pytest.approx(plain.variance)


def test_units_have_the_variance_of_the_ratio() -> None:
    rng = np.random.default_rng(7)
    moments = Moments.of(np.stack([rng.lognormal(0, 1, 300), rng.poisson(2, 300)]).T)
    for counted in (True, False):
        units = of_ratio(moments, 300, counted=counted)
        assert units.variance / units.n == pytest.approx(arm_ratio(moments).variance_of_mean, rel=1e-12)


def test_a_ratio_without_denominators_tells_nothing() -> None:
    assert of_ratio(Moments.of(np.zeros((60, 2))), 0, counted=True) == Spread(60, 0.0, 0.0, 0)


def test_a_small_arm_without_large_values_is_as_spread_as_the_larger_one() -> None:
    """10,000 users of one law, of whom the 1,000 of control happen to be those with small values."""
    values = np.sort(np.random.default_rng(8).lognormal(0, 1.5, 10_000))
    small, large = (
        Spread(len(v), v.mean(), v.var(ddof=1), len(v)) for v in (values[4_000:5_000], np.delete(values, slice(4_000, 5_000)))
    )  # fmt: skip
    assert caution_of(small, small, proportion=False) is None
    assert caution_of(small, large, proportion=False) is not None
    assert caution_of(large, small, proportion=False) is not None
    assert large.as_spread_as(small) == large
    assert small.as_spread_as(large) == Spread(1_000, large.mean, large.variance, 1_000)


@pytest.mark.parametrize("denominator", [Measure("buy", "count"), Measure("visits", "sum")])
@pytest.mark.parametrize("sd", [0.3, 1.5])
def test_a_ratio_of_skewed_values_in_unequal_arms_is_cautioned_as_their_mean_is(
    denominator: Measure, sd: float
) -> None:
    """docs/08: 8 % false positives with a sd of the log of 1.5."""
    rng = np.random.default_rng(9)
    kinds: dict[str, dict[str, Any]] = {
        "mean": {"kind": "mean"},
        "ratio": {"kind": "ratio", "denominator": denominator},
    }
    blocks = []
    for variant, n in (("control", 1_000), ("treatment", 9_000)):
        amounts = rng.lognormal(0, sd, n)
        for name, columns in (("mean", [amounts]), ("ratio", [amounts, np.ones(n)])):
            named = ("value", "denominator")[: len(columns)]
            moments = Moments.of(np.stack(columns).T)
            blocks.append(Block("total", name, variant, ALL, ALL, named, moments, successes=n))
    spec = events_experiment(
        metrics=tuple(metric(name, numerator=Measure("buy", "sum"), **rest) for name, rest in kinds.items()),
        segments=(),
        variants=(Variant("control", 0.1), Variant("treatment", 0.9)),
    )
    rows = ab.analyse(spec, Aggregates(spec.window.end, {}, {}, tuple(blocks)))
    cautions = {row.metric_id: row.caution for row in rows if isinstance(row, ResultRow)}
    if sd == 0.3:
        assert cautions == {"mean": None, "ratio": None}
    else:
        assert str(cautions["mean"]).startswith("skewed values in unequal arms")
        assert str(cautions["ratio"]).startswith("skewed values in unequal arms")
