"""What was decided last of every experiment, for lists: read once per file, and remembered as long as the file counts."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from sys import intern
from threading import Lock
from time import monotonic
from typing import Any, Literal, cast

from pyiceberg.catalog import Catalog
from pyiceberg.conversions import from_bytes
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.table import DataScan, FileScanTask, Table
from pyiceberg.utils.datetime import days_to_date

from exp_platform.aggregates import ALL
from exp_platform.config.analyses import ADJUSTED, DECISIVE, RESULTS, UNADJUSTED
from exp_platform.config.environment import Environment
from exp_platform.results.measured import MEASURED, Measured, measured_of
from exp_platform.tables.catalog import existing_catalog, table
from exp_platform.tables.damage import DamagedTableError, is_no_damage, naming_damage
from exp_platform.tables.scans import give_memory_back, newest_files, rows_by_file, rows_of
from exp_platform.tables.selection import selection

ENDS = ("ship", "stop")  # actions that end an experiment, once they are final
_AT_ONCE = 20  # files whose rows are in memory together
_DECISION = (
    "experiment_id",
    "as_of_date",
    "run_id",
    "computed_at",
    "winner",
    "action",
    "winning_variant",
    "lift",
    "final",
    "assigned",
    "decision",
    "definitions",
)
_KEY = ("experiment_id", "run_id", "as_of_date", "method", "segment", "status")
_EFFECT = ("metric_kind", "estimate", "relative", "relative_low", "relative_high", "ci_level")


@dataclass(frozen=True)
class Effect:
    """The effect that a decision reports: `relative` to control, with its corrected interval of coverage `ci_level`."""

    metric_kind: str
    estimate: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    ci_level: float | None


@dataclass(frozen=True)
class Newest:
    """An experiment's decision of its newest day, as far as a list shows it. `computed_at` is UTC."""

    experiment_id: str
    as_of_date: date
    run_id: str
    computed_at: datetime
    winner: str
    action: str
    winning_variant: str | None
    lift: float | None
    final: bool
    users: int  # assigned, of all arms together
    trust: str  # ok, failed, unknown
    metric_id: str  # that decides
    reported_variant: str | None  # whom `lift` is about
    outcome: str | None  # what the evidence says of it; better, worse, ...
    estimate: str  # the method that decides
    days_remaining: int | None
    effect: Effect | None = None
    decided_on: date | None = None  # the first as_of date whose final reading said what counts now
    split: Literal["ok", "mismatch", "untested"] = "untested"  # whether users were split as planned
    definitions: dict[str, str] = field(default_factory=dict)  # metric -> what it measured, in words
    measured: tuple[Measured, ...] = field(
        default=(), repr=False
    )  # of every metric, by the estimate that decides


_Of = tuple[str, str, date]  # experiment, run, day


class NewestDecisions:
    """Reads the newest decisions of all experiments, and of files that it has met already nothing.

    One for a process; what counts is what the tables say now, so several processes agree without a word between them.
    An experiment whose file is damaged is left out and its id told in `damaged`; the others are there. Whoever mends a file commits
    nothing, so that it is tried again after a while. With `only` it knows one experiment, and no file of another is opened.
    """

    TRY_AGAIN = 30.0  # seconds

    def __init__(self, only: str | None = None) -> None:
        self.damaged: frozenset[str] = frozenset()
        self._where = {} if only is None else {"experiment_id": only}
        self._lock = Lock()
        self._states: tuple[str, ...] = ()
        self._until = (
            math.inf
        )  # monotonic seconds: when what is found is read again though the tables are as they were
        self._found: dict[str, Newest] = {}
        self._of_file: dict[str, tuple[Newest, ...]] = {}
        self._effects: dict[_Of, _Effects] = {}

    def read(self, environment: Environment) -> dict[str, Newest]:
        """Experiment -> its newest decision, of all that have one."""
        catalog = existing_catalog(environment)
        if catalog is None:
            return {}
        try:
            decisions, results = table(catalog, "decisions"), table(catalog, RESULTS)
        except NoSuchTableError:
            return {}
        states = (decisions.metadata_location, results.metadata_location)
        with self._lock:
            if states != self._states or monotonic() >= self._until:
                self._until = math.inf
                decided = self._newest(catalog, decisions)
                give_memory_back()
                self._found = self._with_effects(catalog, results, decided)
                self._states = states
                give_memory_back()
            return self._found

    def _newest(self, catalog: Catalog, decisions: Table) -> dict[str, Newest]:
        scan = decisions.scan(selection(self._where), _there(decisions, _DECISION))
        with naming_damage(catalog, "decisions"):
            tasks = newest_files(scan)
        # What delete files leave of a file is no matter of the file alone
        known = {t.file.file_path: self._of_file.get(t.file.file_path) for t in tasks if not t.delete_files}
        unread = [task for task in tasks if not known.get(task.file.file_path)]
        for rows in _at_once(scan, decisions, unread):
            known |= {path: tuple(map(_newest_of, found)) for path, found in rows.items()}
        of_file: dict[str, tuple[Newest, ...]] = {}
        damaged = set()
        for task in tasks:
            path = task.file.file_path
            try:
                of_file[path] = known.get(path) or tuple(map(_newest_of, _rows(scan, decisions, [task])))
            except Exception as error:
                if is_no_damage(error) and not isinstance(error, DamagedTableError):
                    raise
                damaged.add(str(task.file.partition[0]))
        self._of_file, self.damaged = of_file, frozenset(damaged)
        self._try_again(len(damaged))
        by_day = sorted((one for found in of_file.values() for one in found), key=lambda one: one.as_of_date)
        return {one.experiment_id: one for one in by_day}

    def _with_effects(self, catalog: Catalog, results: Table, newest: dict[str, Newest]) -> dict[str, Newest]:
        wanted = {_key(one): one for one in newest.values()}
        effects = {key: found for key, found in self._effects.items() if key in wanted}
        unread = {key: one for key, one in wanted.items() if key not in effects}
        if unread:
            effects |= self._read_effects(catalog, results, unread)
        self._effects = {key: found for key, found in effects.items() if not found.damaged}
        self._try_again(len(effects) - len(self._effects))
        return {
            id: replace(one, effect=effects[_key(one)].reported, measured=tuple(effects[_key(one)].measured))
            for id, one in newest.items()
        }

    def _try_again(self, damaged: int) -> None:
        """Read again after a while, where something is damaged."""
        if damaged:
            self._until = monotonic() + self.TRY_AGAIN

    def _read_effects(
        self, catalog: Catalog, results: Table, wanted: dict[_Of, Newest]
    ) -> dict[_Of, _Effects]:
        """What their result rows say; of one whose file is damaged nothing."""
        where = {**self._where, "segment": ALL, "status": "OK", "method": [UNADJUSTED, *ADJUSTED, DECISIVE]}
        columns = dict.fromkeys((*_KEY, *_EFFECT, *MEASURED))
        scan = results.scan(selection(where), _there(results, tuple(columns)))
        with naming_damage(catalog, RESULTS):
            by_id = {one.experiment_id: one for one in wanted.values()}
            tasks = [task for task in scan.plan_files() if _may_hold(scan, task, by_id)]
        found = {key: _Effects() for key in wanted}
        damaged: set[str] = set()
        for row in _rows_of_all(scan, results, tasks, damaged):
            key = row["experiment_id"], row["run_id"], row["as_of_date"]
            if key in wanted:
                found[key].add(row, wanted[key])
        for id in damaged:
            found[_key(by_id[id])].damaged = True
        return found


@dataclass
class _Effects:
    """The effect that a decision reports (adjusted, where that decides and could be made) and those that it rests on."""

    reported: Effect | None = None
    measured: list[Measured] = field(default_factory=list)
    damaged: bool = False  # not all of its rows could be read

    def add(self, row: dict[str, Any], one: Newest) -> None:
        """Take what counts of a row of the run that decided."""
        if row["method"] == DECISIVE:
            self.measured.append(measured_of(row))
        elif (row["metric_id"], row["treatment_id"]) == (one.metric_id, one.reported_variant) and (
            row["method"] == one.estimate or (row["method"] == UNADJUSTED and self.reported is None)
        ):
            self.reported = Effect(**{name: row[name] for name in _EFFECT})


def _rows_of_all(
    scan: DataScan, of: Table, tasks: list[FileScanTask], damaged: set[str]
) -> Iterator[dict[str, Any]]:
    """The rows of the files that can be read; to `damaged` the experiments of the others are added, which go without a picture."""
    read: set[str] = set()
    for rows in _at_once(scan, of, tasks):
        read.update(rows)
        yield from (row for found in rows.values() for row in found)
    for task in tasks:
        if task.file.file_path in read:
            continue
        try:
            yield from _rows(scan, of, [task])
        except Exception as error:
            if is_no_damage(error) and not isinstance(error, DamagedTableError):
                raise
            damaged.add(str(task.file.partition[0]))


def _at_once(
    scan: DataScan, of: Table, tasks: list[FileScanTask]
) -> Iterator[dict[str, list[dict[str, Any]]]]:
    """The rows of whole files, by path. Of a part of them that cannot be read so, nothing: each is then read by itself."""
    whole = [task for task in tasks if not task.delete_files]
    for at in range(0, len(whole), _AT_ONCE):
        with suppress(Exception):  # a damaged one among them: whoever reads them one by one tells which
            yield rows_by_file(scan, of.io, whole[at : at + _AT_ONCE])


def _there(found: Table, columns: tuple[str, ...]) -> tuple[str, ...]:
    """Those of the columns that the table has: one of an older version may lack some."""
    return tuple(name for name in columns if name in found.schema().column_names)


def _rows(scan: DataScan, of: Table, tasks: list[FileScanTask]) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = rows_of(scan, of.io, tasks).to_pylist() if tasks else []
    return rows


def _may_hold(scan: DataScan, task: FileScanTask, wanted: dict[str, Newest]) -> bool:
    """Whether a file may hold rows of a wanted run, by its experiment and the bounds of its days."""
    one = wanted.get(task.file.partition[0])
    column = scan.table_metadata.schema().find_field("as_of_date")
    sides = (task.file.lower_bounds, task.file.upper_bounds)
    lower, upper = ((bounds or {}).get(column.field_id) for bounds in sides)
    if one is None or lower is None or upper is None:
        return one is not None
    kind: Any = column.field_type
    days: list[Any] = [from_bytes(kind, bound) for bound in (lower, upper)]  # since 1970
    first, last = map(days_to_date, days)
    return first <= one.as_of_date <= last


def _newest_of(row: dict[str, Any]) -> Newest:
    """From a row of the table `decisions`; what a row of another version does not say is not known."""
    told = json.loads(row["decision"])
    verdicts = {v["treatment_id"]: v["outcome"] for v in told.get("treatments", ())}
    same = {name: row[name] for name in _DECISION if name not in ("assigned", "decision", "definitions")}
    return Newest(
        **same,
        users=sum(json.loads(row["assigned"]).values()),
        trust=told.get("trust", "unknown"),
        metric_id=told.get("decisive_metric", ""),
        reported_variant=told.get("reported_variant"),
        outcome=verdicts.get(told.get("reported_variant")),
        estimate=told.get("estimate", UNADJUSTED),
        days_remaining=told.get("adequacy", {}).get("days_remaining"),
        decided_on=_decided_on(row, told),
        split=_split(told),
        definitions=_shared(json.loads(row.get("definitions") or "{}")),  # older rows have none
    )


def _shared(definitions: dict[str, str]) -> dict[str, str]:
    """Equal ones: what a metric of many experiments measures is in memory once."""
    return {intern(metric): intern(definition) for metric, definition in definitions.items()}


def _decided_on(row: dict[str, Any], told: dict[str, Any]) -> date | None:
    """The day of the final reading that decided; where an earlier one left the question open, the row's own."""
    if not row["final"] or row["action"] not in ENDS:
        return None
    for reading in told.get("memory", {}).get("readings", ()):
        if reading["final"] and (reading.get("verdict") or {}).get("action") == row["action"]:
            return date.fromisoformat(reading["as_of_date"])
    return cast("date", row["as_of_date"])


def _split(told: dict[str, Any]) -> Literal["ok", "mismatch", "untested"]:
    codes = {reason["code"] for reason in told.get("reasons", ())}
    if codes & {"SRM_MISMATCH", "SRM_WITHIN_SEGMENT"}:
        return "mismatch"
    return "untested" if "SRM_NOT_TESTED" in codes or "reasons" not in told else "ok"


def _key(one: Newest) -> _Of:
    return one.experiment_id, one.run_id, one.as_of_date
