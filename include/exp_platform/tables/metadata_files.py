"""What lies in a table's folder, whatever the catalog says: its metadata files, and the newest of them.

Every commit writes a metadata file and then swaps the catalog's entry to it. So the files alone tell what was committed, but
for one case: of two that began from the same state, the catalog took one, and only a later commit says which.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from pyiceberg.io import FileIO
from pyiceberg.io.pyarrow import PyArrowFile, PyArrowFileIO
from pyiceberg.manifest import read_manifest_list
from pyiceberg.serializers import FromInputFile
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.snapshots import Snapshot

from exp_platform.config.environment import Environment
from exp_platform.tables.folders import files_below, located, plain_path

QUARANTINE = "quarantine"  # the folder in a table's folder where maintenance keeps what it will delete
_METADATA_FILE = re.compile(r"/metadata/(?P<version>\d+)-[^/]*\.metadata\.json$")


@dataclass(frozen=True)
class MetadataFile:
    """One metadata file of a table, read."""

    location: str
    metadata: TableMetadata

    @property
    def age(self) -> tuple[int, int, int]:
        """What orders the files of one table: commits of data, then the time written inside, then the version."""
        commits = getattr(self.metadata, "last_sequence_number", 0)  # which the first format of Iceberg lacks
        return commits, self.metadata.last_updated_ms, version_of(self.location)

    @property
    def parent(self) -> str | None:
        """The file whose state this one began from, as a plain path."""
        log = self.metadata.metadata_log
        return plain_path(log[-1].metadata_file) if log else None


@dataclass(frozen=True)
class Lying:
    """The metadata files of a table's folder: the newest that can be used, and what is odd about the others."""

    newest: MetadataFile | None
    words: tuple[str, ...] = ()


def version_of(location: str) -> int:
    """The number in a metadata file's name; -1 where it is none."""
    found = _METADATA_FILE.search(location)
    return int(found["version"]) if found else -1


class _IntoQuarantine(PyArrowFileIO):
    """Reads a file that maintenance has set aside where it lies now."""

    def __init__(self, properties: dict[str, str], aside: dict[str, str]) -> None:
        super().__init__(properties)
        self._aside = aside

    def new_input(self, location: str) -> PyArrowFile:
        return super().new_input(self._aside.get(plain_path(location), location))


def origins(folder: str, paths: Iterable[str]) -> dict[str, str]:
    """Of plain paths those in a table's quarantine, each with the plain path where the file lay."""
    inside = f"{plain_path(folder)}/{QUARANTINE}/"
    return {
        path: f"{plain_path(folder)}/{path.removeprefix(inside).partition('/')[2]}"
        for path in paths
        if path.startswith(inside)
    }


def into_quarantine(environment: Environment, folder: str, everything: set[str]) -> FileIO:
    """What reads a table's files where they lie, in its folder or in quarantine; `everything` are the paths of both."""
    aside = {
        lay: located(folder, path)
        for path, lay in origins(folder, everything).items()
        if lay not in everything
    }
    return _IntoQuarantine(environment.pyiceberg_properties(), aside)


def lying(environment: Environment, folder: str) -> Lying:
    """Read every metadata file of a table's folder, its quarantine included."""
    everything = {info.path for info in files_below(environment, folder)}
    io = into_quarantine(environment, folder, everything)
    paths = [path for path in everything if _METADATA_FILE.search(path)]
    read, words = [], []
    for path in sorted(paths):
        location = located(folder, path)
        try:
            read.append(MetadataFile(location, FromInputFile.table_metadata(io.new_input(location))))
        except OSError:
            raise  # the store does not answer, which says nothing about the file
        except Exception as error:  # whatever JSON, pydantic and codecs say of a cut file
            words.append(f"{location} cannot be read, it is cut or corrupt ({first_line(error)})")
    tables: dict[str, list[MetadataFile]] = {}
    for file in read:
        tables.setdefault(str(file.metadata.table_uuid), []).append(file)
    # A table that was made anew in the same folder has another uuid; the one with data is meant.
    by_table = sorted(
        tables.values(),
        key=lambda files: (
            any(f.metadata.current_snapshot() for f in files),
            max(f.metadata.last_updated_ms for f in files),
        ),
    )
    if not by_table:
        return Lying(None, tuple(words))
    words += [
        f"{max(files, key=lambda f: f.age).location} is of another table that was made in the same folder"
        for files in by_table[:-1]
        if any(f.metadata.current_snapshot() for f in files)
    ]
    return _usable(io, by_table[-1], words)


def opens(environment: Environment, folder: str, file: MetadataFile) -> bool:
    """Whether the manifests of a file's current snapshot are there and whole, in the table's folder or in quarantine."""
    everything = {info.path for info in files_below(environment, folder)}
    return _fault(into_quarantine(environment, folder, everything), file) is None


def _fault(io: FileIO, file: MetadataFile) -> str | None:
    """What is wrong with the manifests of a file's current snapshot. Raises OSError where the store does not answer."""
    try:
        data_files(io, file.metadata.current_snapshot())
    except Exception as error:  # whatever Avro and codecs say of a cut file
        if isinstance(error, OSError) and not isinstance(error, FileNotFoundError):
            raise  # the store does not answer: an older file would be no better
        return first_line(error)
    return None


def _usable(io: FileIO, files: list[MetadataFile], words: list[str]) -> Lying:
    """The newest file whose current snapshot can be opened."""
    for file in sorted(files, key=lambda f: f.age, reverse=True):
        if fault := _fault(io, file):
            words.append(f"{file.location} names manifests that cannot be read ({fault})")
            continue
        siblings = [
            other.location
            for other in files
            if other.parent == file.parent is not None and other.location != file.location
        ]
        if siblings:
            words.append(
                f"{', '.join(siblings)} began from the same state as {file.location}: only one was committed, and the "
                "files do not say which; the one written last was taken. Run what ran then again"
            )
        return Lying(file, tuple(words))
    return Lying(None, tuple(words))


def data_files(io: FileIO, snapshot: Snapshot | None) -> dict[str, int]:
    """The data files of a snapshot by plain path, with the bytes that they should have. Raises what reading raises."""
    if snapshot is None:
        return {}
    manifests = read_manifest_list(io.new_input(snapshot.manifest_list))  # PyIceberg's own is from a cache
    return {
        plain_path(entry.data_file.file_path): entry.data_file.file_size_in_bytes
        for manifest in manifests
        for entry in manifest.fetch_manifest_entry(io)
    }


def first_line(error: BaseException) -> str:
    """The first words of an error, in one short line."""
    said = " ".join(f"{type(error).__name__}: {error}".split())
    return said if len(said) <= 160 else f"{said[:160]} ..."
