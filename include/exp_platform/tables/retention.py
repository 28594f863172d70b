"""The rule of retention: rows of single users go so many days after an experiment's last useful day, results stay.

Carried out by maintenance, under the lease of each experiment. What to do follows from what lies there, so a kill at any step
is made good by the next maintenance.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from shutil import rmtree
from typing import Any

from pydantic import TypeAdapter, ValidationError
from pyiceberg.catalog import Catalog

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.loading import load_all
from exp_platform.errors import ConfigError, LeaseError
from exp_platform.tables.audit import record
from exp_platform.tables.catalog import table
from exp_platform.tables.erasure import USER_LEVEL, delete_files, lying_files, rewrite_all
from exp_platform.tables.fence import fenced
from exp_platform.tables.folders import MEMO_FILES, delete_folder, files_below, last_written, run_folders
from exp_platform.tables.held import raw_folders, raw_place, redact, registry
from exp_platform.tables.holders import this_process
from exp_platform.tables.lease import Lease, beating
from exp_platform.tables.mentions import Samples
from exp_platform.tables.schemas import RESULT_TABLES
from exp_platform.tables.selection import selection
from exp_platform.tables.write import replace_rows

_RUN_ID = "retention"
AGED = (*USER_LEVEL, "decisions", *RESULT_TABLES)  # of whose older files nothing stays


@dataclass(frozen=True)
class Aged:
    """Whose rows of single users were deleted, and which experiments were left out because they are being run."""

    deleted: tuple[str, ...] = ()
    busy: tuple[str, ...] = ()


def require_shorter(experiment: Experiment, environment: Environment) -> None:
    """Raise ConfigError where a spec asks for more days than the environment's rule allows."""
    rule, asked = environment.retention, experiment.retention_days
    if rule is not None and asked is not None and asked > rule.user_level_days:
        raise ConfigError(
            f"{experiment.spec_file or experiment.id}: retention.user_level_days: found {asked}; the environment "
            f"{environment.name} allows at most {rule.user_level_days}: leave it out, or ask for fewer"
        )


def delete_aged(environment: Environment, catalog: Catalog, now: datetime | None = None) -> Aged:
    """Delete what the rule says; nothing where neither the environment nor a spec has one."""
    today = (now or datetime.now(UTC)).date()
    rows = registry(catalog)
    specs = load_all().experiments
    overdue = [
        row
        for row in rows
        if (last := last_day(environment, row, specs.get(row["experiment_id"]))) and last < today
    ]
    deleted, busy = [], []
    for row in overdue:
        experiment_id = row["experiment_id"]
        if not any(_lies(environment, catalog, experiment_id)):
            continue
        lease = Lease(experiment_id, f"{_RUN_ID} on {this_process()}", environment)
        try:
            lease.acquire()
        except LeaseError:
            busy.append(experiment_id)
            continue
        try:
            with beating(lease, lost=lambda: None), fenced(lease):
                _delete(environment, catalog, experiment_id, today)
            deleted.append(experiment_id)
        except LeaseError:
            busy.append(experiment_id)
        finally:
            lease.release()
    _delete_unpublished(environment, {row["experiment_id"] for row in rows}, today)
    return Aged(tuple(deleted), tuple(busy))


def last_day(environment: Environment, row: Mapping[str, Any], current: Experiment | None) -> date | None:
    """The last day on which rows of single users may be there; None without a rule.

    Of the published spec and the one that stands in the configs now the shorter rule and the later end count.
    """
    end, stored_days = _stored_end(row)
    days = [stored_days, current.retention_days if current else None]
    days += [environment.retention.user_level_days if environment.retention else None]
    given = [n for n in days if n is not None]
    if not given:
        return None
    return max(end, current.last_as_of if current else end) + timedelta(days=min(given))


def _stored_spec(row: Mapping[str, Any]) -> Experiment:
    return TypeAdapter(Experiment).validate_json(row["spec"])


def _stored_end(row: Mapping[str, Any]) -> tuple[date, int | None]:
    """The last useful day of a published spec, and its own rule."""
    try:
        stored = _stored_spec(row)
        return stored.last_as_of, stored.retention_days
    except ValidationError:  # an older version's: what it lacks has no default
        spec = json.loads(row["spec"])
        longest = max((metric.get("window", {}).get("end") or 0 for metric in spec["metrics"]), default=0)
        return row["window_end"] + timedelta(days=int(longest)), spec.get("retention_days")


def _lies(environment: Environment, catalog: Catalog, experiment_id: str) -> Iterator[bool]:
    """Whether anything of single users lies anywhere."""
    yield (environment.runs_dir / experiment_id).is_dir()
    yield any(folder.partition(".")[0] == experiment_id for folder in raw_folders(environment))
    for name in USER_LEVEL:
        yield bool(lying_files(environment, catalog, name, experiment_id))


def _delete(environment: Environment, catalog: Catalog, experiment_id: str, today: date) -> None:
    """Delete all of one experiment; the caller holds its lease. The registry says so before a file goes.

    The files of users' rows go last: as long as one lies there, what comes before is done again.
    """
    (row,) = registry(catalog, experiment_id)
    said = {"user_level_deleted_on": row.get("user_level_deleted_on") or today}
    went = rewrite_all(environment, catalog, experiment_id, row, None, _RUN_ID, **said)
    run = f"{_RUN_ID} {said['user_level_deleted_on']} {experiment_id}"  # of which it is written down once
    record(environment, "retention", experiment_id=experiment_id, run_id=run, details={"rows": went})
    for name in ("decisions", "data_quality_results"):
        redact(catalog, name, experiment_id, Samples(), _RUN_ID)
    delete_single_cells(catalog, experiment_id)
    for folder in raw_folders(environment):
        if folder.partition(".")[0] == experiment_id:
            delete_folder(environment, f"{raw_place(environment)}/{folder}")
    _rewrite_memo(environment, experiment_id, row)
    if (environment.runs_dir / experiment_id).is_dir():
        rmtree(environment.runs_dir / experiment_id)
    for name in reversed(AGED):
        lying = lying_files(environment, catalog, name, experiment_id).get(experiment_id, [])
        delete_files(environment, catalog, lying, lambda _source, _file: True)


def delete_single_cells(catalog: Catalog, experiment_id: str) -> None:
    """Take out of the results what is one user's value: cells of one user, and means of an arm that has one."""
    key = {"experiment_id": experiment_id}
    for name in RESULT_TABLES:
        before = table(catalog, name).scan(selection(key)).to_arrow().to_pylist()
        after = [_without_single_arms(row) for row in before if not _is_single(row)]
        if after != before:
            replace_rows(catalog, name, key, after, _RUN_ID)
    before = table(catalog, "decisions").scan(selection(key)).to_arrow().to_pylist()
    after = [{**row, "result_rows": _counted(catalog, row)} for row in before]
    if after != before:
        replace_rows(catalog, "decisions", key, after, _RUN_ID)


def _is_single(row: Mapping[str, Any]) -> bool:
    """Whether a row of the aggregates tells of one user alone."""
    return row.get("n") == 1 or row.get("active_users") == 1


def _without_single_arms(row: dict[str, Any]) -> dict[str, Any]:
    single = tuple(f"_{arm}" for arm in ("control", "treatment") if row.get(f"n_{arm}") == 1)
    if not single:
        return row
    return {
        column: None if isinstance(value, float) and any(arm in column for arm in single) else value
        for column, value in row.items()
    }


def _counted(catalog: Catalog, row: Mapping[str, Any]) -> str:
    """How many rows a decision rests on, without those that were taken out of the aggregates just now."""
    told: dict[str, int] = json.loads(row["result_rows"] or "{}")
    key = {column: row[column] for column in ("experiment_id", "run_id", "as_of_date")}
    for name in ("metric_aggregates_overall", "metric_aggregates_daily"):
        if name in told:
            told[name] = len(
                table(catalog, name).scan(selection(key), selected_fields=("run_id",)).to_arrow()
            )
    said = json.dumps(told)
    return said if json.loads(row["result_rows"] or "{}") != told else row["result_rows"]


def _rewrite_memo(environment: Environment, experiment_id: str, row: Mapping[str, Any]) -> None:
    """Write the memo anew, without examples and with the day of the deletion; one that cannot be is deleted."""
    from exp_platform.report.content import load_report
    from exp_platform.report.memo import write_memo
    from exp_platform.results.reader import Results
    from exp_platform.tables.folders import delete_file, read_file

    memo = f"{environment.memos_dir}/{experiment_id}"
    if read_file(environment, f"{memo}.md") is None:
        return
    try:
        write_memo(load_report(Results(environment), _stored_spec(row)), environment)
    except ValidationError:  # `exp memo` makes it from the spec in the configs
        for suffix in MEMO_FILES:
            delete_file(environment, memo + suffix)
        delete_folder(environment, memo)


def _delete_unpublished(environment: Environment, published: set[str], today: date) -> None:
    """Run folders and generated raw data of experiments that were never published, by their age."""
    if environment.retention is None:
        return
    before = datetime.combine(today, datetime.min.time(), UTC) - timedelta(
        days=environment.retention.user_level_days
    )
    for folder in run_folders(environment):
        if folder.name not in published and last_written(folder) < before.timestamp():
            rmtree(folder)
    for name in raw_folders(environment):
        place = f"{raw_place(environment)}/{name}"
        if name.partition(".")[0] not in published and all(
            info.mtime is not None and info.mtime < before for info in files_below(environment, place)
        ):
            delete_folder(environment, place)
