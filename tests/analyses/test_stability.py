"""Stability agrees with users' own slopes and Cochran's Q, tells a fading effect, and holds its level."""

from __future__ import annotations

from datetime import date, timedelta
from typing import Any

import numpy as np
import pytest
from scipy import stats

from analyses.simulated import START, UNITS, aggregates, block, experiment, metric
from exp_platform.aggregates import ALL, COHORT, Aggregates, Block
from exp_platform.analyses import stability
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.plans import AnalysisPlan


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.fixture(name="rng")
def _rng() -> np.random.Generator:
    return np.random.default_rng(21)


def daily(variant: str, values: np.ndarray, before: int = 2) -> Block:
    """Columns from day -2 on; what lies before exposure must not count."""
    noise = np.random.default_rng(0).normal(50, 9, (len(values), before))
    names = [f"day{d}" for d in range(-before, values.shape[1])]
    return block("orders", variant, np.hstack([noise, values]), names, kind="daily")


def cohort(variant: str, first: date, values: np.ndarray, names: tuple[str, ...] = ("value",)) -> Block:
    return block("orders", variant, values, names, COHORT, first.isoformat(), kind="cohort")


def of(rows: list[Any], segment: str) -> dict[str, ResultRow]:
    return {r.segment_value: r for r in rows if r.segment == segment}


def analyse(day: Aggregates, days: int = 7, **more: Any) -> list[Any]:
    plan = AnalysisPlan(did_days=days, did_pre_days=2)
    return stability.analyse(experiment(metric(**more), analyses=plan), day)


def users(rng: np.random.Generator, n: int, effects: list[float]) -> np.ndarray:
    """Days that go together, with an effect a day."""
    return rng.normal(5, 2, (n, 1)) + rng.normal(0, 1, (n, len(effects))) + np.array(effects)


def test_days_and_trend_are_those_of_users_own_values(rng: np.random.Generator) -> None:
    control, treated = users(rng, 400, [0] * 7), users(rng, 300, [1.5 - 0.2 * d for d in range(7)])
    rows = of(analyse(aggregates([daily("control", control), daily("t1", treated)])), stability.DAY)
    assert list(rows) == [*map(str, range(7)), "trend"]
    for d in range(7):
        test = stats.ttest_ind(treated[:, d], control[:, d], equal_var=False)
        low, high = test.confidence_interval(0.95)
        row = rows[str(d)]
        assert (row.estimate, row.p_value) == (
            near(treated[:, d].mean() - control[:, d].mean()),
            near(test.pvalue),
        )
        assert (row.ci_low, row.ci_high, row.ci_level) == (near(low), near(high), 0.95)
        assert (row.n_control, row.n_treatment, row.exploratory) == (400, 300, True)
    slopes = [np.polyfit(np.arange(7), x.T, 1)[0] for x in (control, treated)]
    test = stats.ttest_ind(slopes[1], slopes[0], equal_var=False)
    trend = rows["trend"]
    assert trend.estimate == near(slopes[1].mean() - slopes[0].mean())
    assert (trend.statistic, trend.degrees_of_freedom, trend.p_value) == (
        near(test.statistic),
        near(test.df),
        near(test.pvalue),
    )
    assert trend.verdict == "fading"


@pytest.mark.parametrize(
    "effects, verdict",
    [([1.0] * 7, "stable"), ([0.3 * d for d in range(7)], "growing"), ([-0.3 * d for d in range(7)], "growing"),
     ([-2 + 0.3 * d for d in range(7)], "fading")],
)  # fmt: skip
def test_fading_is_towards_zero_and_growing_away_from_it(
    rng: np.random.Generator, effects: list[float], verdict: str
) -> None:
    blocks = [daily("control", users(rng, 2000, [0] * 7)), daily("t1", users(rng, 2000, effects))]
    assert of(analyse(aggregates(blocks)), stability.DAY)["trend"].verdict == verdict


def test_equal_cohorts_are_cochrans_q(rng: np.random.Generator) -> None:
    dates = [START + timedelta(days=5 * i) for i in range(3)]
    arms = [(rng.gamma(2, 2, 200 + 50 * i), rng.gamma(2, 2, 150 + 40 * i) + 0.4 * i) for i in range(3)]
    blocks = [
        cohort(v, first, values[side])
        for first, values in zip(dates, arms, strict=True)
        for side, v in enumerate(("control", "t1"))
    ]
    rows = of(analyse(aggregates(blocks)), COHORT)
    effects = np.array([t.mean() - c.mean() for c, t in arms])
    variances = np.array([t.var(ddof=1) / len(t) + c.var(ddof=1) / len(c) for c, t in arms])
    assert [rows[d.isoformat()].estimate for d in dates] == [near(e) for e in effects]
    assert [rows[d.isoformat()].standard_error for d in dates] == [near(s) for s in np.sqrt(variances)]
    mean = (effects / variances).sum() / (1 / variances).sum()
    q = ((effects - mean) ** 2 / variances).sum()
    # Zhang 2012 with an arm of a cohort as a part: its share of the variance times 1 - the cohort's weight.
    left = 1 - (1 / variances) / (1 / variances).sum()
    doubt = sum(
        2 * (w * x.var(ddof=1) / len(x) / v) ** 2 / (len(x) - 1)
        for w, v, pair in zip(left, variances, arms, strict=True)
        for x in pair
    )
    nu = 6 / doubt
    p = stats.f.sf(q * (nu - 1) / (2 * nu), 2, nu - 1)
    assert (rows[ALL].statistic, rows[ALL].degrees_of_freedom) == (near(q), 2.0)
    assert (rows[ALL].denominator_df, rows[ALL].p_value) == (near(nu - 1), near(p))
    assert rows[ALL].verdict == ("equal" if p >= 0.05 else "different")


def test_equal_cohorts_are_called_different_as_often_as_it_says(rng: np.random.Generator) -> None:
    """1,000 draws of 5 % lie in 2.9 % to 7.1 % (three sigma)."""
    dates = [START + timedelta(days=5 * i) for i in range(3)]
    found = 0
    for _ in range(1000):
        blocks = [cohort(v, d, rng.exponential(1.0, 200)) for d in dates for v in ("control", "t1")]
        found += of(analyse(aggregates(blocks)), COHORT)[ALL].verdict == "different"
    assert 0.029 < found / 1000 < 0.071


def test_a_ratio_has_cohorts_and_no_days(rng: np.random.Generator) -> None:
    blocks = [
        cohort(v, START + timedelta(days=5 * i), rng.poisson([3, 2], (300, 2)), ("value", "denominator"))
        for i in range(2)
        for v in ("control", "t1")
    ]
    rows = analyse(aggregates(blocks), kind="ratio")
    assert of(rows, stability.DAY)["trend"].status is Status.NOT_APPLICABLE
    assert of(rows, COHORT)[ALL].status is Status.OK


def test_too_little_leaves_null_numbers(rng: np.random.Generator) -> None:
    few = [daily("control", users(rng, 400, [0] * 7)), daily("t1", users(rng, 49, [0] * 7))]
    rows = analyse(
        aggregates([*few, cohort("control", START, rng.random(300)), cohort("t1", START, rng.random(300))])
    )
    trend, cohorts = of(rows, stability.DAY)["trend"], of(rows, COHORT)[ALL]
    assert (trend.status, trend.estimate, trend.verdict) == (Status.INSUFFICIENT_DATA, None, None)
    assert (cohorts.status, cohorts.p_value) == (Status.INSUFFICIENT_DATA, None)
    short = [daily(v, users(rng, 400, [0] * 2)) for v in ("control", "t1")]
    assert of(analyse(aggregates(short), days=2), stability.DAY)["trend"].status is Status.INSUFFICIENT_DATA


def test_a_constant_metric_is_degenerate() -> None:
    blocks = [daily(v, np.ones((200, 7))) for v in ("control", "t1")]
    blocks += [cohort(v, START + timedelta(days=i), np.ones(200)) for i in (0, 5) for v in ("control", "t1")]
    rows = analyse(aggregates(blocks))
    assert {r.status for r in of(rows, stability.DAY).values()} == {Status.DEGENERATE}
    assert of(rows, COHORT)[ALL].status is Status.INSUFFICIENT_DATA


def test_a_source_of_one_row_per_user_has_neither() -> None:
    rows = stability.analyse(experiment(metric(), source=UNITS), aggregates([]))
    assert {r.status for r in rows} == {Status.NOT_APPLICABLE}
