"""Times that are dates: counted, and put beside times of day by the rule that the spec declares.

A table that knows only dates gives midnights, local ones or (dates that somebody turned into instants) those of UTC. Beside
exposures with a time of day, whatever happened on the day of exposure would then lie before it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment, Window
from exp_platform.config.sources import EventsSource
from exp_platform.kernels.coded import Coded
from exp_platform.kernels.local_days import (
    DAY,
    Dates,
    Ints,
    LocalDays,
    date_number,
    date_of,
    instant,
    instants,
)
from exp_platform.kernels.measured import Counts
from exp_platform.kernels.users import Users, first_exposures

OF_EVENT = "outcomes."  # before an event's name in `Dated.grain`
NO_DATE = np.iinfo(np.int32).min

_HOUR = DAY // 24
_QUARTER = _HOUR // 4  # every zone's days begin at whole quarters of an hour of UTC
# What lies outside is no date
_YEARS = tuple(instant(datetime(year, 1, 1, tzinfo=UTC)) for year in (1900, 3000))


@dataclass(frozen=True)
class Dated:
    """Exposures and outcomes whose dates have an instant by the rule, and how many dates there were.

    `grain` maps `exposures` and, of each event, `outcomes.<event>` to counts: rows, those at local midnight, at midnight
    UTC, and at any other whole hour.
    """

    exposures: pa.Table
    outcomes: pa.Table
    grain: dict[str, Counts]


def with_dates(
    exposures: pa.Table, outcomes: pa.Table, experiment: Experiment, counted: tuple[int, int] = (0, 0)
) -> Dated:
    """Give each dated row of one bucket its instant; other rows, and other sources than events, stay as they are.

    `same_day: after`: an outcome dated d is placed at its user's time of day on d, so its day since exposure is the number
    of calendar days between both dates, 0 on the day of exposure. `before`: just before that, so the day of exposure
    counts for nothing; an exposure that is a date is then the end of its day. Without a rule only outcomes of users
    whose exposure is a date too are placed, as by `after`: it changes nothing but over a change of the clock. As many of the
    first exposures and outcomes as `counted` says are not in the grain. To do it again changes no exposure.
    """
    source, window = experiment.source, experiment.window
    if not isinstance(source, EventsSource):
        return Dated(exposures, outcomes, {})
    seen, happened = _dates(exposures["exposed_at"], window), _dates(outcomes["occurred_at"], window)
    grain = _grain(seen, happened, outcomes["event"], counted)
    rule, dated = source.same_day, happened.dates != NO_DATE
    if rule is not None:
        at = _exposed(seen, window, rule)
        exposures = _replaced(exposures, "exposed_at", at)
    if dated.any():
        users = first_exposures(exposures, replace(experiment, segments=()), window.end)
        outcomes = _replaced(
            outcomes, "occurred_at", _occurred(happened, outcomes["user_id"], users, window, rule)
        )
    return Dated(exposures, outcomes, grain)


def shifted(outcomes: pa.Table, before: Users, now: Users, experiment: Experiment) -> bool:
    """Whether among outcomes that were placed by users' exposures there are dates that other exposures place elsewhere."""
    source, window = experiment.source, experiment.window
    if not isinstance(source, EventsSource) or not len(outcomes):
        return False
    found = _as_they_came(outcomes, before, window, source.same_day)
    return bool((_occurred(found, outcomes["user_id"], now, window, source.same_day) != found.at).any())


def later(
    new: pa.Table, known: pa.Table, users: Users, grain: Mapping[str, Counts], experiment: Experiment
) -> tuple[NDArray[np.bool_], NDArray[np.bool_]]:
    """Of pairs of a new row and one that `users` placed: which came with the same time, and of which the new one's is later.

    `grain` is what was counted of the known rows' table. A pair is neither where that cannot be told of a date that was placed.
    """
    source, window = experiment.source, experiment.window
    column = "exposed_at" if "exposed_at" in new.column_names else "occurred_at"
    at, there = instants(new[column]), instants(known[column])
    rule = source.same_day if isinstance(source, EventsSource) else None
    if not isinstance(source, EventsSource) or (rule is None and column == "exposed_at"):
        return at == there, at > there
    times = _dates(new[column], window)
    if column == "occurred_at":
        stands = _occurred(times, new["user_id"], users, window, rule)
        placed = _as_they_came(known, users, window, rule).dates != NO_DATE
    else:
        stands = _exposed(times, window, str(rule))
        midnights = pa.array(there + (rule == "before")).cast(pa.timestamp("us", "UTC"))
        placed = _dates(pa.chunked_array([midnights]), window).dates != NO_DATE
    utc, one_kind = (
        at % DAY == 0,
        {kind: not sum(n[kind] for n in grain.values()) for kind in ("local", "utc")},
    )
    # A date that was placed came as a local midnight or as one of UTC: of both only where all came alike
    alike = (times.local & utc) | np.where(times.local, one_kind["utc"], one_kind["local"])
    dated = times.dates != NO_DATE
    return (stands == there) & np.where(dated, alike, ~placed), (at > there) & ~dated & ~placed


def _as_they_came(outcomes: pa.Table, users: Users, window: Window, rule: str | None) -> _Times:
    """Times with the dates of those that users' exposures placed: a row that stands just there is taken for a date."""
    found = _dates(outcomes["occurred_at"], window)
    if not len(found.at):
        return found
    last = date_of(int(found.at.max()) // DAY + 1)
    days = LocalDays.covering(window, int(found.at.min()), last).dates(found.at)
    placed = _placed(Coded.of(outcomes["user_id"]).positions(users.ids), users, window, rule)
    there = _occurred(replace(found, dates=days), outcomes["user_id"], users, window, rule) == found.at
    return replace(found, dates=np.where(placed, np.where(there, days, NO_DATE), found.dates))


@dataclass(frozen=True, eq=False)
class _Times:
    """Instants, and the date of each that is one: of a local midnight, else of a midnight of UTC."""

    at: Ints
    dates: Dates
    local: NDArray[np.bool_]  # at local midnight


def _dates(column: Any, window: Window) -> _Times:
    at = instants(column)
    dates = np.full(len(at), NO_DATE, dtype=np.int32)
    local = np.zeros(len(at), dtype=np.bool_)
    likely = np.flatnonzero((at % _QUARTER == 0) & (at >= _YEARS[0]) & (at < _YEARS[1]))
    values, position = np.unique(at[likely], return_inverse=True)
    found = np.array([_midnight_of(value, window) for value in values.tolist()], dtype=np.int32)[position]
    local[likely] = found != NO_DATE
    # Of local dates both may be true: local ones win
    dates[likely] = np.where((found == NO_DATE) & (at[likely] % DAY == 0), at[likely] // DAY, found)
    return _Times(at, dates, local)


def _midnight_of(moment: int, window: Window) -> int:
    """The local date that begins at this instant, or NO_DATE."""
    utc = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=moment)
    day = utc.astimezone(window.starts_at().tzinfo).date()
    return date_number(day) if instant(window.cutoff(day - timedelta(days=1))) == moment else NO_DATE


def _grain(seen: _Times, happened: _Times, events: Any, counted: tuple[int, int]) -> dict[str, Counts]:
    encoded = Coded.distinct(events.slice(counted[1]))
    code, names = encoded.codes, encoded.values.to_pylist()
    kinds = {"exposures": _kinds(seen, counted[0])}
    grain = {name: {kind: int(rows.sum()) for kind, rows in found.items()} for name, found in kinds.items()}
    by_event = {
        kind: np.bincount(code[rows], minlength=len(names)).tolist()
        for kind, rows in _kinds(happened, counted[1]).items()
    }
    return grain | {
        OF_EVENT + name: {kind: rows[position] for kind, rows in by_event.items()}
        for position, name in enumerate(names)
        if by_event["rows"][position]
    }


def _kinds(times: _Times, first: int) -> dict[str, NDArray[np.bool_]]:
    at = times.at[first:]
    return {
        "rows": np.ones(len(at), dtype=np.bool_),
        "local": times.local[first:],
        "utc": at % DAY == 0,
        "hours": at % _HOUR == 0,
    }


def _exposed(times: _Times, window: Window, rule: str) -> Ints:
    """Dates of exposure: the beginning of the local day, or its end where the day itself shall not count."""
    dated = times.dates != NO_DATE
    at = times.at.copy()
    days = times.dates[dated]
    at[dated] = _starts(days, window) if rule == "after" else _starts(days + 1, window) - 1
    return at


def _occurred(times: _Times, user_id: Any, users: Users, window: Window, rule: str | None) -> Ints:
    at = times.at.copy()
    if rule is not None:  # dates of users without exposure too: they are told by local dates
        dated = times.dates != NO_DATE
        at[dated] = _starts(times.dates[dated], window)
    user = Coded.of(user_id).positions(users.ids)
    placed = np.flatnonzero((times.dates != NO_DATE) & _placed(user, users, window, rule))
    days, who = times.dates[placed].astype(np.int64), user[placed]
    wanted = users.exposed_at[who] + (days - users.exposed_on[who]) * DAY - (rule == "before")
    at[placed] = np.clip(wanted, _starts(days, window), _starts(days + 1, window) - 1)
    return at


def _placed(user: NDArray[np.int64], users: Users, window: Window, rule: str | None) -> NDArray[np.bool_]:
    """Whose dates are placed by their exposure."""
    if rule is not None or not len(users):
        return user >= 0
    on_midnight = users.exposed_at == _starts(users.exposed_on, window)
    return np.asarray((user >= 0) & on_midnight[user])


def _starts(days: Any, window: Window) -> Ints:
    """The first instant of each local date."""
    values, position = np.unique(days, return_inverse=True)
    starts = [instant(window.cutoff(date_of(day - 1))) for day in values.tolist()]
    return np.array(starts, dtype=np.int64)[position]


def _replaced(table: pa.Table, column: str, at: Ints) -> pa.Table:
    values = pa.chunked_array([pa.array(at).cast(pa.timestamp("us", "UTC"))])
    return table.set_column(table.column_names.index(column), column, values)
