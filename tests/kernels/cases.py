"""Small experiments and the tables that kernels read, for the tests of this folder."""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from exp_platform.aggregates import Aggregates
from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.metrics import Covariate, DayWindow, Measure, Metric, Role, Winsorise
from exp_platform.config.plans import AnalysisPlan
from exp_platform.config.sources import EventsSource, TableSource, UnitsSource
from exp_platform.kernels.aggregate import aggregate, bounded, completed
from exp_platform.kernels.merge import bounds_of, merge_aggregates
from exp_platform.kernels.pools import pools_of
from exp_platform.kernels.row_account import Exposures
from exp_platform.kernels.trigger import triggered
from exp_platform.kernels.unit_days import unit_days
from exp_platform.kernels.users import first_exposures

INSTANT = pa.timestamp("us", "UTC")
TABLE = TableSource("parquet", "nowhere", {})
EVENTS = EventsSource(TABLE, TABLE, {"device": "device", "tier": "tier"}, "none")


@dataclass(frozen=True)
class Exposure:
    user: str
    variant: str
    at: datetime
    attributes: dict[str, str | None] | None = None


@dataclass(frozen=True)
class Outcome:
    user: str
    event: str
    at: datetime
    value: float | None = None
    item: str | None = None


@dataclass
class Data:
    exposures: list[Exposure] = field(default_factory=list)
    outcomes: list[Outcome] = field(default_factory=list)


def exposures_table(rows: Iterable[Exposure]) -> pa.Table:
    listed = list(rows)
    return pa.table(
        {
            "user_id": pa.array([r.user for r in listed], pa.string()),
            "variant_id": pa.array([r.variant for r in listed], pa.string()),
            "exposed_at": pa.array([r.at.astimezone(UTC) for r in listed], INSTANT),
            "attributes": pa.array(
                [None if r.attributes is None else list(r.attributes.items()) for r in listed],
                pa.map_(pa.string(), pa.string()),
            ),
        }
    )


def outcomes_table(rows: Iterable[Outcome]) -> pa.Table:
    listed = list(rows)
    return pa.table(
        {
            "user_id": pa.array([r.user for r in listed], pa.string()),
            "event": pa.array([r.event for r in listed], pa.string()),
            "occurred_at": pa.array([r.at.astimezone(UTC) for r in listed], INSTANT),
            "value": pa.array([r.value for r in listed], pa.float64()),
            "item": pa.array([r.item for r in listed], pa.string()),
        }
    )


def aggregates_of(
    data: Data, experiment: Experiment, as_of: list[date], buckets: int = 1
) -> list[Aggregates]:
    """All rounds of a run over users dealt to buckets; one entry per as_of date, ascending."""
    reduced = []
    for bucket in range(buckets):
        mine = [e for e in data.exposures if zlib.crc32(e.user.encode()) % buckets == bucket]
        table = exposures_table(mine)
        theirs = [o for o in data.outcomes if zlib.crc32(o.user.encode()) % buckets == bucket]
        users, outcomes = first_exposures(table, experiment, as_of[-1]), outcomes_table(theirs)
        exposed = None
        if experiment.trigger is not None:
            exposed = users, unit_days(users, outcomes, experiment, as_of[-1])
            users = triggered(users, outcomes, experiment, as_of[-1])
        days = unit_days(users, outcomes, experiment, as_of[-1])
        reduced.append((users, days, Exposures.of(table, users, experiment), exposed))
    merged = []
    for day in as_of:
        parts = [aggregate(u, d, experiment, day, e, None, x) for u, d, e, x in reduced]
        pools = pools_of([part.values for part in parts], experiment)
        if pools:
            parts = [aggregate(u, d, experiment, day, e, pools, x) for u, d, e, x in reduced]
        bounds = bounds_of(parts, experiment, pools)
        second = [bounded(u, d, experiment, day, bounds, x) for u, d, _, x in reduced]
        complete = [completed(part, more) for part, more in zip(parts, second, strict=True)]
        merged.append(merge_aggregates(complete, experiment, bounds))
    return merged


def metric(name: str, kind: str, numerator: Measure, **rest: Any) -> Metric:
    return Metric(name, kind, Role.SECONDARY, 1, numerator, **rest)


ORDERS = Measure("order", "count")
REVENUE = Measure("purchase", "sum")
ANY_VIEW = Measure("view", "any")

EVENT_METRICS = (
    metric("converted", "proportion", ANY_VIEW, covariates=(Covariate("pre_converted", ANY_VIEW),)),
    metric(
        "orders",
        "count",
        ORDERS,
        window=DayWindow(0, 3),
        covariates=(Covariate("pre_orders", ORDERS),),
    ),
    metric("revenue", "mean", REVENUE, covariates=(Covariate("pre_revenue", REVENUE),)),
    metric("returned", "retention", ANY_VIEW, window=DayWindow(1, 3)),
    metric("late_view", "proportion", ANY_VIEW, window=DayWindow(2)),
    metric(
        "order_value",
        "ratio",
        REVENUE,
        denominator=ORDERS,
        window=DayWindow(0, 2),
        covariates=(
            Covariate("pre_order_value.numerator", REVENUE),
            Covariate("pre_order_value.denominator", ORDERS),
        ),
    ),
    metric("capped", "mean", REVENUE, winsorise=Winsorise(0.3, 0.7)),
)

LAST, LARGEST = Measure("purchase", "last"), Measure("purchase", "max")
ITEMS, DAYS = Measure("order", "distinct"), Measure("view", "days")
# Metrics of what is no sum, count or existence of rows, and of both together with it.
OTHER_METRICS = (
    metric("items", "count_distinct", ITEMS, covariates=(Covariate("pre_items", ITEMS),)),
    metric("items_at_first", "count_distinct", ITEMS, window=DayWindow(0, 2)),
    metric("days", "count_distinct", DAYS, covariates=(Covariate("pre_days", DAYS),)),
    metric("last", "last", LAST, covariates=(Covariate("pre_last", LAST),)),
    metric("last_of_some", "last", LAST, window=DayWindow(1, 4), missing="exclude"),
    metric("first", "first", Measure("purchase", "first"), window=DayWindow(0, 3)),
    metric("largest", "max", LARGEST, covariates=(Covariate("pre_largest", LARGEST),), missing="exclude"),
    metric("smallest", "min", Measure("purchase", "min"), winsorise=Winsorise(0.3, 0.7)),
    metric("buyers", "proportion", Measure("purchase", "count", at_least=2)),
    metric("spenders", "proportion", Measure("purchase", "sum", at_least=0.3), window=DayWindow(0, 4)),
    metric("items_a_day", "ratio", ITEMS, denominator=DAYS),
    metric("revenue", "mean", REVENUE),
    metric("orders", "count", ORDERS),
)


def events_experiment(
    start: date = date(2025, 3, 27), days: int = 6, timezone: str = "Europe/Berlin", **rest: Any
) -> Experiment:
    plan = AnalysisPlan(pre_period_days=4, did_days=3)
    made = Experiment(
        id="small",
        owner="",
        hypothesis="",
        variants=(Variant("control", 0.4), Variant("blue", 0.3), Variant("amber", 0.3)),
        window=Window(start, start + timedelta(days=days - 1), timezone),
        source=EVENTS,
        metrics=EVENT_METRICS,
        segments=("device", "tier"),
        analyses=plan,
    )
    return replace(made, **rest)


def units_experiment(missing: str) -> Experiment:
    covariates = (Covariate("history", Measure("history", "sum")),)
    return replace(
        events_experiment(),
        source=UnitsSource(TABLE, {}, ("visit", "spend"), ("history",), {}),
        segments=(),
        metrics=(
            metric(
                "visit",
                "proportion",
                Measure("visit", "any"),
                missing=missing,
                covariates=covariates,
            ),
            metric("spend", "mean", Measure("spend", "sum"), missing=missing, covariates=covariates),
            metric(
                "spend_a_visit",
                "ratio",
                Measure("spend", "sum"),
                denominator=Measure("visit", "sum"),
                missing=missing,
                covariates=covariates,
            ),
        ),
    )


def local(experiment: Experiment, day: int, hours: float = 12.0, microseconds: int = 0) -> datetime:
    """A moment of the window's day `day` (0: the first): so many hours of real time after that day's local midnight."""
    midnight = experiment.window.cutoff(experiment.window.start + timedelta(days=day - 1)).astimezone(UTC)
    return midnight + timedelta(hours=hours, microseconds=microseconds)


def zone(experiment: Experiment) -> ZoneInfo:
    return ZoneInfo(experiment.window.timezone)
