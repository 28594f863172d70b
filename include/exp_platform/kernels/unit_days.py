"""Unit days: outcomes of one bucket's users reduced to one row per user, event, local date and day since exposure."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import date
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.config.kinds import PICKED, Agg
from exp_platform.config.metrics import Measure
from exp_platform.errors import DataError
from exp_platform.kernels.local_days import DAY, Dates, Ints, LocalDays, instant, instants
from exp_platform.kernels.users import Codes, Users

EXPOSURE = "exposure"  # the event of the one row that every user has

Floats = NDArray[np.float64]

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
    day: Ints  # periods of 24 hours since the user's days began, negative before first exposure, or BETWEEN
    n: Ints  # outcomes
    value: Floats  # sum of their values, or what `UnitDays.reduced` has instead

    def of_first(self, users: int) -> EventDays:
        """The rows of the first so many users."""
        return self.where(slice(0, int(np.searchsorted(self.user, users))))

    def where(self, rows: NDArray[np.bool_] | slice) -> EventDays:
        """Some of the rows."""
        if not isinstance(rows, slice) and rows.all():
            return self
        at = rows if isinstance(rows, slice) else np.flatnonzero(rows)
        return EventDays(self.user[at], self.date[at], self.day[at], self.n[at], self.value[at])


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
    rows, user, event, at, unread = _known(users, outcomes, events, earliest, cutoff, local)
    since = local.dates(at).astype(np.int64) - local.first
    clock, shift = _clocks(users, user, at, since + local.first)
    value = np.asarray(rows["value"].fill_null(0.0).to_numpy(), dtype=np.float64)

    if not np.isfinite(value).all():
        bad = events[event[~np.isfinite(value)][0]]
        raise DataError(
            f"outcomes of event {bad!r} hold values that are NaN or infinite: correct or remove those rows"
        )

    clocks = 1 if users.triggered_at is None else _TRIGGER + 1
    cells = _Cells((len(events), max(len(users), 1), len(local.starts), clocks, _SHIFTS), local.first, users)
    cell = np.ravel_multi_index((event, user, since, clock, shift), cells.shape)
    of_event, days = cells.days(*_grouped(cell, value))
    bounds = np.searchsorted(of_event, np.arange(len(events) + 1))
    found = {e: days.where(slice(bounds[i], bounds[i + 1])) for i, e in enumerate(events)}
    return UnitDays(found, unread, dict(_reduced(experiment, events, event, cell, rows, cells)))


def unit_day_rows(users: Users, days: UnitDays, experiment: Experiment) -> pa.Table:
    """The bucket's rows of table `unit_days`, without the constants experiment_id and bucket.

    They are of all assigned users, crossovers included, under the variant of their first exposure.
    """
    everybody = np.arange(len(users))
    one, nothing = np.ones_like(everybody), np.zeros(len(users))
    exposure = EventDays(everybody, users.exposed_on, np.zeros_like(everybody), one, nothing)
    parts = {EXPOSURE: exposure} | days.events
    user = np.concatenate([part.user for part in parts.values()])
    names = np.repeat(np.arange(len(parts)), [len(part.user) for part in parts.values()])
    variants = pa.array([v.id for v in experiment.variants], pa.string())
    return pa.table(
        {
            "user_id": users.ids.take(pa.array(user)).cast(pa.string()),
            "variant_id": variants.take(pa.array(users.variants[user])),
            "local_date": pa.array(np.concatenate([p.date for p in parts.values()])).cast(pa.date32()),
            "day": _days_or_null(np.concatenate([p.day for p in parts.values()])),
            "event": pa.array(list(parts), pa.string()).take(pa.array(names)),
            "n": np.concatenate([p.n for p in parts.values()]),
            "value": np.concatenate([p.value for p in parts.values()]),
        }
    )


def _days_or_null(day: Ints) -> Any:
    return pa.array(day, mask=day == BETWEEN).cast(pa.int32())


def _clocks(users: Users, user: Codes, at: Ints, on: Ints) -> tuple[Ints, Ints]:
    """What each row's day is counted from, and that day as a shift against the days between local dates."""
    clock = np.zeros(len(at), dtype=np.int64)
    if users.triggered_at is not None:
        clock[at >= users.exposed_at[user]] = _NOTHING
        clock[at >= users.began_at[user]] = _TRIGGER
    from_trigger = clock == _TRIGGER
    origin = np.where(from_trigger, users.began_at[user], users.exposed_at[user])
    origin_on = np.where(from_trigger, users.began_on[user], users.exposed_on[user])
    shift = (at - origin) // DAY - (on - origin_on) + 2
    return clock, shift


@dataclass(frozen=True)
class _Cells:
    """How an event, a user, a local date, what its day is counted from and that day are one number."""

    shape: tuple[int, ...]
    first: int  # local date
    users: Users

    def days(self, cell: Ints, n: Ints, value: Floats) -> tuple[Codes, EventDays]:
        """The events of these cells, by position, and their days."""
        event, user, since, clock, shift = np.unravel_index(cell, self.shape)
        on = since + self.first
        origin = np.where(clock == _TRIGGER, self.users.began_on[user], self.users.exposed_on[user])
        day = np.where(clock == _NOTHING, BETWEEN, on - origin + shift - 2)
        return event, EventDays(user, on.astype(np.int32), day, n, value)


def _reduced(
    experiment: Experiment, events: list[str], event: Codes, cell: Ints, rows: pa.Table, cells: _Cells
) -> Iterator[tuple[tuple[str, Agg], EventDays]]:
    """By event and way the days of all ways that need more of a day than its rows and their sum."""
    for name, agg in sorted({(m.event, m.agg) for m in measures_read(experiment)}):
        if agg in _WAYS:
            mine = event == events.index(name)
            _, days = cells.days(*_WAYS[agg](cell[mine], rows.filter(pa.array(mine))))
            yield (name, agg), days


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
) -> tuple[pa.Table, Codes, Codes, Ints, Unread]:
    """Rows of known users and events between the two instants: the rows, positions of user and event, instants; and the rest."""
    rows = len(outcomes)
    event = _positions(outcomes["event"], pa.array(events, pa.string()))
    wanted = (event >= 0) & outcomes["occurred_at"].is_valid().to_numpy()
    if not wanted.all():
        outcomes, event = outcomes.filter(pa.array(wanted)), event[wanted]
    user = _positions(outcomes["user_id"], users.ids)
    at = instants(outcomes["occurred_at"])
    old, late, other = at < earliest, at >= cutoff, user < 0
    kept = ~(old | late | other)
    unread = Unread(
        not_read=rows - len(outcomes),
        too_old=int(old.sum()),
        later=int(late.sum()),
        others=local.dates(at[other & ~old & ~late]).astype(np.int64),
    )
    if not kept.all():
        outcomes, user, event, at = outcomes.filter(pa.array(kept)), user[kept], event[kept], at[kept]
    return outcomes, user, event, at, unread


def _positions(column: Any, values: Any) -> Codes:
    """Where each entry is in `values`, -1 for any other and for null."""
    found = pc.index_in(column, value_set=values.cast(column.type))
    return np.asarray(found.fill_null(-1).to_numpy(), dtype=np.int64)


def _grouped(key: Ints, value: Floats) -> tuple[Ints, Ints, Floats]:
    """Each key once, ascending, with its number of rows and the sum of its values, for any order of the rows alike."""
    order = _sorting(key)
    first = np.flatnonzero(np.diff(key[order], prepend=-1))
    n = np.diff(first, append=len(order))
    many = np.repeat(n > 2, n)  # two floats add up alike in either order; more are added by size
    rows = order[many]
    if value[rows].any():
        order[many] = rows[np.lexsort((value[rows], key[rows]))]
    value = value[order]
    with np.errstate(over="ignore"):
        total = np.add.reduceat(value, first) if len(first) < len(value) else value
    return key[order[first]], n, total


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


def _sorting(key: Ints) -> Ints:
    """An order of the rows by key. Sorting key and row in one integer is three times as fast as an argsort."""
    bits = len(key).bit_length()
    if int(key.max(initial=0)).bit_length() + bits > 63:
        return np.argsort(key, kind="stable")
    return np.sort(key << bits | np.arange(len(key))) & ((1 << bits) - 1)
