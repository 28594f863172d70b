"""Counting, in one bucket's clean rows, what quality judges: assignments, crossovers, order in time, stray rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import UnitsSource
from exp_platform.kernels.coded import Coded, Codes, Mask, codes_in
from exp_platform.kernels.local_days import NO_INSTANT, Ints, LocalDays, by_date, instant, instants
from exp_platform.kernels.matching import Around, Rows, marks_of, matched, rows_around
from exp_platform.kernels.measured import HEAVY_ROWS, Counts, Measured, heaviest, most_frequent
from exp_platform.kernels.sightings import Sightings
from exp_platform.kernels.users import NEVER, Users, first_exposures

_STATES = ("after", "before", "unexposed")


def measure(
    exposures: pa.Table,
    users: Users,
    outcomes: pa.Table,
    exposed: Any,
    counting: Any,
    experiment: Experiment,
    now: datetime,
    before: Sightings,
) -> tuple[Measured, Sightings]:
    """Measure rows of one bucket, nulls in required columns already gone; `now` is when the run began.

    `users` are those of the exposures. `outcomes` still has the rows of users without exposure, those where `exposed` (booleans, a
    row each) is false, and others that are not staged, those where `counting` is false. `before` are further outcomes that were
    judged already, by the ids of all users of both tables, of which `users.codes` are positions. What comes with it are all
    outcomes that are staged, by the ids of the exposed.
    """
    user, staged = codes_in(outcomes["user_id"], before.ids), np.asarray(counting)
    rows = _rows(outcomes, user, ~np.asarray(exposed), users, len(before.ids))
    counts, others = (_counts(rows.where(some), users, experiment) for some in (staged, ~staged))
    marked = before.marked(users, experiment) | marks_of(rows, users, experiment)
    seen = before.and_rows(user[staged], rows.at[staged], counts, users, marked)
    of_each = np.bincount(codes_in(exposures["user_id"], seen.ids), minlength=len(seen.ids))
    size = sizes("exposures", seen.ids, of_each), sizes("outcomes", seen.ids, seen.rows)
    last = latest(now)
    times = Measured(
        future={"outcomes": int((rows.at > last).sum())},
        newest={"outcomes": _newest(np.append(rows.at, before.last), last, experiment)},
    )
    of_exposures = _of_exposures(exposures, users, experiment, now)
    found = Measured.merge_all([of_exposures, times, *size, seen.counts, others])
    kept = seen.where(of_each > 0)
    if isinstance(experiment.source, UnitsSource):  # the outcomes are the users' own rows
        return replace(found, around={}, after={}), kept
    strangers = seen.ids.take(pa.array(_in_order(user[rows.stranger])))
    found = found.merge(matched(marked, strangers, users, experiment))
    return replace(found, around=_with_any(found.around)), kept


def _of_exposures(exposures: pa.Table, users: Users, experiment: Experiment, now: datetime) -> Measured:
    window = experiment.window
    start, end = instant(window.starts_at()), instant(window.cutoff(window.end))
    at, last = instants(exposures["exposed_at"]), latest(now)
    outside = (at < start) | (at >= end)
    crossed = users.crossed_at != NEVER
    names = [variant.id for variant in experiment.variants]
    days = LocalDays.covering(window, start, experiment.last_as_of)
    return Measured(
        future={"exposures": int((at > last).sum())},
        outside={"before": int((at < start).sum()), "after": int((at >= end).sum())},
        unknown_variants=_unknown_variants(exposures.filter(pa.array(~outside)), names),
        users=by_date(users.exposed_on, users.variants, names),
        crossovers=by_date(days.dates(users.crossed_at[crossed]), users.variants[crossed], names),
        newest={"exposures": _newest(at, last, experiment)},
    )


def assigned(exposures: pa.Table, experiment: Experiment) -> Users:
    """The users by whose first exposures outcomes are judged."""
    return first_exposures(exposures, replace(experiment, segments=()), experiment.window.end)


def counts_of(outcomes: pa.Table, ids: Any, users: Users, experiment: Experiment) -> Measured:
    """What outcomes of exposed users count as by these users' first exposures; the users' codes are positions in `ids`."""
    nobody = np.zeros(len(outcomes), dtype=np.bool_)
    user = codes_in(outcomes["user_id"], ids)
    return _counts(_rows(outcomes, user, nobody, users, len(ids)), users, experiment)


def sizes(table: str, ids: Any, rows: Ints) -> Measured:
    """How many rows and users a table has, and who has most rows of those with many; `rows` by id."""
    many = np.flatnonzero(rows >= HEAVY_ROWS)
    heavy = dict(zip(ids.take(pa.array(many)).to_pylist(), rows[many].tolist(), strict=True))
    return Measured(
        rows_out={table: int(rows.sum())},
        users_out={table: int(np.count_nonzero(rows))},
        squared_rows={table: int(np.square(rows).sum())},
        heaviest={table: heaviest(heavy)},
    )


def _rows(outcomes: pa.Table, user: Codes, stranger: Mask, users: Users, ids: int) -> Rows:
    """Outcomes whose users are known by position among so many ids."""
    position = np.full(ids, -1)
    position[users.codes] = np.arange(len(users))
    return Rows(instants(outcomes["occurred_at"]), position[user], stranger, Coded.of(outcomes["event"]))


def _counts(rows: Rows, users: Users, experiment: Experiment) -> Measured:
    """What adds up over outcomes while their users' first exposures stay what they are."""
    around, after = rows_around(rows, users, experiment)
    return Measured(outcomes=_outcomes(rows, users, experiment), around=around, after=after)


def _outcomes(rows: Rows, users: Users, experiment: Experiment) -> dict[str, Counts]:
    start = instant(experiment.window.starts_at())
    days = LocalDays.covering(experiment.window, start, experiment.last_as_of)
    inside = (rows.at >= start) & (rows.at < days.starts[-1])
    # Exposed outside the window only: neither
    state = np.where(rows.stranger, _STATES.index("unexposed"), -1)
    known = rows.user >= 0
    on = days.dates(np.where(inside, rows.at, start))
    on[known] = np.maximum(on[known], users.exposed_on[rows.user[known]])
    state[known] = rows.at[known] < users.exposed_at[rows.user[known]]
    kept = inside & (state >= 0)
    return by_date(on[kept], state[kept], list(_STATES))


def _with_any(around: Around) -> Around:
    """Without what has no rows."""
    kept = {
        variant: {event: counts for event, counts in events.items() if any(counts.values())}
        for variant, events in around.items()
    }
    return {variant: events for variant, events in kept.items() if events}


def _in_order(codes: Codes) -> Codes:
    """Each code once, in the order in which they come."""
    found, first = np.unique(codes, return_index=True)
    return np.asarray(found[np.argsort(first)])


def latest(now: datetime) -> int:
    """What comes after it lies in the future, whatever the clocks."""
    return instant(now + timedelta(days=1))


def _unknown_variants(exposures: pa.Table, names: list[str]) -> Counts:
    found = Coded.distinct(exposures["variant_id"])
    counted = dict(zip(found.values.to_pylist(), found.rows.tolist(), strict=True))
    return most_frequent({value: rows for value, rows in counted.items() if rows and value not in names})


def _newest(moments: Ints, last: int, experiment: Experiment) -> str:
    past = moments[(moments <= last) & (moments != NO_INSTANT)]
    if not len(past):
        return ""
    newest = pa.scalar(int(past.max()), pa.timestamp("us", experiment.window.timezone))
    return str(newest.as_py().date().isoformat())
