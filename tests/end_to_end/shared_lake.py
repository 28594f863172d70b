"""A company's lake in small: one log of two experiments, orders and visits of everybody, and what pandas computes from them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

START, DAYS = pd.Timestamp("2026-03-02", tz="UTC"), 14
END = START + pd.Timedelta(days=DAYS)
KEY = "checkout_v2"
ARMS = {"Control": "control", "Variant 1": "v1"}
CATEGORIES = np.array(["shoes", "bags", "hats", None], dtype=object)


@dataclass(frozen=True)
class Lake:
    """The tables as a warehouse would show them."""

    exposures: pd.DataFrame
    orders: pd.DataFrame
    visits: pd.DataFrame


def lake(people: int = 4000, share: float = 0.2, seed: int = 14) -> Lake:
    """Everybody orders and visits for six weeks; a share of them is in the experiment, others are in another one."""
    rng = np.random.default_rng(seed)
    ids = np.array([f"P-{i}" for i in range(people)])
    mine = rng.random(people) < share
    exposed_at = START + pd.to_timedelta(rng.integers(0, DAYS * 86_400, people), unit="s")
    treated = rng.random(people) < 0.5
    exposures = pd.DataFrame(
        {
            "uid": ids,
            "arm": np.where(treated, "Variant 1", "Control"),
            "ts": exposed_at,
            "exp_key": np.where(mine, KEY, "search_ranking"),
            "country": np.where(rng.random(people) < 0.5, "DE", "FR"),
        }
    )
    orders = _rows(rng, ids, 2.0)
    n = len(orders)
    orders["category"] = CATEGORIES[rng.integers(0, len(CATEGORIES), n)]
    orders["revenue"] = np.round(rng.gamma(2.0, 20.0, n), 2)
    orders["quantity"] = rng.integers(1, 5, n)
    orders["eid"] = [f"o{i}" for i in range(n)]
    orders = pd.concat([orders, orders.iloc[: n // 200]], ignore_index=True)  # delivered twice
    visits = _rows(rng, ids, 4.0)
    visits["name"] = np.where(rng.random(len(visits)) < 0.7, "visit", "search")
    return Lake(exposures, orders, visits)


def _rows(rng: np.random.Generator, ids: Any, mean: float) -> pd.DataFrame:
    who = np.repeat(ids, rng.poisson(mean, len(ids)))
    since = START - pd.Timedelta(days=20)
    return pd.DataFrame(
        {"uid": who, "ts": since + pd.to_timedelta(rng.integers(0, 40 * 86_400, len(who)), unit="s")}
    )


def write(made: Lake, folder: Path, files: int = 3) -> None:
    """Each table as some Parquet files in a folder of its own."""
    for name in ("exposures", "orders", "visits"):
        frame: pd.DataFrame = getattr(made, name)
        (folder / name).mkdir(parents=True)
        for part in range(files):
            frame.iloc[part::files].to_parquet(folder / name / f"part-{part}.parquet", index=False)


def spec(folder: Path, **rest: Any) -> dict[str, Any]:
    """A spec of the experiment KEY with metrics of every kind of measure."""
    revenue = {"of": "orders", "value": "revenue"}
    return {
        "id": KEY,
        "owner": "growth",
        "hypothesis": "A shorter checkout earns more.",
        "variants": [
            {"id": "control", "control": True, "value": "Control"},
            {"id": "v1", "value": ["Variant 1", "Variant one"]},
        ],
        "window": {"start": "2026-03-02", "days": DAYS, "timezone": "UTC"},
        "source": {
            "kind": "events",
            "exposures": {
                "path": str(folder / "exposures"),
                "columns": {
                    "user_id": "uid",
                    "variant_id": "arm",
                    "exposed_at": "ts",
                    "experiment": "exp_key",
                },
            },
            "facts": {
                "orders": {
                    "path": str(folder / "orders"),
                    "columns": {"user_id": "uid", "occurred_at": "ts", "event_id": "eid"},
                    "values": {"revenue": "revenue", "items": "quantity"},
                    "dimensions": {"category": "category"},
                },
                "visits": {
                    "path": str(folder / "visits"),
                    "columns": {"user_id": "uid", "occurred_at": "ts", "event": "name"},
                },
            },
        },
        "metrics": [
            {"id": "conversion", "type": "proportion", "of": "orders", "role": "primary"},
            {"id": "revenue", "type": "mean", **revenue},
            {
                "id": "shoes",
                "type": "mean",
                **revenue,
                "where": {"category": ["shoes", "bags"], "items": {"min": 2}},
            },
            {"id": "no_category", "type": "count", "of": "orders", "where": {"category": {"is": "missing"}}},
            {
                "id": "per_visit",
                "type": "ratio",
                "numerator": revenue,
                "denominator": {"of": "visits", "event": "visit"},
            },
        ],
        "segments": ["country"],
        **rest,
    }


def per_user(made: Lake) -> pd.DataFrame:
    """What pandas makes of the tables: a row per user of the experiment, with each metric's value."""
    mine = made.exposures[made.exposures.exp_key == KEY].set_index("uid")
    orders = _after(made.orders.drop_duplicates("eid"), mine)
    visits = _after(made.visits[made.visits.name == "visit"], mine)
    shoes = orders[orders.category.isin(["shoes", "bags"]) & (orders.quantity >= 2)]
    return pd.DataFrame(
        {
            "variant": mine.arm.map(ARMS),
            "conversion": mine.index.isin(orders.uid).astype(float),
            "revenue": orders.groupby("uid").revenue.sum(),
            "shoes": shoes.groupby("uid").revenue.sum(),
            "no_category": orders[orders.category.isna()].groupby("uid").size(),
            "visits": visits.groupby("uid").size(),
        },
        index=mine.index,
    ).fillna(0.0)


def _after(rows: pd.DataFrame, exposures: pd.DataFrame) -> pd.DataFrame:
    """The rows of users of the experiment from their exposure to its end."""
    rows = rows[rows.uid.isin(exposures.index)]
    return rows[(rows.ts >= exposures.ts.reindex(rows.uid).to_numpy()) & (rows.ts < END)]
