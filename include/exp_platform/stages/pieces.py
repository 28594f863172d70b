"""Pieces of input tables: what one Spark task reads, as Arrow with our column names and the types as found.

A piece pickles to a few kilobytes. Pieces of a table are numbered in the order of its files' paths and rows, so what
is built from them in that order does not depend on which task read which.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs
import pyarrow.parquet as pq

from exp_platform.kernels.canonical_text import is_text, plain_type
from exp_platform.kernels.coded import is_coded, plain
from exp_platform.kernels.complete_rows import is_name
from exp_platform.stages.csv_files import BadRows, CsvFormat, read_csv, with_points
from exp_platform.stages.json_files import BrokenLines, read_lines
from exp_platform.stages.paths import taken
from exp_platform.stages.pruning import Ranges, may_hold, of_row_group
from exp_platform.stages.reading import Columns, Layout, Reading
from exp_platform.stages.unreadable import UnreadableError

BATCH_ROWS = 131_072  # rows a shard is made of: some 8 MB
SEARCHED_ROWS = 4 * BATCH_ROWS  # rows of which few are left
FEW_VALUES = 256  # of which a dictionary is kept
PIECE_ROWS = 1_000_000  # rows a task reads of a large Parquet file
_SECOND = 1_000_000_000  # nanoseconds


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
    """Some rows of a piece; `bad_rows` counts lines that are no rows, such as those of a CSV with too many fields."""

    rows: pa.Table
    bad_rows: int = 0
    bad_example: str | None = None


Among = Callable[
    [Any], Any
]  # the ids of users, or of another space, as found -> booleans: whose rows are wanted


@dataclass(frozen=True)
class Piece(ABC):
    """What one task reads of a table."""

    reading: Reading
    layout: Layout
    place: str  # the file or table
    rows: int  # estimated where a file does not tell
    first_row: int  # number of its first row, from 0, over all pieces of the table

    @abstractmethod
    def parts(self, among: Among | None = None) -> Iterator[Part]:
        """Read it; with `among` only rows of some users, whose other columns are not looked into for the rest."""

    @property
    def table(self) -> str:
        """The input table's name."""
        return self.reading.table

    @property
    def columns(self) -> Columns:
        """Our names and theirs."""
        return self.reading.columns

    def part(self, rows: pa.Table, among: Among | None = None) -> Part:
        """Rows as they were found as a part."""
        names = tuple(ours for ours, _ in self.columns)
        if among is not None:
            ids = "user_id" if "user_id" in names else "other_id"
            rows = rows.filter(among(self._flat(rows, (ids,))[ids]))
        return Part(self._flat(rows, names))

    def _flat(self, rows: pa.Table, names: Sequence[str]) -> pa.Table:
        """Columns of the reading by our names, taken out of rows as they were found."""
        paths = {ours: path for ours, path in self.layout.paths.items() if ours in names}
        columns = taken(rows, paths, self.reading.shown)
        for ours, value in self.layout.constants.items():
            if ours in names:
                columns[ours] = pa.chunked_array([pa.repeat(pa.scalar(value, pa.string()), len(rows))])
        return pa.table(columns)


@dataclass(frozen=True)
class FilePiece(Piece):
    """Rows of a file."""

    files: pafs.FileSystem
    state: FileState


@dataclass(frozen=True)
class StandingPiece(FilePiece):
    """A file whose rows are published already. It is not opened: on S3 the ends of a year's files take longer to read than a new day."""

    def parts(self, among: Among | None = None) -> Iterator[Part]:
        """Raises AssertionError: who reads everything plans without such pieces."""
        raise AssertionError(f"{self.place} was planned as one that is not read")


@dataclass(frozen=True)
class ParquetPiece(FilePiece):
    """Row groups of a Parquet file."""

    row_groups: tuple[int, ...]

    def parts(self, among: Among | None = None) -> Iterator[Part]:
        """Read it. Raises pyarrow's errors or OSError."""
        self.state.require(self.files, self.place)
        wanted = sorted({path.leaf for path in self.layout.paths.values()})
        with self.files.open_input_file(self.place) as stream:
            # In nanoseconds, as INT96 is read otherwise, the year 9999 would be some day between 1677 and 2262.
            file = pq.ParquetFile(
                stream,
                read_dictionary=[] if among else self._names(),
                coerce_int96_timestamp_unit="us",
                page_checksum_verification=True,
            )
            int96 = [ours for ours, path in self.layout.paths.items() if path.leaf in _int96(file.metadata)]
            rows = BATCH_ROWS if among is None else SEARCHED_ROWS
            for batch in file.iter_batches(rows, list(self.row_groups), wanted, use_threads=False):
                part = self.part(_with_few(pa.Table.from_batches([batch])), among)
                yield replace(part, rows=_instants(part.rows, int96))

    def _names(self) -> list[str]:
        """Columns of the file that have texts which stand in many rows."""
        paths = self.layout.paths.items()
        return [p.column for ours, p in paths if is_name(ours) and p.plain and is_text(plain_type(p.type))]


@dataclass(frozen=True)
class CsvPiece(FilePiece):
    """A whole CSV file, compressed or not; every value is text, an empty one is null."""

    format: CsvFormat

    def parts(self, among: Among | None = None) -> Iterator[Part]:
        """Read it. Raises pyarrow's errors or OSError, also where no line at all has the header's fields."""
        self.state.require(self.files, self.place)
        bad = BadRows()
        wanted = [path.column for path in self.layout.paths.values()]
        good = 0
        with read_csv(self.files, self.place, self.format, wanted, bad) as reader:
            for batch in reader:
                bad.require_utf8(batch)
                good += len(batch)
                yield self._numbers(self.part(pa.Table.from_batches([batch]), among), bad)
        if bad.fields and not good:
            raise UnreadableError(bad.all_of_them())
        yield self._numbers(self.part(reader.schema.empty_table(), among), bad)

    def _numbers(self, part: Part, bad: BadRows) -> Part:
        rows = part.rows
        if self.format.decimal == ",":
            for position, ours in enumerate(rows.column_names):
                if self.reading.kind(ours) == "number":
                    rows = rows.set_column(position, ours, with_points(rows[ours]))
        return replace(part, rows=rows, bad_rows=bad.take(), bad_example=bad.example)


@dataclass(frozen=True)
class JsonPiece(FilePiece):
    """A whole file of JSON lines, compressed or not; numbers and truths come as text."""

    def parts(self, among: Among | None = None) -> Iterator[Part]:
        """Read it. Raises pyarrow's errors or OSError, also where no line at all is an object."""
        self.state.require(self.files, self.place)
        broken = BrokenLines()
        for lines in read_lines(self.files, self.place, broken):
            part = self.part(lines, among)
            yield replace(part, bad_rows=broken.take(len(lines)), bad_example=broken.example)
        broken.require_any()


@dataclass(frozen=True)
class IcebergPiece(Piece):
    """One data file of an Iceberg table, with its deletes; what is needed to read it is PyIceberg's."""

    task: Any  # FileScanTask
    metadata: Any  # TableMetadata
    io: Any  # FileIO
    projection: Any  # Schema
    only: Any  # BooleanExpression, which lets all rows pass that are wanted
    snapshot: int

    def parts(self, among: Among | None = None) -> Iterator[Part]:
        """Read it."""
        from pyiceberg.io.pyarrow import ArrowScan

        scan = ArrowScan(self.metadata, self.io, self.projection, self.only)
        for batch in scan.to_record_batches([self.task]):
            for start in range(0, len(batch), BATCH_ROWS):
                yield self.part(pa.Table.from_batches([batch.slice(start, BATCH_ROWS)]), among)


@dataclass(frozen=True)
class Shape:
    """What a Parquet file says of itself before its rows are read."""

    schema: pa.Schema
    metadata: pq.FileMetaData

    @property
    def rows(self) -> int:
        """How many it has."""
        return int(self.metadata.num_rows)


def parquet_shape(files: pafs.FileSystem, path: str) -> Shape:
    """Columns and statistics of a Parquet file, from its footer. Raises ArrowInvalid or OSError."""
    with files.open_input_file(path) as stream:
        file = pq.ParquetFile(stream)
        return Shape(file.schema_arrow, file.metadata)


def parquet_pieces(
    reading: Reading,
    layout: Layout,
    files: pafs.FileSystem,
    info: pafs.FileInfo,
    shape: Shape,
    first_row: int,
    folders: Ranges,
) -> Iterator[ParquetPiece]:
    """One file's pieces, of about PIECE_ROWS rows each, without the row groups that hold nothing that is wanted."""
    groups: list[int] = []
    start = end = first_row
    rows = 0
    for number in range(shape.metadata.num_row_groups):
        group_rows = shape.metadata.row_group(number).num_rows
        if may_hold(reading.wanted, of_row_group(shape.metadata, number, layout, folders)):
            start = start if groups else end
            groups.append(number)
            rows += group_rows
        end += group_rows
        if groups and (rows >= PIECE_ROWS or number == shape.metadata.num_row_groups - 1):
            place, state = info.path, FileState.of(info)
            yield ParquetPiece(reading, layout, place, rows, start, files, state, tuple(groups))
            groups, rows = [], 0


def _with_few(rows: pa.Table) -> pa.Table:
    """The rows with dictionaries of few values alone: one travels with each part of its rows."""
    for position, (name, column) in enumerate(zip(rows.column_names, rows.columns, strict=True)):
        if (
            is_coded(column)
            and max((len(chunk.dictionary) for chunk in column.chunks), default=0) > FEW_VALUES
        ):
            rows = rows.set_column(position, name, plain(column))
    return rows


def _int96(metadata: pq.FileMetaData) -> frozenset[str]:
    """Columns of the old type INT96, which has no zone but means UTC: Spark and Hive write it so."""
    leaves = (metadata.schema.column(i) for i in range(metadata.num_columns))
    return frozenset(leaf.path for leaf in leaves if leaf.physical_type == "INT96")


def _instants(rows: pa.Table, names: Sequence[str]) -> pa.Table:
    """The rows with times of no zone as the instants of UTC that they mean."""
    for ours in names:
        times = rows[ours].cast(pa.timestamp("us"), safe=False).cast(pa.timestamp("us", "UTC"))
        rows = rows.set_column(rows.column_names.index(ours), ours, times)
    return rows
