"""The timetable that starts and stops with its experiment; `plugins/experiment_timetable.py` registers it."""

from __future__ import annotations

from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any

import pendulum
from airflow.timetables.base import DagRunInfo, DataInterval, TimeRestriction
from airflow.timetables.trigger import CronTriggerTimetable

from exp_platform.config.experiment import Experiment


class ExperimentTimetable(CronTriggerTimetable):
    """A cron in its zone that fires only within [first, last] (aware), so that the DAG needs no start or end date.

    A DAG's own dates would also stop runs that a person starts: Airflow ends such a run green without one task.
    """

    def __init__(self, cron: str, *, timezone: str, first: datetime, last: datetime) -> None:
        # As super().__init__ would; hundreds of DAGs share few crons
        vars(self).update(_cron_of(cron, timezone))
        self._zone = timezone
        self._first = pendulum.instance(first)
        self._last = pendulum.instance(last)
        self._key = (self._expression, timezone, first.isoformat(), last.isoformat())

    @classmethod
    def deserialize(cls, data: dict[str, Any]) -> ExperimentTimetable:
        """The timetable that `serialize` described."""
        first, last = (datetime.fromisoformat(data[key]) for key in ("first", "last"))
        return cls(data["cron"], timezone=data["timezone"], first=first, last=last)

    def serialize(self) -> dict[str, Any]:
        """The arguments of this timetable as JSON."""
        return {
            "cron": self._expression,
            "timezone": self._zone,
            "first": self._first.isoformat(),
            "last": self._last.isoformat(),
        }

    def __eq__(self, other: object) -> bool:
        return isinstance(other, ExperimentTimetable) and self._key == other._key

    def __hash__(self) -> int:
        # A DAG's hash, which Airflow asks for at every dependency, takes in its timetable's
        return hash(self._key)

    @property
    def summary(self) -> str:
        """What the UI shows as the schedule."""
        return f"{self._expression} until {self._last:%Y-%m-%d}"

    def next_dagrun_info(
        self, *, last_automated_data_interval: DataInterval | None, restriction: TimeRestriction
    ) -> DagRunInfo | None:
        """The next run at or after `first`; None after `last`."""
        earliest, latest = restriction.earliest, restriction.latest
        within = TimeRestriction(
            earliest=self._first if earliest is None else max(self._first, earliest),
            latest=self._last if latest is None else min(self._last, latest),
            catchup=restriction.catchup,
        )
        return super().next_dagrun_info(
            last_automated_data_interval=last_automated_data_interval, restriction=within
        )


@lru_cache(maxsize=64)
def _cron_of(cron: str, timezone: str) -> dict[str, Any]:
    return vars(CronTriggerTimetable(cron, timezone=timezone))


def timetable_of(experiment: Experiment) -> ExperimentTimetable | None:
    """The experiment's schedule: from the end of its first day until its last useful day plus the grace; None by hand."""
    schedule = experiment.schedule
    if schedule.cron is None:
        return None
    first, last = season(experiment)
    return ExperimentTimetable(schedule.cron, timezone=experiment.window.timezone, first=first, last=last)


def season(experiment: Experiment) -> tuple[datetime, datetime]:
    """When scheduled runs begin and end: the end of the first day, and of the last useful one plus the grace."""
    window, grace = experiment.window, timedelta(days=experiment.schedule.grace_days)
    return window.cutoff(window.start), window.cutoff(experiment.last_as_of + grace)
