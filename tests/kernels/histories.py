"""Random histories of arrivals in one bucket: what comes day by day, late, twice, broken, and of whom nobody has heard."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource, TableSource, UnitsSource
from exp_platform.kernels.base import ASIDE, Base, RowCounts
from exp_platform.kernels.in_context import Cleaned
from kernels.cases import TABLE, events_experiment, units_experiment

Raw = dict[str, list[pa.Table]]

FIRST = datetime(2025, 3, 27, tzinfo=UTC)  # the window's first day; Berlin's clocks change on the 30th
_ZONES = ("UTC", "Europe/Berlin", "America/New_York")
_EVENTS = ("view", "order", "purchase", "unread", "other")
_UNITS = UnitsSource(
    replace(TABLE, columns={"user_id": "id", "variant_id": "arm"}),
    {"A": "control", "B": "blue", "C": "amber"},
    ("visit", "spend"),
    ("history",),
    {"tier": "tier"},
)


@dataclass
class History:
    """An experiment, and the raw tables of each arrival with the moment of the run that reads it."""

    experiment: Experiment
    arrivals: list[tuple[datetime, Raw]] = field(default_factory=list)


def history(seed: int) -> History:
    """Some arrivals; of one seed always the same."""
    dice = random.Random(seed)
    zone = dice.choice(_ZONES)
    if dice.random() < 0.15:
        return _of_units(dice, replace(units_experiment("exclude"), source=_UNITS))
    source = EventsSource(
        TABLE,
        TableSource("parquet", "nowhere", {}),
        {"device": "device"},
        dice.choice(["event_id", "event_id", "whole_row", "none"]),
        dice.choice([None, None, None, "after", "before"]),
    )
    made = History(replace(events_experiment(timezone=zone), source=source))
    world = _World(dice, zone, dated=dice.random() < 0.25, users=dice.choice([3, 8, 20]))
    for day in range(dice.randint(3, 6)):
        raw = {
            "exposures": [world.exposures(day) for _ in range(dice.choice([0, 1, 1, 2]))],
            "outcomes": [world.outcomes(day) for _ in range(dice.choice([0, 1, 1, 2]))],
        }
        now = FIRST + timedelta(days=day + dice.choice([-2, 0, 1]))
        made.arrivals.append((now, {name: tables for name, tables in raw.items() if tables}))
    return made


@dataclass
class _World:
    dice: random.Random
    zone: str
    dated: bool  # outcomes are dates
    users: int
    seen: list[tuple[Any, ...]] = field(default_factory=list)
    happened: list[tuple[Any, ...]] = field(default_factory=list)

    def exposures(self, day: int) -> pa.Table:
        """A file of a day: mostly of that day, some of users before, some rows again."""
        rows = []
        for _ in range(self.dice.randint(0, 5)):
            row = (
                self._user(),
                self._one("control", "blue", "amber", "control", "blue", "gone", None, rare=2),
                self._at(day, self.dice.random() < 0.3),
                self._id("x"),
                self.dice.choice(["phone", "desk", None, "N/A"]),
            )
            rows.append(row)
        rows = self._with_repeats(rows, self.seen)
        return self._table("user_id variant_id exposed_at event_id attribute.device", rows)

    def outcomes(self, day: int) -> pa.Table:
        """The same of outcomes; now and then so many of one id that it may be nobody's."""
        rows = []
        for _ in range(self.dice.randint(0, 12)):
            at = self._at(day, self.dice.random() < 0.2, self.dated)
            value = self.dice.choice([None, 1.0, 2.5, -0.25, float("nan")])
            rows.append((self._user(), self._one(*_EVENTS, None, rare=1), at, value, self._id("o")))
        if self.dice.random() < 0.12:
            shared = self.dice.choice(["unknown", "0", "Guest"])
            n = self.dice.choice([20, 49, 50, 60, 400])
            rows += [
                (shared, "view", self._at(day, False, self.dated), None, self._id("p")) for _ in range(n)
            ]
        rows = self._with_repeats(rows, self.happened)
        return self._table("user_id event occurred_at value event_id", rows)

    def _user(self) -> Any:
        strange = self.dice.random()
        if strange < 0.04:
            return self.dice.choice([None, "null", "NaN", ""])
        if strange < 0.1:
            return self.dice.choice(["0", "unknown", "A1", "a1", " 7 "])
        return str(self.dice.randrange(self.users) + 1)

    def _one(self, *values: Any, rare: int) -> Any:
        """One of some values, of which the last ones are rare."""
        return self.dice.choice(values[-rare:] if self.dice.random() < 0.07 else values[:-rare])

    def _id(self, kind: str) -> str | None:
        return None if self.dice.random() < 0.1 else f"{kind}{self.dice.randrange(400)}"

    def _at(self, day: int, any_day: bool, dated: bool = False) -> Any:
        """An instant, a date, or what cannot be read."""
        if self.dice.random() < 0.03:
            return self.dice.choice([None, "soon", "2025-13-01", "null"])
        on = FIRST + timedelta(days=self.dice.choice([-40, -5, -1, 0, 1, 2, 5, 12]) if any_day else day)
        if dated or self.dice.random() < 0.08:
            local = self.dice.random() < 0.8
            return f"{on.date()} 00:00:00" if local else f"{on.date()}T00:00:00Z"
        at = on + timedelta(hours=self.dice.choice([0, 1, 5, 12, 22, 23]), minutes=self.dice.choice([0, 30]))
        return (
            f"{at:%Y-%m-%dT%H:%M:%S}Z"
            if self.dice.random() < 0.8
            else f"{at.astimezone(ZoneInfo(self.zone)):%Y-%m-%d %H:%M:%S}"
        )

    def _instant(self, written: str | None) -> datetime | None:
        try:
            at = datetime.fromisoformat(str(written))
        except ValueError:
            return None
        return (at if at.tzinfo else at.replace(tzinfo=ZoneInfo(self.zone))).astimezone(UTC)

    def _with_repeats(
        self, rows: list[tuple[Any, ...]], before: list[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """Some rows of before once more, mostly as they were; at times with another time or value."""
        for _ in range(self.dice.choice([0, 0, 1, 3]) if before else 0):
            row = list(self.dice.choice(before))
            if self.dice.random() < 0.2:
                row[2] = self._at(self.dice.randrange(6), False)
            if self.dice.random() < 0.1:
                row[3] = self.dice.choice(before)[3]
            rows.append(tuple(row))
        before += rows
        self.dice.shuffle(rows)
        return rows

    def _table(self, names: str, rows: Sequence[tuple[Any, ...]]) -> pa.Table:
        """The types of a file are its own: ids may be numbers, or a dictionary's."""
        columns: dict[str, Any] = {}
        for position, name in enumerate(names.split()):
            found = [row[position] for row in rows]
            columns[name] = pa.array(found, pa.float64() if name == "value" else pa.string())
            if name.endswith("_at") and self.dice.random() < 0.7:
                times = [self._instant(value) for value in found]
                columns[name] = pa.array(times, pa.timestamp("us", "UTC"))
            if name == "user_id" and all(value is not None and value.isdigit() for value in found):
                columns[name] = pa.array([int(value) for value in found], pa.int64())
            if name == "value" and self.dice.random() < 0.2:
                columns[name] = pa.array(
                    [None if v is None else self.dice.choice([f"{v}", "?"]) for v in found], pa.string()
                )
        return pa.table(columns)


def _of_units(dice: random.Random, experiment: Experiment) -> History:
    made = History(experiment)
    rows: list[tuple[Any, ...]] = []
    names = [
        "user_id",
        "variant_id",
        "exposed_at",
        "attribute.tier",
        "outcome.visit",
        "outcome.spend",
        "covariate.history",
    ]
    for day in range(dice.randint(2, 5)):
        new = []
        for _ in range(dice.randint(0, 6)):
            at = FIRST + timedelta(days=dice.randrange(4), hours=dice.choice([0, 12]))
            value = dice.choice([None, "1", "0", "2.5", "?"])
            new.append(
                (
                    str(dice.randrange(40)),
                    dice.choice("ABCX"),
                    at,
                    dice.choice(["x", None]),
                    "1",
                    value,
                    value,
                )
            )
        new += [dice.choice(rows) for _ in range(dice.choice([0, 1, 2]))] if rows else []
        rows += new
        table = pa.table({name: pa.array([row[i] for row in new]) for i, name in enumerate(names)})
        strings = [i for i, name in enumerate(names) if name != "exposed_at"]
        for i in strings:
            table = table.set_column(i, names[i], table[names[i]].cast(pa.string()))
        at = table["exposed_at"].cast(pa.timestamp("us", "UTC"))
        made.arrivals.append(
            (FIRST + timedelta(days=day), {"units": [table.set_column(2, "exposed_at", at)]})
        )
    return made


@dataclass
class Stored:
    """What runs published of the bucket, as tables hold it."""

    tables: dict[str, pa.Table]
    counts: RowCounts
    seen: pa.Table
    footer: dict[str, str]  # of what is known by user, and of the bucket
    read: list[tuple[str, ...]] = field(default_factory=list)  # what was read of `base`

    @staticmethod
    def of(done: Cleaned, experiment: Experiment, now: datetime) -> Stored:
        """After a full refresh."""
        return Stored._of(_tables(done), done, experiment, now)

    def and_(self, done: Cleaned, experiment: Experiment, now: datetime) -> Stored:
        """After an increment."""
        new = _tables(done)
        both = {name: pa.concat_tables([table, new[name]]) for name, table in self.tables.items()}
        if done.aside_anew:
            both[ASIDE] = new[ASIDE]
        return Stored._of(both, done, experiment, now)

    @staticmethod
    def _of(tables: dict[str, pa.Table], done: Cleaned, experiment: Experiment, now: datetime) -> Stored:
        footer = done.seen.footer(experiment) | done.judged.footer(now)
        return Stored(tables, _kept(done.counts, experiment), done.seen.table(), footer)

    @property
    def base(self) -> Base:
        """As an increment reads it."""
        return Base(self.counts, self._read, lambda: (self.seen, self.footer), lambda: self.footer)

    def _read(self, table: str, columns: Sequence[str]) -> pa.Table:
        self.read.append((table, *columns))
        return self.tables[table].select(list(columns))


def _tables(done: Cleaned) -> dict[str, pa.Table]:
    return {"exposures": done.exposures, "outcomes": done.outcomes, ASIDE: done.aside}


def _kept(counts: RowCounts, experiment: Experiment) -> RowCounts:
    return RowCounts.from_json(json.loads(json.dumps(counts.kept(experiment).to_json())))
