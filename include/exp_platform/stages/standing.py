"""What the registry says is published of an experiment, as `ingest` finds it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from exp_platform.config.environment import Environment
from exp_platform.kernels.base import RowCounts
from exp_platform.stages.refresh import Base, InputFile
from exp_platform.tables.catalog import open_catalog
from exp_platform.tables.damage import PUBLISHED_DAMAGED, DamagedTableError
from exp_platform.tables.published import INGESTED, NO_BASE, all_there, ingested_at, named_by


def base_of(environment: Environment, registered: Mapping[str, Any] | None) -> Base | None:
    """What a run may add to, or why it may not; None where nothing is published."""
    if registered is None:
        return None
    snapshots, key = named_by(registered), json.loads(registered.get("ingest_key") or "{}")
    rows = registered["exposures_rows"] + registered["outcomes_rows"]
    base = Base(registered["run_id"], snapshots, registered["buckets"], key, rows)
    catalog = open_catalog(environment)
    if lost := _lost(registered, key, all_there(catalog, snapshots)):
        return replace(base, lost=lost)
    try:
        files = ingested_at(catalog, registered["experiment_id"], snapshots[INGESTED])
    except DamagedTableError:
        return replace(base, lost=PUBLISHED_DAMAGED)
    return replace(base, files=tuple(InputFile.of_row(file) for file in files))


def counts_of(registered: Mapping[str, Any]) -> dict[int, RowCounts]:
    """What was counted of each bucket's raw rows, which an increment adds to."""
    stored = json.loads(registered["measured"])
    return {int(bucket): RowCounts.from_json(counts) for bucket, counts in stored.items()}


def _lost(registered: Mapping[str, Any], key: Mapping[str, str], there: bool) -> str | None:
    if registered.get("user_level_deleted_on") is not None:
        return "the rule of retention deleted rows of single users"
    if not key:
        return "an older version of the platform published it"
    if said := key.get(NO_BASE):
        return said
    return None if there else "the published snapshots are gone"
