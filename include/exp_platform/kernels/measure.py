"""Counting, in one bucket's clean rows, what quality judges: assignments, crossovers, order in time, stray rows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import UnitsSource
from exp_platform.kernels.coded import Coded
from exp_platform.kernels.local_days import Ints, LocalDays, by_date, instant, instants
from exp_platform.kernels.matching import Matched, matched
from exp_platform.kernels.measured import HEAVY_ROWS, Counts, Measured, heaviest, most_frequent
from exp_platform.kernels.users import NEVER, Users, first_exposures

_STATES = ("after", "before", "unexposed")


def measure(
    exposures: pa.Table, outcomes: pa.Table, exposed: Any, experiment: Experiment, now: datetime
) -> Measured:
    """Measure staged rows of one bucket, nulls in required columns already gone; `now` is when the run began.

    `outcomes` still has the rows of users without exposure: those where `exposed` (booleans, a row each) is false.
    """
    window = experiment.window
    start, end = instant(window.starts_at()), instant(window.cutoff(window.end))
    users = first_exposures(exposures, replace(experiment, segments=()), window.end)
    days = LocalDays.covering(window, start, experiment.last_as_of)
    exposed_at, occurred_at = instants(exposures["exposed_at"]), instants(outcomes["occurred_at"])
    outside = (exposed_at < start) | (exposed_at >= end)
    crossed = users.crossed_at != NEVER
    names = [variant.id for variant in experiment.variants]
    latest = instant(now + timedelta(days=1))
    ids = Coded.distinct(outcomes["user_id"])
    user = ids.positions(users.ids)
    stranger = ~np.asarray(exposed)
    found = (
        Matched()  # the outcomes are the users' own rows
        if isinstance(experiment.source, UnitsSource)
        else matched(ids, Coded.of(outcomes["event"]), occurred_at, user, stranger, users, experiment)
    )
    return Measured(
        future={"exposures": int((exposed_at > latest).sum()), "outcomes": int((occurred_at > latest).sum())},
        outside={"before": int((exposed_at < start).sum()), "after": int((exposed_at >= end).sum())},
        unknown_variants=_unknown_variants(exposures.filter(pa.array(~outside)), names),
        users=by_date(users.exposed_on, users.variants, names),
        crossovers=by_date(days.dates(users.crossed_at[crossed]), users.variants[crossed], names),
        outcomes=_outcomes(user, occurred_at, stranger, users, days, start),
        **vars(found),
        newest={
            "exposures": _newest(exposed_at, latest, experiment),
            "outcomes": _newest(occurred_at, latest, experiment),
        },
    )


def sizes(staged: Mapping[str, pa.Table]) -> Measured:
    """Rows and users of the staged tables, and who has most rows of those with many."""
    ids = {table: Coded.distinct(found["user_id"]) for table, found in staged.items()}
    rows = {table: users.rows for table, users in ids.items()}
    return Measured(
        rows_out={table: len(found) for table, found in staged.items()},
        users_out={table: int(np.count_nonzero(n)) for table, n in rows.items()},
        squared_rows={table: int(np.square(n).sum()) for table, n in rows.items()},
        heaviest={table: heaviest(_heavy(ids[table], n)) for table, n in rows.items()},
    )


def _heavy(ids: Coded, rows: NDArray[np.int64]) -> Counts:
    many = np.flatnonzero(rows >= HEAVY_ROWS)
    return dict(zip(ids.values.take(pa.array(many)).to_pylist(), rows[many].tolist(), strict=True))


def _outcomes(
    user: NDArray[np.int64],
    occurred_at: Ints,
    stranger: NDArray[np.bool_],
    users: Users,
    days: LocalDays,
    start: int,
) -> dict[str, Counts]:
    inside = (occurred_at >= start) & (occurred_at < days.starts[-1])
    state = np.where(stranger, _STATES.index("unexposed"), -1)  # exposed outside the window only: neither
    assigned = user >= 0
    on = days.dates(np.where(inside, occurred_at, start))
    on[assigned] = np.maximum(on[assigned], users.exposed_on[user[assigned]])
    state[assigned] = occurred_at[assigned] < users.exposed_at[user[assigned]]
    kept = inside & (state >= 0)
    return by_date(on[kept], state[kept], list(_STATES))


def _unknown_variants(exposures: pa.Table, names: list[str]) -> Counts:
    found = Coded.distinct(exposures["variant_id"])
    counted = dict(zip(found.values.to_pylist(), found.rows.tolist(), strict=True))
    return most_frequent({value: rows for value, rows in counted.items() if rows and value not in names})


def _newest(moments: Ints, latest: int, experiment: Experiment) -> str:
    past = moments[moments <= latest]
    if not len(past):
        return ""
    newest = pa.scalar(int(past.max()), pa.timestamp("us", experiment.window.timezone))
    return str(newest.as_py().date().isoformat())
