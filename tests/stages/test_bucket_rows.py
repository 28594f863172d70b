"""Unit days brought forward night after night are those of all rows at once, whatever comes and whenever."""

from __future__ import annotations

import random
from collections.abc import Collection
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc
import pytest
from pyiceberg.io.pyarrow import PyArrowFileIO

from exp_platform.config.experiment import Experiment
from exp_platform.kernels.row_account import Exposures, accounts
from exp_platform.kernels.stored_days import origin_key
from exp_platform.kernels.unit_days import unit_day_rows, unit_days
from exp_platform.kernels.user_values import Snapshot
from exp_platform.kernels.users import first_exposures
from exp_platform.stages.bucket_rows import Bucket, BucketRows, Reading
from exp_platform.tables.files import Writer
from exp_platform.tables.schemas import arrow_schema
from kernels.cases import (
    EVENT_METRICS,
    OTHER_METRICS,
    Exposure,
    Outcome,
    events_experiment,
    exposures_table,
    local,
    outcomes_table,
)

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
        reading = Reading(self.experiment, self.until, self.key, self.writer.io, COLUMNS)
        found = reading.rows(bucket)
        self.read = files.read_names
        self.stored = found.store(0, self.experiment, self.writer)
        return found

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
    """The same unit days as of everything, and at the as_of date the same accounts as if nothing later had come."""
    wanted, _ = nights.as_new(UNTIL)
    assert listed(unit_day_rows(found.users, found.days, nights.experiment)) == listed(wanted)
    _, told = nights.as_new(as_of)
    now = Snapshot(found.users, found.days, nights.experiment, as_of)
    seen = Exposures.of(found.exposures, found.users, nights.experiment)
    assert accounts(now, seen, found.days) == told


def listed(rows: pa.Table) -> list[tuple[Any, ...]]:
    rows = rows.set_column(rows.column_names.index("value"), "value", pc.round(rows["value"], 9))
    return sorted(tuple(row.values()) for row in rows.to_pylist())


def some_exposures(dice: random.Random, day: int) -> list[Exposure]:
    """Mostly of this day; some earlier than what was known, some outside the window, some to a variant that nobody knows."""
    variants = ["control", "blue", "amber", "blue", "retired"]
    return [
        Exposure(
            f"u{dice.randrange(25)}",
            dice.choice(variants),
            local(SPEC, dice.choice([day, day, day, day - 1, 0, -1]), dice.choice([0, 5.5, 12, 23.99])),
        )
        for _ in range(dice.choice([0, 3, 6]))
    ]


def some_outcomes(dice: random.Random, day: int) -> list[Outcome]:
    """Of this day and days before, of users who are known or not, of events that are read or not."""
    return [
        Outcome(
            f"u{dice.randrange(30)}",
            dice.choice(["view", "order", "purchase", "unread"]),
            local(SPEC, dice.choice([day, day, day - 1, day - 3, -2, -30, day + 1]), dice.random() * 24),
            dice.choice([None, dice.random(), 1.0]),
        )
        for _ in range(dice.choice([0, 8, 30]))
    ]


@pytest.mark.parametrize("seed", range(60))
def test_night_after_night_equals_everything_at_once(seed: int, tmp_path: Path) -> None:
    dice = random.Random(seed)
    nights = Nights(tmp_path)
    nights.arrive([Exposure("u0", "blue", local(SPEC, 0, 3))], some_outcomes(dice, 0))
    nights.night()
    for day in range(dice.randint(3, 8)):
        nights.arrive(some_exposures(dice, day), some_outcomes(dice, day))
        if dice.random() < 0.1:  # as maintenance makes few files of many
            nights.outcomes = {f"compacted{day}": pa.concat_tables(nights.outcomes.values())}
        if (
            dice.random() < 0.1 and len(nights.outcomes) > 1
        ):  # as a full refresh does without a corrected file
            del nights.outcomes[dice.choice(sorted(nights.outcomes))]
        check(nights, nights.night(), SPEC.window.start + timedelta(days=day))


def test_a_night_reads_the_new_files_alone(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    nights.arrive([Exposure("u", "blue", local(SPEC, 1, 3))], [Outcome("u", "view", local(SPEC, 1, 4))])
    nights.night()
    assert nights.read == ["o1"]
    nights.arrive([Exposure("v", "blue", local(SPEC, 2, 3))], [Outcome("u", "view", local(SPEC, 2, 4))])
    check(nights, nights.night(), SPEC.window.end)
    assert nights.read == ["o2"]
    stored = nights.stored
    nights.night()
    assert nights.read == []
    assert nights.stored == stored


def test_of_a_moved_user_all_rows_are_read_again(tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    views = [Outcome(user, "view", local(SPEC, 2, 4)) for user in "uv"]
    nights.arrive([Exposure(user, "blue", local(SPEC, 1, 3)) for user in "uv"], views)
    nights.night()
    nights.arrive([Exposure("u", "blue", local(SPEC, 0, 3))], [])
    found = nights.night()
    assert nights.read == ["o1"]
    assert found.days.events["view"].day.tolist() == [2, 1]
    check(nights, found, SPEC.window.end)


@pytest.mark.parametrize(
    "what", ["key", "rows that were later", "gone", "damaged", "no origin", "another column"]
)
def test_what_cannot_be_added_to_is_made_anew(what: str, tmp_path: Path) -> None:
    nights = Nights(tmp_path)
    later = UNTIL - SPEC.window.start + timedelta(days=1)
    came = [Outcome("u", "view", local(SPEC, day, 4)) for day in (1, later.days)]
    nights.arrive([Exposure("u", "blue", local(SPEC, 1, 3))], came if "later" in what else came[:1])
    nights.night()
    assert nights.stored
    stored = Path(nights.stored[0])
    if what == "key":
        nights.key = origin_key(SPEC, "another version")
    elif what == "rows that were later":
        nights.until = UNTIL + timedelta(days=1)
    elif what == "gone":
        stored.unlink()
    elif what == "damaged":
        stored.write_bytes(b"PAR1 nothing of it PAR1")
    else:
        rows = unit_day_rows(nights.night().users, nights.night().days, SPEC)
        nights.stored = (nights.writer.write(0, rows),)
        if what == "another column":
            import pyarrow.parquet as pq

            pq.write_table(rows.rename_columns([*rows.column_names[:-1], "total"]), nights.stored[0])
    nights.arrive([], [Outcome("u", "view", local(SPEC, 3, 4))])
    found = nights.night()
    assert nights.read == ["o1", "o2"]
    assert int(found.days.events["view"].n.sum()) == (3 if "later" in what else 2)


def test_days_of_which_the_table_has_not_all_are_made_of_rows(tmp_path: Path) -> None:
    for metrics in (OTHER_METRICS, (*EVENT_METRICS, *OTHER_METRICS)):
        nights = Nights(tmp_path, replace(SPEC, metrics=metrics))
        outcomes = outcomes_table([Outcome("u", "order", local(SPEC, 1, 4), 1.0, "i")])
        nights.exposures["e"] = exposures_table([Exposure("u", "blue", local(SPEC, 1, 3))])
        nights.outcomes["o"] = outcomes
        for _ in range(2):
            assert nights.night().origin is None
            assert nights.read == ["o"]
