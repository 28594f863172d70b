"""Which files of a scan are read, by what their manifests say of them, before any of them is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pyiceberg.conversions import from_bytes
from pyiceberg.io import FileIO
from pyiceberg.table import DataScan, FileScanTask

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.types import PrimitiveType


def planned(scan: DataScan) -> list[FileScanTask]:
    """All files that may hold rows of a scan."""
    return list(scan.plan_files())


def newest_files(scan: DataScan) -> list[FileScanTask]:
    """Of each experiment the file with its newest as_of date; all files where one does not say how new its rows are."""
    tasks = planned(scan)
    column = scan.table_metadata.schema().find_field("as_of_date")
    kind = cast("PrimitiveType", column.field_type)
    newest: dict[Any, tuple[Any, list[FileScanTask]]] = {}
    for task in tasks:
        bound = (task.file.upper_bounds or {}).get(column.field_id)
        if bound is None or task.delete_files:
            return tasks
        day, experiment = from_bytes(kind, bound), task.file.partition[0]
        known, files = newest.get(experiment, (day, []))
        if day >= known:
            newest[experiment] = day, [*files, task] if day == known else [task]
    return [task for _, files in newest.values() for task in files]


def rows_of(scan: DataScan, io: FileIO, tasks: list[FileScanTask]) -> pa.Table:
    """The rows of a scan that lie in some of its files."""
    from pyiceberg.io.pyarrow import ArrowScan  # a second of a reader's start, where there is nothing to read

    return ArrowScan(scan.table_metadata, io, scan.projection(), scan.row_filter).to_table(tasks)
