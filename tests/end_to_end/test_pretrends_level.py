"""How often pre-trends are rejected where there are none: the original rejected 16.7 % at a level of 5 %."""

from __future__ import annotations

from datetime import date

import numpy as np
from numpy.typing import NDArray
from scipy import stats

from exp_platform.aggregates import ALL, Aggregates, Block
from exp_platform.analyses.pretrends import analyse
from exp_platform.analyses.rows import PretrendTestRow, Status
from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.metrics import Measure, Metric, Role
from exp_platform.config.plans import AnalysisPlan
from exp_platform.config.sources import EventsSource, TableSource
from exp_platform.stats.moments import Moments

REPETITIONS, USERS, DAYS, LEVEL = 400, 600, 7, 0.05
TABLE = TableSource("parquet", "nowhere", {})
EXPERIMENT = Experiment(
    id="exp_test",
    owner="owner",
    hypothesis="none",
    variants=(Variant("control", 0.5), Variant("treatment", 0.5)),
    window=Window(date(2026, 1, 5), date(2026, 1, 18)),
    source=EventsSource(TABLE, TABLE, {}, "none"),
    metrics=(Metric("orders", "count", Role.PRIMARY, 1, Measure("order", "count")),),
    analyses=AnalysisPlan(did_days=DAYS),
)


def users(rng: np.random.Generator, trend: float = 0.0) -> NDArray[np.float64]:
    """Orders a day of users who differ much from each other, so that a user's days are alike."""
    appetite = rng.gamma(0.5, 1.0, (USERS, 1)) * (1 + trend * np.arange(-DAYS, DAYS))
    return rng.poisson(appetite).astype(float)


def pretrends_of(control: NDArray[np.float64], treatment: NDArray[np.float64]) -> PretrendTestRow:
    columns = tuple(f"day{day}" for day in range(-DAYS, DAYS))
    blocks = tuple(
        Block("daily", "orders", variant, ALL, ALL, columns, Moments.of(values))
        for variant, values in (("control", control), ("treatment", treatment))
    )
    counts = {"control": len(control), "treatment": len(treatment)}
    rows = analyse(EXPERIMENT, Aggregates(date(2026, 1, 18), counts, {}, blocks))
    (test,) = [row for row in rows if isinstance(row, PretrendTestRow)]
    assert test.status == Status.OK
    return test


def as_if_days_were_of_different_users(control: NDArray[np.float64], treatment: NDArray[np.float64]) -> float:
    """The p-value of the same contrast where each user's day counts as one more independent observation."""
    before = [side[:, :DAYS] for side in (control, treatment)]
    differences = before[1].mean(axis=0) - before[0].mean(axis=0)
    variance = sum(side.var(axis=0, ddof=1) / len(side) for side in before)
    delta = differences[:-1] - differences[-1]
    covariance = np.diag(variance[:-1]) + variance[-1]
    return float(stats.chi2.sf(delta @ np.linalg.solve(covariance, delta), DAYS - 1))


def test_true_nulls_are_rejected_at_the_nominal_rate() -> None:
    rng = np.random.default_rng(11)
    pairs = [(users(rng), users(rng)) for _ in range(REPETITIONS)]
    low, high = stats.binom.interval(0.999, REPETITIONS, LEVEL)

    rejected = sum(not pretrends_of(*pair).parallel for pair in pairs)
    assert low <= rejected <= high
    # The band is narrow enough to notice a test that forgets whose days they are.
    forgetful = sum(as_if_days_were_of_different_users(*pair) < LEVEL for pair in pairs)
    assert not low <= forgetful <= high


def test_a_real_trend_is_found() -> None:
    rng = np.random.default_rng(12)
    assert not pretrends_of(users(rng), users(rng, trend=0.08)).parallel
