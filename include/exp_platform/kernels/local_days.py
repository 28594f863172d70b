"""Local dates of instants, from the zone's own rules: neither the machine's nor a session's time zone takes part.

Instants are int64 microseconds since 1970-01-01 UTC; local dates are int32 days since 1970-01-01, as in `date32`.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from exp_platform.config.experiment import Window

DAY = 86_400_000_000  # microseconds of 24 hours
NO_INSTANT = int(np.iinfo(np.int64).min)

Ints = NDArray[np.int64]
Dates = NDArray[np.int32]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def instant(moment: datetime) -> int:
    """Microseconds since 1970-01-01 UTC of an aware datetime."""
    return (moment - _EPOCH) // timedelta(microseconds=1)


def date_number(day: date) -> int:
    """Days since 1970-01-01."""
    return day.toordinal() - _EPOCH.date().toordinal()


def date_of(number: int) -> date:
    """The inverse of `date_number`."""
    return date.fromordinal(int(number) + _EPOCH.date().toordinal())


def instants(column: Any) -> Ints:
    """A timestamp column as instants, shape (rows,); null is `NO_INSTANT`, which lies before any other."""
    numbers = column.cast(pa.timestamp("us", "UTC")).cast(pa.int64())
    return np.asarray((numbers.fill_null(NO_INSTANT) if numbers.null_count else numbers).to_numpy())


@dataclass(frozen=True, eq=False)
class LocalDays:
    """Consecutive local days: day i starts at `starts[i]`; the last entry ends the last day. They last 23 to 25 hours."""

    first: int  # local date of day 0
    starts: Ints

    @staticmethod
    def covering(window: Window, earliest: int, last: date) -> LocalDays:
        """The local days from the one that holds the instant `earliest` to the date `last`."""
        first = date_of(earliest // DAY) - timedelta(days=1)  # a local date is within a day of the UTC date
        starts = [
            window.cutoff(first - timedelta(days=1) + timedelta(days=i))
            for i in range((last - first).days + 2)
        ]
        return LocalDays(date_number(first), np.array([instant(s) for s in starts], dtype=np.int64))

    def dates(self, moments: Ints) -> Dates:
        """Local dates of instants that these days cover, the same shape."""
        # Within a day of right by counting 24 hours each; so one step to either side makes it exact.
        day = np.clip((moments - self.starts[0]) // DAY, 0, len(self.starts) - 2)
        day += moments >= self.starts[day + 1]
        day -= moments < self.starts[day]
        return np.asarray(day + self.first, dtype=np.int32)


def by_date(dates: Dates, codes: NDArray[np.int64], names: list[str]) -> dict[str, dict[str, int]]:
    """Rows counted: local date in ISO format -> `names[code]` -> rows; names without any are left out."""
    counted: dict[str, dict[str, int]] = {}
    if not len(dates):
        return counted
    first = int(dates.min())
    rows = np.bincount((dates.astype(np.int64) - first) * len(names) + codes)
    for pair in np.flatnonzero(rows):
        day, code = divmod(int(pair), len(names))
        counted.setdefault(date_of(first + day).isoformat(), {})[names[code]] = int(rows[pair])
    return counted
