"""Which files of a scan are read, by what their manifests say of them, before any of them is opened."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, cast

from pyiceberg.conversions import from_bytes
from pyiceberg.io import FileIO
from pyiceberg.table import DataScan, FileScanTask

from exp_platform.tables.read_once import once

if TYPE_CHECKING:
    import pyarrow as pa
    from pyarrow.fs import FileSystem
    from pyiceberg.types import PrimitiveType

_NEAR = "file"  # the scheme of places that answer at once
_REQUESTS = 16  # to an object store at a time


def planned(scan: DataScan) -> list[FileScanTask]:
    """All files that may hold rows of a scan; within a command planned once for a snapshot, whose manifests no one writes again."""
    snapshot = scan.snapshot()
    if snapshot is None:
        return []
    which = (scan.table_metadata.table_uuid, snapshot.snapshot_id, repr(scan.row_filter))
    return list(once(which, lambda: tuple(scan.plan_files())))


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
    """The rows of a scan by the path of their file, of files without delete files."""
    reader = _Reader(scan, io)
    return {path: reader.wanted(rows).to_pylist() for path, rows in reader.read(tasks).items()}


def rows_of(scan: DataScan, io: FileIO, tasks: list[FileScanTask]) -> pa.Table:
    """The rows of a scan that lie in some of its files."""
    import pyarrow as pa

    reader = _Reader(scan, io)
    whole = [task for task in tasks if not task.delete_files]
    parts = [reader.wanted(pa.concat_tables([reader.empty, *reader.read(whole).values()]))]
    if len(whole) < len(tasks):
        from pyiceberg.io.pyarrow import ArrowScan

        of_others = ArrowScan(scan.table_metadata, io, scan.projection(), scan.row_filter)
        rows = of_others.to_table([task for task in tasks if task.delete_files])
        parts.append(rows.select(parts[0].column_names).cast(parts[0].schema))
    return pa.concat_tables(parts)


class _Reader:
    """Reads whole files of a scan, without delete files, as Arrow tables.

    PyIceberg takes 4 to 10 ms of CPU for each, and Arrow's datasets 2 and, of hundreds, 30 MB. Columns are found by their names, as no
    table of the platform renames any; one that an older file lacks is null.
    """

    def __init__(self, scan: DataScan, io: FileIO) -> None:
        from pyiceberg.expressions.visitors import bind, extract_field_ids
        from pyiceberg.io.pyarrow import PyArrowFileIO, expression_to_pyarrow, schema_to_pyarrow

        assert isinstance(io, PyArrowFileIO)
        self._io, table = io, scan.table_metadata.schema()
        self._asked = [field.name for field in scan.projection().fields]
        condition = bind(table, scan.row_filter, case_sensitive=True)
        by_condition = extract_field_ids(condition)
        columns = [f.name for f in table.fields if f.name in self._asked or f.field_id in by_condition]
        self._columns = schema_to_pyarrow(table.select(*columns), include_field_ids=False)
        self._where = expression_to_pyarrow(condition, table)

    @property
    def empty(self) -> pa.Table:
        """What it reads of no file."""
        return self._columns.empty_table()

    def read(self, tasks: list[FileScanTask]) -> dict[str, pa.Table]:
        """The rows of files by their paths, with the columns that are asked for or that the condition is about."""
        paths = [task.file.file_path for task in tasks]
        if not paths:
            return {}
        scheme, netloc, _ = self._io.parse_location(paths[0], self._io.properties)
        files, remote = self._io.fs_by_scheme(scheme, netloc), scheme != _NEAR

        def read(path: str) -> pa.Table:
            place = self._io.parse_location(path, self._io.properties)[2]
            return _columns_of(files, place, self._columns, buffered=remote)

        if not remote:
            return {path: read(path) for path in paths}
        with ThreadPoolExecutor(_REQUESTS) as readers:
            return dict(zip(paths, readers.map(read, paths), strict=True))

    def wanted(self, rows: pa.Table) -> pa.Table:
        """Those rows that the scan's condition holds for, with the columns that it asks for."""
        return rows.filter(self._where).select(self._asked)


def _columns_of(files: FileSystem, path: str, wanted: pa.Schema, *, buffered: bool) -> pa.Table:
    """Columns of a Parquet file as the table has them; `buffered`: in few requests, of a store that takes long for each."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    with files.open_input_file(path) as opened:
        file = pq.ParquetFile(opened, pre_buffer=buffered)
        there = set(file.schema_arrow.names)
        found = file.read([name for name in wanted.names if name in there], use_threads=False)
    columns = [
        found[field.name].cast(field.type) if field.name in there else pa.nulls(len(found), field.type)
        for field in wanted
    ]
    return pa.table(columns, schema=wanted)


def give_memory_back() -> None:
    """Give the system what reading took for a moment: a server would keep it, after hundreds of files 20 MB."""
    import pyarrow as pa

    pa.default_memory_pool().release_unused()
