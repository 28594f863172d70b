"""Whether days lack their rows: of exposures, or of what a metric reads, though the days around them have theirs."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from exp_platform import numbers
from exp_platform.aggregates import Aggregates
from exp_platform.analyses.daily_series import Days, Series, last_open_day
from exp_platform.checks import CheckResult
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import UnitsSource
from exp_platform.stats import special

CHECK = "missing_days"
LEAST = 0.1  # of what is expected: a day with less is empty but for what another day's file or clock brought
CHANCE = 1e-6  # below it, as few are no accident; it is asked of each day, every day
WEEK, SATURDAY = 7, 5
MOST = 3  # days of a series that a message names

_REMEDY = "deliver these days and run again, or say with quality.max_missing_days that they were so"


class _Missing(NamedTuple):
    """A day that lacks its rows: how many users it has, and how many its neighbours let expect."""

    day: date
    users: float
    expected: float


def missing_days(experiment: Experiment, aggregates: Aggregates) -> CheckResult:
    """A warning where more days than `quality.max_missing_days` lack users, first exposed or with an event of some metric."""
    limit, as_of = experiment.quality.max_missing_days, aggregates.as_of_date
    if isinstance(experiment.source, UnitsSource):
        why = "a units source has no days"
        return CheckResult(as_of, CHECK, "warning", "skipped", None, None, why)
    found = {what: days for what, days in _series(experiment, aggregates) if days}
    days = {missing.day for of_series in found.values() for missing in of_series}
    told = "; ".join(f"{_told(of_series)} {what}" for what, of_series in found.items())
    failed = len(days) > limit
    return CheckResult(
        as_of,
        CHECK,
        "warning",
        "failed" if failed else "passed",
        float(len(days)),
        float(limit),
        f"{told}: {_REMEDY}" if failed else told or "no day lacks its rows",
    )


def _told(days: Sequence[_Missing]) -> str:
    named = [f"{d.day} has {numbers.count(d.users)} of {numbers.about(d.expected)}" for d in days[:MOST]]
    return ", ".join(named) + (f" (and {len(days) - MOST:,} more days)" if len(days) > MOST else "")


def _series(experiment: Experiment, aggregates: Aggregates) -> Iterator[tuple[str, list[_Missing]]]:
    start, as_of = experiment.window.start, aggregates.as_of_date
    new = Series(aggregates, experiment.metrics[0]).new
    yield "users first exposed", _missing(start, [Days(new[day], 1) for day in _days(start, as_of)])
    for metric in experiment.metrics:
        series = Series(aggregates, metric)
        days = [series.mean(day, day) for day in _days(start, last_open_day(experiment, as_of, metric))]
        events = " or ".join(dict.fromkeys(repr(measure.event) for measure in metric.measures))
        yield f"users with {events}", _missing(start, days)


def _days(first: date, last: date) -> list[date]:
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def _missing(start: date, days: Sequence[Days]) -> list[_Missing]:
    """Days of a series that is there on most days, as far as they can be expected.

    By the same weekday a week before and after, so that who closes on Sundays is left in peace; where neither is known yet, of
    a working day by the days beside it. And by the best of the seven days after it: what ebbs away does not come again. The
    lowest of these rates counts. Poisson's distribution tells what is no accident.
    """
    rates = [day.active / day.open if day.open else 0.0 for day in days]
    judged = {at for at, day in enumerate(days) if day.open and any(rates[:at])}  # since there are any
    if 2 * sum(rates[at] > 0 for at in judged) < len(judged):
        return []
    found = []
    for at in sorted(judged):
        on, day = start + timedelta(days=at), days[at]
        beside = judged & {at - WEEK, at + WEEK}
        if not beside and on.weekday() < SATURDAY:
            beside = judged & {at - 1, at + 1}
        after = max(rates[at + 1 : at + 1 + WEEK], default=0.0)
        expected = day.open * min([after, *(rates[i] for i in beside)]) if beside else 0.0
        if day.active <= LEAST * expected and special.pdtr(day.active, expected) < CHANCE:
            found.append(_Missing(on, day.active, expected))
    return found
