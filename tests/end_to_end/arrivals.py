"""Sources that fill night by night, as companies' do: late rows, rows twice, files corrected and deleted; of one seed always the same."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any
from zoneinfo import ZoneInfo

import pyarrow as pa
import pyarrow.parquet as pq

BERLIN = ZoneInfo("Europe/Berlin")
START, DAYS = date(2026, 3, 23), 14  # the clocks change on the 29th
ARMS = ("control", "blue")
AMOUNTS = (0.1, 0.2, 0.3, 0.7, 12.4, 80.05)  # whose sums depend on the order in their last digits
EVENTS = ("view", "order", "wait", "unread")
QUALITY = {
    "max_null_share": 0.5,
    "max_duplicate_share": 0.9,
    "max_row_drop": 1,
}  # judged, but never refused

Row = dict[str, Any]

_INSTANT = pa.timestamp("us", "UTC")
_SCHEMAS = {
    "exposures": pa.schema(
        {"uid": pa.string(), "arm": pa.string(), "ts": _INSTANT, "eid": pa.string(), "device": pa.string()}
    ),
    "outcomes": pa.schema(
        {"uid": pa.string(), "what": pa.string(), "ts": _INSTANT, "amount": pa.float64(), "eid": pa.string()}
    ),
    "units": pa.schema(
        {"uid": pa.string(), "arm": pa.string(), "ts": _INSTANT, "bought": pa.int64(), "spent": pa.float64()}
        | {"before": pa.float64(), "device": pa.string()}
    ),
}


@dataclass(frozen=True)
class Night:
    """A run: as of which days it is made, and why it is to read everything, of several reasons one; none: it adds."""

    days: tuple[date, ...]
    why: tuple[str, ...] = ()


@dataclass
class Arrivals:
    """A folder of exposures and outcomes, or of units, and what has come to it."""

    folder: Path
    dice: random.Random
    users: int = 60
    dated: bool = False  # outcomes know dates alone
    rows: dict[str, dict[str, list[Row]]] = field(default_factory=dict)  # table -> file -> rows
    read: set[tuple[str, str]] = field(default_factory=set)  # files that a run has read
    told: int = 0

    # ---- rows

    def exposure(self, day: int, user: int | None = None) -> Row:
        """One row; of a user's rows nearly all are of one arm."""
        user = self.dice.randrange(self.users) if user is None else user
        strays = self.dice.random() < 0.02
        arm = ARMS[(user + strays) % 2]
        device = ("phone", "desk", None)[user % 3]
        return {"uid": f"user {user}", "arm": arm, "ts": self.at(day), "eid": self.new_id(), "device": device}

    def outcome(self, day: int, user: int | None = None) -> Row:
        """One row, of people who are not exposed too."""
        user = self.dice.randrange(self.users + 10) if user is None else user
        event = self.dice.choice(EVENTS)
        nothing = event == "view" or self.dice.random() < 0.02
        amount = None if nothing else self.dice.choice(AMOUNTS)
        return {
            "uid": f"user {user}",
            "what": event,
            "ts": self.at(day),
            "amount": amount,
            "eid": self.new_id(),
        }

    def unit(self, day: int) -> Row:
        """A user of her own."""
        user = self.new_id()
        spent = None if self.dice.random() < 0.2 else round(self.dice.gammavariate(2, 20), 2)
        return {
            "uid": user,
            "arm": self.dice.choice(ARMS),
            "ts": self.at(day),
            "bought": int(spent is not None),
            "spent": spent,
            "before": round(self.dice.gammavariate(2, 20), 2),
            "device": self.dice.choice(["phone", "desk", None]),
        }

    def at(self, day: int) -> datetime:
        """An instant of a day of the window."""
        midnight = datetime.combine(START, datetime.min.time(), BERLIN).astimezone(UTC)
        return midnight + timedelta(days=day, seconds=self.dice.randrange(86_400))

    def new_id(self) -> str:
        """An event's id."""
        self.told += 1
        return f"e{self.told}"

    def some(self, table: str, n: int) -> list[Row]:
        """Rows that have come."""
        known = [row for rows in self.rows.get(table, {}).values() for row in rows]
        return self.dice.sample(known, min(n, len(known)))

    # ---- files

    def write(self, table: str, name: str, rows: list[Row]) -> None:
        """A Parquet file, new or in the place of one."""
        self.dice.shuffle(rows)
        self.rows.setdefault(table, {})[name] = rows
        path = self.folder / table / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        frame = pa.Table.from_pylist(rows, schema=_SCHEMAS[table])
        if self.dated and table == "outcomes":
            dates = pa.array([row["ts"].astimezone(BERLIN).date() for row in rows], pa.date32())
            frame = frame.set_column(frame.column_names.index("ts"), "ts", dates)
        pq.write_table(frame, path)

    def known(self, table: str) -> str:
        """A file that a run has read."""
        return self.dice.choice(sorted(name for of, name in self.read if of == table))

    def remove(self, table: str, name: str) -> None:
        """A file is gone."""
        del self.rows[table][name]
        (self.folder / table / f"{name}.parquet").unlink()

    def a_day(self, day: int) -> None:
        """The files of a day: mostly of that day, some of before, some rows a second time."""
        exposures = [self.exposure(day) for _ in range(self.dice.randint(4, 16))]
        outcomes = [self.outcome(day) for _ in range(self.dice.randint(30, 90))]
        late = [self.outcome(self.dice.randint(-20, day)) for _ in range(self.dice.choice([0, 5, 40]))]
        self.write("exposures", f"{day:02d}", exposures + self.some("exposures", self.dice.choice([0, 2])))
        self.write(
            "outcomes", f"{day:02d}", outcomes + late + self.some("outcomes", self.dice.choice([0, 8]))
        )


# ---- what may happen beside a day's own files; what it says is why everything has to be read


def nothing_else(a: Arrivals, day: int) -> None:
    """A day as any."""


def exposures_come_late(a: Arrivals, day: int) -> str | None:
    """First exposures move to days before, and users whose outcomes are there already come to be exposed."""
    known = [int(row["uid"].split()[1]) for row in a.some("exposures", 6)]
    users = [*known, *(a.dice.randrange(a.users) for _ in range(4))]
    a.write(
        "exposures", f"late-{day:02d}", [a.exposure(a.dice.randint(0, max(day - 2, 0)), u) for u in users]
    )
    return "exposures came before those by which dates of outcomes were placed" if a.dated else None


def outcomes_come_late(a: Arrivals, day: int) -> None:
    """Of all days so far and of the pre-period."""
    a.write("outcomes", f"a-late-{day:02d}", [a.outcome(a.dice.randint(-16, day)) for _ in range(50)])


def users_cross_over(a: Arrivals, day: int) -> None:
    """Users who were in one arm for days are met in the other one."""
    other = dict(zip(ARMS, reversed(ARMS), strict=True))
    crossed = [
        row | {"arm": other[row["arm"]], "eid": a.new_id(), "ts": a.at(day)} for row in a.some("exposures", 3)
    ]
    a.write("exposures", f"crossed-{day:02d}", crossed)


def a_delivery_comes_again(a: Arrivals, day: int) -> None:
    """All rows of two files under other names."""
    for table in ("exposures", "outcomes"):
        name = a.dice.choice(sorted(a.rows[table]))
        a.write(table, f"again-{day:02d}", list(a.rows[table][name]))


def ids_come_again_later(a: Arrivals, day: int) -> None:
    """Rows that say another thing under an id that is known, at a later time: the first ones stay."""
    again = [row | {"ts": row["ts"] + timedelta(hours=1), "amount": 7.0} for row in a.some("outcomes", 5)]
    a.write("outcomes", f"repeated-{day:02d}", again)


def ids_come_again_earlier(a: Arrivals, day: int) -> str:
    """The published rows would have to go."""
    again = [row | {"ts": row["ts"] - timedelta(hours=1)} for row in a.some("outcomes", 200)]
    a.write("outcomes", f"before-{day:02d}", again)
    return "a row of outcomes came that is earlier than a published one of the same key"


def a_file_is_corrected(a: Arrivals, day: int) -> str:
    """It has other values."""
    table = a.dice.choice(["exposures", "outcomes"])
    name = a.known(table)
    column = {"exposures": "device", "outcomes": "amount"}[table]
    value = {"exposures": "tablet", "outcomes": 11.5}[table]
    a.write(table, name, [row | {column: value} for row in a.rows[table][name]])
    return f"{name}.parquet changed"


def a_file_is_deleted(a: Arrivals, day: int) -> str:
    """Its rows never happened."""
    name = a.known("outcomes")
    a.remove("outcomes", name)
    return f"{name}.parquet is gone"


Happening = Callable[[Arrivals, int], str | None]
HARMLESS: tuple[Happening, ...] = (
    nothing_else,
    exposures_come_late,
    outcomes_come_late,
    users_cross_over,
    a_delivery_comes_again,
)
CHANGES: tuple[Happening, ...] = (a_file_is_corrected, a_file_is_deleted)


def of_events(a: Arrivals, happenings: Sequence[Happening], nights: int) -> Iterator[Night]:
    """Nights in a random order of happenings, each at least once; some are skipped, and some run for other days."""
    order = list(happenings)
    a.dice.shuffle(order)
    a.write("outcomes", "history", [a.outcome(-a.dice.randint(1, 20)) for _ in range(3 * a.users)])
    a.write("exposures", "pilot", [a.exposure(0, user) for user in range(0, a.users, 2)])
    a.a_day(0)
    yield _run(a, (0,), ["nothing was published before"])
    why: list[str] = []
    for day in range(1, nights):
        a.a_day(day)
        happens = order.pop() if order else a.dice.choice(happenings)
        why += [said for said in [happens(a, day)] if said]
        as_of = a.dice.choice(["today"] * 5 + ["nobody runs", "an earlier day", "days at once"])
        if as_of == "nobody runs" and day < nights - 1:
            continue
        days = {"an earlier day": (a.dice.randint(0, day - 1),), "days at once": (max(day - 2, 0), day)}
        yield _run(a, days.get(as_of, (day,)), why)
        why = []


def of_units(a: Arrivals, nights: int) -> Iterator[Night]:
    """A table of users that grows by files, of which one is replaced."""
    replaced = a.dice.randint(2, nights - 1)
    why = ["nothing was published before"]
    for day in range(nights):
        a.write("units", f"{day:02d}", [a.unit(day) for _ in range(40)])
        if day == replaced:
            name = a.known("units")
            a.write("units", name, [row | {"spent": 4.5} for row in a.rows["units"][name]])
            why = [f"{name}.parquet changed"]
        yield _run(a, (day,), why)
        why = []


def _run(a: Arrivals, days: Sequence[int], why: Sequence[str]) -> Night:
    a.read = {(table, name) for table, files in a.rows.items() for name in files}
    return Night(tuple(START + timedelta(days=day) for day in days), tuple(why))
