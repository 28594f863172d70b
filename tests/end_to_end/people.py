"""Deliveries in which one person stands out: most outcomes, ids that hold his own, a line that cannot be read."""

from __future__ import annotations

import csv
from typing import Any

from end_to_end.installation import Installation

GONE, PREFIX = "zz-robot-77", "zz-robot-7"  # the one is the beginning of the other
USERS = 300
PEOPLE = [f"person-{i:04d}" for i in range(USERS)]


def deliver(made: Installation, name: str) -> None:
    """Exposures and outcomes as CSV, and a spec that reads them."""
    with (made.folder / f"{name}_seen.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["uid", "arm", "seen", "id"])
        for i, user in enumerate([*PEOPLE, GONE, PREFIX]):
            at = f"2026-03-{2 + i % 7:02d}T{i % 24:02d}:00:00Z"
            rows.writerow([user, ("control", "treatment")[i % 2], at, f"x{i}"])
    with (made.folder / f"{name}_done.csv").open("w") as file:
        rows = csv.writer(file)
        rows.writerow(["uid", "what", "at", "amount", "id"])
        for i, user in enumerate([*PEOPLE, PREFIX]):
            rows.writerow([user, "order", f"2026-03-11T07:13:{i % 60:02d}Z", 10 + i % 7, f"o{i}"])
        for i in range(400):
            at = f"2026-03-{9 + i % 3:02d}T{i % 24:02d}:01:00Z"
            rows.writerow([GONE, "order", at, 5, f"{GONE}-{i}"])
        file.write(f"{GONE},order,2026\n")
    made.spec(**_spec(made, name))


def _spec(made: Installation, name: str) -> dict[str, Any]:
    exposures = {"user_id": "uid", "variant_id": "arm", "exposed_at": "seen", "event_id": "id"}
    outcomes = {"user_id": "uid", "event": "what", "occurred_at": "at", "value": "amount", "event_id": "id"}
    seen, done = (str(made.folder / f"{name}_{what}.csv") for what in ("seen", "done"))
    return {
        "id": name,
        "owner": "team@example.com",
        "hypothesis": "Users order more.",
        "variants": [{"id": "control", "control": True}, {"id": "treatment"}],
        "window": {"start": "2026-03-02", "days": 10, "timezone": "UTC"},
        "source": {
            "kind": "events",
            "exposures": {"format": "csv", "path": seen, "columns": exposures},
            "outcomes": {"format": "csv", "path": done, "columns": outcomes},
        },
        "metrics": [
            {"id": "orders", "type": "count", "event": "order", "role": "primary"},
            {"id": "revenue", "type": "mean", "event": "order", "role": "secondary"},
        ],
        "quality": {"max_null_share": 0.5},
    }
