"""Two installations of one source: one adds what is new, the other reads everything every night; and what both stored."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from end_to_end.arrivals import QUALITY, START, Night
from end_to_end.installation import OF_THE_RUN, Installation
from exp_platform.tables.schemas import TABLES

# What says how a run came to its rows, and not which they are; buckets are as many as the first run needed
OF_THE_REFRESH = {*OF_THE_RUN, "bucket", "buckets", "refresh", "thresholds", "input_fingerprint", "spec_file"}
OF_THE_REFRESH |= {"outcomes_aside_snapshot", "outcomes_aside_rows", "ingested_files_snapshot", "measured"}
OF_THE_REFRESH |= {"user_number"}  # a place in the order in which users came
KEPT_FOR_LATER = ("outcomes_aside", "ingested_files")

METRICS = [
    {"id": "buyers", "type": "proportion", "event": "order", "role": "primary", "covariates": ["views"]},
    {"id": "views", "type": "count", "event": "view"},
    {"id": "revenue", "type": "mean", "event": "order", "winsorise": {"lower": 0.05, "upper": 0.9}},
    {"id": "week", "type": "mean", "event": "order", "window": {"from_day": 1, "to_day": 4}},
    {"id": "long_waits", "type": "quantile", "q": 0.8, "event": "wait", "direction": "decrease"},
    {"id": "last_order", "type": "last", "event": "order", "missing": "exclude"},
    {"id": "days_active", "type": "count_distinct", "event": "view", "distinct": "day"},
    {
        "id": "order_value",
        "type": "ratio",
        "numerator": {"sum": "order"},
        "denominator": {"count": "view"},
        "covariates": ["revenue", "order_value"],
    },
]
# Of these a user's value adds up over days, so unit days are brought forward and not made of all rows
SUMS = [metric for metric in METRICS if metric["type"] not in ("last", "count_distinct")]
NO_QUANTILE = [metric for metric in METRICS if metric["type"] != "quantile"]
RAMP = [
    {"start": START, "shares": {"control": 0.9, "blue": 0.1}},
    {"start": START.replace(day=START.day + 4), "shares": {"control": 0.5, "blue": 0.5}},
]
TOP = {"name": "power_user", "top": "20%", "by": "views"}


def spec(folder: Path | str, source: Mapping[str, Any] | None = None, **changes: Any) -> dict[str, Any]:
    """Of the exposures and outcomes in a folder, with metrics of every kind."""
    exposures = {"user_id": "uid", "variant_id": "arm", "exposed_at": "ts", "event_id": "eid"}
    outcomes = {"user_id": "uid", "event": "what", "occurred_at": "ts", "value": "amount", "event_id": "eid"}
    return {
        "id": "shop",
        "owner": "growth",
        "hypothesis": "It sells.",
        "variants": [{"id": "control", "control": True}, {"id": "blue"}],
        "window": {"start": START, "days": 14, "timezone": "Europe/Berlin"},
        "source": {
            "kind": "events",
            "exposures": {"path": f"{folder}/exposures", "columns": exposures},
            "outcomes": {"path": f"{folder}/outcomes", "columns": outcomes},
            **(source or {}),
        },
        "metrics": METRICS,
        "guardrails": [{"metric": "views", "margin": "10%"}],
        "segments": ["device"],
        "quality": QUALITY,
        **changes,
    }


def spec_of_units(folder: Path) -> dict[str, Any]:
    """Of a table of users in a folder."""
    source = {
        "kind": "units",
        "path": str(folder / "units"),
        "columns": {"user_id": "uid", "variant_id": "arm", "exposed_at": "ts"},
    }
    spent = {"column": "spent", "missing": "zero", "covariates": ["before"]}
    metrics = [
        {"id": "buyers", "type": "proportion", "column": "bought", "role": "primary"},
        {"id": "spent", "type": "mean", **spent, "winsorise": {"upper": 0.9}},
        {"id": "of_buyers", "type": "mean", "column": "spent", "missing": "exclude"},
        {"id": "median", "type": "quantile", "q": 0.5, "column": "spent", "missing": "zero"},
    ]
    return spec(folder) | {"source": source, "metrics": metrics, "guardrails": []}


@dataclass
class Both:
    """Two installations of one source: one adds what is new, the other reads everything every night."""

    folder: Path
    adds: Installation = field(init=False)
    whole: Installation = field(init=False)

    def __post_init__(self) -> None:
        for name in ("adds", "whole"):
            (self.folder / name).mkdir(parents=True)
            setattr(self, name, Installation(self.folder / name))

    def spec(self, content: Mapping[str, Any]) -> None:
        for one in (self.adds, self.whole):
            one.spec(**content)

    def night(self, night: Night, but: Sequence[str] = ()) -> dict[str, str]:
        """Run both and compare all that is stored, but in some tables; gives the refresh of the one that adds."""
        told = {}
        for one, full in ((self.whole, True), (self.adds, False)):
            done = one.run("shop", as_of_dates=night.days, force=True, full=full)
            failed = [f"{m.stage}: {m.error}" for m in done.manifests if m.status != "success"]
            assert not failed, failed
            told = {m.stage: m.details["refresh"] for m in done.manifests if m.stage in ("ingest", "publish")}
        assert told["ingest"] == told["publish"]
        adds, whole = (
            {name: rows for name, rows in stored(one).items() if name not in but}
            for one in (self.adds, self.whole)
        )
        found = [*differences(adds, whole, "")]
        assert not found, "\n".join(found[:10])
        return dict(told["ingest"])


def stored(place: Installation) -> dict[str, list[dict[str, Any]]]:
    """Rows of all tables in an order that the last digits of numbers do not change."""
    found = {}
    for name, rows in place.tables(name for name in TABLES if name not in KEPT_FOR_LATER).items():
        found[name] = sorted(map(plain, rows), key=lambda row: repr(rounded(row)))
    return found


def plain(value: Any) -> Any:
    """Without what a rerun may change; JSON within a row as what it says."""
    if isinstance(value, str) and value.startswith(("{", "[")):
        value = json.loads(value)
    if isinstance(value, dict):
        return {key: plain(inner) for key, inner in value.items() if key not in OF_THE_REFRESH}
    return [plain(inner) for inner in value] if isinstance(value, list) else value


def rounded(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: rounded(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [rounded(inner) for inner in value]
    return f"{value:.6g}" if isinstance(value, float) else value


def differences(one: Any, other: Any, where: str) -> Iterator[str]:
    """Where two values are not equal, numbers to twelve digits."""
    if isinstance(one, dict) and isinstance(other, dict) and one.keys() == other.keys():
        for key in one:
            yield from differences(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list) and isinstance(other, list) and len(one) == len(other):
        for position, (mine, theirs) in enumerate(zip(one, other, strict=True)):
            yield from differences(mine, theirs, f"{where}[{position}]")
    elif isinstance(one, float) and isinstance(other, float):
        if not (math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12) or (one != one and other != other)):
            yield f"{where}: {one!r}, whole {other!r}"
    elif one != other:
        yield f"{where}: {one!r}, whole {other!r}"
