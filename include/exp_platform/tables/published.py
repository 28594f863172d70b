"""What the registry says is published of an experiment: which files of which snapshots, and what they were read from."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import DataScan

from exp_platform.errors import DataError
from exp_platform.tables.catalog import table
from exp_platform.tables.damage import naming_damage
from exp_platform.tables.scans import planned
from exp_platform.tables.schemas import NAMED
from exp_platform.tables.selection import selection

INGESTED = "ingested_files"
NO_BASE = "none"  # in the place of an ingest key's parts: why no later run can add to these rows


def named_by(registered: Mapping[str, Any]) -> dict[str, int]:
    """Table -> the snapshot that a row of the registry names; a table that it names none of is absent."""
    named = {name: registered.get(f"{name}_snapshot") for name in NAMED}
    return {name: number for name, number in named.items() if number is not None}


def all_there(catalog: Catalog, snapshots: Mapping[str, int]) -> bool:
    """Whether none of the snapshots has expired."""
    return all(table(catalog, name).snapshot_by_id(number) for name, number in snapshots.items())


def files_at(
    catalog: Catalog, name: str, experiment_id: str, snapshot_id: int, *, but: Collection[int] = ()
) -> list[str]:
    """The paths of one experiment's files at a snapshot, but for those of some buckets. Raises DataError where it has expired."""
    with naming_damage(catalog, name, _mine(experiment_id), snapshot_id):
        found = planned(_scan(catalog, name, experiment_id, snapshot_id))
    bucket = [field.name for field in table(catalog, name).spec().fields].index("bucket")
    return [task.file.file_path for task in found if task.file.partition[bucket] not in but]


def ingested_at(catalog: Catalog, experiment_id: str, snapshot_id: int) -> list[dict[str, Any]]:
    """The rows of `ingested_files` of one experiment at a snapshot. Raises DataError where it has expired."""
    with naming_damage(catalog, INGESTED, _mine(experiment_id), snapshot_id):
        return list(_scan(catalog, INGESTED, experiment_id, snapshot_id).to_arrow().to_pylist())


def _mine(experiment_id: str) -> BooleanExpression:
    return selection({"experiment_id": experiment_id})


def _scan(catalog: Catalog, name: str, experiment_id: str, snapshot_id: int) -> DataScan:
    source = table(catalog, name)
    if source.snapshot_by_id(snapshot_id) is None:
        raise DataError(f"{name}: snapshot {snapshot_id} has expired; run the experiment from `ingest` again")
    return source.scan(_mine(experiment_id), snapshot_id=snapshot_id)
