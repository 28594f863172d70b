"""Files of input tables: found, their columns checked, and cut into pieces; no row is read but those at a file's beginning."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import pyarrow as pa
import pyarrow.fs as pafs

from exp_platform.config.environment import Environment
from exp_platform.config.locations import outside
from exp_platform.diagnosis import diagnosis
from exp_platform.stages.column_faults import column_faults, key_faults
from exp_platform.stages.csv_files import count_csv_rows, csv_head
from exp_platform.stages.json_files import count_lines, first_lines, json_path
from exp_platform.stages.pieces import (
    CsvPiece,
    FileState,
    JsonPiece,
    Piece,
    StandingPiece,
    parquet_pieces,
    parquet_shape,
)
from exp_platform.stages.pruning import may_hold, of_folders
from exp_platform.stages.reading import Layout, Problem, Reading, layout
from exp_platform.stages.source_files import Found, file_system, found_at, without_compression
from exp_platform.stages.unreadable import UnreadableError, unreadable

if TYPE_CHECKING:
    from exp_platform.stages.refresh import Standing

_AS_FILES = (
    "its folder also holds files that are not, or no longer, its rows. Write its rows as plain Parquet or CSV files into "
    "a folder of their own, or into an Iceberg table that `table` names"
)
_TABLE_REMEDIES = {
    "an Iceberg table": (
        "its folder also holds files that are no longer its rows. Name it by `table` instead of `path` (registered in the "
        "environment's catalog), or write its rows as plain files into a folder of their own"
    )
}


def plan_files(reading: Reading, environment: Environment, standing: Standing) -> Iterator[Piece | Problem]:
    """Pieces or problems of a path: a file, a folder or a glob; of files that stand as they were read a piece each."""
    location, kind = reading.source.location, reading.source.format
    files, path = file_system(location, environment)
    try:
        found = found_at(path, kind, files)
    except OSError as error:
        if diagnosis(error):
            raise  # the store is at fault, not the data
        yield Problem("source", f"{reading.table}: {unreadable(location, error)}")
        return
    for folder, what in found.tables:
        yield Problem(
            "source", f"{reading.table}: {folder} is {what}: {_TABLE_REMEDIES.get(what, _AS_FILES)}"
        )
    if twice := found.same_file():
        one, other = twice
        remedy = "its rows would count twice; name the files in the spec so that each stands once"
        yield Problem("source", f"{reading.table}: {one} and {other} are one file under two names: {remedy}")
    if not found.files and not found.tables:
        yield Problem("source", f"{reading.table}: no {kind} file at {location}: {reading.remedy}")
    rules = environment.source_rules
    astray = [info for info in found.files if info.path.startswith("/") and not rules.allow(info.path)]
    # A link led out of the roots
    yield from (Problem("source", f"{reading.table}: {info.path} {outside(rules)}") for info in astray)
    if not found.tables and not astray:
        yield from _pieces(reading, files, found, standing)


def _pieces(
    reading: Reading, files: pafs.FileSystem, found: Found, standing: Standing
) -> Iterator[Piece | Problem]:
    read = _READ[reading.source.format]
    first_row = 0
    for position, info in enumerate(found.files):
        try:
            if info.type != pafs.FileType.File:
                raise UnreadableError(
                    "it is no file (but a pipe, a device or a socket), or a link that leads nowhere or in a circle: put a "
                    "file there, or take it away"
                )
            partition = found.partition(info.path)
            if not may_hold(reading.wanted, of_folders(reading, partition)):
                continue
            state, before = FileState.of(info), standing.get((reading.table, info.path))
            if before is not None and before.is_at(state):
                nowhere = Layout({}, {})
                yield StandingPiece(reading, nowhere, info.path, before.rows, first_row, files, state)
                continue
            place = _Place(files, info, partition, first_row, position == len(found.files) - 1)
            made, rows = read(reading, place)
        except (pa.ArrowException, OSError, UnicodeError) as error:
            if diagnosis(error):
                raise
            yield Problem("source", f"{reading.table}: {unreadable(info.path, error)}")
            continue
        first_row += rows
        yield from made


@dataclass(frozen=True)
class _Place:
    """One file of a table."""

    files: pafs.FileSystem
    info: pafs.FileInfo
    partition: Mapping[str, str | None]  # what the names of its folders tell
    first_row: int  # number of its first row in the table
    last: bool  # no file comes after it


_Planned = tuple[
    Sequence[Piece | Problem], int
]  # pieces or problems of a file, and its number of rows where it is needed


def _parquet(reading: Reading, at: _Place) -> _Planned:
    shape = parquet_shape(at.files, at.info.path)
    where = layout(reading, shape.schema, at.partition)
    faults = list(column_faults(reading, at.info.path, shape.schema, where))
    folders = of_folders(reading, at.partition)
    pieces = list(parquet_pieces(reading, where, at.files, at.info, shape, at.first_row, folders))
    return faults or pieces, shape.rows


def _csv(reading: Reading, at: _Place) -> _Planned:
    path = at.info.path
    numbers = [theirs for ours, theirs in reading.columns if reading.kind(ours) == "number"]
    head = csv_head(at.files, path, reading.source.csv, numbers)
    schema = pa.schema([pa.field(name, pa.string()) for name in head.names])
    where = layout(reading, schema, at.partition)
    faults = list(column_faults(reading, path, schema, where))
    if faults:
        return faults, 0
    rows = 0
    if reading.numbers_rows and not at.last:
        rows = count_csv_rows(at.files, path, head.format, [found.column for found in where.paths.values()])
    guess = (at.info.size or 0) * (6 if head.format.compression else 1) // 50
    state = FileState.of(at.info)
    return [CsvPiece(reading, where, path, guess, at.first_row, at.files, state, head.format)], rows


def _json(reading: Reading, at: _Place) -> _Planned:
    path = at.info.path
    told = {ours: theirs for ours, theirs in reading.columns if theirs in at.partition}
    where = Layout(
        {ours: json_path(theirs) for ours, theirs in reading.columns if ours not in told},
        {ours: at.partition[theirs] for ours, theirs in told.items()},
    )
    faults = list(key_faults(reading, path, where, first_lines(at.files, path)))
    if faults:
        return faults, 0
    rows = count_lines(at.files, path) if reading.numbers_rows and not at.last else 0
    guess = (at.info.size or 0) * (10 if without_compression(path) != path.lower() else 1) // 200
    state = FileState.of(at.info)
    return [JsonPiece(reading, where, path, guess, at.first_row, at.files, state)], rows


_READ: dict[str, Callable[[Reading, _Place], _Planned]] = {"parquet": _parquet, "csv": _csv, "json": _json}
