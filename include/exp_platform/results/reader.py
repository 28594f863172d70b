"""Reading results without a JVM, and never half a run: a row counts only if `decisions` names its run for its day."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import fields
from datetime import date
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError
from pyiceberg.expressions import AlwaysTrue, BooleanExpression
from pyiceberg.table import DataScan, FileScanTask

from exp_platform.aggregates import Aggregates, Block, DailyRow
from exp_platform.analyses.row_codec import of_columns
from exp_platform.analyses.rows import ROW_TYPES, Row
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import METHODS, RESULTS
from exp_platform.config.environment import Environment, load_environment
from exp_platform.errors import DataError
from exp_platform.results.stored import DecidedDay, NewestDecision, StoredDecision
from exp_platform.stats.moments import Moments
from exp_platform.tables.catalog import existing_catalog, refuse_lost, table
from exp_platform.tables.damage import DamagedTableError, is_no_damage, naming_damage, readable
from exp_platform.tables.read_once import rows_once
from exp_platform.tables.scans import newest_files, planned, rows_of
from exp_platform.tables.schemas import RESULT_TABLES, TABLES
from exp_platform.tables.selection import selection

if TYPE_CHECKING:
    import pandas as pd
    import pyarrow as pa

__all__ = ["Results", "StoredDecision"]

RowT = TypeVar("RowT", bound=Row | CheckResult)

ReadT = TypeVar("ReadT")

RACES = 20  # how often a reader starts again because a run superseded what it was reading


class Results:
    """The stored results of an environment. Writes nothing; where nothing is stored, there is nothing to read.

    `as_of` None means all days, except for `latest_decision` and `stored_aggregates`. Rows come in no order. A file that
    cannot be read ends the reading with DamagedTableError; with `skip_damaged` its rows are left out and `unreadable` tells why.
    """

    def __init__(self, environment: Environment | None = None, *, skip_damaged: bool = False) -> None:
        self.environment = environment or load_environment()
        self.skip_damaged = skip_damaged
        self.unreadable: list[str] = []
        self._of_one_state: dict[
            tuple[str, date | None], dict[date, str]
        ] = {}  # what counts, while that is held

    def lenient(self) -> Results:
        """The same results, read with `skip_damaged`; what counts is held for both."""
        other = Results(self.environment, skip_damaged=True)
        other._of_one_state = self._of_one_state
        return other

    def of_one_state(self, experiment_id: str, as_of: date | None, read: Callable[[], ReadT]) -> ReadT:
        """What `read` gives of that day, or of any day, all of it of the runs that count at one moment.

        Which ones these are is read once before and once after; what a new run superseded meanwhile is read again.
        Raises DataError where that happens again and again.
        """
        if self._held(experiment_id, as_of) is not None:
            return read()
        told = len(self.unreadable)
        runs = self.runs(experiment_id, as_of)
        for _ in range(RACES):
            self._of_one_state[experiment_id, as_of] = runs
            try:
                found = read()
            finally:
                del self._of_one_state[experiment_id, as_of]
            before, runs = runs, self.runs(experiment_id, as_of)
            if runs == before:
                return found
            del self.unreadable[told:]  # what was superseded may be gone, which is no damage
        raise DataError(too_busy(experiment_id))

    def _held(self, experiment_id: str, as_of: date | None) -> dict[date, str] | None:
        """as_of date -> the run that counts, where that is held: of all days, or of the one."""
        held = self._of_one_state.get((experiment_id, None))
        return self._of_one_state.get((experiment_id, as_of)) if held is None else held

    def decisions(self, experiment_id: str) -> list[StoredDecision]:
        """The decisions of an experiment, by as_of date."""
        rows = self._scan("decisions", selection({"experiment_id": experiment_id}))
        return sorted((StoredDecision.of(row) for row in rows), key=lambda decision: decision.as_of_date)

    def history(self, experiment_id: str) -> list[DecidedDay]:
        """What was decided of an experiment on each as_of date, by date, without what it rests on."""
        rows = self._scan("decisions", selection({"experiment_id": experiment_id}), DecidedDay.columns())
        return sorted(map(DecidedDay.of, rows), key=lambda decided: decided.as_of_date)

    def latest_decision(self, experiment_id: str, as_of: date | None = None) -> StoredDecision | None:
        """The decision of that day, or of the newest day; None where there is none."""
        where = {"experiment_id": experiment_id}
        if as_of is None:
            rows = self._newest(selection(where))
        else:  # the file with the newest days may have lost this one to another file
            rows = self._scan("decisions", selection(where | {"as_of_date": as_of}))
        return StoredDecision.of(max(rows, key=lambda row: row["as_of_date"])) if rows else None

    def newest_decisions(self) -> dict[str, NewestDecision]:
        """What was decided of every experiment on its newest day."""
        rows = sorted(self._newest(AlwaysTrue(), NewestDecision.COLUMNS), key=lambda row: row["as_of_date"])
        return {row["experiment_id"]: NewestDecision.of(row) for row in rows}

    def definitions(self) -> dict[str, dict[date, dict[str, str]]]:
        """Experiment -> as_of date -> metric -> what it measured in that day's decision, in words; by date."""
        columns = ("experiment_id", "as_of_date", "definitions")
        found: dict[str, dict[date, dict[str, str]]] = {}
        for row in sorted(self._scan("decisions", AlwaysTrue(), columns), key=lambda row: row["as_of_date"]):
            told = json.loads(row["definitions"] or "{}")  # older rows have none
            found.setdefault(row["experiment_id"], {})[row["as_of_date"]] = told
        return found

    def experiments(self) -> list[dict[str, Any]]:
        """What is published: the rows of `experiment_registry`."""
        return sorted(
            self._scan("experiment_registry", AlwaysTrue()), key=lambda row: str(row["experiment_id"])
        )

    def registered(self, experiment_id: str) -> dict[str, Any] | None:
        """The row of `experiment_registry`; None where nothing is published."""
        rows = self._scan("experiment_registry", selection({"experiment_id": experiment_id}))
        return rows[0] if rows else None

    def rows(
        self,
        row_type: type[RowT],
        experiment_id: str,
        as_of: date | None = None,
        *,
        method: str | Sequence[str] | None = None,
    ) -> list[RowT]:
        """The rows of one type that count; `method` keeps those of `analysis_results` of that name, or of those names."""
        where = {} if method is None else {"method": method}
        found = self._rows(row_type.TABLE, experiment_id, as_of, where)
        return [of_columns(row_type, row) for row in found]

    def of_method(self, name: str, experiment_id: str, as_of: date | None = None) -> list[Row]:
        """The rows of one method of an analysis, from whichever table it has. Raises KeyError for an unknown one."""
        table = METHODS[name].table
        method = name if table == RESULTS else None
        return self.rows(ROW_TYPES[table], experiment_id, as_of, method=method)

    def to_arrow(
        self,
        experiment_id: str,
        as_of: date | None = None,
        *,
        table: str = RESULTS,
        method: str | Sequence[str] | None = None,
    ) -> pa.Table:
        """The rows of one result table that count, with its columns; `method` keeps those of that name, or of those names.

        Raises KeyError for a table that holds no results.
        """
        import pyarrow as pa

        if table not in RESULT_TABLES:
            raise KeyError(f"{table!r} holds no results: those are in {', '.join(RESULT_TABLES)}")
        rows = self._rows(table, experiment_id, as_of, {} if method is None else {"method": method})
        return pa.Table.from_pylist(rows, schema=pa.schema(TABLES[table].columns))

    def to_pandas(
        self,
        experiment_id: str,
        as_of: date | None = None,
        *,
        table: str = RESULTS,
        method: str | Sequence[str] | None = None,
    ) -> pd.DataFrame:
        """The same as a data frame, days as dates; needs pandas, which the platform itself does without."""
        return self.to_arrow(experiment_id, as_of, table=table, method=method).to_pandas()

    def daily(self, experiment_id: str, as_of: date | None = None) -> list[DailyRow]:
        """Each metric on each local date, as the newest day (or `as_of`) knows them."""
        if as_of is None:
            decision = self.latest_decision(experiment_id)
            if decision is None:
                return []
            as_of = decision.as_of_date
        rows = self._rows("metric_aggregates_daily", experiment_id, as_of)
        return [of_columns(DailyRow, row) for row in rows]

    def stored_aggregates(self, experiment_id: str, as_of: date) -> Aggregates:
        """The aggregates that the decision of that day rests on. Raises DataError where there is none."""
        return self.of_one_state(experiment_id, as_of, lambda: self._aggregates(experiment_id, as_of))

    def _aggregates(self, experiment_id: str, as_of: date) -> Aggregates:
        decision = self.latest_decision(experiment_id, as_of)
        if decision is None:
            raise DataError(
                f"{experiment_id} has no stored aggregates as of {as_of}: run it once without skipping"
            )
        blocks = self._rows("metric_aggregates_overall", experiment_id, as_of)
        daily = self._rows("metric_aggregates_daily", experiment_id, as_of)
        return Aggregates(
            as_of_date=as_of,
            assigned=decision.users,
            crossovers=decision.crossovers,
            blocks=tuple(_block(row) for row in blocks),
            daily=tuple(of_columns(DailyRow, row) for row in daily),
            caps=decision.caps,
            periods=decision.periods,
            triggered=decision.triggered,
            thresholds=decision.thresholds,
            pooled=decision.pooled,
            too_large=decision.too_large,
            rows=decision.rows,
        )

    def missing_rows(self, stored: StoredDecision) -> dict[str, int]:
        """Table -> how many fewer (negative: more) rows than the run committed there are of this decision's day.

        Empty for a decision of an older version, which does not say how many there were.
        """
        key = {
            "experiment_id": stored.experiment_id,
            "run_id": stored.run_id,
            "as_of_date": stored.as_of_date,
        }
        found = {name: len(self._scan(name, selection(key), _to_count(name))) for name in stored.result_rows}
        return {name: n - found[name] for name, n in stored.result_rows.items() if n != found[name]}

    def _rows(
        self, name: str, experiment_id: str, as_of: date | None, where: dict[str, Any] | None = None
    ) -> list[dict[str, Any]]:
        """Rows of the runs that `decisions` names."""

        def read() -> list[dict[str, Any]]:
            held = self._held(experiment_id, as_of) or {}
            runs = {day: run for day, run in held.items() if as_of in (None, day)}
            if not runs:
                return []
            of_runs = (
                {"run_id": sorted(set(runs.values()))}
                if as_of is None
                else {"run_id": runs[as_of], "as_of_date": as_of}
            )
            key = {"experiment_id": experiment_id, **of_runs, **(where or {})}
            return [r for r in self._scan(name, selection(key)) if runs.get(r["as_of_date"]) == r["run_id"]]

        return self.of_one_state(experiment_id, as_of, read)

    def runs(self, experiment_id: str, as_of: date | None = None) -> dict[date, str]:
        """as_of date -> the run whose rows count for it."""
        key = {"experiment_id": experiment_id} | ({} if as_of is None else {"as_of_date": as_of})
        rows = self._scan("decisions", selection(key), ("as_of_date", "run_id"))
        return {row["as_of_date"]: row["run_id"] for row in rows}

    def _newest(self, where: BooleanExpression, columns: Sequence[str] = ("*",)) -> list[dict[str, Any]]:
        """Rows of `decisions` with those of each experiment's newest day among them."""
        rows = self._scan("decisions", where, columns, newest_files)
        if self.unreadable:  # then the newest that can be read may lie in another file
            rows = self._scan("decisions", where, columns)
        return rows

    def _scan(
        self,
        name: str,
        where: BooleanExpression,
        columns: Sequence[str] = ("*",),
        files: Callable[[DataScan], list[FileScanTask]] = planned,
    ) -> list[dict[str, Any]]:
        catalog: Catalog | None = existing_catalog(self.environment)
        if catalog is None:
            return []
        try:
            stored = table(catalog, name)
            with naming_damage(catalog, name, where):
                there = ("*", *stored.schema().column_names)  # without those that an older table lacks
                chosen = tuple(column for column in columns if column in there)
                scan = stored.scan(row_filter=where, selected_fields=chosen)
                try:
                    which, whole = (repr(where), chosen, files), (repr(where), ("*",), planned)
                    found: list[dict[str, Any]] = rows_once(
                        stored, which, lambda: rows_of(scan, stored.io, files(scan)), among=whole
                    ).to_pylist()
                except Exception as error:
                    if not self.skip_damaged or is_no_damage(error):
                        raise
                    parts, faults = readable(scan, stored.io, files(scan))
                    found = [row for part in parts for row in part.to_pylist()]
                    self._told(f"table {name}: {fault}" for fault in faults)
        except NoSuchTableError:
            refuse_lost(self.environment, [name])
            return []
        except DamagedTableError as error:
            if not self.skip_damaged:
                raise
            self._told([str(error)])
            return []
        # The next run adds columns that a table of an older version of the platform lacks; till then they are null.
        lacking = dict.fromkeys(
            column for column, _ in TABLES[name].columns if found and column not in found[0]
        )
        for row in found:
            row |= lacking
        return found

    def _told(self, faults: Iterable[str]) -> None:
        self.unreadable += [fault for fault in faults if fault not in self.unreadable]


def _to_count(name: str) -> tuple[str, ...]:
    """The columns that are read to count rows: all of those that a report shows, which is what is read next."""
    return ("*",) if name in ROW_TYPES or name == CheckResult.TABLE else ("run_id",)


def _block(row: dict[str, Any]) -> Block:
    columns = tuple(row["columns"])
    k = len(columns)
    moments = Moments(row["n"], np.asarray(row["mean"], float), np.asarray(row["m2"], float).reshape(k, k))
    same: dict[str, Any] = {
        f.name: row.get(f.name) for f in fields(Block) if f.name not in ("columns", "moments")
    }
    return Block(columns=columns, moments=moments, **same)


def too_busy(experiment_id: str) -> str:
    """What a reader says that met a new run each time it read."""
    return f"the results of {experiment_id} were replaced again and again while they were read; try again"
