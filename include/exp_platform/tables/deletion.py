"""Forgetting an experiment: its rows in every table, its raw data, runs and memo."""

from __future__ import annotations

import re
import shutil

from exp_platform.config.environment import Environment
from exp_platform.errors import ConfigError
from exp_platform.tables.audit import record
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.fence import fenced
from exp_platform.tables.folders import MEMO_FILES, delete_file, delete_folder
from exp_platform.tables.forgotten import NAME
from exp_platform.tables.holders import this_process
from exp_platform.tables.last_runs import last_runs
from exp_platform.tables.lease import held_lease
from exp_platform.tables.maintenance import KEEP
from exp_platform.tables.overlaps import forget_overlaps
from exp_platform.tables.schemas import TABLES
from exp_platform.tables.selection import selection
from exp_platform.tables.status import forget_status
from exp_platform.tables.told import forget_told
from exp_platform.tables.write import delete_rows

_ID = re.compile(r"[a-z0-9_]{1,64}")  # what an id may be; it becomes part of paths here


def delete_experiment(environment: Environment, experiment_id: str) -> list[str]:
    """Delete all that is stored of an experiment, and tell in lines what was deleted. Its spec stays.

    `decisions` go first, so that no reader meets half of it. Raises LeaseError while the experiment is being run,
    ConfigError for what cannot be an id.
    """
    if not _ID.fullmatch(experiment_id):
        raise ConfigError(f"experiment id: found {experiment_id!r}; allowed are 1 to 64 of a-z, 0-9 and _")
    holder = f"exp delete on {this_process()}"
    with held_lease(environment, experiment_id, holder) as lease, fenced(lease):
        told = _delete_rows(environment, experiment_id)
        if any(line.endswith(" decisions") for line in told):
            told.append("with them what was read and when: run again, its next look is the first")
        if delete_folder(environment, f"{environment.raw_dir}/exp_platform/{experiment_id}"):
            told.append(f"raw data in {environment.raw_dir}/exp_platform/{experiment_id}")
        runs = environment.runs_dir / experiment_id
        if runs.is_dir():
            told.append(f"{sum(path.is_dir() for path in runs.iterdir())} runs in {runs}")
            shutil.rmtree(runs)
        # A DAG that its spec has left behind goes with it
        (last_runs(environment) / experiment_id).unlink(missing_ok=True)
        forget_told(environment, experiment_id)
        forget_status(environment, experiment_id)
        forget_overlaps(environment, experiment_id)
        told += _delete_memo(environment, experiment_id)
        if told:
            record(environment, "deleted", experiment_id=experiment_id, details={"what": told})
    if not told:
        return [f"nothing was stored of {experiment_id}"]
    return [
        *told,
        f"(that it was deleted, and what was done before, stays in `exp log {experiment_id}`)",
        f"(deleted rows stay in older snapshots and files until maintenance has set them aside, {KEEP.days} days from now, and "
        f"removed them, {2 * KEEP.days} days from now)",
    ]


def _delete_rows(environment: Environment, experiment_id: str) -> list[str]:
    catalog = open_catalog(environment)
    where = selection({"experiment_id": experiment_id})
    told = []
    # Not the list of the forgotten: they stay so
    for name in ("decisions", *(name for name in TABLES if name not in ("decisions", NAME))):
        rows = sum(task.file.record_count for task in table(catalog, name).scan(where).plan_files())
        delete_rows(catalog, name, where, "delete")
        if rows:
            told.append(f"{rows} rows of {name}")
    return told


def _delete_memo(environment: Environment, experiment_id: str) -> list[str]:
    memo = f"{environment.memos_dir}/{experiment_id}"
    told = [memo + suffix for suffix in MEMO_FILES if delete_file(environment, memo + suffix)]
    return [*told, memo] if delete_folder(environment, memo) else told
