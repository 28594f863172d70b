"""Time the aggregates kernel on one bucket in memory: `python benchmarks/kernel_aggregates.py [users] [outcomes]`.

Prints the CPU seconds of each step, the best of three; PyArrow and BLAS run on one thread, as in a Spark task.
"""

from __future__ import annotations

import os
import resource
import sys
import time
from collections.abc import Callable
from datetime import date
from typing import Any

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")

import numpy as np
import pyarrow as pa

from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.metrics import Covariate, Measure, Metric, Role
from exp_platform.config.sources import SyntheticSource
from exp_platform.kernels.aggregate import aggregate
from exp_platform.kernels.local_days import DAY, instant
from exp_platform.kernels.merge import merge_aggregates
from exp_platform.kernels.unit_days import unit_day_rows, unit_days
from exp_platform.kernels.users import first_exposures

WINDOW = Window(date(2025, 3, 3), date(2025, 3, 16), "Europe/Berlin")
EVENTS = ("conversion", "order", "pageview", "purchase")


def experiment() -> Experiment:
    """Four metrics with covariates, two segments, 14 days."""

    def metric(name: str, kind: str, numerator: Measure, denominator: Measure | None = None) -> Metric:
        covariates = () if denominator else (Covariate(f"pre_{name}", numerator),)
        return Metric(name, kind, Role.SECONDARY, 1, numerator, denominator, covariates=covariates)

    orders, revenue = Measure("order", "count"), Measure("purchase", "sum")
    return Experiment(
        id="benchmark",
        owner="",
        hypothesis="",
        variants=(Variant("control", 0.5), Variant("treatment", 0.5)),
        window=WINDOW,
        source=SyntheticSource(0, 0, 14, 14, 1.0, 0.1, (0.0,), (0.0,), 10.0, 1.0),
        metrics=(
            metric("conversion", "proportion", Measure("conversion", "any")),
            metric("pageviews", "count", Measure("pageview", "count")),
            metric("revenue", "mean", revenue),
            metric("order_value", "ratio", revenue, orders),
        ),
        segments=("device_type", "subscription_tier"),
    )


def bucket(users: int, outcomes: int) -> tuple[pa.Table, pa.Table]:
    """Random exposures and outcomes: most outcomes are page views; half of all lie before exposure."""
    rng = np.random.default_rng(7)
    start, length = instant(WINDOW.starts_at()), 14 * DAY
    ids = pa.array([f"user_{i:08d}" for i in rng.permutation(10 * users)[:users]])
    device, tier = rng.integers(0, 3, users), rng.integers(0, 2, users)
    attributes = pa.MapArray.from_arrays(
        np.arange(0, 2 * users + 1, 2),
        pa.array(["device_type", "subscription_tier"]).take(pa.array(np.tile([0, 1], users))),
        pa.array(["desktop", "mobile", "tablet", "free", "paid"]).take(
            pa.array(np.column_stack([device, tier + 3]).ravel())
        ),
    )
    instants = pa.timestamp("us", "UTC")
    exposures = pa.table(
        {
            "user_id": _named(ids, np.arange(users)),
            "variant_id": _named(pa.array(["control", "treatment"]), rng.integers(0, 2, users)),
            "exposed_at": pa.array(start + rng.integers(0, length, users)).cast(instants),
            "attributes": attributes,
        }
    )
    event = rng.choice(len(EVENTS), outcomes, p=[0.05, 0.05, 0.85, 0.05])
    table = pa.table(
        {
            "user_id": _named(ids, rng.integers(0, users, outcomes)),
            "event": _named(pa.array(EVENTS), event),
            "occurred_at": pa.array(start + rng.integers(-length, length, outcomes)).cast(instants),
            "value": pa.array(rng.gamma(2.0, 6.0, outcomes), mask=event < 3),
        }
    )
    return exposures, table


def _named(values: Any, codes: Any) -> Any:
    """A column as a bucket's files are read."""
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32)), values)


def timed(step: str, work: Callable[[], Any], repeats: int = 3) -> Any:
    """The result, after printing the best CPU time."""
    best = np.inf
    for _ in range(repeats):
        began = time.process_time()
        result = work()
        best = min(best, time.process_time() - began)
    print(f"{step:32s}{best:8.3f} s CPU")
    return result


def main(users: int = 300_000, outcomes: int = 2_200_000) -> None:
    """Run every step of one bucket."""
    pa.set_cpu_count(1)
    exposures, events = bucket(users, outcomes)
    spec, day = experiment(), WINDOW.end
    assigned = timed("first_exposures", lambda: first_exposures(exposures, spec, day))
    days = timed("unit_days", lambda: unit_days(assigned, events, spec, day))
    part = timed("aggregate", lambda: aggregate(assigned, days, spec, day))
    rows = timed("unit_day_rows", lambda: unit_day_rows(assigned, days, spec))
    timed("merge_aggregates (4 buckets)", lambda: merge_aggregates([part] * 4, spec))
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    print(
        f"{len(assigned)} users, {events.num_rows} outcomes, {rows.num_rows} unit days; peak memory {peak:.0f} MB"
    )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
