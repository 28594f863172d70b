"""Pieces of input tables: what one Spark task reads, as Arrow with our column names and the types as found.

A piece pickles to a few kilobytes. Pieces of a table are numbered in the order of its files' paths and rows, so what
is built from them in that order does not depend on which task read which.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from exp_platform.stages.csv_files import BadRows, CsvFormat, read_csv
from exp_platform.stages.unreadable import UnreadableError

BATCH_ROWS = 131_072  # rows a shard is made of: some 8 MB
PIECE_ROWS = 1_000_000  # rows a task reads of a large Parquet file
_SECOND = 1_000_000_000  # nanoseconds

Columns = tuple[tuple[str, str], ...]  # ours, theirs


@dataclass(frozen=True)
class FileState:
    """A file as the plan found it. One that is replaced before it is read has other rows where the plan has these."""

    size: int
    modified: int | None  # nanoseconds

    @classmethod
    def of(cls, info: pafs.FileInfo) -> FileState:
        """The state that a listing tells."""
        return cls(info.size, info.mtime_ns)

    def same(self, other: FileState) -> bool:
        """Whether two looks saw one file. S3 tells a file's own time in whole seconds, and in a listing some stores are finer."""
        if self.size != other.size or self.modified is None or other.modified is None:
            return self == other
        coarse = any(moment % _SECOND == 0 for moment in (self.modified, other.modified))
        unit = _SECOND if coarse else 1
        return self.modified // unit == other.modified // unit

    def require(self, files: pafs.FileSystem, path: str) -> None:
        """Raises UnreadableError where the file is another one now, or gone."""
        now = files.get_file_info(path)
        if now.type != pafs.FileType.File:
            raise UnreadableError("it was deleted after this run began: deliver it and run again")
        if not self.same(FileState.of(now)):
            raise UnreadableError("it was changed after this run began: run again once it is written in full")


@dataclass(frozen=True)
class Part:
    """Some rows of a piece; `bad_rows` counts lines of a CSV with too many or too few fields, which are skipped."""

    rows: pa.Table
    bad_rows: int = 0
    bad_example: str | None = None


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
    state: FileState
    # Columns of the old type INT96, which has no zone but means UTC: Spark and Hive write it so.
    int96: tuple[str, ...] = ()

    def parts(self) -> Iterator[Part]:
        """Read it. Raises pyarrow's errors or OSError."""
        self.state.require(self.files, self.place)
        wanted = sorted({theirs for _, theirs in self.columns})
        with self.files.open_input_file(self.place) as stream:
            # In nanoseconds, as INT96 is read otherwise, the year 9999 would be some day between 1677 and 2262.
            file = pq.ParquetFile(stream, coerce_int96_timestamp_unit="us", page_checksum_verification=True)
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
    format: CsvFormat
    state: FileState

    def parts(self) -> Iterator[Part]:
        """Read it. Raises pyarrow's errors or OSError, also where no line at all has the header's fields."""
        self.state.require(self.files, self.place)
        bad = BadRows()
        wanted = [theirs for _, theirs in self.columns]
        good = 0
        with read_csv(self.files, self.place, self.format, wanted, bad) as reader:
            for batch in reader:
                bad.require_utf8(batch)
                good += len(batch)
                yield Part(_named(pa.Table.from_batches([batch]), self.columns), bad.take(), bad.example)
        if bad.fields and not good:
            raise UnreadableError(bad.all_of_them())
        yield Part(_named(reader.schema.empty_table(), self.columns), bad.take(), bad.example)


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
    snapshot: int

    def parts(self) -> Iterator[Part]:
        """Read it."""
        from pyiceberg.expressions import AlwaysTrue
        from pyiceberg.io.pyarrow import ArrowScan

        scan = ArrowScan(self.metadata, self.io, self.projection, AlwaysTrue())
        for batch in scan.to_record_batches([self.task]):
            for start in range(0, len(batch), BATCH_ROWS):
                yield Part(_named(pa.Table.from_batches([batch.slice(start, BATCH_ROWS)]), self.columns))


Piece = ParquetPiece | CsvPiece | IcebergPiece


@dataclass(frozen=True)
class Shape:
    """What a Parquet file says of itself before its rows are read."""

    names: tuple[str, ...]
    types: tuple[pa.DataType, ...]
    rows: int
    row_groups: tuple[int, ...] = ()  # rows of each
    int96: tuple[str, ...] = field(default=())


def parquet_shape(files: pafs.FileSystem, path: str) -> Shape:
    """Columns and rows of a Parquet file, from its footer. Raises ArrowInvalid or OSError."""
    with files.open_input_file(path) as stream:
        file = pq.ParquetFile(stream)
        schema, metadata = file.schema_arrow, file.metadata
        leaves = [metadata.schema.column(i) for i in range(metadata.num_columns)]
        return Shape(
            names=tuple(schema.names),
            types=tuple(schema.types),
            rows=metadata.num_rows,
            row_groups=tuple(metadata.row_group(i).num_rows for i in range(metadata.num_row_groups)),
            int96=tuple(leaf.path for leaf in leaves if leaf.physical_type == "INT96"),
        )


def parquet_pieces(
    table: str,
    files: pafs.FileSystem,
    info: pafs.FileInfo,
    columns: Columns,
    shape: Shape,
    first_row: int,
) -> Iterator[ParquetPiece]:
    """One file's pieces, of about PIECE_ROWS rows each."""
    int96 = tuple(ours for ours, theirs in columns if theirs in shape.int96)
    groups: list[int] = []
    rows = 0
    for number, group_rows in enumerate(shape.row_groups):
        groups.append(number)
        rows += group_rows
        if rows >= PIECE_ROWS or number == len(shape.row_groups) - 1:
            yield ParquetPiece(
                table, info.path, columns, rows, first_row, files, tuple(groups), FileState.of(info), int96
            )
            first_row, groups, rows = first_row + rows, [], 0


def _named(found: pa.Table, columns: Columns, int96: tuple[str, ...] = ()) -> pa.Table:
    named = {ours: found[theirs] for ours, theirs in columns}
    for ours in int96:
        named[ours] = named[ours].cast(pa.timestamp("us"), safe=False).cast(pa.timestamp("us", "UTC"))
    return pa.table(named)
