"""Data as people have them who begin: a table of users, a log of three experiments with orders in JSON, odd CSV files."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

START = np.datetime64("2026-03-02T00:00:00")
DAY = 86_400
KEYS = ("checkout_v2", "banner", "search")


def seconds(start: int, end: int, n: int, rng: np.random.Generator) -> np.ndarray:
    """So many instants between two seconds since START."""
    return START + rng.integers(start, end, n).astype("timedelta64[s]")


def users_csv(path: Path, n: int = 3000, delimiter: str = ",", decimal: str = ".") -> Path:
    """A row per visitor: arm, device, visits before, a conversion and what it was worth."""
    rng = np.random.default_rng(3)
    arm = np.where(rng.random(n) < 0.5, "Control", "Short form")
    bought = rng.random(n) < 0.2
    spend = np.where(bought, rng.lognormal(3, 2, n), 0)
    header = ["visitor_id", "arm", "device", "visits_before", "converted", "revenue", "note"]
    lines = [delimiter.join(header)]
    for i in range(n):
        money = f"{spend[i]:.2f}".replace(".", decimal)
        device = "mobile" if rng.random() < 0.6 else "desktop"
        row = [f"v{i:05d}", arm[i], device, str(rng.poisson(30)), str(int(bought[i])), money, f"note {i}"]
        lines.append(delimiter.join(row))
    path.write_text("\n".join(lines) + "\n")
    return path


def shop(folder: Path, users: int = 2400) -> tuple[Path, Path]:
    """An exposure log of three experiments with as many users as 3, 2 and 1 parts, and orders whose properties are JSON.

    Orders are of the fortnight before the window of a fortnight and of a week after it.
    """
    rng = np.random.default_rng(11)
    names = np.array([f"u{i:06d}" for i in range(users)])
    who = np.repeat([0, 1, 2], [users // 2, users // 3, users - users // 2 - users // 3])
    exposed = seconds(0, 14 * DAY, users, rng)
    exposures = pa.table(
        {
            "uid": names,
            "exp_key": np.array(KEYS)[who],
            "arm": np.where(rng.random(users) < 0.5, "Control", "Variant 1"),
            "ts": pa.array(exposed, pa.timestamp("us", "UTC")),
            "country": np.where(rng.random(users) < 0.7, "DE", "FR"),
        }
    )
    rows = np.repeat(np.arange(users), rng.poisson(3, users))
    props = [
        json.dumps(
            {
                "revenue": round(float(money), 2),
                "quantity": int(quantity),
                "category": "shoes" if quantity % 2 else "bags",
            }
        )
        for money, quantity in zip(rng.gamma(2, 20, len(rows)), rng.integers(1, 5, len(rows)), strict=True)
    ]
    orders = pa.table(
        {
            "uid": names[rows],
            "ts": pa.array(seconds(-14 * DAY, 21 * DAY, len(rows), rng), pa.timestamp("us", "UTC")),
            "order_id": [f"o{i}" for i in range(len(rows))],
            "props": props,
        }
    )
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(exposures, folder / "exposures.parquet")
    pq.write_table(orders, folder / "orders.parquet")
    return folder / "exposures.parquet", folder / "orders.parquet"
