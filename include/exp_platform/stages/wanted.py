"""Which rows of an input table a run needs: what readers may skip by what files and partitions say of themselves."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource, Series
from exp_platform.kernels.unit_days import horizon

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@dataclass(frozen=True)
class Wanted:
    """Rows that are needed; None and () stand for all. A reader may give more rows, never fewer: `ingest` filters exactly.

    A row is needed whose `experiment` is `key`, whose time lies in [start, end), and which one of the `series` takes.
    A row whose time is missing or cannot be read is needed as well: quality counts it.
    """

    key: str | None = None  # as canonical text
    time: str | None = None  # exposed_at or occurred_at
    start: datetime | None = None  # UTC
    end: datetime | None = None  # UTC
    zone: str = "UTC"  # of times without one
    series: tuple[Series, ...] = ()


EVERYTHING = Wanted()


def wanted_of(experiment: Experiment, table: str) -> Wanted:
    """What is needed of one input table, by its name in `Reading.table`.

    Bounds follow from the experiment alone: whichever as_of date is run, the same rows are published. A log of one experiment
    and today's `outcomes` are read whole, as quality judges what lies outside of the window.
    """
    source = experiment.source
    if not isinstance(source, EventsSource):
        return EVERYTHING
    start, end = period_of(experiment)
    zone = experiment.window.timezone
    if table == "exposures" and source.key is not None:
        return Wanted(source.key, "exposed_at", start, end, source.exposures.timezone or zone)
    for fact in source.facts:
        if fact.name == table:
            read = tuple(one for one in source.series if one.fact == table)
            return Wanted(None, "occurred_at", start, end, fact.table.timezone or zone, read)
    return EVERYTHING


def period_of(experiment: Experiment) -> tuple[datetime, datetime]:
    """From when on, and before when, something can count at any as_of date (UTC)."""
    start = _EPOCH + timedelta(microseconds=horizon(experiment))
    return start, experiment.window.cutoff(experiment.last_as_of).astimezone(UTC)
