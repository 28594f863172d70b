"""Input as it lies: which tables a path, folder, glob or name stands for, how their files are written, and some of their rows."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.fs as pafs

from exp_platform.config.environment import CATALOG, Environment
from exp_platform.config.locations import expand_location
from exp_platform.diagnosis import diagnosis
from exp_platform.errors import ConfigError, DataError
from exp_platform.stages.source_files import file_system, found_at, without_compression
from exp_platform.stages.unreadable import unreadable, unreadable_table
from exp_platform.starting.sample import SAMPLE_ROWS, Sample, csv_sample, json_sample, parquet_sample

Said = dict[str, Any]

_ENDINGS = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".tsv"),
    "json": (".jsonl", ".ndjson", ".json"),
}
_TABLE_NAME = re.compile(r"\w+(\.\w+)+")
_GLOB = re.compile(r"[*?\[]")
_OUR_FOLDERS = ("EXP_STATE_DIR", "EXP_CONFIG_DIR", "EXP_JARS_DIR")


@dataclass(frozen=True)
class Looked:
    """One table that was looked at: what a spec says of it, and a sample of its rows with the types as found."""

    name: str  # of its file, folder or table, fit for an id
    said: Said  # the keys that name it in a spec: path or table, and how CSV is written
    sample: Sample
    notes: tuple[str, ...] = field(default=())


def look(locations: Sequence[str], environment: Environment) -> list[Looked]:
    """The tables at all locations, in their order.

    Raises ConfigError for a location where nothing lies, DataError for files that are no tables or cannot be read.
    """
    tables = [table for location in locations for table in _at(location, environment)]
    names = [table.name for table in tables]
    for name in names:
        if names.count(name) > 1:
            raise ConfigError(f"two of the tables are called {name}: rename one of their files, or give one")
    return tables


def _at(location: str, environment: Environment) -> Iterator[Looked]:
    rules = environment.source_rules
    path = expand_location(location, str(Path.cwd() / "x"), location, rules)
    files, inside = file_system(path, environment)
    info = files.get_file_info(inside)
    if info.type == pafs.FileType.Directory:
        yield from _folder(_written(location, environment), inside, files)
    elif info.type == pafs.FileType.File or _GLOB.search(inside):
        yield _one(_written(location, environment), inside, files)
    elif info.type == pafs.FileType.NotFound and _TABLE_NAME.fullmatch(location):
        yield _iceberg(location, environment)
    else:
        raise ConfigError(
            f"{location}: there is no such file or folder, and it is no name of a table such as {CATALOG}.shop.orders: give "
            "the path of a file, a folder, a glob in quotes, or the name of an Iceberg table"
        )


def _written(location: str, environment: Environment) -> str:
    """The location as a spec has it: whole, so that it means the same from any folder; by a variable where one fits."""
    if "://" in location or "${" in location:
        return location
    path = os.path.abspath(Path(location).expanduser())
    fits = [
        (value.rstrip("/"), name)
        for name, value in os.environ.items()
        if name not in _OUR_FOLDERS
        and name.startswith("EXP_")
        and environment.source_rules.may_name(name)
        and len(value.rstrip("/")) > 1
        and Path(path).is_relative_to(value)
    ]
    if not fits:
        return path
    folder, name = max(fits, key=lambda fit: len(fit[0]))
    return f"${{{name}}}{path[len(folder) :]}"


def _folder(written: str, path: str, files: pafs.FileSystem) -> Iterator[Looked]:
    """One table where all files have the same columns, else each file and each folder in it is a table."""
    listed = files.get_file_info(pafs.FileSelector(path))
    children = sorted((i for i in listed if i.base_name[0] not in "._"), key=lambda info: info.path)
    folders = [info for info in children if info.type == pafs.FileType.Directory]
    data = [info for info in children if info.type == pafs.FileType.File and kind_of_name(info.path)]
    signs = {info.base_name for info in listed} & {"_delta_log", ".hoodie", "_spark_metadata"}
    if signs or any("=" in info.base_name for info in folders):
        yield _one(written, path, files)
        return
    others = [i.base_name for i in children if i not in folders and i not in data]
    if not data and not folders:
        found = f" but {', '.join(others[:5])}" if others else ""
        raise ConfigError(
            f"{written}: the folder has no file that ends in .parquet, .csv, .tsv or .jsonl{found}"
        )
    alone = [_one(f"{written.rstrip('/')}/{i.base_name}", i.path, files) for i in data]
    columns = {(kind_of_name(str(t.said["path"])), tuple(sorted(t.sample.rows.column_names))) for t in alone}
    notes = (f"left out of {written}: {', '.join(others[:5])}",) if others else ()
    if len(alone) > 1 and len(columns) == 1 and not folders:
        whole = _one(written, path, files)
        yield Looked(whole.name, whole.said, whole.sample, (*whole.notes, *notes))
        return
    for group in columns:
        alike = [
            t
            for t in alone
            if (kind_of_name(str(t.said["path"])), tuple(sorted(t.sample.rows.column_names))) == group
        ]
        if len(alike) > 1:
            raise DataError(
                f"{written}: {' and '.join(Path(str(t.said['path'])).name for t in alike[:3])} have the same columns, other "
                "files there have others: put the files of each table into a folder of its own, or name them by globs in quotes"
            )
    tables = [
        *alone,
        *(_one(f"{written.rstrip('/')}/{i.base_name}", i.path, files) for i in folders),
    ]
    for position, table in enumerate(tables):
        yield Looked(table.name, table.said, table.sample, (*table.notes, *(notes if position == 0 else ())))


def _one(written: str, path: str, files: pafs.FileSystem) -> Looked:
    """The table that a file, a folder or a glob is. Raises DataError where it is none."""
    try:
        by_kind = {kind: found_at(path, kind, files) for kind in _ENDINGS}
    except OSError as error:
        if diagnosis(error):
            raise
        raise DataError(unreadable(path, error)) from error
    for found in by_kind.values():
        for folder, what in found.tables:
            raise DataError(
                f"{folder} is {what}: write its rows as plain Parquet files, or give the name of an Iceberg table"
            )
    there = {kind: found for kind, found in by_kind.items() if found.files}
    if not there:
        raise ConfigError(f"{written}: no Parquet, CSV or JSON lines file lies there")
    first = next(iter(there.values()))
    kinds = {kind_of_name(info.path) for found in there.values() for info in found.files} - {None}
    if len(kinds) > 1:
        raise DataError(f"{written}: holds {' and '.join(sorted(map(str, kinds)))} files: give one of them")
    kind = next(iter(kinds), None) or kind_of_start(files, first.files[0].path)
    data = there.get(kind, first)
    said: Said = {"path": written}
    if kind != _kind_by_path(written):
        said["format"] = kind
    try:
        read = {"parquet": parquet_sample, "csv": csv_sample, "json": json_sample}[kind]
        sample = read(files, data)
    except (pa.ArrowException, OSError, UnicodeError) as error:
        if diagnosis(error):
            raise
        raise DataError(unreadable(data.files[0].path, error)) from error
    twice = f"{written}: left out, as the header has them twice: {', '.join(sample.twice)}"
    return Looked(_slug(written), said | sample.dialect, sample, (twice,) if sample.twice else ())


def kind_of_name(path: str) -> str | None:
    """parquet, csv or json, by how a file's name ends; None for any other."""
    name = without_compression(path)
    return next((kind for kind, endings in _ENDINGS.items() if name.endswith(endings)), None)


def _kind_by_path(written: str) -> str:
    """What a spec takes a path for that says no format."""
    return kind_of_name(written.rstrip("/")) or "parquet"


def kind_of_start(files: pafs.FileSystem, path: str) -> str:
    """What a file is whose name does not tell, by its first bytes."""
    with files.open_input_stream(path) as stream:
        start = stream.read(64).lstrip()
    return "parquet" if start.startswith(b"PAR1") else "json" if start.startswith(b"{") else "csv"


def _iceberg(name: str, environment: Environment) -> Looked:
    from pyiceberg.exceptions import NoSuchNamespaceError, NoSuchTableError

    from exp_platform.tables.catalog import open_catalog

    try:
        table = open_catalog(environment).load_table(name.removeprefix(f"{CATALOG}."))
        snapshot = table.current_snapshot()
        total = int(snapshot.summary["total-records"] or 0) if snapshot and snapshot.summary else 0
        rows = table.scan(limit=SAMPLE_ROWS).to_arrow()
    except (NoSuchTableError, NoSuchNamespaceError) as error:
        raise ConfigError(
            f"{name}: there is no such file or folder here, and the catalog of environment {environment.name} has no such "
            "table: correct the path or the name"
        ) from error
    except Exception as error:  # PyIceberg raises ValueError, KeyError, OSError, ... for what it cannot read
        if diagnosis(error):
            raise
        raise DataError(unreadable_table(name, error)) from error
    return Looked(_slug(name), {"table": name}, Sample(rows, max(total, len(rows)), len(rows) >= total))


def _slug(written: str) -> str:
    """A name fit for an id: what a path ends in without its ending, without what only numbers its files."""
    name = Path(without_compression(written.rstrip("/"))).name
    name = name.rsplit(".", 1)[-1 if kind_of_name(name) is None and "." in name else 0]
    return slug(_GLOB.sub("", name)) or "data"


def slug(text: str) -> str:
    """A text as an id: lower case letters, digits and underscores, at most 40; empty where it has none of these."""
    return re.sub(r"[^a-z0-9]+", "_", text.lower()).strip("_")[:40].strip("_")
