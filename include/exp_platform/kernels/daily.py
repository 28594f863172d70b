"""The daily series of one bucket: what the users exposed so far did on each local date."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from exp_platform.aggregates import DailyRow
from exp_platform.config.metrics import Measure
from exp_platform.kernels.coded import Codes
from exp_platform.kernels.local_days import Dates, date_number, date_of
from exp_platform.kernels.unit_days import EventDays, Floats
from exp_platform.kernels.user_values import Snapshot, changes

_DATE_BITS = 20  # a date's number is far below


def daily_rows(now: Snapshot) -> Iterator[DailyRow]:
    """One row per metric, variant and local date from the window's first to the as_of date; crossovers as analysed.

    Outcomes count in the metric's window, of all users exposed so far, mature or not. A date has what it changed of its
    users' numbers (of an `any` measure the date that first makes it 1 counts), so a series adds up over its dates to the
    total over those users.
    """
    first = date_number(now.experiment.window.start)
    new_users = _by_date(now, np.arange(now.n), now.users.began_on[: now.n])
    for metric in now.experiment.metrics:
        rows = [now.in_window(measure, metric.window) for measure in metric.measures]
        sums = [_sums(now, r, measure) for r, measure in zip(rows, metric.measures, strict=True)]
        active = np.sort(np.concatenate([_pairs(r) for r in rows]), kind="stable")  # merges what is in order
        active = active[np.flatnonzero(np.diff(active, prepend=-1))]
        active_users = _by_date(now, active >> _DATE_BITS, active & ((1 << _DATE_BITS) - 1))
        for (v, day), new in np.ndenumerate(new_users):
            yield DailyRow(
                local_date=date_of(first + day),
                variant_id=now.experiment.variants[v].id,
                metric_id=metric.id,
                new_users=int(new),
                active_users=int(active_users[v, day]),
                value_sum=float(sums[0][v, day]),
                denominator_sum=float(sums[1][v, day]) if len(sums) > 1 else None,
            )


def _sums(now: Snapshot, rows: EventDays, measure: Measure) -> Floats:
    return _by_date(now, rows.user, rows.date, changes(rows, measure))


def _pairs(rows: EventDays) -> Codes:
    """User and date of each row as one integer, ascending."""
    return (rows.user << _DATE_BITS) + rows.date


def _by_date(
    now: Snapshot, users: Codes, dates: Codes | Dates, weights: Floats | Codes | None = None
) -> Floats:
    """Sum of weights (else number) of rows by variant and date of the window, shape (variants, dates)."""
    first = date_number(now.experiment.window.start)
    n_dates, n_variants = max(now.as_of - first + 1, 0), len(now.experiment.variants)
    group = np.where(now.analysed, now.variants, n_variants)  # the last group, of the others, is dropped
    cell = group[users] * n_dates + dates - first
    sums = np.bincount(cell, weights, minlength=(n_variants + 1) * n_dates)
    return sums.astype(np.float64).reshape(n_variants + 1, n_dates)[:-1]
