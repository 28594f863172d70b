"""Data as an analyst brings them: events with local clock times in CSV files, and tables of users, with their specs."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from end_to_end.installation import Installation

START, DAYS, ZONE = pd.Timestamp("2026-03-02"), 14, "Europe/Berlin"
VARIANTS = [{"id": "control", "control": True}, {"id": "treatment"}]


def events(users: int = 2500, seed: int = 5) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Exposures and orders of the fortnight before and after; times are of Berlin's clocks and do not say so."""
    rng = np.random.default_rng(seed)
    names = np.array([f"user-{i}" for i in range(users)])
    arm = rng.random(users) < 0.5
    exposed_at = START + pd.to_timedelta(rng.integers(0, DAYS * 86_400, users), unit="s")
    exposures = pd.DataFrame(
        {
            "user_id": names,
            "variant_id": np.where(arm, "treatment", "control"),
            "exposed_at": exposed_at.strftime("%Y-%m-%d %H:%M:%S"),
            "event_id": [f"x{i}" for i in range(users)],
        }
    )
    appetite = rng.gamma(1.0, 1.0, users)
    who = np.repeat(np.arange(users), rng.poisson(2 * appetite * (1 + 0.2 * arm)))
    at = START - pd.Timedelta(days=14) + pd.to_timedelta(rng.integers(0, 28 * 86_400, len(who)), unit="s")
    outcomes = pd.DataFrame(
        {
            "user_id": names[who],
            "event": "order",
            "occurred_at": at.strftime("%Y-%m-%d %H:%M:%S"),
            "value": np.round(rng.gamma(2.0, 10.0, len(who)), 2),
            "event_id": [f"o{i}" for i in range(len(who))],
        }
    )
    return exposures, outcomes


def events_spec(
    installation: Installation,
    folder: Path,
    exposures: pd.DataFrame,
    outcomes: pd.DataFrame,
    experiment_id: str = "shop",
) -> str:
    """Write both tables as CSV into `folder`, and their spec."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, frame in (("exposures", exposures), ("outcomes", outcomes)):
        frame.to_csv(folder / f"{name}.csv", index=False)
    return installation.spec(
        id=experiment_id,
        owner="shop",
        hypothesis="Free delivery sells more.",
        variants=VARIANTS,
        window={"start": START.date(), "days": DAYS, "timezone": ZONE},
        source={
            "kind": "events",
            "exposures": {"path": str(folder / "exposures.csv"), "columns": {"event_id": "event_id"}},
            "outcomes": {
                "path": str(folder / "outcomes.csv"),
                "columns": {"event_id": "event_id", "value": "value"},
            },
        },
        metrics=[
            {"id": "bought", "type": "proportion", "event": "order", "role": "primary"},
            {"id": "revenue", "type": "mean", "event": "order"},
            {
                "id": "second_day",
                "type": "retention",
                "event": "order",
                "window": {"from_day": 1, "to_day": 3},
            },
        ],
    )


def units_spec(
    installation: Installation,
    frame: pd.DataFrame,
    metrics: list[dict[str, Any]],
    experiment_id: str = "users",
) -> str:
    """Write a table of users as CSV beside the specs, and its spec; the arm is in the column `variant_id`."""
    path = installation.folder / f"{experiment_id}.csv"
    frame.to_csv(path, index=False)
    return installation.spec(
        id=experiment_id,
        owner="shop",
        hypothesis="It helps.",
        variants=VARIANTS,
        window={"start": START.date(), "days": DAYS},
        source={"kind": "units", "path": str(path)},
        metrics=metrics,
    )
