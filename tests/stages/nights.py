"""One bucket over some nights, and what of it is stored."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, field
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io.pyarrow import PyArrowFileIO

from exp_platform.config.experiment import Experiment
from exp_platform.kernels import stored_days
from exp_platform.kernels.row_account import Exposures, accounts
from exp_platform.kernels.stored_days import origin_key
from exp_platform.kernels.unit_days import events_read, unit_day_rows, unit_days
from exp_platform.kernels.user_values import Snapshot
from exp_platform.kernels.users import first_exposures
from exp_platform.stages.bucket_rows import Bucket, BucketRows, Reading
from exp_platform.tables.files import Writer, read_own
from exp_platform.tables.schemas import arrow_schema
from kernels.cases import Exposure, Outcome, events_experiment, exposures_table, outcomes_table

COLUMNS = ("user_id", "event", "occurred_at", "value")
SPEC = events_experiment()
UNTIL = SPEC.window.end + timedelta(days=4)


@dataclass(frozen=True)
class Files:
    """Files of a bucket in memory, which remember what was read."""

    tables: dict[str, pa.Table]
    read_names: list[str] = field(default_factory=list)

    @property
    def rows(self) -> int:
        return sum(map(len, self.tables.values()))

    @property
    def names(self) -> tuple[str, ...]:
        return tuple(sorted(self.tables))

    def among(self, names: Collection[str]) -> Files | None:
        found = {name: rows for name, rows in self.tables.items() if name in names}
        return Files(found, self.read_names) if found else None

    def read(self, coded: Collection[str] = ()) -> pa.Table:
        self.read_names.extend(self.tables)
        whole = pa.concat_tables(list(self.tables.values()))
        for name in coded:
            at = whole.column_names.index(name)
            whole = whole.set_column(at, name, whole[name].dictionary_encode())
        return whole


class Nights:
    """One bucket over some nights: files that came, and the unit days that the last night stored."""

    def __init__(self, folder: Path, experiment: Experiment = SPEC) -> None:
        self.experiment = experiment
        self.exposures: dict[str, pa.Table] = {}
        self.outcomes: dict[str, pa.Table] = {}
        self.arrivals = 0
        self.stored: tuple[str, ...] = ()
        self.read: list[str] = []  # files of outcomes that the last night read
        self.writer = Writer(PyArrowFileIO(), str(folder), arrow_schema("unit_days"), experiment.id, "r")
        self.until, self.key = UNTIL, origin_key(experiment, "this version")

    def arrive(self, exposures: list[Exposure], outcomes: list[Outcome]) -> None:
        self.arrivals += 1
        if exposures:
            self.exposures[f"e{self.arrivals}"] = exposures_table(exposures)
        if outcomes:
            self.outcomes[f"o{self.arrivals}"] = outcomes_table(outcomes).select(COLUMNS)

    def night(self) -> BucketRows:
        files = Files(dict(self.outcomes))
        bucket: Any = Bucket(0, Files(dict(self.exposures)), files if files.tables else None, self.stored)
        events = tuple(events_read(self.experiment))
        reading = Reading(self.experiment, self.until, self.key, events, self.writer.io, COLUMNS)
        found = reading.rows(bucket)
        self.read = files.read_names
        self.stored = found.store(0, self.experiment, self.writer)
        assert len(self.stored) <= stored_days.FILES
        return found

    def rows(self) -> pa.Table:
        """All rows of the files that are stored."""
        return pa.concat_tables(map(self.rows_of, self.stored))

    def rows_of(self, name: str) -> pa.Table:
        """Those of one, with the columns that a kernel gives."""
        constants = ("experiment_id", "bucket")
        return read_own(self.writer.io, name, [c for c in self.writer.schema.names if c not in constants])[0]

    def as_new(self, as_of: date) -> tuple[pa.Table, Any]:
        """Unit days and accounts of all rows, read at once and up to one date."""
        exposures = pa.concat_tables(self.exposures.values())
        outcomes = (
            pa.concat_tables(self.outcomes.values()) if self.outcomes else outcomes_table([]).select(COLUMNS)
        )
        users = first_exposures(exposures, self.experiment, as_of)
        days = unit_days(users, outcomes, self.experiment, as_of)
        told = accounts(
            Snapshot(users, days, self.experiment, as_of),
            Exposures.of(exposures, users, self.experiment),
            days,
        )
        return unit_day_rows(users, days, self.experiment), told


def check(nights: Nights, found: BucketRows, as_of: date) -> None:
    """The same unit days as of everything, stored once each, and at the as_of date the same accounts as if nothing later had come."""
    wanted, _ = nights.as_new(UNTIL)
    assert listed(unit_day_rows(found.users, found.days, nights.experiment)) == listed(wanted)
    assert listed(nights.rows()) == listed(wanted)
    _, told = nights.as_new(as_of)
    now = Snapshot(found.users, found.days, nights.experiment, as_of)
    seen = Exposures.of(found.exposures, found.users, nights.experiment)
    assert accounts(now, seen, found.days) == told


def listed(rows: pa.Table) -> list[tuple[Any, ...]]:
    rows = rows.drop_columns(["user_number"])  # which depends on the order in which users came
    rows = rows.set_column(rows.column_names.index("value"), "value", pc.round(rows["value"], 9))
    return sorted(tuple(row.values()) for row in rows.to_pylist())
