"""What keeps the tables quick and small: few files, few snapshots, nothing on disk that no snapshot names.

Safe beside running experiments: an experiment is compacted only under its lease, and a file or run younger than
`keep` stays. A file that no snapshot names is moved away before it is deleted, and comes back if one does. All of it is
PyIceberg's, no Spark session is started. Reading at old snapshots ends after `keep`, except at those that the registry
names.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

from pyarrow.fs import FileInfo
from pyiceberg.catalog import Catalog
from pyiceberg.table import Table
from pyiceberg.table.snapshots import Snapshot

from exp_platform import numbers
from exp_platform.config.environment import Environment, load_environment
from exp_platform.errors import DataError, LeaseError
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.compaction import compact_published
from exp_platform.tables.damage import DamagedTableError, naming_damage
from exp_platform.tables.erasure import drop_history, named_snapshots
from exp_platform.tables.fence import fenced
from exp_platform.tables.files import writer_of
from exp_platform.tables.folders import last_written, run_folders
from exp_platform.tables.held import registry
from exp_platform.tables.holders import this_process
from exp_platform.tables.lease import Lease, beating
from exp_platform.tables.leftovers import remove_leftovers
from exp_platform.tables.metadata_files import version_of
from exp_platform.tables.quarantine import delete_old, named_files, own_files, put_back, set_aside
from exp_platform.tables.retention import AGED, delete_aged
from exp_platform.tables.schemas import NAMED, RESULT_TABLES, TABLES
from exp_platform.tables.selection import selection
from exp_platform.tables.shared_users import count_overlaps
from exp_platform.tables.superseded import delete_superseded
from exp_platform.tables.write import ChangedMeanwhileError, again, replace_files, replace_rows

KEEP = timedelta(days=3)
# Of one experiment in a result table, or in a bucket of a table of users' rows, before they become one; of one that runs no more: one
MAX_FILES = 7
# Of a table's data files, those that no snapshot names: more than this share and this number are no leftovers.
MAX_UNNAMED_SHARE = 0.2
MAX_UNNAMED = 20
_RUN_ID = "maintenance"


@dataclass(frozen=True)
class Maintained:
    """What was done; `busy` experiments were left out because a run of theirs was under way."""

    superseded: int = 0  # result rows of days that another run has decided since
    compacted: int = 0  # partitions
    expired: int = 0  # snapshots
    quarantined: int = 0  # files that no snapshot names
    put_back: int = 0  # of those that an earlier maintenance had quarantined, and that are named after all
    removed_files: int = 0  # that had been in quarantine for `keep`
    removed_runs: int = 0
    compared: int = 0  # pairs of experiments whose common users are counted
    leftovers: int = 0  # files and folders that killed processes left half-written
    aged: tuple[str, ...] = ()  # experiments whose rows of single users went by the rule of retention
    busy: tuple[str, ...] = ()
    # Tables, and results of experiments, whose files were left alone; `exp doctor` says what is wrong with them
    damaged: tuple[str, ...] = ()


@dataclass(frozen=True)
class Cleared:
    """What became of one table's files that no snapshot names."""

    quarantined: int
    put_back: int
    removed: int
    damaged: bool = False  # a snapshot cannot be read, so nobody knows what it names, and nothing was touched


def maintain(
    environment: Environment | None = None,
    keep: timedelta = KEEP,
    now: datetime | None = None,
    force: bool = False,
) -> Maintained:
    """Delete superseded result rows, compact, expire snapshots older than `keep`, quarantine files that are older and not needed, remove such runs.

    What has been in quarantine for `keep` is deleted. Raises DataError, before anything is changed, where the catalog
    seems to have lost the names of files that are in use; `force` says that those may go.
    """
    environment = environment or load_environment()
    now = now or datetime.now(UTC)
    before = now - keep
    catalog = open_catalog(environment)
    if not force:
        _refuse_a_doubtful_catalog(environment, catalog, before)
    aged = delete_aged(environment, catalog, now)
    superseded, compacted, busy, damaged = 0, 0, list(aged.busy), []
    for row in table(catalog, "experiment_registry").scan().to_arrow().to_pylist():
        lease = Lease(row["experiment_id"], f"{_RUN_ID} on {this_process()}", environment)
        try:
            lease.acquire()
        except LeaseError:
            busy.append(row["experiment_id"])
            continue
        try:
            with beating(lease, lost=lambda: None), fenced(lease):  # who has lost it commits nothing
                superseded += delete_superseded(catalog, row["experiment_id"], _RUN_ID)
                allowed = MAX_FILES if row["published_at"] >= before else 1
                compacted += sum(
                    _compact(catalog, name, row["experiment_id"], allowed)
                    for name in (*RESULT_TABLES, "decisions")
                )
                (now_named,) = registry(catalog, row["experiment_id"])
                compacted += compact_published(environment, catalog, now_named, allowed, _RUN_ID)
                follow_the_head(catalog, row["experiment_id"])
        except LeaseError:
            busy.append(row["experiment_id"])
        except DamagedTableError:
            damaged.append(f"results of {row['experiment_id']}")
        finally:
            lease.release()
    if aged.deleted:
        drop_history(environment, catalog, AGED)
    expired = _expire(catalog, before)
    cleared = [_clear(environment, catalog, name, before, now) for name in TABLES]
    return Maintained(
        superseded=superseded,
        compacted=compacted,
        expired=expired,
        quarantined=sum(one.quarantined for one in cleared),
        put_back=sum(one.put_back for one in cleared),
        removed_files=sum(one.removed for one in cleared),
        removed_runs=_remove_runs(environment, before),
        compared=len(count_overlaps(environment, registry(catalog), now).pairs),
        leftovers=remove_leftovers(environment, before),
        aged=aged.deleted,
        busy=tuple(dict.fromkeys(busy)),
        damaged=(*damaged, *(name for name, one in zip(TABLES, cleared, strict=True) if one.damaged)),
    )


def _compact(catalog: Catalog, name: str, experiment_id: str, allowed: int) -> bool:
    """Make one file of more than are allowed of an experiment, or leave them where somebody changes them all the same."""
    source, mine = table(catalog, name), selection({"experiment_id": experiment_id})
    scan = source.scan(mine)
    files = [task.file.file_path for task in scan.plan_files()]
    if len(files) <= allowed:
        return False
    with naming_damage(catalog, name, mine):
        rows = scan.to_arrow()
    path = writer_of(source, experiment_id, _RUN_ID).write(0, rows)
    try:
        replace_files(catalog, name, experiment_id, [path], _RUN_ID, instead_of=files)
    except ChangedMeanwhileError:
        return False  # the next maintenance comes to it
    return True


def follow_the_head(catalog: Catalog, experiment_id: str) -> None:
    """Let the registry name the newest snapshots where they hold the very files that it names already.

    A snapshot that is named stays for ever, with every file that any experiment had in it.
    """
    key = {"experiment_id": experiment_id}
    for row in table(catalog, "experiment_registry").scan(selection(key)).to_arrow().to_pylist():
        newer = {}
        for name in NAMED:
            source = table(catalog, name)
            head, named = source.current_snapshot(), source.snapshot_by_id(row[f"{name}_snapshot"] or 0)
            if head and named and _paths(source, key, named) == _paths(source, key, head):
                newer[f"{name}_snapshot"] = head.snapshot_id
        if {**row, **newer} != row:
            replace_rows(catalog, "experiment_registry", key, [{**row, **newer}], _RUN_ID)


def _paths(source: Table, key: dict[str, Any], at: Snapshot) -> set[str]:
    return {
        task.file.file_path for task in source.scan(selection(key), snapshot_id=at.snapshot_id).plan_files()
    }


def _expire(catalog: Catalog, before: datetime) -> int:
    named = named_snapshots(catalog)
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


def _refuse_a_doubtful_catalog(environment: Environment, catalog: Catalog, before: datetime) -> None:
    """Raise DataError where not the files are of no use, but the names of them are lost.

    Looked at before any snapshot expires: files of those that do are no surprise.
    """
    faults = []
    for name in TABLES:
        files = own_files(environment, table(catalog, name))
        source = table(catalog, name)  # after the listing, so that what is committed meanwhile is in it
        # Of a commit that failed one more version may lie there, of an older catalog more.
        if max(version_of(info.path) for info in files) > version_of(source.metadata_location) + 1:
            faults.append(f"{name} was committed to since {source.metadata_location}")
        unnamed, data = _unnamed_data_files(source, files, before)
        if unnamed > MAX_UNNAMED and unnamed > MAX_UNNAMED_SHARE * data:
            faults.append(f"{unnamed} of {data} data files of {name} are named by no snapshot")
    if faults:
        raise DataError(
            f"an older or another catalog seems to be in use, so nothing was expired or moved: {'; '.join(faults)} (allowed "
            f"are {MAX_UNNAMED} files or {numbers.share(MAX_UNNAMED_SHARE, 0)}). See `exp doctor` and `exp repair`; if those files are "
            "really of no use, as of many runs that failed, `exp maintain --force`"
        )


def _unnamed_data_files(source: Table, files: list[FileInfo], before: datetime) -> tuple[int, int]:
    """How many of a table's data files are old and named by no snapshot, and how many there are."""
    data = [info for info in files if info.path.endswith(".parquet")]
    lost: set[str] = set()
    named = named_files(source, lost=lost) if data else set()
    if lost:  # then nobody knows, and `_clear` leaves the table alone
        return 0, len(data)
    return sum(info.mtime < before and info.path not in named for info in data), len(data)


def _clear(environment: Environment, catalog: Catalog, name: str, before: datetime, now: datetime) -> Cleared:
    """Set aside old files that no snapshot names: of expired ones, of failed commits, staged and never published."""
    returned = put_back(environment, catalog, name)
    old = [info.path for info in own_files(environment, table(catalog, name)) if info.mtime < before]
    source = table(catalog, name)  # after the listing, so that what is committed meanwhile is in it
    lost: set[str] = set()
    named = named_files(source, lost=lost)
    if lost:
        return Cleared(0, returned, 0, damaged=True)
    unnamed = [path for path in old if path not in named]
    set_aside(environment, source, unnamed, now.date())
    if unnamed:  # a run that was cleared after days may have committed an old file just now
        returned += put_back(environment, catalog, name)
    return Cleared(len(unnamed), returned, delete_old(environment, source, before))


def _remove_runs(environment: Environment, before: datetime) -> int:
    """Remove old run folders, but each experiment's newest."""
    removed = 0
    for experiment in run_folders(environment):
        runs = sorted(path for path in experiment.iterdir() if path.is_dir())  # run ids sort by time
        for run in runs[:-1]:
            if last_written(run) < before.timestamp():
                shutil.rmtree(run)
                removed += 1
    return removed
