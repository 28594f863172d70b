"""Unit days: outcomes of one bucket's users reduced to one row per user, event, local date and day since exposure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.config.kinds import PICKED, Agg
from exp_platform.config.metrics import Measure
from exp_platform.errors import DataError
from exp_platform.kernels.coded import Coded, Codes, sorting
from exp_platform.kernels.local_days import DAY, NO_INSTANT, Dates, Ints, LocalDays, instant, instants
from exp_platform.kernels.users import Users

EXPOSURE = "exposure"  # the event of the one row that every user has

Floats = NDArray[np.float64]
Days = NDArray[np.int32]

# Day since exposure minus the days between the two local dates is -2, -1, 0 or 1, whatever the zone does.
_SHIFTS = 4
# What a row's day is counted from, in their order: first exposure, nothing (after it and before the trigger), the trigger.
_EXPOSURE, _NOTHING, _TRIGGER = 0, 1, 2
BETWEEN = -(10**6)  # the day of rows after first exposure and before the trigger, which no window has


@dataclass(frozen=True, eq=False)
class EventDays:
    """One event's rows, by user, then date, then day since first exposure. Arrays of shape (rows,)."""

    user: Codes  # position in Users
    date: Dates
    day: Days  # periods of 24 hours since the user's days began, negative before first exposure, or BETWEEN
    n: Days  # outcomes
    value: Floats  # sum of their values, or what `UnitDays.reduced` has instead

    def of_first(self, users: int) -> EventDays:
        """The rows of the first so many users."""
        last = int(np.searchsorted(self.user, users))
        return self if last == len(self.user) else self.between(0, last)

    def between(self, first: int, last: int) -> EventDays:
        """Rows that stand together, not copied."""
        at = slice(first, last)
        return EventDays(self.user[at], self.date[at], self.day[at], self.n[at], self.value[at])

    def where(self, rows: NDArray[np.bool_]) -> EventDays:
        """Some of the rows."""
        return self if rows.all() else self.at(np.flatnonzero(rows))

    def at(self, rows: Codes) -> EventDays:
        """Some of the rows, by position."""
        return _Some(self, rows)


class _Some(EventDays):
    """Some rows of others: each column is looked up when it is read, as most readers need two of them."""

    _others: EventDays
    _at: Codes

    def __init__(self, others: EventDays, at: Codes) -> None:
        if isinstance(others, _Some):
            at = others._at[at]
            others = others._others
        object.__setattr__(self, "_others", others)
        object.__setattr__(self, "_at", at)

    def __getattr__(self, name: str) -> NDArray[Any]:
        if name.startswith("_"):
            raise AttributeError(name)
        column: NDArray[Any] = getattr(self._others, name)[self._at]
        object.__setattr__(self, name, column)
        return column


@dataclass(frozen=True, eq=False)
class Unread:
    """Outcomes that are in no unit day, each counted once."""

    not_read: int = 0  # of other events
    too_old: int = 0  # from before `horizon`
    later: int = 0  # from after the newest as_of date
    others: Ints = field(default_factory=lambda: np.zeros(0, np.int64))  # local dates of other users' rows


@dataclass(frozen=True, eq=False)
class UnitDays:
    """Every event that a metric, covariate or segment of the experiment reads, with its rows; events without rows included.

    `reduced` is for ways to measure that need more of a day than its rows and their sum, by event and way. Of the ways that
    pick a row its `value` is that row's, and days without a value are left out; of `distinct` a day has a row for each
    item, and `value` is the item's number.
    """

    events: dict[str, EventDays]
    unread: Unread = Unread()
    reduced: Mapping[tuple[str, Agg], EventDays] = field(default_factory=dict)

    def of(self, measure: Measure) -> EventDays:
        """The rows that a measure reads."""
        return self.reduced.get((measure.event, measure.agg), self.events[measure.event])

    def __len__(self) -> int:
        return sum(len(rows.user) for rows in self.events.values())


def unit_days(users: Users, outcomes: pa.Table, experiment: Experiment, as_of: date) -> UnitDays:
    """Reduce outcomes up to `as_of` to unit days, the same to the last bit for any order of the rows.

    `outcomes` has user_id, event, occurred_at (UTC), value and, where a measure counts them, item; a null value adds
    nothing but the row counts. Rows of other users or events, and those older than any pre-period, are left out. A sum may
    overflow and is infinite then.
    Raises DataError for a value that is NaN or infinite itself.
    """
    events = events_read(experiment)
    earliest, cutoff = horizon(experiment), instant(experiment.window.cutoff(as_of))
    local = LocalDays.covering(experiment.window, earliest, as_of)
    known, unread = _known(users, outcomes, events, earliest, cutoff, local)
    value = _values(known, outcomes["value"], events)
    clocks = 1 if users.triggered_at is None else _TRIGGER + 1
    cells = _Cells.of(
        (len(events), max(len(users), 1), len(local.starts), clocks, _SHIFTS), local.first, users
    )
    cell = cells.numbers(known, local)
    found, n, total = _grouped(cell, value)
    days = cells.days(found, n, total)
    bounds = np.searchsorted(found, cells.begins(len(events)))
    by_event = {e: days.between(bounds[i], bounds[i + 1]) for i, e in enumerate(events)}
    return UnitDays(by_event, unread, dict(_reduced(experiment, events, known, cell, outcomes, cells)))


def unit_day_rows(users: Users, days: UnitDays, experiment: Experiment) -> pa.Table:
    """The bucket's rows of table `unit_days`, without the constants experiment_id and bucket.

    They are of all assigned users, crossovers included, under the variant of their first exposure.
    """
    return rows_of(with_exposures(users, days), users, experiment)


def with_exposures(users: Users, days: UnitDays) -> dict[str, EventDays]:
    """Unit days by event as their table has them: the first are the exposures of all users."""
    return {EXPOSURE: exposures_of(users, np.arange(len(users)))} | days.events


def exposures_of(users: Users, who: Codes) -> EventDays:
    """The one row of event `exposure` that each of these users has."""
    zero, one = np.zeros(len(who), np.int32), np.ones(len(who), np.int32)
    return EventDays(who, users.exposed_on[who], zero, one, np.zeros(len(who)))


def rows_of(parts: Mapping[str, EventDays], users: Users, experiment: Experiment) -> pa.Table:
    """Rows of table `unit_days` by event, in their order."""
    user = np.concatenate([part.user for part in parts.values()])
    names = np.repeat(np.arange(len(parts), dtype=np.int32), [len(part.user) for part in parts.values()])
    variants = pa.array([v.id for v in experiment.variants], pa.string())
    return pa.table(
        {
            "user_id": _named(user, users.ids.cast(pa.string())),
            "variant_id": _named(users.variants[user], variants),
            "local_date": pa.array(np.concatenate([p.date for p in parts.values()])).cast(pa.date32()),
            "day": _days_or_null(np.concatenate([p.day for p in parts.values()])),
            "event": _named(names, pa.array(list(parts), pa.string())),
            "n": np.concatenate([p.n for p in parts.values()]).astype(np.int64),
            "value": np.concatenate([p.value for p in parts.values()]),
            "user_number": users.codes[user].astype(np.int32),
        }
    )


def _named(codes: NDArray[Any], values: Any) -> Any:
    return pa.DictionaryArray.from_arrays(pa.array(codes.astype(np.int32, copy=False)), values)


def _days_or_null(day: Days) -> Any:
    between = day == BETWEEN
    return pa.array(day, mask=between if between.any() else None)


@dataclass(frozen=True)
class _Known:
    """The outcomes of known users and events between two instants. Arrays of shape (rows,)."""

    rows: Codes | None  # which of the outcomes they are; None: all
    user: Codes
    event: Codes
    at: Ints

    def of(self, column: NDArray[Any]) -> NDArray[Any]:
        """Their part of a column of all outcomes."""
        return column if self.rows is None else column[self.rows]


@dataclass(frozen=True)
class _Cells:
    """How an event, a user, a local date, what its day is counted from and that day are one number: bits beside bits."""

    bits: tuple[int, ...]
    first: int  # local date
    users: Users

    @staticmethod
    def of(sizes: Sequence[int], first: int, users: Users) -> _Cells:
        return _Cells(tuple((size - 1).bit_length() for size in sizes), first, users)

    def begins(self, events: int) -> Ints:
        """Where each event's cells begin, and after the last one's."""
        return np.arange(events + 1) << sum(self.bits[1:])

    def numbers(self, known: _Known, local: LocalDays) -> Ints:
        """Each row's cell."""
        on = local.dates(known.at)
        clock, shift = self._clocks(known.user, known.at, on)
        parts = (known.user, on - self.first, clock, shift)
        cell = known.event.copy()
        for bits, part in zip(self.bits[1:], parts, strict=True):
            cell <<= bits
            if part is not None:
                cell |= part
        return cell

    def days(self, cell: Ints, n: Ints, value: Floats) -> EventDays:
        """The days of these cells, of all events one after another."""
        _, of_user, of_date, of_clock, of_shift = self.bits
        user = (cell >> of_date + of_clock + of_shift) & ((1 << of_user) - 1)
        on = ((cell >> of_clock + of_shift) & ((1 << of_date) - 1)).astype(np.int32)
        on += np.int32(self.first)
        shift = (cell & (_SHIFTS - 1)).astype(np.int32)
        day = on + shift - np.int32(2)
        if of_clock:
            clock = (cell >> of_shift) & ((1 << of_clock) - 1)
            day -= np.where(clock == _TRIGGER, self.users.began_on[user], self.users.exposed_on[user])
            day[clock == _NOTHING] = BETWEEN
        else:
            day -= self.users.exposed_on[user]
        return EventDays(user, on, day, n.astype(np.int32), value)

    def _clocks(self, user: Codes, at: Ints, on: Dates) -> tuple[Ints | None, Ints]:
        """What each row's day is counted from (None: first exposure), and that day as a shift against the days between local dates."""
        users = self.users
        if users.triggered_at is None:
            return None, (at - users.exposed_at[user]) // DAY - (on - users.exposed_on[user]) + 2
        clock = np.zeros(len(at), dtype=np.int64)
        clock[at >= users.exposed_at[user]] = _NOTHING
        clock[at >= users.began_at[user]] = _TRIGGER
        from_trigger = clock == _TRIGGER
        origin = np.where(from_trigger, users.began_at[user], users.exposed_at[user])
        origin_on = np.where(from_trigger, users.began_on[user], users.exposed_on[user])
        return clock, (at - origin) // DAY - (on - origin_on) + 2


def _values(known: _Known, column: Any, events: list[str]) -> Floats:
    """The rows' values, null as 0. Raises DataError where one is NaN or infinite."""
    value = np.asarray(known.of(column.fill_null(0.0).to_numpy()), dtype=np.float64)
    finite = np.isfinite(value)
    if not finite.all():
        bad = events[known.event[~finite][0]]
        raise DataError(
            f"outcomes of event {bad!r} hold values that are NaN or infinite: correct or remove those rows"
        )
    return value


def _reduced(
    experiment: Experiment, events: list[str], known: _Known, cell: Ints, outcomes: pa.Table, cells: _Cells
) -> Iterator[tuple[tuple[str, Agg], EventDays]]:
    """By event and way the days of all ways that need more of a day than its rows and their sum."""
    for name, agg in sorted({(m.event, m.agg) for m in measures_read(experiment)}):
        if agg in _WAYS:
            mine = np.flatnonzero(known.event == events.index(name))
            rows = outcomes.take(pa.array(mine if known.rows is None else known.rows[mine]))
            yield (name, agg), cells.days(*_WAYS[agg](cell[mine], rows))


def measures_read(experiment: Experiment) -> list[Measure]:
    """What metrics, covariates and behavioural segments measure, each as often as it is measured."""
    measures = [m for metric in experiment.metrics for m in metric.measures]
    measures += [c.measure for metric in experiment.metrics for c in metric.covariates]
    return measures + [b.measure for b in experiment.behaviours]


def events_read(experiment: Experiment) -> list[str]:
    """The events that a metric, covariate, behavioural segment or trigger reads, sorted."""
    of_trigger = set() if experiment.trigger is None else {experiment.trigger.event}
    return sorted({m.event for m in measures_read(experiment)} | of_trigger)


def horizon(experiment: Experiment) -> int:
    """The earliest instant that any pre-period can reach."""
    plan = experiment.analyses
    days = max(plan.pre_period_days, plan.days_before) + 1  # one more: local days are not 24 hours
    return instant(experiment.window.starts_at()) - days * DAY


def _known(
    users: Users, outcomes: pa.Table, events: list[str], earliest: int, cutoff: int, local: LocalDays
) -> tuple[_Known, Unread]:
    """The outcomes that are in unit days, and what of the others there is to tell."""
    event, at = (
        Coded.of(outcomes["event"]).positions(pa.array(events, pa.string())),
        instants(outcomes["occurred_at"]),
    )
    user = Coded.of(outcomes["user_id"]).positions(users.ids)
    wanted = event >= 0
    if outcomes["occurred_at"].null_count:
        wanted &= at != NO_INSTANT
    old, late, other = at < earliest, at >= cutoff, user < 0
    kept = wanted & ~(old | late | other)
    unread = Unread(
        not_read=len(outcomes) - int(wanted.sum()),
        too_old=int((old & wanted).sum()),
        later=int((late & wanted).sum()),
        others=local.dates(at[wanted & other & ~old & ~late]).astype(np.int64),
    )
    if kept.all():
        return _Known(None, user, event, at), unread
    rows = np.flatnonzero(kept)
    return _Known(rows, user[rows], event[rows], at[rows]), unread


def _grouped(key: Ints, value: Floats) -> tuple[Ints, Ints, Floats]:
    """Each key once, ascending, with its number of rows and the sum of its values, for any order of the rows alike."""
    order = sorting(key)
    key = key[order]
    first = _starts(key)
    n = np.diff(first, append=len(order))
    if n.max(initial=0) > 2:  # two floats add up alike in either order; more are added by size
        many = np.flatnonzero(np.repeat(n > 2, n))
        rows = order[many]
        if value[rows].any():
            order[many] = rows[np.lexsort((value[rows], key[many]))]
    value = value[order]
    if len(first) == len(value):
        return key, n, value
    with np.errstate(over="ignore"):
        return key[first], n, np.add.reduceat(value, first)


def _starts(key: Ints) -> Ints:
    """Where each value of a sorted key begins."""
    new = np.ones(len(key), dtype=np.bool_)
    np.not_equal(key[1:], key[:-1], out=new[1:])
    return np.flatnonzero(new)


def _picked(key: Ints, rows: pa.Table, agg: Agg) -> tuple[Ints, Ints, Floats]:
    """Each key once, ascending, with its number of rows that have a value and the value of one of them.

    Of values at one instant the first is the smallest and the last the largest.
    """
    there = rows["value"].is_valid().to_numpy()
    key, rows = key[there], rows.filter(pa.array(there))
    value = np.asarray(rows["value"].to_numpy(), dtype=np.float64)
    by = (value, instants(rows["occurred_at"])) if agg in ("first", "last") else (value,)
    order = np.lexsort((*by, key))
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    n = np.diff(first, append=len(order))
    chosen = order[first if agg in ("first", "min") else first + n - 1]
    return key[chosen], n, value[chosen]


def _items(key: Ints, rows: pa.Table) -> tuple[Ints, Ints, Floats]:
    """Each key and item once, ascending, with its number of rows and the item's number; rows without an item are left out."""
    there = rows["item"].is_valid().to_numpy()
    encoded = rows["item"].filter(pa.array(there)).combine_chunks().dictionary_encode()
    items = max(len(encoded.dictionary), 1)
    pair, n = np.unique(key[there] * items + encoded.indices.to_numpy(), return_counts=True)
    return pair // items, n, (pair % items).astype(np.float64)


# Ways to measure whose days are not those of rows and their sums: keys and rows of one event -> keys, numbers of rows, values.
_WAYS: dict[Agg, Callable[[Ints, pa.Table], tuple[Ints, Ints, Floats]]] = {
    "distinct": _items,
    **{agg: partial(_picked, agg=agg) for agg in PICKED},
}
REDUCED = frozenset(_WAYS)
