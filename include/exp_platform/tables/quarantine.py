"""Files that no snapshot names: set aside before they are deleted, and put back where one names them after all.

`<table>/quarantine/<day>/<where it lay in the table>`: the day is the one on which the file was moved.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from datetime import date, datetime

from pyarrow.fs import FileInfo
from pyiceberg.catalog import Catalog
from pyiceberg.io import FileIO
from pyiceberg.table import Table

from exp_platform.config.environment import Environment
from exp_platform.tables.catalog import table
from exp_platform.tables.folders import (
    delete_file,
    delete_folder,
    files_below,
    located,
    move_file,
    plain_path,
)
from exp_platform.tables.metadata_files import QUARANTINE, into_quarantine, origins


def own_files(environment: Environment, source: Table) -> list[FileInfo]:
    """What lies in a table's folder, but for its quarantine."""
    inside = f"{plain_path(source.location())}/{QUARANTINE}/"
    return [info for info in files_below(environment, source.location()) if not info.path.startswith(inside)]


def quarantined(environment: Environment, source: Table) -> dict[str, str]:
    """The files in quarantine: plain path -> the plain path where each lay."""
    return origins(source.location(), (info.path for info in files_below(environment, inside_of(source))))


def inside_of(source: Table) -> str:
    """The folder of a table's quarantine."""
    return f"{source.location()}/{QUARANTINE}"


def set_aside(environment: Environment, source: Table, paths: Iterable[str], day: date) -> None:
    """Move files, given by plain path, into the quarantine of a day."""
    folder = plain_path(source.location())
    for path in paths:
        to = f"{inside_of(source)}/{day}/{path.removeprefix(folder + '/')}"
        move_file(environment, located(source.location(), path), to)


def put_back(environment: Environment, catalog: Catalog, name: str) -> int:
    """Move back what a snapshot names after all, and tell how many files that were."""
    source = table(catalog, name)
    folder = source.location()
    everything = {info.path for info in files_below(environment, folder)}
    aside = origins(folder, everything)
    if not aside:
        return 0
    named = named_files(source, into_quarantine(environment, folder, everything), lost=set())
    wanted = {path: lay for path, lay in aside.items() if lay in named - everything}
    for path, lay in wanted.items():
        move_file(environment, located(folder, path), located(folder, lay))
    return len(wanted)


def delete_old(environment: Environment, source: Table, before: datetime) -> int:
    """Delete the quarantine of all days that ended before a time, and tell how many files that were."""
    folder = plain_path(inside_of(source))
    old: dict[str, list[str]] = {}
    for path in quarantined(environment, source):
        day = path.removeprefix(f"{folder}/").partition("/")[0]
        if day < f"{before.date()}":
            old.setdefault(day, []).append(path)
    for day, paths in old.items():
        for path in paths:
            delete_file(environment, located(source.location(), path))
        delete_folder(environment, f"{inside_of(source)}/{day}")
    return sum(map(len, old.values()))


def named_files(source: Table, io: FileIO | None = None, lost: set[str] | None = None) -> set[str]:
    """The plain paths of all that a table's metadata name: data, manifests, statistics, metadata.

    With `lost` a manifest that is missing, cut or corrupt is added to that, and what it names is not in the answer;
    without, whatever reading it raises is raised.
    """
    io = io or source.io
    named = {source.metadata_location, *(entry.metadata_file for entry in source.metadata.metadata_log)}
    named |= {statistics.statistics_path for statistics in source.metadata.statistics}
    manifests = {}
    for snapshot in source.snapshots():
        named.add(snapshot.manifest_list)
        with _noting(snapshot.manifest_list, lost):
            manifests.update({manifest.manifest_path: manifest for manifest in snapshot.manifests(io)})
    for path, manifest in manifests.items():
        named.add(path)
        with _noting(path, lost):
            named |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(io)}
    return {plain_path(path) for path in named}


@contextmanager
def _noting(path: str, lost: set[str] | None) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # a cut Avro file is stumbled over in many ways
        if lost is None or (isinstance(error, OSError) and not isinstance(error, FileNotFoundError)):
            raise  # a store that does not answer says nothing about the file
        lost.add(path)
