"""Which files lie at a location, and whether they are what they seem: files of a table format are no plain files."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import unquote

import pyarrow.fs as pafs

from exp_platform.config.environment import Environment

COMPRESSED = (".gz", ".bz2", ".zst", ".lz4")
_ENDINGS = {
    "parquet": (".parquet", ".pq"),
    "csv": (".csv", ".tsv"),
    "json": (".jsonl", ".ndjson", ".json"),
}
_GLOB_MARKS = "*?["
_COMPRESSIONS = (
    (b"\x1f\x8b", "gzip"),
    (b"\x28\xb5\x2f\xfd", "zstd"),
    (b"\x04\x22\x4d\x18", "lz4"),
    *((b"BZh%d1AY&SY" % level, "bz2") for level in range(1, 10)),
)
_NO_TEXT = (
    (b"PAR1", "is a Parquet file: say `format: parquet`"),
    (b"PK\x03\x04", "is a zip archive or an Excel workbook: unpack it, or save it as CSV"),
    (b"\xfd7zXZ", "is compressed by xz: compress it by gzip, zstd, bz2 or lz4"),
    (b"ORC", "is an ORC file: write it as Parquet or CSV"),
    (b"Obj\x01", "is an Avro file: write it as Parquet or CSV"),
    (b"SQLite format 3", "is an SQLite database: write its table as CSV"),
)
_HIVE_NULL = "__HIVE_DEFAULT_PARTITION__"

# A format of tables <- what it leaves in the table's own folder (the group), from the folder that is looked into.
_TABLE_FORMATS = {
    "a Delta table": re.compile(r"(.*)/_delta_log(?:/.*)?"),
    "a Hudi table": re.compile(r"(.*)/\.hoodie(?:/.*)?"),
    "an Iceberg table": re.compile(
        r"(.*)/metadata/(?:v\d+|\d{5,}-[0-9a-f-]{36})(?:\.gz)?\.metadata\.json(?:\.gz)?"
    ),
    "a Paimon table": re.compile(r"(.*)/snapshot/(?:snapshot-\d+|LATEST|EARLIEST)"),
    "a table that a Spark stream writes": re.compile(r"(.*)/_spark_metadata(?:/.*)?"),
    "a transactional Hive table": re.compile(
        r"(.*)/(?:base|delta|delete_delta)_\d{7,}(?:_[v\d]\d*)*(?:/.*)?"
    ),
}
_SIGNS = ("_delta_log", ".hoodie", "_spark_metadata")  # folders that say it by being there,
_SIGNS_INSIDE = ("metadata", "snapshot")  # and folders that say it by what is in them


@dataclass(frozen=True)
class Found:
    """What lies at a location: data files in the order of their paths, and tables of other formats they belong to."""

    files: tuple[pafs.FileInfo, ...]
    tables: tuple[tuple[str, str], ...]  # folder, what it is
    folder: str = ""  # that was looked into

    def partition(self, path: str) -> dict[str, str | None]:
        """The columns that the names of a file's folders tell, as Hive writes them: `day=2026-03-01/country=DE/`."""
        told = PurePosixPath(path).relative_to(self.folder).parts[:-1] if self.folder else ()
        pairs = (part.partition("=") for part in told if part.find("=") > 0)
        return {unquote(name): None if value == _HIVE_NULL else unquote(value) for name, _, value in pairs}

    def same_file(self) -> tuple[str, str] | None:
        """Two paths that are one file: a link beside what it leads to would make its rows count twice."""
        seen: dict[tuple[int, int], str] = {}
        for info in self.files:
            if not info.path.startswith("/"):
                continue  # in an object store, which has no links
            with suppress(OSError):  # gone: reading it will tell
                stat = os.stat(info.path)
                before = seen.setdefault((stat.st_dev, stat.st_ino), info.path)
                if before != info.path:
                    return before, info.path
        return None


def file_system(location: str, environment: Environment) -> tuple[pafs.FileSystem, str]:
    """The file system of a path or URI, and the path in it; object stores by the catalog's own properties."""
    if "://" not in location:
        return pafs.LocalFileSystem(), location
    scheme, _, path = location.partition("://")  # not by a URL's rules, by which `?` ends a path
    if scheme == "file":
        return pafs.LocalFileSystem(), path
    from pyiceberg.io.pyarrow import PyArrowFileIO

    return PyArrowFileIO(environment.pyiceberg_properties()).fs_by_scheme(scheme, path.split("/")[0]), path


def found_at(location: str, kind: str, files: pafs.FileSystem) -> Found:
    """The data files of a path (a file, a folder or a glob); hidden ones are left out. Raises OSError."""
    info = files.get_file_info(location)
    if info.type == pafs.FileType.File:
        return Found((info,), tuple(_tables_above(location, files)))
    if info.type == pafs.FileType.Unknown:  # a pipe, a device: opening it may wait for ever
        return Found((info,), ())

    def exists(path: str) -> bool:
        return bool(files.get_file_info(path).type != pafs.FileType.NotFound)

    folder, wanted = files_below(location, kind, exists)
    listed = files.get_file_info(pafs.FileSelector(folder, allow_not_found=True, recursive=True))
    if isinstance(files, pafs.LocalFileSystem):
        listed += files.get_file_info(list(_broken_links(folder)))
    data = [info for info in listed if info.type != pafs.FileType.Directory and wanted(info.path)]
    data.sort(key=lambda info: info.path)
    tables = {**dict(_tables_above(folder, files)), **_tables_below(folder, [info.path for info in listed])}
    named = [info.path for info in data] or [location]
    holding = {
        root: what
        for root, what in tables.items()
        if any(PurePosixPath(path).is_relative_to(root) for path in named)
    }
    return Found(tuple(data), tuple(sorted(holding.items())), folder)


def _broken_links(folder: str) -> Iterator[str]:
    """Links that lead nowhere, which a listing passes over: reading them must fail, as their rows are missing."""
    for here, _, names in os.walk(folder):
        for path in (f"{here}/{name}" for name in names):
            if os.path.islink(path) and not os.path.exists(path):
                yield path


def files_below(
    location: str, kind: str | None, exists: Callable[[str], bool]
) -> tuple[str, Callable[[str], bool]]:
    """For a folder or glob: the folder that holds its files, and which paths of files below that are its files.

    `kind` is what a file must look like where the location does not say an ending; None: like anything. `exists` is
    asked whether something lies at a path whose name has a glob's marks: then the name means itself.
    """
    parts = PurePosixPath(location).parts
    literal = next(
        (
            position
            for position, part in enumerate(parts)
            if any(mark in part for mark in _GLOB_MARKS)
            and not exists(str(PurePosixPath(*parts[: position + 1])))
        ),
        len(parts),
    )
    folder = str(PurePosixPath(*parts[:literal]))
    pattern = "/".join(parts[literal:])
    itself, inside = (re.compile(_glob_expression(pattern) + more) for more in ("", "(?:/.*)?"))
    names_files = PurePosixPath(pattern).suffix != ""

    def wanted(path: str) -> bool:
        below = PurePosixPath(path).relative_to(folder)
        if any(part[0] in "._" for part in below.parts):
            return False
        if kind is None or is_data(path, kind):
            return not pattern or inside.fullmatch(str(below)) is not None
        return names_files and itself.fullmatch(str(below)) is not None  # taken at its word

    return folder, wanted


def _glob_expression(pattern: str) -> str:
    """A regular expression for the paths that a glob stands for."""
    special = {"**/": "(?:.*/)?", "**": ".*", "*": "[^/]*", "?": "[^/]"}
    tokens = re.findall(r"\*\*/|\*\*|\*|\?|\[[^\]/]+\]|[^*?\[]+|\[", pattern)
    return "".join(special.get(t) or (_one_of(t) if t[0] == "[" else re.escape(t)) for t in tokens)


def _one_of(token: str) -> str:
    """`[abc]`, `[0-9]` or `[!abc]` as a regular expression; what is no such thing stands for itself."""
    inner = token[1:-1].replace("\\", r"\\").replace("^", r"\^").replace("[", r"\[").replace("&", r"\&")
    expression = f"[^/{inner[1:]}]" if inner.startswith("!") and inner[1:] else f"[{inner}]"
    try:
        re.compile(expression)
    except re.error:  # a range backwards, or a bracket that is never closed
        return re.escape(token)
    return expression


def without_compression(path: str) -> str:
    """The path in lower case, without the ending that says how it is compressed."""
    name = path.lower()
    for ending in COMPRESSED:
        name = name.removesuffix(ending)
    return name


def is_data(path: str, kind: str) -> bool:
    """Whether a file is called as one of this kind."""
    return without_compression(path).endswith(_ENDINGS[kind])


def compression_of(start: bytes) -> str | None:
    """How a file is compressed, by its first bytes."""
    return next((name for magic, name in _COMPRESSIONS if start.startswith(magic)), None)


def no_text(start: bytes) -> str | None:
    """What a file is that is no text, by its first bytes, and what to do about it."""
    return next((remedy for magic, remedy in _NO_TEXT if start.startswith(magic)), None)


def _tables_below(folder: str, paths: Iterable[str]) -> dict[str, str]:
    """The tables whose folders lie in a folder, by what is listed below it."""
    found: dict[str, str] = {}
    for path in paths:
        below = f"/{PurePosixPath(path).relative_to(folder)}"
        for what, sign in _TABLE_FORMATS.items():
            if match := sign.fullmatch(below):
                found.setdefault(str(PurePosixPath(f"{folder}/{match[1]}")), what)
    return found


def _tables_above(path: str, files: pafs.FileSystem) -> Iterator[tuple[str, str]]:
    """The tables that a path lies in. A folder above it that may not be looked into tells nothing."""
    for what, sign in _TABLE_FORMATS.items():
        if what == "a transactional Hive table" and (match := sign.fullmatch(path)):
            yield match[1], what
    for folder in map(str, PurePosixPath(path).parents):
        if folder in (".", "/"):
            continue
        with suppress(OSError):
            signs = files.get_file_info([f"{folder}/{sign}" for sign in (*_SIGNS, *_SIGNS_INSIDE)])
            there = [info.path for info in signs if info.type != pafs.FileType.NotFound]
            for inside in [p for p in there if PurePosixPath(p).name in _SIGNS_INSIDE]:
                there += [info.path for info in files.get_file_info(pafs.FileSelector(inside))]
            yield from _tables_below(folder, there).items()
