"""Unit days as their table has them: read back, and brought forward by rows that came since.

A user's unit days add up over rows for as long as the user's first exposure stays what it was. So stored ones and those of new
rows together are what all rows would give, but for the rounding of a sum of more than two values.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from itertools import pairwise

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.kernels.coded import Coded, Codes, positions
from exp_platform.kernels.hashing import hashes
from exp_platform.kernels.local_days import Ints
from exp_platform.kernels.unit_days import (
    EXPOSURE,
    REDUCED,
    EventDays,
    UnitDays,
    Unread,
    events_read,
    exposures_of,
    horizon,
    measures_read,
)
from exp_platform.kernels.users import Users

COLUMNS = ("user_number", "event", "local_date", "day", "n", "value")
CODED = ("event",)

FILES = 8  # of a bucket at most: each costs its opening
SMALL = 100_000  # rows that are written anew, in 30 ms, sooner than left beside others
RECENT_DAYS = 3  # so many of the newest dates are where rows that come late belong

_DATE_BITS = 20  # a date's number is far below


@dataclass(frozen=True)
class Roster:
    """The different ids of a bucket's exposures in the order in which these have them: unit days say by their places whose they are.

    Exposures that come later add to its end. Whether it is still the same is told by its hash, whatever may have changed an order.
    """

    users: int = 0
    digest: str = ""

    @staticmethod
    def of(ids: pa.Array) -> Roster:
        """Of all ids."""
        digest = hashlib.blake2b(hashes(ids).tobytes(), digest_size=16)
        return Roster(len(ids), digest.hexdigest())

    def begins(self, ids: pa.Array) -> bool:
        """Whether these ids begin with those that it was made of."""
        return self.users <= len(ids) and Roster.of(ids.slice(0, self.users)) == self


@dataclass(frozen=True)
class Origin:
    """What stored unit days are made of: files of exposures and outcomes, and outcomes in them that are in no unit day."""

    key: str  # `origin_key`
    events: tuple[str, ...]  # that were read
    exposures: tuple[str, ...]
    outcomes: tuple[str, ...]
    not_read: int = 0
    too_old: int = 0
    later: int = 0
    others: Mapping[int, int] = field(default_factory=dict)  # local date -> rows of other users
    beside: tuple[str, ...] = ()  # the files that hold the rest of the unit days
    roster: Roster = Roster()

    def is_base_of(self, now: Origin) -> bool:
        """Whether what `now` is made of is all of this and perhaps more. Rows that were too late to be counted may no longer be."""
        return (
            self.key == now.key
            and not self.later
            and {*self.events} <= {*now.events}
            and {*self.exposures} <= {*now.exposures}
            and {*self.outcomes} <= {*now.outcomes}
        )

    def with_unread(self, unread: Unread) -> Origin:
        """The same files with these outcomes."""
        dates, rows = np.unique(unread.others, return_counts=True)
        others = dict(zip(dates.tolist(), rows.tolist(), strict=True))
        return replace(
            self, not_read=unread.not_read, too_old=unread.too_old, later=unread.later, others=others
        )

    @property
    def unread(self) -> Unread:
        """The outcomes that are in no unit day."""
        return Unread(self.not_read, self.too_old, self.later, _repeated(self.others))

    def to_json(self) -> str:
        """As a file's footer has it."""
        return json.dumps(asdict(self))

    @staticmethod
    def from_json(text: str) -> Origin:
        """The inverse."""
        made = json.loads(text)
        others = {int(day): rows for day, rows in made["others"].items()}
        files = {name: tuple(made.get(name, ())) for name in ("events", "exposures", "outcomes", "beside")}
        return Origin(**made | files | {"others": others, "roster": Roster(**made.get("roster", {}))})


def can_be_stored(experiment: Experiment) -> bool:
    """Whether the table has all that is to know of unit days: not of a trigger, nor of ways that need a day's rows."""
    return experiment.trigger is None and not any(m.agg in REDUCED for m in measures_read(experiment))


def origin_key(experiment: Experiment, code: str) -> str:
    """A hash of all besides rows that stored unit days depend on; `code` is the version that makes them."""
    window = experiment.window
    parts = [
        code,
        *map(str, (window.start, window.end, window.timezone, horizon(experiment))),
        json.dumps([variant.id for variant in experiment.variants]),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def unsettled(ids: pa.Array, before: Users, now: Users, base: Origin) -> pa.Array:
    """Those of some users of whom stored rows may say something else now: first exposure moved, or they came or went.

    Who came has such rows only where rows of other users are among the stored ones.
    """
    then, at = (positions(ids, users.ids) for users in (before, now))
    came, both = (then < 0) & (at >= 0), (then >= 0) & (at >= 0)
    moved = (then >= 0) & (at < 0)
    was, is_now = then[both], at[both]
    moved[both] = before.exposed_at[was] != now.exposed_at[is_now]
    moved[both] |= before.variants[was] != now.variants[is_now]
    return ids.filter(pa.array(moved | came if base.others else moved))


def read_back(
    files: Sequence[pa.Table], users: Users, experiment: Experiment, without: pa.Array
) -> list[dict[str, EventDays]]:
    """The unit days of each file by event, exposures first; `files` have `COLUMNS`. Those of users `without`, and of no user, are left out.

    The users' codes are places in a roster that begins with that of the files.
    """
    wanted = np.append(~pc.is_in(users.ids, value_set=without).to_numpy(zero_copy_only=False), False)
    names = [EXPOSURE, *events_read(experiment)]
    numbers = [np.asarray(rows["user_number"].to_numpy()) for rows in files]
    last = max(int(of_users.max(initial=-1)) for of_users in (users.codes, *numbers))
    at = np.full(last + 1, -1)
    at[users.codes] = np.arange(len(users))
    pairs = zip(files, numbers, strict=True)
    return [_by_event(rows, at[of_rows], wanted, names) for rows, of_rows in pairs]


def _by_event(
    rows: pa.Table, user: Codes, wanted: NDArray[np.bool_], names: Sequence[str]
) -> dict[str, EventDays]:
    event = Coded.of(rows["event"]).positions(pa.array(names, pa.string()))
    on, day, n = (np.asarray(rows[name].cast(pa.int32()).to_numpy()) for name in ("local_date", "day", "n"))
    days = EventDays(user, on, day, n, np.asarray(rows["value"].to_numpy()))
    kept = wanted[user] & (event >= 0)
    if not kept.all():
        days, event = days.where(kept), event[kept]
    if not (event[1:] >= event[:-1]).all():
        order = np.argsort(event, kind="stable")
        days, event = days.at(order), event[order]
    ends = np.searchsorted(event, np.arange(len(names) + 1))
    return {
        name: days.between(first, last) for name, (first, last) in zip(names, pairwise(ends), strict=True)
    }


def arranged(
    files: Sequence[pa.Table],
    parts: Sequence[Mapping[str, EventDays]],
    added: Mapping[str, EventDays],
    users: Users,
) -> tuple[list[int], Sequence[Mapping[str, EventDays]]]:
    """Which files stand, and what goes into new ones beside them, so that no user's day is in two; `parts`: see `read_back`.

    A file stands that has nothing but what is so still, and is not small. Where another one changed, rows come late: the
    newest days go into a file of their own, the last, for the next ones to change. Files that would be too many become one.
    """
    large = [number for number, file in enumerate(files) if len(file) >= SMALL]
    stand = [n for n in large if _is_so_still(files[n], parts[n], added, users)]
    late = len(stand) < len(large)
    if len(stand) == len(files) and not rows_in(added):  # the newest must say what all are of
        stand.remove(min(stand, key=lambda number: len(files[number])))
    new = together([*(part for n, part in enumerate(parts) if n not in stand), added], users)
    apart = by_age(new) if late else [new]
    if len(stand) + len(apart) > FILES:
        return [], [together([*parts, added], users)]
    return stand, apart


def by_age(days: Mapping[str, EventDays]) -> list[Mapping[str, EventDays]]:
    """Unit days in two where they are many: those of before, and those of the newest dates."""
    if rows_in(days) < SMALL:
        return [days]
    newest = max(int(part.date.max(initial=0)) for part in days.values())
    old = {event: part.date <= newest - RECENT_DAYS for event, part in days.items()}
    parts = [{e: part.where(old[e] == is_old) for e, part in days.items()} for is_old in (True, False)]
    return [part for part in parts if rows_in(part)]


def rows_in(days: Mapping[str, EventDays]) -> int:
    """How many rows unit days by event have together."""
    return sum(len(part.user) for part in days.values())


def together(parts: Sequence[Mapping[str, EventDays]], users: Users) -> dict[str, EventDays]:
    """The unit days of disjoint rows of the same users as those of all rows, by event and in their order."""
    return {event: _together([part[event] for part in parts], users) for event in parts[0]}


def unread_now(stored: Unread, again_before: Unread, added: Unread) -> Unread:
    """The outcomes in no unit day: those that were, without those of rows that were read again, and what was read."""
    others = Counter(stored.others.tolist())
    others.subtract(again_before.others.tolist())
    others.update(added.others.tolist())
    return Unread(
        stored.not_read - again_before.not_read + added.not_read,
        stored.too_old - again_before.too_old + added.too_old,
        added.later,
        _repeated(others),
    )


def added_to(
    stored: Sequence[Mapping[str, EventDays]], added: UnitDays, users: Users
) -> dict[str, EventDays]:
    """The days `added` and the exposures of users who have none among those that are stored."""
    without = np.ones(len(users), dtype=np.bool_)
    for part in stored:
        without[part[EXPOSURE].user] = False
    return {EXPOSURE: exposures_of(users, np.flatnonzero(without))} | added.events


def _together(parts: Sequence[EventDays], users: Users) -> EventDays:
    there = [part for part in parts if len(part.user)]
    if len(there) < 2:
        return there[0] if there else parts[0]
    key = np.concatenate([_cells(part, users) for part in there])
    columns = [
        np.concatenate([getattr(part, c) for part in there]) for c in ("user", "date", "day", "n", "value")
    ]
    order = np.argsort(key, kind="stable")  # which merges what is in order: each part is
    key = key[order]
    user, on, day, n, value = (column[order] for column in columns)
    new = np.append(True, key[1:] != key[:-1])
    if not new.all():
        at = np.flatnonzero(new)
        user, on, day = user[at], on[at], day[at]
        n = np.add.reduceat(n, at)
        with np.errstate(over="ignore"):
            value = np.add.reduceat(value, at)
    return EventDays(user, on, day, n, value)


def _cells(days: EventDays, users: Users) -> Ints:
    """A number of each row's user, date and day, which ascends as the rows do."""
    key = (days.user << _DATE_BITS) + days.date
    key <<= 2
    key += days.day - (days.date - users.exposed_on[days.user]) + 2  # see `unit_days`: one of four
    return key


def _is_so_still(
    file: pa.Table, part: Mapping[str, EventDays], added: Mapping[str, EventDays], users: Users
) -> bool:
    return rows_in(part) == len(file) and all(_apart(part[e], days, users) for e, days in added.items())


def _apart(some: EventDays, others: EventDays, users: Users) -> bool:
    """Whether no cell is among both."""
    if not len(some.user) or not len(others.user):
        return True
    mine, theirs = _cells(some, users), _cells(others, users)
    at = np.searchsorted(mine, theirs)
    at[at == len(mine)] -= 1
    return bool((mine[at] != theirs).all() and (mine[1:] > mine[:-1]).all())


def _repeated(others: Mapping[int, int]) -> NDArray[np.int64]:
    dates = np.array(sorted(others), dtype=np.int64)
    return np.repeat(dates, [others[day] for day in dates.tolist()])
