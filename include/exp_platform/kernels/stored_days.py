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

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.kernels.coded import Coded, sorting
from exp_platform.kernels.unit_days import (
    REDUCED,
    EventDays,
    UnitDays,
    Unread,
    events_read,
    horizon,
    measures_read,
)
from exp_platform.kernels.users import Users

COLUMNS = ("user_id", "event", "local_date", "day", "n", "value")
CODED = ("user_id", "event")


@dataclass(frozen=True)
class Origin:
    """What stored unit days are made of: files of exposures and outcomes, and outcomes in them that are in no unit day."""

    key: str  # `origin_key`
    exposures: tuple[str, ...]
    outcomes: tuple[str, ...]
    not_read: int = 0
    too_old: int = 0
    later: int = 0
    others: Mapping[int, int] = field(default_factory=dict)  # local date -> rows of other users

    def is_base_of(self, now: Origin) -> bool:
        """Whether what `now` is made of is all of this and perhaps more. Rows that were too late to be counted may no longer be."""
        return (
            self.key == now.key
            and not self.later
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
        return Origin(
            **made
            | {"exposures": tuple(made["exposures"]), "outcomes": tuple(made["outcomes"]), "others": others}
        )


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
        json.dumps(events_read(experiment)),
    ]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


def unsettled(ids: pa.Array, before: Users, now: Users, base: Origin) -> pa.Array:
    """Those of some users of whom stored rows may count otherwise now: first exposure moved, or they came or went.

    Who came has such rows only where rows of other users are among the stored ones.
    """
    then, at = (pc.index_in(ids, value_set=users.ids).fill_null(-1).to_numpy() for users in (before, now))
    came, both = (then < 0) & (at >= 0), (then >= 0) & (at >= 0)
    moved = (then >= 0) & (at < 0)
    moved[both] = before.exposed_at[then[both]] != now.exposed_at[at[both]]
    return ids.filter(pa.array(moved | came if base.others else moved))


def read_back(
    rows: pa.Table, users: Users, experiment: Experiment, without: pa.Array
) -> dict[str, EventDays]:
    """Stored unit days by event, in no order; `rows` has `COLUMNS`. Those of users `without`, and of no user, are left out."""
    wanted = np.append(~pc.is_in(users.ids, value_set=without).to_numpy(zero_copy_only=False), False)
    user = Coded.of(rows["user_id"]).positions(users.ids)
    names = events_read(experiment)
    event = np.where(wanted[user], Coded.of(rows["event"]).positions(pa.array(names, pa.string())), -1)
    on, day = (np.asarray(rows[name].cast(pa.int32()).to_numpy()) for name in ("local_date", "day"))
    n, value = np.asarray(rows["n"].cast(pa.int32()).to_numpy()), np.asarray(rows["value"].to_numpy())
    found = {}
    for number, name in enumerate(names):
        at = np.flatnonzero(event == number)
        found[name] = EventDays(user[at], on[at], day[at], n[at], value[at])
    return found


def together(parts: Sequence[Mapping[str, EventDays]], users: Users) -> dict[str, EventDays]:
    """The unit days of disjoint rows of the same users as those of all rows, by event and in their order."""
    return {event: _together([part[event] for part in parts], users) for event in parts[0]}


def brought_forward(
    stored: Unread, again_before: Unread, added: UnitDays, rows: Mapping[str, EventDays], users: Users
) -> UnitDays:
    """Stored unit days of settled users and those of all other rows.

    `stored` are the outcomes in no unit day as they were, of which those of rows that were read again are taken off.
    """
    others = Counter(stored.others.tolist())
    others.subtract(again_before.others.tolist())
    others.update(added.unread.others.tolist())
    unread = Unread(
        stored.not_read - again_before.not_read + added.unread.not_read,
        stored.too_old - again_before.too_old + added.unread.too_old,
        added.unread.later,
        _repeated(others),
    )
    return UnitDays(together([rows, added.events], users), unread)


def _together(parts: Sequence[EventDays], users: Users) -> EventDays:
    user, on, day, n, value = (
        np.concatenate([getattr(part, name) for part in parts])
        for name in ("user", "date", "day", "n", "value")
    )
    if not len(user):
        return parts[0]
    first = int(on.min())
    key = (user << int(on.max() - first).bit_length()) | (on - first)
    key <<= 2
    key |= day - (on - users.exposed_on[user]) + 2  # see `unit_days`: one of four
    if not (key[1:] > key[:-1]).all():
        order = sorting(key)
        key, user, on, day, n, value = (column[order] for column in (key, user, on, day, n, value))
        new = np.append(True, key[1:] != key[:-1])
        if not new.all():
            at = np.flatnonzero(new)
            user, on, day = user[at], on[at], day[at]
            n = np.add.reduceat(n, at)
            with np.errstate(over="ignore"):
                value = np.add.reduceat(value, at)
    return EventDays(user, on, day, n, value)


def _repeated(others: Mapping[int, int]) -> NDArray[np.int64]:
    dates = np.array(sorted(others), dtype=np.int64)
    return np.repeat(dates, [others[day] for day in dates.tolist()])
