"""What keeps the tables quick and small: few files, few snapshots, nothing on disk that no snapshot names.

Safe beside running experiments: an experiment is compacted only under its lease, and a file or run younger than
`keep` stays. All of it is PyIceberg's, no Spark session is started. Reading at old snapshots ends after `keep`,
except at those that the registry names.
"""

from __future__ import annotations

import os
import shutil
import socket
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from exp_platform.config.environment import Environment, load_environment
from exp_platform.errors import LeaseError
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.files import writer_of
from exp_platform.tables.folders import delete_file, files_below, plain_path
from exp_platform.tables.lease import Lease
from exp_platform.tables.schemas import RESULT_TABLES, TABLES
from exp_platform.tables.selection import selection
from exp_platform.tables.write import again, replace_files, replace_rows

KEEP = timedelta(days=3)
MAX_FILES = 20  # of one experiment in a result table, before they become one
_RUN_ID = "maintenance"


@dataclass(frozen=True)
class Maintained:
    """What was done; `busy` experiments were left out because a run of theirs was under way."""

    compacted: int = 0  # partitions
    expired: int = 0  # snapshots
    removed_files: int = 0
    removed_runs: int = 0
    busy: tuple[str, ...] = ()


def maintain(
    environment: Environment | None = None, keep: timedelta = KEEP, now: datetime | None = None
) -> Maintained:
    """Compact, expire snapshots older than `keep`, and remove files and run folders that are older and not needed."""
    environment = environment or load_environment()
    before = (now or datetime.now(UTC)) - keep
    catalog = open_catalog(environment)
    compacted, busy = 0, []
    for row in table(catalog, "experiment_registry").scan().to_arrow().to_pylist():
        lease = Lease(
            row["experiment_id"], f"{_RUN_ID} on {socket.gethostname()} pid {os.getpid()}", environment
        )
        try:
            lease.acquire()
        except LeaseError:
            busy.append(row["experiment_id"])
            continue
        try:
            compacted += sum(
                _compact(catalog, name, row["experiment_id"]) for name in (*RESULT_TABLES, "decisions")
            )
            _follow_the_head(catalog, row["experiment_id"])
        finally:
            lease.release()
    return Maintained(
        compacted=compacted,
        expired=_expire(catalog, before),
        removed_files=sum(_remove_unnamed_files(environment, catalog, name, before) for name in TABLES),
        removed_runs=_remove_runs(environment.runs_dir, before),
        busy=tuple(busy),
    )


def _compact(catalog: Catalog, name: str, experiment_id: str) -> bool:
    """Make one file of an experiment's many; under its lease nobody else writes them."""
    source = table(catalog, name)
    scan = source.scan(selection({"experiment_id": experiment_id}))
    if len(list(scan.plan_files())) <= MAX_FILES:
        return False
    path = writer_of(source, experiment_id, _RUN_ID).write(0, scan.to_arrow())
    replace_files(catalog, name, experiment_id, [path], _RUN_ID)
    return True


def _follow_the_head(catalog: Catalog, experiment_id: str) -> None:
    """Let the registry name the newest snapshots where they hold the very files that it names already.

    A snapshot that is named stays for ever, with every file that any experiment had in it.
    """
    key = {"experiment_id": experiment_id}
    for row in table(catalog, "experiment_registry").scan(selection(key)).to_arrow().to_pylist():
        newer = {}
        for name in ("exposures", "outcomes"):
            source = table(catalog, name)
            head, named = source.current_snapshot(), source.snapshot_by_id(row[f"{name}_snapshot"])
            if head and named and _paths(source, key, named) == _paths(source, key, head):
                newer[f"{name}_snapshot"] = head.snapshot_id
        if {**row, **newer} != row:
            replace_rows(catalog, "experiment_registry", key, [{**row, **newer}], _RUN_ID)


def _paths(source: Table, key: dict[str, Any], at: Snapshot) -> set[str]:
    return {
        task.file.file_path for task in source.scan(selection(key), snapshot_id=at.snapshot_id).plan_files()
    }


def _expire(catalog: Catalog, before: datetime) -> int:
    named = {
        row[column]
        for row in table(catalog, "experiment_registry").scan().to_arrow().to_pylist()
        for column in ("exposures_snapshot", "outcomes_snapshot")
    }
    return sum(_expire_in(catalog, name, before, named) for name in TABLES)


@again
def _expire_in(catalog: Catalog, name: str, before: datetime, named: set[int]) -> int:
    source = table(catalog, name)
    protected = named | {reference.snapshot_id for reference in source.refs().values()}
    old = [
        snapshot.snapshot_id
        for snapshot in source.snapshots()
        if snapshot.timestamp_ms < before.timestamp() * 1000 and snapshot.snapshot_id not in protected
    ]
    if old:
        source.maintenance.expire_snapshots().by_ids(old).commit()
    return len(old)


def _remove_unnamed_files(environment: Environment, catalog: Catalog, name: str, before: datetime) -> int:
    """Remove old files that no snapshot names: of expired ones, of failed commits, staged and never published."""
    location = table(catalog, name).location()
    old = [info for info in files_below(environment, location) if info.mtime < before]
    named = _named_files(
        table(catalog, name)
    )  # after the listing, so that what is committed meanwhile is in it
    removable = [info.path for info in old if info.path not in named]
    scheme = location.split("://")[0]
    for path in removable:
        delete_file(environment, path if scheme == "file" else f"{scheme}://{path}")
    return len(removable)


def _named_files(source: Table) -> set[str]:
    named = {source.metadata_location, *(entry.metadata_file for entry in source.metadata.metadata_log)}
    named |= {statistics.statistics_path for statistics in source.metadata.statistics}
    manifests = {}
    for snapshot in source.snapshots():
        named.add(snapshot.manifest_list)
        manifests.update({manifest.manifest_path: manifest for manifest in snapshot.manifests(source.io)})
    for path, manifest in manifests.items():
        named.add(path)
        named |= {entry.data_file.file_path for entry in manifest.fetch_manifest_entry(source.io)}
    return {plain_path(path) for path in named}


def _remove_runs(runs_dir: Path, before: datetime) -> int:
    """Remove old run folders, but each experiment's newest."""
    removed = 0
    for experiment in runs_dir.iterdir() if runs_dir.is_dir() else ():
        runs = sorted(path for path in experiment.iterdir() if path.is_dir())  # run ids sort by time
        for run in runs[:-1]:
            newest = max((path.stat().st_mtime for path in run.rglob("*")), default=run.stat().st_mtime)
            if newest < before.timestamp():
                shutil.rmtree(run)
                removed += 1
    return removed
