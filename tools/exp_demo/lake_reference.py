"""What the lake's experiments measure, worked out by DuckDB from the same files: nothing of the platform takes part.

Each metric is a query of one row per user, numerator and denominator, written anew here. What follows of it (means, spread, Welch's
test, the delta method for ratios) is worked out by NumPy and SciPy.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import duckdb
import numpy as np
from scipy import stats

AS_OF = "2026-04-05"  # the last useful day of an experiment that ends on 2026-03-29 and has a week's window
NEAR = 1e-9  # the relative agreement that is asked for

_CATEGORY = "(props->>'$.item.category')"
_REVENUE, _ITEMS = "(props->>'$.revenue')::double", "(props->>'$.item.quantity')::double"


@dataclass(frozen=True)
class Measure:
    """A user's number: `made` of the rows of one fact where `where` holds. `row.what` is a column that `made` may read."""

    fact: str
    made: str = "count(*)"
    what: str = "1"
    where: str = "true"


@dataclass(frozen=True)
class Metric:
    """One metric: a measure, or the ratio of two; of the `days` after first exposure, else until the experiment's end."""

    numerator: Measure
    denominator: Measure | None = None
    days: int | None = None


def _sum(what: str, where: str = "true") -> Measure:
    return Measure("orders", "coalesce(sum(row.what), 0)", what, where)


_DAY = "(row.at at time zone 'Europe/Berlin')::date"
CONVERSION = Measure("orders", "(count(*) > 0)::int")
REVENUE, ITEMS = _sum(_REVENUE), _sum(_ITEMS)
ORDER_VALUE = Metric(REVENUE, Measure("orders"))
METRICS: dict[str, dict[str, Metric]] = {
    "checkout_v2": {
        "conversion": Metric(CONVERSION, days=7),
        "revenue": Metric(REVENUE),
        "shoe_revenue": Metric(_sum(_REVENUE, f"{_CATEGORY} = 'shoes'")),
        "large_orders": Metric(Measure("orders", where=f"{_REVENUE} >= 40 and (props->>'$.coupon') is null")),
        "order_value": ORDER_VALUE,
        "orders_per_session": Metric(
            Measure("orders"), Measure("sessions", where="session.device in ('mobile', 'tablet')")
        ),
        "repeat_buyers": Metric(Measure("orders", "(count(*) >= 2)::int")),
        "active_days": Metric(Measure("sessions", f"count(distinct {_DAY})")),
    },
    "free_shipping": {
        "revenue": Metric(REVENUE),
        "conversion": Metric(CONVERSION),
        "items": Metric(ITEMS),
        "order_value": ORDER_VALUE,
        "categories": Metric(Measure("orders", "count(distinct row.what)", _CATEGORY)),
        "largest_order": Metric(Measure("orders", "coalesce(max(row.what), 0)", _REVENUE)),
        "sessions": Metric(Measure("sessions")),
        "seconds": Metric(
            Measure("sessions", "coalesce(sum(row.what), 0)", "session.seconds", "session.pages >= 2")
        ),
        "bag_items": Metric(_sum(_ITEMS, f"{_CATEGORY} like 'bag%'")),
    },
}
CONTROL = {"checkout_v2": "Control", "free_shipping": "false"}
_TIMES = {"orders": "ts::timestamptz", "sessions": "started"}
_IDS = {"orders": "order_id", "sessions": "session_id"}


class Lake:
    """The files of one lake, as DuckDB reads them; times are instants, days are those of Berlin."""

    def __init__(self, folder: Path) -> None:
        self._database = duckdb.connect()
        self._database.execute("set timezone = 'UTC'")
        for name in ("exposures", "orders", "sessions"):
            files = f"{folder}/{name}/*/*.parquet"
            self._database.execute(
                f"create table {name} as from read_parquet('{files}', hive_partitioning = false)"
            )

    def expected(self, key: str) -> Iterator[tuple[str, dict[str, float]]]:
        """Each metric of an experiment of the example with the numbers that its row of `ab` must hold."""
        self._find_users(key)
        for name, metric in METRICS[key].items():
            yield name, compared(*(self._values(metric, arm) for arm in (True, False)))

    def _find_users(self, key: str) -> None:
        """Users by their first exposure within the window; who met both arms is left out."""
        self._database.execute(
            f"""
            create or replace table users as
            select uid, min(ts) as first, min(arm) = '{CONTROL[key]}' as control
            from exposures
            where exp_key = '{key}' and (ts at time zone 'Europe/Berlin')::date between '2026-03-02' and '2026-03-29'
            group by uid having count(distinct arm) = 1
            """
        )

    def _values(self, metric: Metric, control: bool) -> np.ndarray:
        """One row a user of an arm: the number, and the denominator of a ratio."""
        measures = [measure for measure in (metric.numerator, metric.denominator) if measure]
        columns = [self._of_users(measure, metric.days) for measure in measures]
        end = f"timestamptz '{AS_OF} 22:00:00+00'"  # midnight in Berlin, in summer
        old_enough = f"first + interval ({metric.days or 0} * 24) hour <= {end}"
        rows = self._database.execute(
            f"""
            select {", ".join(f"({column})" for column in columns)} from users
            where control = {control} and {old_enough} order by uid
            """
        ).fetchall()
        return np.array(rows, dtype=float)

    def _of_users(self, measure: Measure, days: int | None) -> str:
        """A user's number over the fact's rows, each counted once however often it was delivered."""
        until = f"row.at < users.first + interval ({days} * 24) hour" if days else f"{_DAY} <= '2026-03-29'"
        return f"""
            select {measure.made} from (
                select distinct on ({_IDS[measure.fact]}) uid, {_TIMES[measure.fact]} as at, {measure.what} as what
                from {measure.fact} where {measure.where}
            ) as row where row.uid = users.uid and row.at >= users.first and {until}
            """


def compared(control: np.ndarray, treatment: np.ndarray) -> dict[str, float]:
    """Welch's comparison of two arms; of ratios on each user's influence (delta method), as if it were a mean."""
    found: dict[str, float] = {}
    spread, degrees = [], []
    for side, arm in (("control", control), ("treatment", treatment)):
        n, means = len(arm), arm.mean(axis=0)
        mean = means[0] if len(means) == 1 else means[0] / means[1]
        values = arm[:, 0] if len(means) == 1 else (arm[:, 0] - mean * arm[:, 1]) / means[1]
        found |= {f"n_{side}": n, f"mean_{side}": float(mean), f"sd_{side}": float(values.std(ddof=1))}
        spread.append(float(values.var(ddof=1)) / n)
        degrees.append(n - 1)
    error = math.sqrt(sum(spread))
    df = sum(spread) ** 2 / sum(v**2 / d for v, d in zip(spread, degrees, strict=True))
    estimate = found["mean_treatment"] - found["mean_control"]
    return found | {
        "estimate": estimate,
        "standard_error": error,
        "degrees_of_freedom": df,
        "statistic": estimate / error,
        "p_value": float(2 * stats.t.sf(abs(estimate / error), df)),
        "relative": estimate / found["mean_control"],
    }


def differences(metric: str, expected: dict[str, float], row: Any) -> Iterator[str]:
    """What a row of `ab` says otherwise, beyond 1e-9 of the value."""
    for name, value in expected.items():
        found = getattr(row, name)
        if found is None or not math.isclose(found, value, rel_tol=NEAR, abs_tol=0.0):
            yield f"{metric}: {name} is {found}, DuckDB says {value}"
