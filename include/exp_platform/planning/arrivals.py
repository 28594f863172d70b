"""How users come in: so many on each day."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import timedelta

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.planned import recent_users
from exp_platform.config.experiment import Experiment
from exp_platform.stats.power import days_needed


@dataclass(frozen=True)
class Arrivals:
    """New users of all arms together: those of the first days as they were seen, then `daily` a day."""

    daily: float
    seen: tuple[int, ...] = ()

    def users(self, days: int) -> float:
        """Users after so many days."""
        return sum(self.seen[:days]) + self.daily * max(0, days - len(self.seen))

    def days(self, users: float) -> int:
        """Whole days until there are so many users."""
        arrived = 0
        for day, new in enumerate(self.seen):
            if arrived >= users:
                return day
            arrived += new
        return len(self.seen) + days_needed(users - arrived, self.daily)


def arrivals_of(experiment: Experiment, aggregates: Aggregates) -> Arrivals | None:
    """As stored results show them, and beyond as on their last 7 days; None where nobody came."""
    last = min(aggregates.as_of_date, experiment.window.end)
    new: dict[tuple[int, str], int] = {}
    for row in aggregates.daily:  # which repeat new users for every metric
        if experiment.window.start <= row.local_date <= last:
            new[(row.local_date - experiment.window.start) // timedelta(days=1), row.variant_id] = (
                row.new_users
            )
    length = (last - experiment.window.start).days + 1
    seen = tuple(sum(users for (day, _), users in new.items() if day == i) for i in range(length))
    daily = recent_users(experiment, aggregates)
    return Arrivals(daily, seen) if sum(seen) and daily else None
