"""Which files of a scan are read, by what their manifests say of them, before any of them is opened."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from pyiceberg.conversions import from_bytes
from pyiceberg.io import FileIO
from pyiceberg.table import DataScan, FileScanTask

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.types import PrimitiveType

_FILE = "__filename"  # what Arrow calls the file of a row


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


def rows_by_file(scan: DataScan, io: FileIO, tasks: list[FileScanTask]) -> dict[str, list[dict[str, Any]]]:
    """The rows of a scan by the path of their file, of files without delete files: Arrow opens them together.

    PyIceberg takes 4 ms of CPU for each, which are seconds where there are hundreds. Columns are found by their names, as no table
    of the platform renames any; one that an older file lacks is null.
    """
    import pyarrow.dataset as ds
    from pyiceberg.expressions.visitors import bind
    from pyiceberg.io.pyarrow import PyArrowFileIO, expression_to_pyarrow, schema_to_pyarrow

    assert isinstance(io, PyArrowFileIO)
    of_path = {io.parse_location(path, io.properties)[2]: path for path in (t.file.file_path for t in tasks)}
    scheme, netloc, _ = io.parse_location(tasks[0].file.file_path, io.properties)
    table, wanted = scan.table_metadata.schema(), scan.projection()
    files = ds.FileSystemDataset.from_paths(
        list(of_path),
        schema=schema_to_pyarrow(table, include_field_ids=False),
        format=ds.ParquetFileFormat(),
        filesystem=io.fs_by_scheme(scheme, netloc),
    )
    where = expression_to_pyarrow(bind(table, scan.row_filter, case_sensitive=True), table)
    columns = [*wanted.column_names, _FILE]
    found: dict[str, list[dict[str, Any]]] = {path: [] for path in of_path.values()}
    for row in files.to_table(columns=columns, filter=where, use_threads=False).to_pylist():
        found[of_path[row.pop(_FILE)]].append(row)
    return found


def rows_of(scan: DataScan, io: FileIO, tasks: list[FileScanTask]) -> pa.Table:
    """The rows of a scan that lie in some of its files."""
    from pyiceberg.io.pyarrow import ArrowScan  # a second of a reader's start, where there is nothing to read

    return ArrowScan(scan.table_metadata, io, scan.projection(), scan.row_filter).to_table(tasks)
