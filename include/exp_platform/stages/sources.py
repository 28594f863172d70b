"""Where raw data are and what is read of them: found, and their columns checked, before Spark starts."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import PurePosixPath
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from exp_platform.aggregates import REPLICATE
from exp_platform.config.environment import CATALOG, Environment
from exp_platform.config.experiment import EventsSource, Experiment, TableSource, UnitsSource
from exp_platform.config.loading import expand_location
from exp_platform.config.spec_sources import SYNTHETIC_ATTRIBUTES
from exp_platform.diagnosis import diagnosis
from exp_platform.kernels.canonical_text import is_binary, is_text, is_uuid, plain_type
from exp_platform.kernels.clean import ATTRIBUTE, COVARIATE, OUTCOME, Kind, kind_of
from exp_platform.stages.pieces import (
    Columns,
    CsvPiece,
    IcebergPiece,
    Piece,
    count_csv_rows,
    csv_shape,
    parquet_pieces,
    parquet_shape,
)

_ENDINGS = {"parquet": (".parquet", ".pq"), "csv": (".csv", ".tsv")}
_COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")


@dataclass(frozen=True)
class Problem:
    """What keeps the data from being read at all: the check it fails, and a message with the remedy."""

    check: str
    message: str


@dataclass(frozen=True)
class Reading:
    """What is read of one input table."""

    table: str  # exposures, outcomes or units
    source: TableSource  # location complete: variables filled in, an absolute path or a URI
    columns: Columns
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


def file_system(location: str, environment: Environment) -> tuple[pafs.FileSystem, str]:
    """The file system of a path or URI, and the path in it; object stores by the catalog's own properties."""
    if "://" not in location:
        return pafs.LocalFileSystem(), location
    scheme, _, path = location.partition("://")  # not by a URL's rules, by which `?` ends a path
    if scheme == "file":
        return pafs.LocalFileSystem(), path
    from pyiceberg.io.pyarrow import PyArrowFileIO

    return PyArrowFileIO(environment.pyiceberg_properties()).fs_by_scheme(scheme, path.split("/")[0]), path


def readings(experiment: Experiment, environment: Environment) -> tuple[Reading, ...]:
    """What is read of which tables. Raises ConfigError where a location names a variable that is not set."""
    source = experiment.source

    def located(table: TableSource) -> TableSource:
        if table.format == "iceberg":
            return table
        return replace(table, location=expand_location(table.location, experiment.spec_file))

    if isinstance(source, UnitsSource):
        columns = (
            *source.table.columns.items(),
            *((ATTRIBUTE + name, column) for name, column in source.attributes.items()),
            *((OUTCOME + name, name) for name in source.outcomes),
            *((COVARIATE + name, name) for name in source.covariates),
        )
        return (Reading("units", located(source.table), columns),)
    if isinstance(source, EventsSource):
        attributes = tuple((ATTRIBUTE + name, column) for name, column in source.attributes.items())
        return (
            Reading("exposures", located(source.exposures), (*source.exposures.columns.items(), *attributes)),
            Reading("outcomes", located(source.outcomes), tuple(source.outcomes.columns.items())),
        )
    folder = raw_folder(experiment, environment)
    shared = ("user_id", "event_id")
    names = (*SYNTHETIC_ATTRIBUTES, REPLICATE) if source.replicates > 1 else SYNTHETIC_ATTRIBUTES
    attributes = tuple((ATTRIBUTE + n, n) for n in names)
    exposures = (*((n, n) for n in (*shared, "variant_id", "exposed_at")), *attributes)
    outcomes = tuple((n, n) for n in (*shared, "event", "occurred_at", "value"))
    return tuple(
        Reading(
            table, TableSource("parquet", f"{folder}/{table}", {}), columns, "generate it: --generate-synth"
        )
        for table, columns in (("exposures", exposures), ("outcomes", outcomes))
    )


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


def source_files(location: str, kind: str, files: pafs.FileSystem) -> list[pafs.FileInfo]:
    """The data files of a path (a file, a folder or a glob) in the order of their paths; hidden ones left out."""
    info = files.get_file_info(location)
    if info.type == pafs.FileType.File:
        return [info]
    folder, wanted = files_below(location, kind)
    selector = pafs.FileSelector(folder, allow_not_found=True, recursive=True)
    found = [
        info
        for info in files.get_file_info(selector)
        if info.type == pafs.FileType.File and wanted(info.path)
    ]
    return sorted(found, key=lambda info: info.path)


def files_below(location: str, kind: str | None) -> tuple[str, Callable[[str], bool]]:
    """For a folder or glob: the folder that holds its files, and which paths of files below that are its files.

    `kind` is what a file must look like where the location does not say an ending; None: like anything.
    """
    parts = PurePosixPath(location).parts
    fixed = next((i for i, part in enumerate(parts) if any(mark in part for mark in "*?[")), len(parts))
    folder = str(PurePosixPath(*parts[:fixed]))
    pattern, names_files = re.compile(_glob_expression(location)), PurePosixPath(location).suffix != ""

    def wanted(path: str) -> bool:
        return (
            not any(part[0] in "._" for part in PurePosixPath(path).relative_to(folder).parts)
            and pattern.fullmatch(path) is not None
            and (names_files or kind is None or _is_data(path, kind))
        )

    return folder, wanted


def _glob_expression(pattern: str) -> str:
    """A regular expression for the files that a path or glob stands for, those in a matching folder among them."""
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]]*\]|[^*?\[]+|\[", pattern.rstrip("/"))
    inner = "".join(special.get(t) or (t if t[0] == "[" and len(t) > 1 else re.escape(t)) for t in tokens)
    return f"{inner}(?:/.*)?"


def _is_data(path: str, kind: str) -> bool:
    name = path.lower()
    for ending in _COMPRESSED:
        name = name.removesuffix(ending)
    return name.endswith(_ENDINGS[kind])


def _files(reading: Reading, environment: Environment) -> Iterator[Piece | Problem]:
    location, kind = reading.source.location, reading.source.format
    files, path = file_system(location, environment)
    found = source_files(path, kind, files)
    if not found:
        yield Problem("source", f"{reading.table}: no {kind} file at {location}: {reading.remedy}")
    first_row = 0
    for position, info in enumerate(found):
        try:
            shape = (
                parquet_shape(files, info.path)
                if kind == "parquet"
                else csv_shape(files, info.path, info.size)
            )
        except (pa.ArrowInvalid, OSError) as error:
            if diagnosis(error):
                raise  # the store is at fault, not the file
            yield Problem("source", unreadable(reading.table, info.path, kind, error))
            continue
        faults = list(_column_faults(reading, info.path, shape.columns))
        yield from faults
        if faults:
            continue
        if kind == "parquet":
            yield from parquet_pieces(reading.table, files, info.path, reading.columns, shape, first_row)
            first_row += shape.rows
        else:
            yield CsvPiece(reading.table, info.path, reading.columns, shape.rows, first_row, files)
            if reading.numbers_rows and position < len(found) - 1:
                first_row += count_csv_rows(files, info.path)


def unreadable(table: str, path: str, kind: str, error: Exception) -> str:
    """The message for a file that is not what its format says."""
    return f"{table}: {path} cannot be read as {kind} ({str(error).splitlines()[0]}): write the file again"


def _iceberg(reading: Reading, environment: Environment) -> Iterator[Piece | Problem]:
    from pyiceberg.exceptions import NoSuchTableError
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    from exp_platform.tables.catalog import open_catalog

    name = reading.source.location
    try:
        table = open_catalog(environment).load_table(name.removeprefix(f"{CATALOG}."))
    except NoSuchTableError:
        yield Problem(
            "source", f"{reading.table}: the catalog has no table {name}: correct its name, or create it"
        )
        return
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    faults = list(_column_faults(reading, name, dict(zip(schema.names, schema.types, strict=True))))
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
    reads = table.metadata.model_copy(update=no_history), table.io, scan.projection()
    first_row = 0
    for task in sorted(scan.plan_files(), key=lambda task: task.file.file_path):
        rows = task.file.record_count
        yield IcebergPiece(reading.table, name, reading.columns, rows, first_row, task, *reads)
        first_row += rows


def _column_faults(reading: Reading, place: str, types: dict[str, Any]) -> Iterator[Problem]:
    for ours, theirs in reading.columns:
        what = f"{reading.table}: {place}"
        if theirs not in types:
            known = ", ".join(sorted(types))
            remedy = "name the right one in the spec, or deliver it"
            yield Problem("schema", f"{what} has no column {theirs} (for {ours}) but {known}: {remedy}")
        elif allowed := _type_fault(ours, types[theirs]):
            yield Problem(
                "schema", f"{what}: column {theirs} (for {ours}) is {types[theirs]}, allowed is {allowed}"
            )


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
