"""Users of one arm or of all by local date, as the daily series of a metric has them."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable
from datetime import date, timedelta
from itertools import accumulate
from typing import NamedTuple

from exp_platform.aggregates import DailyRow
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric


class Days(NamedTuple):
    """An average day of a span: users with an event, and users whose metric window is open."""

    active: float
    open: float


class Series:
    """Users by day: those who are new, those with an event, and those whose window is open."""

    def __init__(self, daily: Iterable[DailyRow], metric: Metric, variant_id: str | None = None) -> None:
        """Of one arm; of all together where none is named. `daily` has the metric's rows, and may have others."""
        self.new: Counter[date] = Counter()
        self._active: Counter[date] = Counter()
        for row in daily:
            if row.metric_id == metric.id and variant_id in (None, row.variant_id):
                self.new[row.local_date] += row.new_users
                self._active[row.local_date] += row.active_users
        self._window = metric.window
        self._dates = sorted(self.new)
        self._until = [0, *accumulate(self.new[day] for day in self._dates)]  # users new before each of them

    def mean(self, first: date, last: date) -> Days:
        """An average day from `first` to `last`."""
        days = (last - first).days + 1
        dates = [first + timedelta(days=i) for i in range(days)]
        return Days(sum(self._active[d] for d in dates) / days, sum(map(self._open, dates)) / days)

    def _open(self, day: date) -> int:
        last = bisect_right(self._dates, day - timedelta(days=self._window.start))
        if self._window.end is None:
            return self._until[last]
        first = bisect_left(self._dates, day - timedelta(days=self._window.end))
        return self._until[max(first, last)] - self._until[first]


def last_open_day(experiment: Experiment, as_of_date: date, metric: Metric) -> date:
    """The last day on which somebody's window is open."""
    end = experiment.window.end
    return min(as_of_date, end if metric.window.end is None else end + timedelta(days=metric.window.end))
