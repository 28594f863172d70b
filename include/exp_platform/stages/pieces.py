"""Pieces of input tables: what one Spark task reads, as Arrow with our column names and the types as found.

A piece pickles to a few kilobytes. Pieces of a table are numbered in the order of its files' paths and rows, so what
is built from them in that order does not depend on which task read which.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.fs as pafs
import pyarrow.parquet as pq

BATCH_ROWS = 131_072  # rows a shard is made of: some 8 MB
PIECE_ROWS = 1_000_000  # rows a task reads of a large Parquet file

Columns = tuple[tuple[str, str], ...]  # ours, theirs


@dataclass(frozen=True)
class Part:
    """Some rows of a piece; `bad_rows` counts lines of a CSV with too many or too few fields, which are skipped."""

    rows: pa.Table
    bad_rows: int = 0


@dataclass(frozen=True)
class ParquetPiece:
    """Row groups of a Parquet file."""

    table: str  # exposures, outcomes or units
    place: str  # the file
    columns: Columns
    rows: int  # estimated for CSV
    first_row: int  # number of its first row, from 0, over all pieces of the table
    files: pafs.FileSystem
    row_groups: tuple[int, ...]
    # Columns of the old type INT96, which has no zone but means UTC: Spark and Hive write it so.
    int96: tuple[str, ...] = ()

    def parts(self) -> Iterator[Part]:
        """Read it. Raises ArrowInvalid or OSError."""
        wanted = sorted({theirs for _, theirs in self.columns})
        with self.files.open_input_file(self.place) as stream:
            # In nanoseconds, as INT96 is read otherwise, the year 9999 would be some day between 1677 and 2262.
            file = pq.ParquetFile(stream, coerce_int96_timestamp_unit="us")
            for batch in file.iter_batches(BATCH_ROWS, list(self.row_groups), wanted, use_threads=False):
                yield Part(_named(pa.Table.from_batches([batch]), self.columns, self.int96))


@dataclass(frozen=True)
class CsvPiece:
    """A whole CSV file, compressed or not; every value is text, an empty one is null."""

    table: str
    place: str
    columns: Columns
    rows: int
    first_row: int
    files: pafs.FileSystem

    def parts(self) -> Iterator[Part]:
        """Read it. Raises ArrowInvalid or OSError."""
        bad = _Counter()
        with csv_reader(self.files, self.place, [theirs for _, theirs in self.columns], bad) as reader:
            for batch in reader:
                yield Part(_named(pa.Table.from_batches([batch]), self.columns), bad.take())
        yield Part(_named(reader.schema.empty_table(), self.columns), bad.take())


@dataclass(frozen=True)
class IcebergPiece:
    """One data file of an Iceberg table, with its deletes; what is needed to read it is PyIceberg's."""

    table: str
    place: str
    columns: Columns
    rows: int
    first_row: int
    task: Any  # FileScanTask
    metadata: Any  # TableMetadata
    io: Any  # FileIO
    projection: Any  # Schema

    def parts(self) -> Iterator[Part]:
        """Read it."""
        from pyiceberg.expressions import AlwaysTrue
        from pyiceberg.io.pyarrow import ArrowScan

        scan = ArrowScan(self.metadata, self.io, self.projection, AlwaysTrue())
        for batch in scan.to_record_batches([self.task]):
            for start in range(0, len(batch), BATCH_ROWS):
                yield Part(_named(pa.Table.from_batches([batch.slice(start, BATCH_ROWS)]), self.columns))


Piece = ParquetPiece | CsvPiece | IcebergPiece


@dataclass
class _Counter:
    count: int = 0

    def __call__(self, _row: Any) -> str:
        self.count += 1
        return "skip"

    def take(self) -> int:
        """The count so far; it starts again."""
        taken, self.count = self.count, 0
        return taken


@dataclass(frozen=True)
class Shape:
    """What a file says of itself before its rows are read."""

    columns: dict[str, pa.DataType]
    rows: int
    row_groups: tuple[int, ...] = ()  # rows of each
    int96: tuple[str, ...] = field(default=())


def csv_reader(
    files: pafs.FileSystem, path: str, columns: list[str] | None = None, bad_row: _Counter | None = None
) -> pacsv.CSVStreamingReader:
    """A reader of some columns of a CSV file, all as text. Raises ArrowInvalid where one is missing."""
    names = sorted(set(columns)) if columns is not None else None
    stream = files.open_input_stream(path)  # decompresses by the file's name
    return pacsv.open_csv(
        stream,
        read_options=pacsv.ReadOptions(use_threads=False, block_size=8 << 20),
        parse_options=pacsv.ParseOptions(
            delimiter="\t" if ".tsv" in path.lower() else ",",
            newlines_in_values=True,
            invalid_row_handler=bad_row or _Counter(),
        ),
        convert_options=pacsv.ConvertOptions(
            include_columns=names,
            column_types={name: pa.string() for name in names or ()},
            null_values=[""],
            strings_can_be_null=True,
        ),
    )


def parquet_shape(files: pafs.FileSystem, path: str) -> Shape:
    """Columns and rows of a Parquet file, from its footer. Raises ArrowInvalid or OSError."""
    with files.open_input_file(path) as stream:
        file = pq.ParquetFile(stream)
        schema, metadata = file.schema_arrow, file.metadata
        leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
        return Shape(
            columns=dict(zip(schema.names, schema.types, strict=True)),
            rows=metadata.num_rows,
            row_groups=tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)),
            int96=tuple(leaf.path for leaf in leaves if leaf.physical_type == "INT96"),
        )


def csv_shape(files: pafs.FileSystem, path: str, size: int) -> Shape:
    """Columns of a CSV file, from its header, and a guess at its rows. Raises ArrowInvalid or OSError."""
    with csv_reader(files, path) as reader:
        names = reader.schema.names
    compressed = path.lower().endswith((".gz", ".bz2", ".zst", ".lz4"))
    return Shape({name: pa.string() for name in names}, rows=size * (6 if compressed else 1) // 50)


def count_csv_rows(files: pafs.FileSystem, path: str) -> int:
    """Rows of a CSV file, by reading it."""
    with csv_reader(files, path) as reader:
        return sum(len(batch) for batch in reader)


def parquet_pieces(
    table: str, files: pafs.FileSystem, path: str, columns: Columns, shape: Shape, first_row: int
) -> Iterator[ParquetPiece]:
    """One file's pieces, of about PIECE_ROWS rows each."""
    int96 = tuple(ours for ours, theirs in columns if theirs in shape.int96)
    groups: list[int] = []
    rows = 0
    for number, group_rows in enumerate(shape.row_groups):
        groups.append(number)
        rows += group_rows
        if rows >= PIECE_ROWS or number == len(shape.row_groups) - 1:
            yield ParquetPiece(table, path, columns, rows, first_row, files, tuple(groups), int96)
            first_row, groups, rows = first_row + rows, [], 0


def _named(found: pa.Table, columns: Columns, int96: tuple[str, ...] = ()) -> pa.Table:
    named = {ours: found[theirs] for ours, theirs in columns}
    for ours in int96:
        named[ours] = named[ours].cast(pa.timestamp("us"), safe=False).cast(pa.timestamp("us", "UTC"))
    return pa.table(named)
