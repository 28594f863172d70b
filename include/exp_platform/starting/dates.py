"""The window that the data tell: from the first exposure to the last, and how long users are observed before and after."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exp_platform import numbers
from exp_platform.starting.columns import Column

UNDATED_DAYS = 14  # of the window of data without dates
_FOLLOW = (14, 7, 3, 1)  # days after exposure that a metric may be about
PRE_PERIOD = 14  # days before exposure that an experiment reads unless its spec says otherwise
_STRAY = 0.001  # share of exposures that must not stretch the window
_DAY = 86_400_000_000


@dataclass(frozen=True)
class Span:
    """First and last day of some times, in UTC."""

    first: date
    last: date

    @property
    def days(self) -> int:
        """Both included."""
        return (self.last - self.first).days + 1


def undated(today: date) -> Span:
    """A window for data that say no dates: the fortnight that ended yesterday, so that all of it is over."""
    return Span(today - timedelta(days=UNDATED_DAYS), today - timedelta(days=1))


def span_of(times: Any) -> tuple[Span, str] | None:
    """First and last day, without strays where they would double the span; and what is said of these."""
    given = times.drop_null().cast(pa.int64())
    if not len(given):
        return None
    found = np.sort(given.to_numpy())
    whole = Span(_day(found[0]), _day(found[-1]))
    inner = np.quantile(found, (_STRAY, 1 - _STRAY), method="nearest")
    most = Span(_day(inner[0]), _day(inner[1]))
    if whole.days <= 2 * most.days:
        return whole, ""
    told = f"without strays from {whole.first} to {whole.last}, less than {numbers.share(2 * _STRAY)} of the rows"
    return most, told


def _day(instant: Any) -> date:
    return date(1970, 1, 1) + timedelta(days=int(instant // _DAY))


def follow_up(window: Span, events: Span) -> int | None:
    """Days after exposure that everybody is observed for, as events go on after the last exposure; None: they do not."""
    after = (events.last - window.last).days
    return next((days for days in _FOLLOW if days <= after), None)


def pre_period(window: Span, events: Span) -> int:
    """Days before the window that there are events of, at most a fortnight."""
    return max(0, min(PRE_PERIOD, (window.first - events.first).days))


def are_dates(column: Column) -> bool:
    """Whether nearly all its times stand at midnight."""
    given = column.times.drop_null().cast(pa.int64())
    if not len(given):
        return False
    midnight = pc.sum(pc.equal(pc.subtract(given, pc.multiply(pc.divide(given, _DAY), _DAY)), 0)).as_py()
    return bool(midnight >= 0.95 * len(given))
