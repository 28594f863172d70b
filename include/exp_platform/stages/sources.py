"""Where raw data are and what is read of them: found, and their columns checked, before Spark starts."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from difflib import SequenceMatcher
from heapq import nlargest
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from exp_platform.config.environment import CATALOG, Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.locations import expand_location, outside, tables_of, written
from exp_platform.config.sources import (
    REPLICATE,
    EventsSource,
    SyntheticSource,
    TableSource,
    UnitsSource,
)
from exp_platform.config.spec_sources import SYNTHETIC_ATTRIBUTES
from exp_platform.diagnosis import diagnosis
from exp_platform.errors import ExpPlatformError
from exp_platform.kernels.canonical_text import is_binary, is_text, is_uuid, plain_type
from exp_platform.kernels.clean import ATTRIBUTE, COVARIATE, OUTCOME, Kind, kind_of
from exp_platform.stages.csv_files import count_csv_rows, csv_head
from exp_platform.stages.pieces import (
    Columns,
    CsvPiece,
    FileState,
    IcebergPiece,
    Piece,
    parquet_pieces,
    parquet_shape,
)
from exp_platform.stages.source_files import file_system, found_at, is_data
from exp_platform.stages.unreadable import UnreadableError, unreadable, unreadable_table
from exp_platform.stages.wanted import EVERYTHING, Wanted, wanted_of

_MOST_COLUMNS, _LONG_NAME = 50, 100  # of what a message names
_NO_NAME = re.compile(r"[@=:{}<>]|^[\W\d_]+$|^-----|^\S{65,}$")  # rather a value than a column's name
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


@dataclass(frozen=True)
class Problem:
    """What keeps the data from being read at all: the check it fails, and a message with the remedy."""

    check: str
    message: str


@dataclass(frozen=True)
class Reading:
    """What is read of one input table."""

    table: str  # exposures, outcomes, units, identities, or a fact's name
    source: TableSource  # location complete: variables filled in, an absolute path or a URI
    columns: Columns
    wanted: Wanted = EVERYTHING
    remedy: str = "correct the path in the spec, or deliver the data"  # where there is no file

    @property
    def numbers_rows(self) -> bool:
        """Whether the row number is the user's id."""
        return self.table == "units" and "user_id" not in dict(self.columns)


@dataclass(frozen=True)
class Plan:
    """The pieces of all tables in order; with problems, what was found of them."""

    pieces: tuple[Piece, ...]
    problems: tuple[Problem, ...]

    def rows(self, *tables: str) -> int:
        """Expected number of rows of these tables."""
        return sum(piece.rows for piece in self.pieces if piece.table in tables)


def raw_folder(experiment: Experiment, environment: Environment) -> str:
    """Where an experiment's synthetic raw data are."""
    return f"{environment.raw_dir.rstrip('/')}/exp_platform/{experiment.id}"


def readings(experiment: Experiment, environment: Environment) -> tuple[Reading, ...]:
    """What is read of which tables. Raises ConfigError where a location may not be read, or names a variable that is not set."""
    source, rules = experiment.source, environment.source_rules
    keys = {place.table: place.key for place in written(experiment)}

    def located(name: str, table: TableSource) -> TableSource:
        if table.format in ("iceberg", "sql"):
            return table
        place = expand_location(table.location, experiment.spec_file, keys[name], rules)
        return replace(table, location=place)

    if not isinstance(source, SyntheticSource):
        return tuple(
            Reading(
                name,
                located(name, table),
                (*table.columns.items(), *_further(source, name)),
                wanted_of(experiment, name),
            )
            for name, _, table in tables_of(source)
        )
    folder = raw_folder(experiment, environment)
    shared = ("user_id", "event_id")
    names = (*SYNTHETIC_ATTRIBUTES, REPLICATE) if source.replicates > 1 else SYNTHETIC_ATTRIBUTES
    attributes = tuple((ATTRIBUTE + n, n) for n in names)
    exposures = (*((n, n) for n in (*shared, "variant_id", "exposed_at")), *attributes)
    outcomes = tuple((n, n) for n in (*shared, "event", "occurred_at", "value"))
    return tuple(
        Reading(
            table,
            TableSource("parquet", f"{folder}/{table}", {}),
            columns,
            remedy="generate it: --generate-synth",
        )
        for table, columns in (("exposures", exposures), ("outcomes", outcomes))
    )


def _further(source: EventsSource | UnitsSource, table: str) -> Columns:
    """What is read of a table besides the columns that it names itself."""
    if table not in ("exposures", "units"):
        return ()
    attributes = tuple((ATTRIBUTE + name, column) for name, column in source.attributes.items())
    if isinstance(source, EventsSource):
        return attributes
    outcomes = tuple((OUTCOME + name, name) for name in source.outcomes)
    return (*attributes, *outcomes, *((COVARIATE + name, name) for name in source.covariates))


def plan_reading(experiment: Experiment, environment: Environment) -> Plan:
    """Find all files, check their columns and cut them into pieces; no row is read.

    What is missing, unreadable or of a wrong type comes back as problems, all of them at once.
    """
    pieces: list[Piece] = []
    problems: list[Problem] = []
    for reading in readings(experiment, environment):
        found = (
            _iceberg(reading, environment)
            if reading.source.format == "iceberg"
            else _files(reading, environment)
        )
        for item in found:
            if isinstance(item, Problem):
                problems.append(item)
            else:
                pieces.append(item)
    return Plan(tuple(pieces), tuple(problems))


def _files(reading: Reading, environment: Environment) -> Iterator[Piece | Problem]:
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
        yield from _pieces(reading, files, found.files)


def _pieces(
    reading: Reading, files: pafs.FileSystem, found: Sequence[pafs.FileInfo]
) -> Iterator[Piece | Problem]:
    read = _parquet if reading.source.format == "parquet" else _csv
    first_row = 0
    for position, info in enumerate(found):
        try:
            if info.type != pafs.FileType.File:
                raise UnreadableError(
                    "it is no file (but a pipe, a device or a socket), or a link that leads nowhere or in a circle: put a "
                    "file there, or take it away"
                )
            made, rows = read(reading, files, info, first_row, last=position == len(found) - 1)
        except (pa.ArrowException, OSError, UnicodeError) as error:
            if diagnosis(error):
                raise
            yield Problem("source", f"{reading.table}: {unreadable(info.path, error)}")
            continue
        first_row += rows
        yield from made


def _parquet(
    reading: Reading, files: pafs.FileSystem, info: pafs.FileInfo, first_row: int, *, last: bool
) -> tuple[Sequence[Piece | Problem], int]:
    """Pieces or problems of a Parquet file, and its number of rows."""
    shape = parquet_shape(files, info.path)
    faults = list(_column_faults(reading, info.path, shape.names, shape.types))
    pieces = list(parquet_pieces(reading.table, files, info, reading.columns, shape, first_row))
    return faults or pieces, shape.rows


def _csv(
    reading: Reading, files: pafs.FileSystem, info: pafs.FileInfo, first_row: int, *, last: bool
) -> tuple[Sequence[Piece | Problem], int]:
    """The piece or the problems of a CSV file, and its number of rows where it is needed: to number those after it."""
    head = csv_head(files, info.path, reading.source.csv)
    faults = list(_column_faults(reading, info.path, head.names, [pa.string()] * len(head.names)))
    if faults:
        return faults, 0
    rows = 0
    if reading.numbers_rows and not last:
        rows = count_csv_rows(files, info.path, head.format, [theirs for _, theirs in reading.columns])
    guess = (info.size or 0) * (6 if head.format.compression else 1) // 50
    state = FileState.of(info)
    piece = CsvPiece(reading.table, info.path, reading.columns, guess, first_row, files, head.format, state)
    return [piece], rows


def _iceberg(reading: Reading, environment: Environment) -> Iterator[Piece | Problem]:
    """Pieces or problems of an Iceberg table; whatever its library raises is a problem of the table."""
    from pyiceberg.exceptions import NoSuchTableError

    name = reading.source.location
    try:
        yield from _iceberg_pieces(reading, environment)
    except NoSuchTableError:
        yield Problem(
            "source", f"{reading.table}: the catalog has no table {name}: correct its name, or create it"
        )
    except Exception as error:  # PyIceberg raises ValueError, KeyError, OSError, ... for what it cannot read
        if diagnosis(error) or isinstance(error, ExpPlatformError):
            raise
        yield Problem("source", f"{reading.table}: {unreadable_table(name, error)}")


def _iceberg_pieces(reading: Reading, environment: Environment) -> Iterator[Piece | Problem]:
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    from exp_platform.tables.catalog import open_catalog

    name = reading.source.location
    table = open_catalog(environment).load_table(name.removeprefix(f"{CATALOG}."))
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    faults = list(_column_faults(reading, name, schema.names, schema.types))
    yield from faults
    if faults:
        return
    scan = table.scan(selected_fields=tuple(sorted({theirs for _, theirs in reading.columns})))
    no_history: dict[str, Any] = {
        "snapshots": [],
        "snapshot_log": [],
        "metadata_log": [],
        "refs": {},
        "current_snapshot_id": None,
    }
    snapshot = scan.snapshot()
    if snapshot is None:  # nobody has ever written to it
        return
    reads = table.metadata.model_copy(update=no_history), table.io, scan.projection(), snapshot.snapshot_id
    first_row = 0
    for task in sorted(scan.plan_files(), key=lambda task: task.file.file_path):
        rows = task.file.record_count
        yield IcebergPiece(reading.table, name, reading.columns, rows, first_row, task, *reads)
        first_row += rows


def _column_faults(
    reading: Reading, place: str, names: Sequence[str], types: Sequence[Any]
) -> Iterator[Problem]:
    """What is wrong with the columns that are read. A column that is not may stand twice: no row is read from it."""
    count, kinds = Counter(names), dict(zip(names, types, strict=True))
    what = f"{reading.table}: {place}"
    for ours, theirs in reading.columns:
        if not count[theirs]:
            told = _listed(names, theirs, _tellable(reading, place, names))
            yield Problem("schema", f"{what} has no column {theirs} (for {ours}) but {told}")
        elif count[theirs] > 1:
            remedy = "which one is meant cannot be told; rename or drop the others"
            yield Problem("schema", f"{what} has {count[theirs]} columns {theirs} (for {ours}): {remedy}")
        elif allowed := _type_fault(ours, kinds[theirs]):
            yield Problem(
                "schema", f"{what}: column {theirs} (for {ours}) is {kinds[theirs]}, allowed is {allowed}"
            )


def _tellable(reading: Reading, place: str, names: Sequence[str]) -> list[str]:
    """Which of the columns there are a message may name.

    Of a CSV file a first line is whatever stands there: of a file that is not called one (a password file, a key) nothing is
    told, and of others nothing that is rather a value: an address, a number, a date, `name=value`.
    """
    if reading.source.format != "csv":
        return list(names)
    return [name for name in names if not _NO_NAME.search(name)] if is_data(place, "csv") else []


def _listed(names: Sequence[str], wanted: str, tellable: Sequence[str]) -> str:
    """The columns there are, of very many those most like the wanted one, and the remedy."""
    if len(names) == 1:
        only = names[0]
        for mark, told in ((";", '";"'), ("\t", '"\\t"'), ("|", '"|"'), (",", '","')):
            if mark in only:
                named = f"named {only[:_LONG_NAME]!r}" if tellable else "whose name is not told"
                return f"one {named}: its values are separated by something else; say `delimiter: {told}`"
    like = SequenceMatcher(b=wanted)

    def likeness(name: str) -> float:
        like.set_seq1(name[:_LONG_NAME])
        return like.ratio()

    listed = tellable if len(tellable) <= _MOST_COLUMNS else nlargest(_MOST_COLUMNS, tellable, key=likeness)
    shown = sorted(map(_shown, listed))
    shown += [f"{len(tellable) - len(listed):,} more"] * (len(listed) < len(tellable))
    shown += [f"{len(names) - len(tellable):,} that may be no names"] * (len(tellable) < len(names))
    told = " and ".join([", ".join(shown[: len(listed)]), *shown[len(listed) :]] if listed else shown)
    header = "" if tellable else ", below a first line of names"
    return f"{told}: name the right one in the spec, or deliver it{header}"


def _shown(name: str) -> str:
    """A column's name in a message: of a long one its beginning."""
    name = name if len(name) <= _LONG_NAME else f"{name[:_LONG_NAME]}..."
    return name if name.isprintable() and name.strip() == name != "" else repr(name)


def _is_time(kind: Any) -> bool:
    return is_text(kind) or bool(pa.types.is_timestamp(kind) or pa.types.is_date(kind))


def _is_number(kind: Any) -> bool:
    numeric = pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind)
    return is_text(kind) or bool(numeric or pa.types.is_boolean(kind))


def _is_plain(kind: Any) -> bool:
    return _is_number(kind) or is_binary(kind) or is_uuid(kind) or bool(pa.types.is_date(kind))


_ALLOWED: dict[Kind, tuple[str, Callable[[Any], bool]]] = {
    "time": ("a timestamp, a date or ISO 8601 text", _is_time),
    "number": ("a number, a boolean or text", _is_number),
    "text": ("text, a number, a boolean, a date, a UUID or binary", _is_plain),
}


def _type_fault(ours: str, kind: Any) -> str | None:
    """What is allowed for a column, where `kind` is not."""
    says, accepts = _ALLOWED[kind_of(ours)]
    inner = plain_type(kind)
    return None if accepts(inner) or pa.types.is_null(inner) else says
