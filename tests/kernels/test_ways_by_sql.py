"""Different items, active days, picked values and thresholds of some hundred users equal what DuckDB makes of the raw rows."""

from __future__ import annotations

from datetime import timedelta

import duckdb
import numpy as np
import pytest

from exp_platform.aggregates import Block
from exp_platform.config.kinds import PICKED
from exp_platform.config.metrics import DayWindow, Measure
from exp_platform.config.plans import AnalysisPlan
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

# By kind and way: a user's number of rows in the first three days since exposure, NULL where the user has none.
NUMBERS = {
    ("count_distinct", "distinct"): "count(DISTINCT item)",
    ("count_distinct", "days"): "count(DISTINCT (occurred_at AT TIME ZONE 'Europe/Berlin')::DATE)",
    ("first", "first"): "first(value ORDER BY occurred_at, value) FILTER (value IS NOT NULL)",
    ("last", "last"): "last(value ORDER BY occurred_at, value) FILTER (value IS NOT NULL)",
    ("max", "max"): "max(value)",
    ("min", "min"): "min(value)",
    ("proportion", "count"): "(count(*) >= 4)::DOUBLE",
    ("proportion", "sum"): "(sum(value) >= 1.5)::DOUBLE",
}
THRESHOLDS = {("proportion", "count"): 4, ("proportion", "sum"): 1.5}
USERS = """
    SELECT user_id, min(exposed_at) AS exposed_at, arg_min(variant_id, exposed_at) AS variant_id
    FROM exposures GROUP BY 1 HAVING count(DISTINCT variant_id) = 1
"""


def drawn(seed: int) -> Data:
    """Users of three arms, some of whom cross over, with rows that have no value or no item, and several at one instant."""
    rng, spec, data = np.random.default_rng(seed), events_experiment(), Data()
    for user in range(400):
        at = local(spec, int(rng.integers(3)), float(rng.integers(0, 24)))
        arms = rng.choice(["control", "blue", "amber"], 1 + int(rng.random() < 0.1), replace=False)
        data.exposures += [Exposure(f"u{user}", arm, at + timedelta(hours=i)) for i, arm in enumerate(arms)]
        for _ in range(rng.poisson(4)):
            moment = at + timedelta(hours=int(rng.integers(-60, 100)))
            value = None if rng.random() < 0.2 else float(rng.choice([0.0, 0.5, 1.0, -2.25, 7.5]))
            item = None if rng.random() < 0.1 else str(rng.choice(list("abcde")))
            data.outcomes.append(Outcome(f"u{user}", "order", moment, value, item))
    return data


@pytest.mark.parametrize("buckets", [1, 4])
@pytest.mark.parametrize(
    ("kind", "agg", "missing"),
    [(*way, "zero") for way in NUMBERS] + [(agg, agg, "exclude") for agg in sorted(PICKED)],
)
def test_equals_sql(kind: str, agg: str, missing: str, buckets: int) -> None:
    data = drawn(11)
    measure = Measure("order", agg, THRESHOLDS.get((kind, agg)))  # type: ignore[arg-type]
    made = metric("m", kind, measure, window=DayWindow(0, 3), missing=missing)
    spec = events_experiment(
        metrics=(made,), segments=(), analyses=AnalysisPlan(pre_period_days=4, did_days=3)
    )
    (day,) = aggregates_of(data, spec, [spec.window.end + timedelta(days=4)], buckets)

    exposures = exposures_table(data.exposures).drop_columns(["attributes"])  # noqa: F841 (DuckDB reads both by name)
    outcomes = outcomes_table(data.outcomes)  # noqa: F841
    number, read = (
        NUMBERS[kind, agg],
        {"distinct": "item", "days": "item", "count": "item"}.get(agg, "value"),
    )
    found = duckdb.sql(f"""
        WITH users AS ({USERS}), numbers AS (
            SELECT users.user_id, variant_id, {number} AS number, count({read}) AS rows_read
            FROM users LEFT JOIN outcomes ON outcomes.user_id = users.user_id
                AND occurred_at >= exposed_at AND occurred_at < exposed_at + INTERVAL 72 HOURS
            GROUP BY 1, 2
        )
        SELECT variant_id, count(*), avg(coalesce(number, 0)), var_samp(coalesce(number, 0)) FROM numbers
        WHERE {"rows_read > 0" if missing == "exclude" else "true"} GROUP BY 1 ORDER BY 1
    """).fetchall()

    assert len(found) == 3
    assert all(users > 40 for _, users, *_ in found)
    for variant, users, mean, variance in found:
        block = day.block("m", variant)
        assert isinstance(block, Block)
        assert block.moments.n == users
        assert float(block.moments.mean[0]) == pytest.approx(mean, rel=1e-12, abs=1e-12)
        assert block.moments.variance(0) == pytest.approx(variance, rel=1e-10)
