"""Rows of a bucket as they are written down, and what cleaning makes of them."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from exp_platform.config.experiment import Experiment
from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.in_context import Cleaned
from kernels.cases import EVENTS, events_experiment

NOW = datetime(2025, 5, 1, tzinfo=UTC)


# 27 March to 1 April
SPEC = replace(events_experiment(timezone="UTC"), source=replace(EVENTS, dedupe="event_id"))


FIRST = "2025-03-28 12:00"


def rows(names: str, *values: tuple[Any, ...]) -> pa.Table:
    columns = names.split()
    return pa.table({name: pa.array([row[i] for row in values]) for i, name in enumerate(columns)})


def exposures(*values: tuple[Any, ...], names: str = "user_id variant_id exposed_at event_id") -> pa.Table:
    return rows(names, *values)


def outcomes(*values: tuple[Any, ...]) -> pa.Table:
    return rows("user_id event occurred_at value event_id", *values)


def cleaned(
    exposed: pa.Table | list[pa.Table],
    happened: pa.Table | list[pa.Table] | None = None,
    spec: Experiment = SPEC,
) -> Cleaned:
    parts = {"exposures": exposed, "outcomes": happened if happened is not None else []}
    raw = {name: part if isinstance(part, list) else [part] for name, part in parts.items()}
    return clean_bucket(raw, spec, NOW)


def deduped(by: Any) -> Experiment:
    return replace(SPEC, source=replace(EVENTS, dedupe=by))


ONE = exposures(("u1", "control", FIRST, "x1"))
