"""Experiments and aggregates made from user-level arrays, for the tests of analyses and decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from datetime import date
from typing import Any

import numpy as np

from exp_platform.aggregates import ALL, Aggregates, Block, DailyRow
from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.metrics import Covariate, Effect, Guardrail, Measure, Metric, Role
from exp_platform.config.plans import AnalysisPlan
from exp_platform.config.sources import EventsSource, TableSource, UnitsSource
from exp_platform.stats.moments import Moments

START, END = date(2025, 3, 1), date(2025, 3, 14)
BEFORE_END = date(2025, 3, 10)
TABLE = TableSource("parquet", "nowhere", {})
EVENTS = EventsSource(TABLE, TABLE, {}, "none")
UNITS = UnitsSource(TABLE, {}, (), (), {})


def metric(id: str = "orders", kind: str = "mean", role: Role = Role.PRIMARY, **more: Any) -> Metric:
    covariates = tuple(Covariate(c, Measure(c, "sum")) for c in more.pop("covariates", ()))
    direction = more.pop("direction", 1)
    return Metric(id, kind, role, direction, Measure(id, "sum"), covariates=covariates, **more)


def experiment(*metrics: Metric, shares: Sequence[float] = (0.5, 0.5), **more: Any) -> Experiment:
    """An experiment of arms `control`, `t1`, `t2`, ... from 1 to 14 March 2025, alpha .05 split into .045 and .005."""
    ids = ("control", *(f"t{i}" for i in range(1, len(shares))))
    return Experiment(
        id="exp_test",
        owner="owner",
        hypothesis="it works",
        variants=tuple(Variant(i, s) for i, s in zip(ids, shares, strict=True)),
        window=Window(START, END),
        source=more.pop("source", EVENTS),
        metrics=metrics,
        **more,
    )


def block(
    metric_id: str,
    variant_id: str,
    values: np.ndarray,
    columns: Sequence[str] = ("value",),
    segment: str = ALL,
    segment_value: str = ALL,
    **more: Any,
) -> Block:
    """A `total` block of an array with a row per user and a column for each name."""
    values = np.asarray(values, dtype=float)
    first = values if values.ndim == 1 else values[:, 0]
    return Block(
        more.pop("kind", "total"),
        metric_id,
        variant_id,
        segment,
        segment_value,
        tuple(columns),
        Moments.of(values),
        successes=int(np.count_nonzero(first)),
        **more,
    )


def daily_block(metric_id: str, variant_id: str, values: np.ndarray) -> Block:
    """A `daily` block of an array with a row per user and 2 N columns, day -N to day N - 1."""
    days = values.shape[1] // 2
    return block(metric_id, variant_id, values, [f"day{d}" for d in range(-days, days)], kind="daily")


def aggregates(blocks: Iterable[Block], as_of: date = END, **more: Any) -> Aggregates:
    """Aggregates of these blocks; `assigned` defaults to the users of the first metric's blocks."""
    listed = tuple(blocks)
    users = {b.variant_id: b.moments.n for b in reversed(listed) if b.segment == ALL and b.kind == "total"}
    daily: tuple[DailyRow, ...] = tuple(more.pop("daily", ()))
    return Aggregates(as_of, more.pop("assigned", users), more.pop("crossovers", {}), listed, daily, **more)


def large() -> tuple[Experiment, Aggregates]:
    """Ten metrics with a covariate and a guardrail each, three arms, twenty segment values, twenty-eight days."""
    rng = np.random.default_rng(0)
    guard = Guardrail(Effect(0.05, "relative"), "warning")
    metrics = [
        metric(f"m{i}", role=Role.PRIMARY if i == 0 else Role.SECONDARY, covariates=["x"], guardrail=guard)
        for i in range(10)
    ]
    blocks = []
    for m in metrics:
        for v in ("control", "t1", "t2"):
            values = rng.normal(10, 3, (2000, 2))
            blocks += [
                block(m.id, v, values, ("value", "x")),
                daily_block(m.id, v, rng.normal(size=(500, 28))),
            ]
            blocks += [
                block(m.id, v, part, ("value", "x"), segment="country", segment_value=f"c{i}")
                for i, part in enumerate(np.split(values, 20))
            ]
    plan = AnalysisPlan(did_days=14, did_pre_days=14)
    spec = experiment(*metrics, shares=(0.4, 0.3, 0.3), segments=("country",), analyses=plan)
    return spec, aggregates(blocks)
