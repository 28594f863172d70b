"""Cautions: rows say where the calibration found that p-values do not keep their level, and only there."""

from __future__ import annotations

import pytest

from exp_platform.aggregates import ALL, Aggregates, Block
from exp_platform.analyses import ab
from exp_platform.analyses.caution import caution_of
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.experiment import Measure, MetricKind, Variant
from exp_platform.stats.moments import Moments
from exp_platform.stats.skewness import Spread
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
        metrics=(metric("signup", MetricKind.PROPORTION, Measure("signup", "any")),),
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
