"""Rows of single users that go at once: from the tables, from files of older snapshots, from quarantine, from manifests.

What is done here follows from what lies there, so after a kill at any step doing it again completes it. Each experiment's
part needs its lease; `drop_history` needs none, as it touches only what names files that are gone.
"""

from __future__ import annotations

import json
import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from pyiceberg.catalog import Catalog
from pyiceberg.io import FileIO
from pyiceberg.manifest import ManifestContent, ManifestFile
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from exp_platform.config.environment import Environment
from exp_platform.tables.catalog import table
from exp_platform.tables.files import experiment_folder, plan_buckets, writer_of
from exp_platform.tables.folders import delete_file, files_below, located, plain_path
from exp_platform.tables.published import NO_BASE
from exp_platform.tables.quarantine import inside_of, named_files
from exp_platform.tables.schemas import NAMED, TABLES
from exp_platform.tables.selection import selection
from exp_platform.tables.standing import leases
from exp_platform.tables.write import again, replace_files, replace_rows, rows_at

USER_LEVEL = ("exposures", "outcomes", "outcomes_aside", "outcomes_seen", "unit_days")
_EXPERIMENT = re.compile(r"/data/experiment_id=([^/]+)/")
_MANIFEST = re.compile(r"/metadata/(?!snap-)[^/]+\.avro$")


@dataclass(frozen=True)
class Lies:
    """A data file of an experiment in a table's folder."""

    table: str
    path: str  # plain
    current: bool  # whether the table's newest snapshot names it


def lying_files(
    environment: Environment, catalog: Catalog, name: str, experiment_id: str | None = None
) -> dict[str, list[Lies]]:
    """Data files in a table's folder by experiment: current, of older snapshots, in quarantine, never published.

    With an experiment's id only its own.
    """
    source = table(catalog, name)
    scan, folders = source.scan(), [source.location()]
    if experiment_id is not None:
        scan = source.scan(selection({"experiment_id": experiment_id}))
        folders = [experiment_folder(source, experiment_id), inside_of(source)]
    current = {plain_path(task.file.file_path) for task in scan.plan_files()}
    found: dict[str, list[Lies]] = defaultdict(list)
    for info in (info for folder in folders for info in files_below(environment, folder)):
        whose = _EXPERIMENT.search(info.path)
        if whose and experiment_id in (None, whose[1]):
            found[whose[1]].append(Lies(name, info.path, info.path in current))
    return dict(found)


def content(source: Table, path: str, columns: list[str]) -> pa.Table | None:
    """Some columns of a data file, by its plain path; None where it is not whole."""
    io: FileIO = source.io
    try:
        with io.new_input(located(source.location(), path)).open() as stream:
            file = pq.ParquetFile(stream)
            there = [name for name in columns if name in file.schema_arrow.names]
            return file.read(columns=there)
    except (pa.ArrowInvalid, EOFError):
        return None


def rewrite(
    environment: Environment,
    catalog: Catalog,
    name: str,
    experiment_id: str,
    snapshot_id: int,
    kept: Callable[[pa.Table], pa.Table] | None,
    run_id: str,
) -> int:
    """Make what `kept` leaves of a snapshot's rows the experiment's rows, and return the snapshot that says so.

    `kept` None: nothing is left. Only files with such rows are written anew. Commits nothing where the table holds just that already.
    """
    paths: list[str] = []
    target = table(catalog, name)
    writer = writer_of(target, experiment_id, run_id)
    columns = [column for column, _ in TABLES[name].columns]
    plan = plan_buckets(environment, name, experiment_id, snapshot_id, columns) if kept else {}
    for bucket, files in plan.items():
        assert kept is not None
        rows = files.read()
        left = kept(rows)
        if len(left) == len(rows):
            paths += [task.file.file_path for task in files.tasks]
        elif len(left):
            paths.append(writer.write(bucket, left))
    target = table(catalog, name)
    head = target.current_snapshot()
    scan = target.scan(selection({"experiment_id": experiment_id}))
    if head is not None and {task.file.file_path for task in scan.plan_files()} == set(paths):
        return head.snapshot_id
    return replace_files(catalog, name, experiment_id, paths, run_id)


def rewrite_all(
    environment: Environment,
    catalog: Catalog,
    experiment_id: str,
    registered: Mapping[str, Any] | None,
    kept: Callable[[pa.Table], pa.Table] | None,
    run_id: str,
    **more: Any,
) -> dict[str, int]:
    """Rewrite the tables of users' rows, let the registry name that, and return how many rows went of each.

    What counts is what the registry names: a publication that was killed before its last commit is undone. `more` are further
    columns of the registry's row. What was measured counts the rows that go, so nothing may be added to it any more.
    """
    went: dict[str, int] = {}
    key = json.dumps({NO_BASE: "rows of single users were taken out"})
    new: dict[str, Any] = {**more, "ingest_key": key, "measured": None}
    for name in USER_LEVEL:
        head = table(catalog, name).current_snapshot()
        if head is None:
            continue
        column, base = f"{name}_snapshot", head.snapshot_id
        if registered and table(catalog, name).snapshot_by_id(registered.get(column) or 0) is not None:
            base = registered[column]  # which is there, unless something else than maintenance has expired it
        before = rows_at(catalog, name, experiment_id, base)
        snapshot = rewrite(environment, catalog, name, experiment_id, base, kept, run_id)
        rows = rows_at(catalog, name, experiment_id, snapshot)
        went[name] = before - rows
        if name in NAMED:
            new |= {column: snapshot, f"{name}_rows": rows}
    if registered and {**registered, **new} != dict(registered):
        mine = {"experiment_id": experiment_id}
        replace_rows(catalog, "experiment_registry", mine, [{**registered, **new}], run_id)
    return went


def delete_files(
    environment: Environment, catalog: Catalog, lying: Iterable[Lies], of: Callable[[Table, Lies], bool]
) -> int:
    """Delete the data files that are not current and of which `of` is true; returns their number."""
    deleted = 0
    tables: dict[str, Table] = {}
    for file in lying:
        source = tables.setdefault(file.table, table(catalog, file.table))
        if not file.current and of(source, file):
            deleted += delete_file(environment, located(source.location(), file.path))
    return deleted


@dataclass(frozen=True)
class History:
    """What `drop_history` did: snapshots expired, manifests deleted, and the snapshots that running experiments may read."""

    expired: int = 0
    manifests: int = 0
    kept: int = 0


def drop_history(environment: Environment, catalog: Catalog, names: Iterable[str]) -> History:
    """Expire snapshots that name data files which are gone, and delete the manifests that nothing else names.

    Snapshots that the registry names stay, and those that a run under way may have made or begun to read.
    """
    began = min(
        (lease.acquired.timestamp() * 1000 for lease in leases(environment) if lease.fresh), default=None
    )
    named = named_snapshots(catalog)
    expired, manifests, kept = 0, 0, 0
    for name in names:
        gone, stay = _expire(environment, catalog, name, named, began)
        expired, kept = expired + gone, kept + stay
        manifests += _delete_manifests(environment, catalog, name)
    return History(expired, manifests, kept)


def named_snapshots(catalog: Catalog) -> set[int]:
    """The snapshots of all tables that the registry sends readers to."""
    rows = table(catalog, "experiment_registry").scan().to_arrow().to_pylist()
    return {named for row in rows for name in NAMED if (named := row[f"{name}_snapshot"]) is not None}


@again
def _expire(
    environment: Environment, catalog: Catalog, name: str, named: set[int], began: float | None
) -> tuple[int, int]:
    source = table(catalog, name)
    there = {info.path for info in files_below(environment, source.location())}
    protected = named | {reference.snapshot_id for reference in source.refs().values()}
    seen: dict[str, bool] = {}
    holding = [one for one in source.snapshots() if _names_missing(source, one, there, seen)]
    old = [
        one.snapshot_id
        for one in holding
        if one.snapshot_id not in protected and (began is None or one.timestamp_ms < began)
    ]
    if old:
        source.maintenance.expire_snapshots().by_ids(old).commit()
    head = source.current_snapshot()
    return len(old), sum(
        one.snapshot_id not in old for one in holding if head is None or one.snapshot_id != head.snapshot_id
    )


def _names_missing(source: Table, snapshot: Snapshot, there: set[str], seen: dict[str, bool]) -> bool:
    """Whether a snapshot's manifests name a data file that is gone; `seen` keeps what was found of each manifest."""
    try:
        for manifest in snapshot.manifests(source.io):
            if manifest.manifest_path not in seen:
                seen[manifest.manifest_path] = not _paths(source.io, manifest) <= there
            if seen[manifest.manifest_path]:
                return True
    except FileNotFoundError:  # a manifest, or the list of them
        return True
    return False


def _paths(io: FileIO, manifest: ManifestFile) -> set[str]:
    """The plain paths of all entries of a manifest, those of deleted files among them."""
    entries = manifest.fetch_manifest_entry(io, discard_deleted=False)
    return {plain_path(entry.data_file.file_path) for entry in entries}


def _delete_manifests(environment: Environment, catalog: Catalog, name: str) -> int:
    """Manifests that no snapshot names and that name a file which is gone: a commit under way names none such."""
    there = {info.path: info.size for info in files_below(environment, table(catalog, name).location())}
    source = table(catalog, name)
    named = named_files(source, lost=set())
    deleted = 0
    for path, size in there.items():
        if not _MANIFEST.search(path) or path in named:
            continue
        place = located(source.location(), path)
        manifest = ManifestFile.from_args(
            manifest_path=place,
            manifest_length=size,
            partition_spec_id=source.spec().spec_id,
            content=ManifestContent.DATA,
            sequence_number=0,
            min_sequence_number=0,
            added_snapshot_id=0,
        )
        try:
            useless = not _paths(source.io, manifest) <= there.keys()
        except Exception:  # half-written, perhaps by a commit under way; maintenance comes to it
            continue
        if useless:
            deleted += delete_file(environment, place)
    return deleted
