"""Times that are dates: counted, and put beside times of day by the rule that the spec declares.

A table that knows only dates gives midnights, local ones or (dates that somebody turned into instants) those of UTC. Beside
exposures with a time of day, whatever happened on the day of exposure would then lie before it.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment, Window
from exp_platform.config.sources import EventsSource
from exp_platform.kernels.local_days import DAY, Dates, Ints, date_number, date_of, instant, instants
from exp_platform.kernels.measured import Counts
from exp_platform.kernels.unit_days import events_read
from exp_platform.kernels.users import Users, first_exposures

NO_DATE = np.iinfo(np.int32).min

_HOUR = DAY // 24
_QUARTER = _HOUR // 4  # every zone's days begin at whole quarters of an hour of UTC
# What lies outside is no date
_YEARS = tuple(instant(datetime(year, 1, 1, tzinfo=UTC)) for year in (1900, 3000))


@dataclass(frozen=True)
class Dated:
    """Exposures and outcomes whose dates have an instant by the rule, and how many dates there were.

    `grain` maps `exposures` and, of each event that is read, `outcomes.<event>` to counts: rows, those at local midnight,
    at midnight UTC, and at any other whole hour.
    """

    exposures: pa.Table
    outcomes: pa.Table
    grain: dict[str, Counts]


def with_dates(exposures: pa.Table, outcomes: pa.Table, experiment: Experiment) -> Dated:
    """Give each dated row of one bucket its instant; other rows, and other sources than events, stay as they are.

    `same_day: after`: an outcome dated d is placed at its user's time of day on d, so its day since exposure is the number
    of calendar days between both dates, 0 on the day of exposure. `before`: just before that, so the day of exposure
    counts for nothing; an exposure that is a date is then the end of its day. Without a rule only outcomes of users
    whose exposure is a date too are placed, as by `after`: it changes nothing but over a change of the clock.
    """
    source, window = experiment.source, experiment.window
    if not isinstance(source, EventsSource):
        return Dated(exposures, outcomes, {})
    seen, happened = _dates(exposures["exposed_at"], window), _dates(outcomes["occurred_at"], window)
    grain = {"exposures": _counts(seen)}
    for event in events_read(experiment):
        grain[f"outcomes.{event}"] = _counts(happened, np.asarray(pc.equal(outcomes["event"], event)))
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


def _counts(times: _Times, rows: NDArray[np.bool_] | None = None) -> Counts:
    at, local = (times.at, times.local) if rows is None else (times.at[rows], times.local[rows])
    utc = at % DAY == 0
    return {
        "rows": len(at),
        "local": int(local.sum()),
        "utc": int(utc.sum()),
        "hours": int((at % _HOUR == 0).sum()),
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
    user = np.asarray(pc.index_in(user_id, value_set=users.ids).fill_null(-1).to_numpy(), dtype=np.int64)
    placed = np.flatnonzero((times.dates != NO_DATE) & (user >= 0))
    if rule is None and len(placed):
        exposed_on_midnight = users.exposed_at == _starts(users.exposed_on, window)
        placed = placed[exposed_on_midnight[user[placed]]]
    days, who = times.dates[placed].astype(np.int64), user[placed]
    wanted = users.exposed_at[who] + (days - users.exposed_on[who]) * DAY - (rule == "before")
    at[placed] = np.clip(wanted, _starts(days, window), _starts(days + 1, window) - 1)
    return at


def _starts(days: Any, window: Window) -> Ints:
    """The first instant of each local date."""
    values, position = np.unique(days, return_inverse=True)
    starts = [instant(window.cutoff(date_of(day - 1))) for day in values.tolist()]
    return np.array(starts, dtype=np.int64)[position]


def _replaced(table: pa.Table, column: str, at: Ints) -> pa.Table:
    values = pa.chunked_array([pa.array(at).cast(pa.timestamp("us", "UTC"))])
    return table.set_column(table.column_names.index(column), column, values)
