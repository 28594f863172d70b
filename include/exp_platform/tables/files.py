"""Files of the data tables as Spark tasks write and read them: Arrow in, Arrow out, no session and no commit.

The driver makes a `Writer` or a plan and sends it to the tasks; both pickle to a few kilobytes. A written file
counts only once `write.replace_files` has committed its path.
"""

from __future__ import annotations

import secrets
from collections import defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.expressions import AlwaysTrue
from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import ArrowScan, schema_to_pyarrow
from pyiceberg.schema import Schema
from pyiceberg.table import FileScanTask, Table
from pyiceberg.table.metadata import TableMetadata

from exp_platform.config.environment import Environment
from exp_platform.errors import DataError, require_all
from exp_platform.kernels.coded import CODED, is_coded, with_used_values
from exp_platform.private_files import keep_private
from exp_platform.tables.damage import DamagedTableError, damaged_file, is_no_damage, naming_damage
from exp_platform.tables.scans import planned
from exp_platform.tables.schemas import TABLES, arrow_schema
from exp_platform.tables.selection import selection

NO_FOOTER: Mapping[str, str] = {}

_FIELD_ID = b"PARQUET:field_id"


@dataclass(frozen=True)
class Writer:
    """Writes one experiment's rows of one table for one run."""

    io: FileIO
    folder: str
    schema: pa.Schema  # the table's columns with their Iceberg field ids
    experiment_id: str
    run_id: str
    once: tuple[str, ...] = ()  # columns of which hardly two rows of a file have the same value

    def write(self, bucket: int, rows: pa.Table, footer: Mapping[str, str] = NO_FOOTER) -> str:
        """Write one bucket's rows as one Parquet file and return its path, which no other attempt shares.

        `rows` has the table's columns in any order, those of strings as such or as dictionaries; `experiment_id` and
        `bucket` may be absent, as they are constants, and `row_key` where no row can be a duplicate. Raises pyarrow's
        errors when a column is missing or cannot be cast. `footer` is what the file says of itself beside its rows.
        """
        keep_private()  # this may be a Spark task, in a process that none of the platform's has started
        there = [name for name in self.schema.names if name in rows.column_names]
        rows = self._with_constants(bucket, _as_used(rows.select(there))).select(self.schema.names)
        rows = rows.cast(pa.schema([_as_it_comes(f, rows.schema.field(f.name).type) for f in self.schema]))
        path = f"{self.folder}/{self.run_id}-{bucket:05d}-{secrets.token_hex(4)}.parquet"
        try:
            with (
                self.io.new_output(path).create() as stream,
                pq.ParquetWriter(
                    stream,
                    rows.schema,
                    compression="zstd",
                    use_dictionary=[leaf for f in self.schema if self._repeats(f) for leaf in _leaves(f)],
                    # A bucket has one dictionary of its users: a smaller one would end in plain strings
                    dictionary_pagesize_limit=1 << 30,
                    write_statistics=[
                        leaf for f in self.schema if f.name != "user_id" for leaf in _leaves(f)
                    ],
                    store_schema=False,  # by which readers would be given dictionaries unasked
                ) as file,
            ):
                file.add_key_value_metadata(dict(footer))
                file.write_table(rows, max(len(rows), 1))
        except OSError:
            with suppress(OSError):
                self.io.delete(path)  # on a full disk its room is needed
            raise
        return path

    def _repeats(self, field: pa.Field) -> bool:
        """Whether a column's values stand many times in a file: a dictionary of others would be as long as the column."""
        once = pa.types.is_timestamp(field.type) or pa.types.is_floating(field.type)
        return not once and field.name not in self.once

    def _with_constants(self, bucket: int, rows: pa.Table) -> pa.Table:
        constants = (("experiment_id", self.experiment_id), ("bucket", bucket), ("row_key", None))
        for name, value in constants:
            if name in self.schema.names and name not in rows.column_names:
                rows = rows.append_column(name, _constant(value, self.schema.field(name).type, len(rows)))
        return rows


def _constant(value: object, kind: pa.DataType, rows: int) -> pa.Array:
    if kind != pa.string():
        return pa.repeat(pa.scalar(value, kind), rows)
    codes = pa.repeat(pa.scalar(0, pa.int32()), rows)  # which the file is written from: no string is hashed
    return pa.DictionaryArray.from_arrays(codes, pa.array([value], kind))


def _as_it_comes(field: pa.Field, found: pa.DataType) -> pa.Field:
    """The field, of strings as a dictionary where they come as one: they are written as they are."""
    return field.with_type(CODED) if pa.types.is_dictionary(found) and field.type == pa.string() else field


def _as_used(rows: pa.Table) -> pa.Table:
    """The rows with dictionaries of what they have alone: a file holds no id of a row that was left out."""
    columns = {name: rows[name] for name in rows.column_names}
    return pa.table({name: with_used_values(c) if is_coded(c) else c for name, c in columns.items()})


def _leaves(field: pa.Field) -> list[str]:
    """What of a column has values, as a Parquet file names it."""
    if pa.types.is_map(field.type):
        return [f"{field.name}.key_value.key", f"{field.name}.key_value.value"]
    if pa.types.is_list(field.type):
        return [f"{field.name}.list.element"]
    return [field.name]


def task_writer(environment: Environment | None, table_name: str, experiment_id: str, run_id: str) -> Writer:
    """A picklable Writer for the tasks of one run."""
    from exp_platform.tables.catalog import open_catalog, table  # no task needs the catalog's SQL

    return writer_of(table(open_catalog(environment), table_name), experiment_id, run_id)


def writer_of(target: Table, experiment_id: str, run_id: str) -> Writer:
    """The Writer of an opened table."""
    return Writer(
        io=target.io,
        folder=experiment_folder(target, experiment_id),
        schema=_file_schema(target.name()[-1], target.schema()),
        experiment_id=experiment_id,
        run_id=run_id,
        once=TABLES[target.name()[-1]].once,
    )


def experiment_folder(target: Table, experiment_id: str) -> str:
    """Where all files of one experiment lie, whoever wrote them: Spark and PyIceberg name partitions like this."""
    return f"{target.location()}/data/experiment_id={experiment_id}"


def _file_schema(table_name: str, schema: Schema) -> pa.Schema:
    """Our Arrow types with the Iceberg table's field ids, so that a later rename cannot confuse a reader."""
    with_ids = schema_to_pyarrow(schema)
    return pa.schema([_with_ids(field, with_ids.field(field.name)) for field in arrow_schema(table_name)])


def _with_ids(field: pa.Field, source: pa.Field) -> pa.Field:
    kind = field.type
    if pa.types.is_map(kind):
        kind = pa.map_(
            _with_ids(kind.key_field, source.type.key_field),
            _with_ids(kind.item_field, source.type.item_field),
        )
    elif pa.types.is_list(kind):
        kind = pa.list_(_with_ids(kind.value_field, source.type.value_field))
    return field.with_type(kind).with_metadata(source.metadata)


@dataclass(frozen=True)
class BucketFiles:
    """The files of one bucket at one snapshot; pickles to a few kilobytes."""

    tasks: tuple[FileScanTask, ...]
    metadata: TableMetadata
    io: FileIO
    projection: Schema
    types: pa.Schema
    rows: int

    def read(self, coded: Collection[str] = ()) -> pa.Table:
        """All rows of the bucket with the planned columns, in the table's Arrow types; a chunk or more per file.

        Columns of strings in `coded` are dictionaries, each chunk with its own. Raises DamagedTableError.
        """
        with self._told_of_damage():
            found = pa.concat_tables([self._read(task, coded) for task in self.tasks])
        require_all("a bucket's files", len(found), self.rows)
        return found

    def read_with_footer(self) -> tuple[pa.Table, dict[str, str]] | None:
        """The rows of a bucket that has one file, and what that says in its footer; None where it has several. Raises DamagedTableError."""
        footer = self.footer()
        return (self.read(), footer) if footer else None

    def footer(self) -> dict[str, str]:
        """What a bucket's one file says in its footer; nothing where there are several, or rows of it were deleted. Raises DamagedTableError."""
        if len(self.tasks) != 1 or self.tasks[0].delete_files:
            return {}
        with self._told_of_damage(), self.io.new_input(self.tasks[0].file.file_path).open() as stream:
            return _footer(pq.ParquetFile(stream))

    def are_there(self) -> bool:
        """Whether none of the files is gone."""
        return all(self.io.new_input(task.file.file_path).exists() for task in self.tasks)

    @contextmanager
    def _told_of_damage(self) -> Iterator[None]:
        """What cannot be read is called damaged, where a file is."""
        try:
            yield
        except Exception as error:
            fault = None if is_no_damage(error) else damaged_file(self.io, self.tasks)
            if fault is None:
                raise
            raise DamagedTableError(fault) from error

    @property
    def names(self) -> tuple[str, ...]:
        """What tells the rows of its files from any others, sorted: paths, as no path is written twice, and those of deletes."""
        return tuple(sorted(map(_named, self.tasks)))

    def among(self, names: Collection[str]) -> BucketFiles | None:
        """Those of its files; None where there is none of them."""
        tasks = tuple(task for task in self.tasks if _named(task) in names)
        return (
            replace(self, tasks=tasks, rows=sum(task.file.record_count for task in tasks)) if tasks else None
        )

    def _read(self, task: FileScanTask, coded: Collection[str]) -> pa.Table:
        """One file's rows. PyIceberg is asked where there is more to know than the file: deletes, or other columns."""
        names = self.types.names
        if not task.delete_files:
            with self.io.new_input(task.file.file_path).open() as stream:
                file = pq.ParquetFile(stream, read_dictionary=list(coded), pre_buffer=True)
                if self._as_planned(file.schema_arrow):
                    return _coded(file.read(names).select(names), coded)
        scan = ArrowScan(self.metadata, self.io, self.projection, AlwaysTrue())
        return _coded(scan.to_table([task]).select(names).cast(self.types), coded)

    def _as_planned(self, found: pa.Schema) -> bool:
        """Whether a file has all planned columns by name and field id, in the types that they are read as."""
        for field in self.types:
            position = found.get_field_index(field.name)
            if position < 0:
                return False
            there, number = found.field(position), self.projection.find_field(field.name).field_id
            kind = there.type.value_type if pa.types.is_dictionary(there.type) else there.type
            if kind != field.type or (there.metadata or {}).get(_FIELD_ID) != str(number).encode():
                return False
        return True


def _named(task: FileScanTask) -> str:
    return "\0".join([task.file.file_path, *sorted(deletes.file_path for deletes in task.delete_files)])


def read_own(
    io: FileIO, path: str, columns: Sequence[str], coded: Collection[str] = ()
) -> tuple[pa.Table, dict[str, str]]:
    """Rows of a file that a Writer of this version wrote, committed or not, and what it says in its footer."""
    with io.new_input(path).open() as stream:
        file = pq.ParquetFile(stream, read_dictionary=list(coded), pre_buffer=True)
        rows = file.read(list(columns)).select(list(columns))
        return rows.replace_schema_metadata(None), _footer(file)


def _footer(file: pq.ParquetFile) -> dict[str, str]:
    return {key.decode(): text.decode() for key, text in (file.metadata.metadata or {}).items()}


def _coded(rows: pa.Table, coded: Collection[str]) -> pa.Table:
    """The rows without the files' metadata, and with the columns as dictionaries."""
    columns = {
        name: column.dictionary_encode() if name in coded else column
        for name, column in zip(rows.column_names, rows.columns, strict=True)
    }
    return pa.table(columns)


def plan_buckets(
    environment: Environment | None,
    table_name: str,
    experiment_id: str,
    snapshot_id: int,
    columns: Sequence[str],
) -> dict[int, BucketFiles]:
    """The files of one experiment at a snapshot, by bucket; buckets without rows are absent.

    Raises DataError when the snapshot has expired.
    """
    from exp_platform.tables.catalog import open_catalog, table

    catalog = open_catalog(environment)
    source = table(catalog, table_name)
    if source.snapshot_by_id(snapshot_id) is None:
        raise DataError(
            f"{table_name}: snapshot {snapshot_id} has expired; run the experiment from `ingest` again"
        )
    scan = source.scan(
        row_filter=selection({"experiment_id": experiment_id}),
        selected_fields=tuple(columns),
        snapshot_id=snapshot_id,
    )
    by_bucket: dict[int, list[FileScanTask]] = defaultdict(list)
    position = [field.name for field in source.spec().fields].index("bucket")
    with naming_damage(catalog, table_name, scan.row_filter, snapshot_id):
        tasks_of_all = planned(scan)
    for task in tasks_of_all:
        by_bucket[task.file.partition[position]].append(task)
    known = arrow_schema(table_name)
    # A reader of planned files needs no history, which would make every task carry hundreds of snapshots.
    metadata = source.metadata.model_copy(
        update={
            "snapshots": [],
            "snapshot_log": [],
            "metadata_log": [],
            "refs": {},
            "current_snapshot_id": None,
        }
    )
    return {
        bucket: BucketFiles(
            tasks=tuple(
                sorted(tasks, key=_named)
            ),  # a Writer's as they were written: users stand as they did
            metadata=metadata,
            io=source.io,
            projection=scan.projection(),
            types=pa.schema([known.field(column) for column in columns]),
            rows=sum(task.file.record_count for task in tasks),
        )
        for bucket, tasks in sorted(by_bucket.items())
    }
