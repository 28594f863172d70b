"""Which file of a table is missing, cut or corrupt, and what to do: its libraries stumble over it in a hundred ways.

Iceberg finds a table's rows in four steps, each of which may break: the catalog's entry names a metadata file, that a manifest
list, that manifests, and those the data files.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

from pyiceberg.exceptions import (
    CommitFailedException,
    NoSuchNamespaceError,
    NoSuchTableError,
    RESTError,
    ValidationException,
)
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.io import FileIO
from pyiceberg.table import DataScan, FileScanTask, Table
from sqlalchemy.exc import SQLAlchemyError

from exp_platform.diagnosis import diagnosis
from exp_platform.errors import ExpPlatformError
from exp_platform.tables.schemas import NAMESPACE

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog

_NO_DAMAGE = (
    ExpPlatformError,
    CommitFailedException,
    NoSuchNamespaceError,
    NoSuchTableError,
    RESTError,
    SQLAlchemyError,
    ValidationException,
)
_FROM_BACKUP = "put it back from a backup of the warehouse"
_REPAIRED = "; without one, `exp repair` goes back to the newest commit that can be read: run again what came after it"
_MADE_AGAIN = (
    "; without one, `exp run EXPERIMENT_ID --as-of DAY --force` makes the results of its days again, and where that cannot "
    "read what was decided before, `exp delete EXPERIMENT_ID` forgets it"
)

_GONE_BACK = "; without one, `exp repair` goes back to the newest commit that can be read, and what came after is run again"

PUBLISHED_DAMAGED = "a published file is damaged"  # why nothing is added to it, in a clause


class DamagedTableError(ExpPlatformError):
    """A file of a table is missing, cut or corrupt; the message names it and the remedy."""


@contextmanager
def naming_damage(
    catalog: Catalog, name: str, where: BooleanExpression | None = None, snapshot_id: int | None = None
) -> Iterator[None]:
    """Within the block, whatever a damaged file of that table raises becomes a DamagedTableError.

    `where` and `snapshot_id` say which files are in question; by default all of the newest snapshot. What has another
    cause is raised as it is.
    """
    try:
        yield
    except Exception as error:
        found = None if is_no_damage(error) else _damage(catalog, name, where or AlwaysTrue(), snapshot_id)
        if found is None:
            raise
        raise DamagedTableError(f"table {name}: {found}") from error


def is_no_damage(error: Exception) -> bool:
    """Whether an error certainly comes from something else than a file: a race, a database, a store, the caller."""
    return isinstance(error, _NO_DAMAGE) or diagnosis(error) is not None


def damaged_file(io: FileIO, tasks: Sequence[FileScanTask]) -> str | None:
    """What is wrong with the first data file that cannot be read, and the remedy; None where all can."""
    import pyarrow.parquet as pq

    for task in tasks:
        path, size = task.file.file_path, task.file.file_size_in_bytes
        try:
            found = len(io.new_input(path))
            if found != size:
                return f"the data file {path} has {found:,} bytes instead of {size:,}: {_FROM_BACKUP}{_MADE_AGAIN}"
            with io.new_input(path).open() as stream:
                for _ in pq.ParquetFile(stream).iter_batches():
                    pass
        except Exception as error:
            if diagnosis(error):
                return None  # the store does not answer, which says nothing about the file
            return f"the data file {path} {_state(error)}: {_FROM_BACKUP}{_MADE_AGAIN}"
    return None


def readable(scan: DataScan, io: FileIO, tasks: Sequence[FileScanTask]) -> tuple[list[pa.Table], list[str]]:
    """The rows of a scan in those of its files that can be read, and what is wrong with those that cannot."""
    from pyiceberg.io.pyarrow import ArrowScan

    reader = ArrowScan(scan.table_metadata, io, scan.projection(), scan.row_filter)
    rows, faults = [], []
    for task in tasks:
        try:
            rows.append(reader.to_table([task]))
        except Exception as error:
            fault = None if is_no_damage(error) else damaged_file(io, [task])
            if fault is None:
                raise
            faults.append(fault)
    return rows, faults


def _damage(catalog: Catalog, name: str, where: BooleanExpression, snapshot_id: int | None) -> str | None:
    try:
        stored = catalog.load_table((NAMESPACE, name))
    except Exception as error:
        if is_no_damage(error):
            return None
        return f"the metadata file {_entry(catalog, name)} {_state(error)}: {_FROM_BACKUP}{_REPAIRED}"
    manifests = _damaged_manifest(stored, snapshot_id)
    if manifests is not None:
        return manifests
    scan = stored.scan(row_filter=where, snapshot_id=snapshot_id)
    return damaged_file(stored.io, list(scan.plan_files()))


def _damaged_manifest(stored: Table, snapshot_id: int | None) -> str | None:
    from pyiceberg.manifest import read_manifest_list

    snapshot = stored.current_snapshot() if snapshot_id is None else stored.snapshot_by_id(snapshot_id)
    if snapshot is None:
        return None
    what, path = "manifest list", snapshot.manifest_list
    try:
        for manifest in list(read_manifest_list(stored.io.new_input(path))):
            what, path = "manifest", manifest.manifest_path
            manifest.fetch_manifest_entry(stored.io)
    except Exception as error:
        return None if diagnosis(error) else f"the {what} {path} {_state(error)}: {_FROM_BACKUP}{_GONE_BACK}"
    return None


def _entry(catalog: Catalog, name: str) -> str:
    """The metadata file that the catalog names for a table that cannot be loaded."""
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy import text

    if not isinstance(catalog, SqlCatalog):
        return "that the catalog names"
    statement = text(
        "SELECT metadata_location FROM iceberg_tables "
        "WHERE catalog_name = :catalog AND table_namespace = :namespace AND table_name = :name"
    )
    values = {"catalog": catalog.name, "namespace": NAMESPACE, "name": name}
    with catalog.engine.connect() as connection:
        return str(connection.execute(statement, values).scalar())


def _state(error: Exception) -> str:
    if isinstance(error, FileNotFoundError):
        return "is missing"
    if isinstance(error, PermissionError):
        return "may not be read by this user"
    if isinstance(error, NotADirectoryError):
        return "is missing, as a file lies where its folder should be"
    return "is cut or corrupt"
