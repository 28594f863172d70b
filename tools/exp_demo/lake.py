"""A company's lake, made up: a log of five experiments and two facts, three years by day, of which 28 days count.

The same seed gives the same files, and nothing else has a part in them. What the example's two experiments measure is worked
out from these files a second time in `lake_reference`.

| folder | one row is | columns |
|---|---|---|
| `exposures/day=.../` | a user who met an arm of an experiment | `exp_key`, `uid`, `arm`, `ts`, `country` |
| `orders/day=.../` | an order | `uid`, `ts` (without a zone: UTC), `order_id`, `props` (JSON text) |
| `sessions/day=.../` | a visit | `uid`, `started`, `session_id`, `session` (struct) |
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

FIRST, LAST = date(2023, 4, 1), date(2026, 4, 6)
USERS = 4000
SEED = 14
CATEGORIES = ("shoes", "bags", "shirts", "hats")
DEVICES = ("mobile", "desktop", "tablet")
COUNTRIES = ("DE", "AT", "CH")
COUPONS = (None, "SPRING10", "WELCOME", "SPRING20")
TWICE = 0.004  # share of rows that are delivered twice
MET_BOTH = 0.003  # share of users who met a second arm of an experiment
ORDERS, SESSIONS = 0.04, 0.12  # per user and day
_DAY = 86_400_000_000  # microseconds
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Experiment:
    """What the log holds of one experiment: its days, its arms as the log calls them, and how the second one changes users."""

    key: str
    start: date
    days: int
    arms: tuple[str, str]
    share: float  # of all users who meet it
    orders: float = 1.0  # times as many orders, from the first exposure to the last day
    revenue: float = 1.0  # times as much revenue per order


LOG = (
    Experiment("checkout_v2", date(2026, 3, 2), 28, ("Control", "Variant 1"), 0.7, orders=1.3),
    Experiment("free_shipping", date(2026, 3, 2), 28, ("false", "true"), 0.6, revenue=1.1),
    Experiment("banner", date(2024, 5, 6), 21, ("a", "b"), 0.8),
    Experiment("search_rank", date(2025, 9, 1), 35, ("old", "new"), 0.5, orders=1.1),
    Experiment("onboarding", date(2026, 2, 9), 40, ("Control", "Variant 1"), 0.4),
)


@dataclass(frozen=True)
class _Met:
    """Each user's first exposure to an experiment in microseconds since 1970 (never: the largest), and whether treated."""

    experiment: Experiment
    first: np.ndarray
    treated: np.ndarray

    def acts(self, users: np.ndarray, when: np.ndarray) -> np.ndarray:
        """Of rows of these users at these times those that the treatment has a part in."""
        end = _midnight(self.experiment.start) + self.experiment.days * _DAY
        acts: np.ndarray = self.treated[users] & (when >= self.first[users]) & (when < end)
        return acts


def write_lake(folder: Path, *, users: int = USERS, first: date = FIRST, seed: int = SEED) -> None:
    """Write all three tables below `folder`, which must be empty or absent, one Parquet file a day."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"u{number:06d}" for number in range(users)])
    rates = rng.gamma(2.0, 0.5, users)
    met = [_meet(rng, experiment, users) for experiment in LOG]
    _write_exposures(folder / "exposures", rng, ids, met)
    days = [first + timedelta(days=number) for number in range((LAST - first).days + 1)]
    numbers = {"orders": 0, "sessions": 0}
    for day in days:
        orders = _orders(rng, ids, rates, met, day, numbers["orders"])
        sessions = _sessions(rng, ids, rates, day, numbers["sessions"])
        for name, table in (("orders", orders), ("sessions", sessions)):
            numbers[name] += table.num_rows
            _write_day(folder / name, day, _some_twice(rng, table))


def _meet(rng: np.random.Generator, experiment: Experiment, users: int) -> _Met:
    first = _midnight(experiment.start) + rng.integers(0, experiment.days * _DAY, users)
    never = rng.random(users) >= experiment.share
    return _Met(experiment, np.where(never, np.iinfo(np.int64).max, first), rng.random(users) < 0.5)


def _write_exposures(folder: Path, rng: np.random.Generator, ids: np.ndarray, met: list[_Met]) -> None:
    """The first exposure and up to four later ones, on any day until the experiment's last one, by day over all experiments."""
    countries = rng.choice(COUNTRIES, len(ids), p=(0.7, 0.2, 0.1))
    parts: list[dict[str, Any]] = []
    for one in met:
        exposed = np.flatnonzero(one.first < np.iinfo(np.int64).max)
        end = _midnight(one.experiment.start) + one.experiment.days * _DAY
        again = np.repeat(exposed, rng.integers(0, 5, len(exposed)))
        later = one.first[again] + (rng.random(len(again)) * (end - one.first[again])).astype(np.int64)
        arm = one.treated.astype(int)
        other = (rng.random(len(ids)) < MET_BOTH)[again]
        parts += [
            {"user": exposed, "when": one.first[exposed], "arm": arm[exposed], "of": one.experiment},
            {
                "user": again,
                "when": later,
                "arm": np.where(other, 1 - arm[again], arm[again]),
                "of": one.experiment,
            },
        ]
    rows = pa.concat_tables(
        pa.table(
            {
                "exp_key": [part["of"].key] * len(part["user"]),
                "uid": ids[part["user"]],
                "arm": np.array(part["of"].arms)[part["arm"]],
                "ts": pa.array(part["when"], pa.timestamp("us", "UTC")),
                "country": countries[part["user"]],
            }
        )
        for part in parts
    )
    days = np.concatenate([part["when"] for part in parts]) // _DAY
    for day in np.unique(days):
        _write_day(folder, _EPOCH + timedelta(days=int(day)), rows.filter(pa.array(days == day)))


def _orders(
    rng: np.random.Generator, ids: np.ndarray, rates: np.ndarray, met: list[_Met], day: date, number: int
) -> pa.Table:
    most = float(np.prod([one.experiment.orders for one in met]))
    users = np.repeat(np.arange(len(ids)), rng.poisson(rates * ORDERS * most))
    when = _midnight(day) + rng.integers(0, _DAY, len(users))
    kept = np.full(len(users), 1 / most)
    worth = np.ones(len(users))
    for one in met:
        acts = one.acts(users, when)
        kept[acts] *= one.experiment.orders
        worth[acts] *= one.experiment.revenue
    stays = rng.random(len(users)) < kept
    users, when, worth = users[stays], when[stays], worth[stays]
    size = len(users)
    revenue = np.round(rng.lognormal(3.0, 0.7, size) * worth, 2)
    quantity, category = 1 + rng.poisson(0.6, size), rng.choice(CATEGORIES, size, p=(0.4, 0.3, 0.2, 0.1))
    coupon = rng.choice(len(COUPONS), size, p=(0.7, 0.1, 0.1, 0.1))
    props = [
        _props(float(r), int(q), str(c), COUPONS[k], absent=bool(q % 2))
        for r, q, c, k in zip(revenue, quantity, category, coupon, strict=True)
    ]
    columns = {
        "uid": ids[users],
        "ts": pa.array(when, pa.timestamp("us")),
        "order_id": pa.array(number + np.arange(size)),
        "props": pa.array(props, pa.string()),
    }
    return pa.table(columns)


def _props(revenue: float, quantity: int, category: str, coupon: str | None, *, absent: bool) -> str:
    """An order as a web shop logs it; a coupon that was not used stands there as null, or not at all."""
    props: dict[str, Any] = {"revenue": revenue, "item": {"quantity": quantity, "category": category}}
    if coupon is not None or not absent:
        props["coupon"] = coupon
    return json.dumps(props)


def _sessions(
    rng: np.random.Generator, ids: np.ndarray, rates: np.ndarray, day: date, number: int
) -> pa.Table:
    users = np.repeat(np.arange(len(ids)), rng.poisson(rates * SESSIONS))
    size = len(users)
    session = {
        "seconds": pa.array(np.round(rng.exponential(180, size), 1)),
        "pages": pa.array(1 + rng.poisson(3, size), pa.int32()),
        "device": pa.array(rng.choice(DEVICES, size, p=(0.6, 0.3, 0.1)), pa.string()),
    }
    columns = {
        "uid": ids[users],
        "started": pa.array(_midnight(day) + rng.integers(0, _DAY, size), pa.timestamp("us", "UTC")),
        "session_id": pa.array(number + np.arange(size)),
        "session": pa.StructArray.from_arrays([*session.values()], [*session]),
    }
    return pa.table(columns)


def _some_twice(rng: np.random.Generator, rows: pa.Table) -> pa.Table:
    twice = np.flatnonzero(rng.random(rows.num_rows) < TWICE)
    return pa.concat_tables([rows, rows.take(pa.array(twice))])


def _write_day(folder: Path, day: date, rows: pa.Table) -> None:
    place = folder / f"day={day}"
    place.mkdir(parents=True)
    pq.write_table(rows, place / "part-0.parquet", compression="zstd")


def _midnight(day: date) -> int:
    """Microseconds from 1970 to the beginning of a day, UTC."""
    return int(datetime(day.year, day.month, day.day, tzinfo=UTC).timestamp()) * 1_000_000
