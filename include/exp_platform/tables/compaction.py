"""Published rows of an experiment in few files: each night's increment leaves one for every bucket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from pyiceberg.catalog import Catalog

from exp_platform.config.environment import Environment
from exp_platform.tables.catalog import table
from exp_platform.tables.files import plan_buckets, writer_of
from exp_platform.tables.published import all_there, named_by
from exp_platform.tables.schemas import arrow_schema
from exp_platform.tables.write import replace_files, replace_rows

_OF_USERS = ("exposures", "outcomes", "outcomes_aside")


def compact_published(
    environment: Environment, catalog: Catalog, row: Mapping[str, Any], allowed: int, run_id: str
) -> int:
    """Make one file of a bucket's where there are more than are allowed, and let the registry name that; returns how many buckets.

    The caller holds the experiment's lease, and `row` is its row of the registry: what it names is what is compacted, so that
    what a run that died has left goes too. Readers have the old files until the row is replaced.
    """
    named = named_by(row)
    if not all_there(catalog, named):
        return 0
    newer, compacted = {}, 0
    for name in (name for name in _OF_USERS if name in named):
        snapshot, buckets = _compacted(environment, catalog, name, row, allowed, run_id)
        if buckets:
            newer[f"{name}_snapshot"] = snapshot
            compacted += buckets
    if newer:
        key = {"experiment_id": row["experiment_id"]}
        replace_rows(catalog, "experiment_registry", key, [{**row, **newer}], run_id)
    return compacted


def _compacted(
    environment: Environment, catalog: Catalog, name: str, row: Mapping[str, Any], allowed: int, run_id: str
) -> tuple[int, int]:
    """The snapshot with fewer files, and of how many buckets; of none the snapshot that is named."""
    experiment_id, snapshot = row["experiment_id"], row[f"{name}_snapshot"]
    plan = plan_buckets(environment, name, experiment_id, snapshot, arrow_schema(name).names)
    many = {bucket for bucket, files in plan.items() if len(files.tasks) > allowed}
    if not many:
        return snapshot, 0
    writer = writer_of(table(catalog, name), experiment_id, run_id)
    paths: list[str] = []
    for bucket, files in plan.items():
        if bucket in many:
            paths.append(writer.write(bucket, files.read()))
        else:
            paths += [task.file.file_path for task in files.tasks]
    return replace_files(catalog, name, experiment_id, paths, run_id), len(many)
