"""Whether days lack their rows: of exposures, or of what a metric reads, though the days around them have theirs.

Or the last days of what a metric reads, though users come as before.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence
from datetime import date, timedelta
from typing import NamedTuple

from exp_platform import numbers
from exp_platform.aggregates import Aggregates, DailyRow
from exp_platform.analyses.daily_series import Days, Series, last_open_day
from exp_platform.checks import CheckResult
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import UnitsSource
from exp_platform.stats import special

CHECK = "missing_days"
LEAST = 0.1  # of what is expected: a day with less is empty but for what another day's file or clock brought
SHAPE = 10  # of days like one another: their means differ by a third (1 / sqrt(SHAPE)) of themselves
CHANCE = 1e-6  # below it, as few are no accident; it is asked of each day, every day
WEEK, SATURDAY = 7, 5
FIRM = 10  # users; from fewer nothing is expected of another day
SILENT = 3  # days at the end: one table may be delivered later than another
EBBING = 0.5  # a last day that has less than this of a usual one is of what ebbs away
MOST = 3  # days of a series that a message names

_REMEDY = "deliver these days and run again, or say with quality.max_missing_days that they were so"


class _Missing(NamedTuple):
    """A day that lacks its rows: how many users it has, and how many its neighbours let expect."""

    day: date
    users: float
    expected: float


def missing_days(experiment: Experiment, aggregates: Aggregates) -> CheckResult:
    """A warning where more days than `quality.max_missing_days` lack users, first exposed or with an event of some metric.

    Of all arms, or of one: whose last days lack, `late_data` tells.
    """
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
    more = len(days) - MOST
    return ", ".join(named) + (f" (and {more:,} more day{'s' * (more > 1)})" if more > 0 else "")


def _series(experiment: Experiment, aggregates: Aggregates) -> Iterator[tuple[str, list[_Missing]]]:
    """What days lack, of all users together, and of each arm where the others have it."""
    arms, first = [v.id for v in experiment.variants], experiment.metrics[0]
    start, as_of = experiment.window.start, aggregates.as_of_date
    # Nobody is first exposed after the end, which says nothing of the days before it
    until = min(as_of, experiment.window.end)
    # Stored aggregates may have metrics that the spec has no more
    daily: defaultdict[str, list[DailyRow]] = defaultdict(list)
    for row in aggregates.daily:
        daily[row.metric_id].append(row)
    whole = Series(daily[first.id], first)
    found = _lost(start, _exposed(whole, start, until))
    yield "users first exposed", found
    # A ramp may give an arm nobody for a time
    for arm in arms if not experiment.ramp else ():
        of_arm = Series(daily[first.id], first, arm)
        yield f"users first exposed to {arm}", _others(_lost(start, _exposed(of_arm, start, until)), found)
    for metric in experiment.metrics:
        events = " or ".join(dict.fromkeys(repr(measure.event) for measure in metric.measures))
        dates = _dates(start, last_open_day(experiment, as_of, metric))
        series = Series(daily[metric.id], metric)
        days = [series.mean(day, day) for day in dates]
        came = [series.new[day - timedelta(days=metric.window.start)] for day in dates]
        lost = _lost(start, days)
        found = [*lost, *_others(_silent(start, days, came), lost)]
        yield f"users with {events}", found
        for arm in arms:
            of_arm = Series(daily[metric.id], metric, arm)
            lost = _lost(start, [of_arm.mean(day, day) for day in dates])
            yield f"users of {arm} with {events}", _others(lost, found)


def _dates(first: date, last: date) -> list[date]:
    return [first + timedelta(days=i) for i in range((last - first).days + 1)]


def _exposed(series: Series, first: date, last: date) -> list[Days]:
    return [Days(series.new[day], 1) for day in _dates(first, last)]


def _others(found: Sequence[_Missing], known: Sequence[_Missing]) -> list[_Missing]:
    """Those of days that are not known already."""
    days = {missing.day for missing in known}
    return [missing for missing in found if missing.day not in days]


def _rates(days: Sequence[Days], least: float = 0.0) -> list[float]:
    """Users with an event per user whose window is open; of days with fewer of them than `least` 0."""
    return [day.active / day.open if day.open and day.active >= least else 0.0 for day in days]


def _lost(start: date, days: Sequence[Days]) -> list[_Missing]:
    """Days of a series that is there on most days, as far as they can be expected.

    By the same weekday a week before and after, so that who closes on Sundays is left in peace; where neither is known yet, of
    a working day by the days beside it. And by the best of the seven days before and of those after it: what begins small was not
    there before, and what ebbs away does not come again. The lowest of these rates counts.
    """
    rates, firm = _rates(days), _rates(days, FIRM)
    known = {at for at, day in enumerate(days) if day.open}
    judged = {at for at in known if any(rates[:at])}  # since there are any
    if 2 * sum(rates[at] > 0 for at in judged) < len(judged):
        return []
    found = []
    for at in sorted(judged):
        on, day = start + timedelta(days=at), days[at]
        beside = known & {at - WEEK, at + WEEK}
        if not beside and on.weekday() < SATURDAY:
            beside = known & {at - 1, at + 1}
        before, after = firm[max(at - WEEK, 0) : at], firm[at + 1 : at + 1 + WEEK]
        best = min(max(before), max(after, default=0.0))
        expected = day.open * min([best, *(firm[i] for i in beside)]) if beside else 0.0
        if day.active <= LEAST * expected and _chance(day.active, expected) < CHANCE:
            found.append(_Missing(on, day.active, expected))
    return found


def _silent(start: date, days: Sequence[Days], came: Sequence[int]) -> list[_Missing]:
    """The last days of a series that stopped from one day to the next, though users came as before: SILENT of them and more.

    `came` has each day's users whose window opens. Expected is the least of what the day before had, an average one of the week before,
    and the same weekday; and no more of it than users came, as new ones may be all who do it: what stops with the exposures is no loss.
    """
    rates = _rates(days)
    stops = (at for at in range(SILENT, len(days)) if max(rates[at:]) <= LEAST * rates[at - 1])
    since = next(stops, len(days))
    before = range(max(since - WEEK, 0), since)
    usual = sum(rates[at] for at in before) / len(before)
    steady = rates[since - 1] >= EBBING * usual and days[since - 1].active >= FIRM
    if not steady or 2 * sum(rate > 0 for rate in rates[:since]) < since:
        return []
    fresh = sum(came[at] for at in before) / len(before)
    found = []
    for at in range(since, len(days)):
        on, weekday = start + timedelta(days=at), at - WEEK * ((at - since) // WEEK + 1)
        if weekday < 0 and on.weekday() >= SATURDAY:
            continue
        rate = min(rates[since - 1], usual, *(rates[weekday : weekday + 1] if weekday >= 0 else ()))
        expected = days[at].open * rate * min(came[at] / fresh if fresh else 0.0, 1.0)
        if days[at].active <= LEAST * expected:
            found.append(_Missing(on, days[at].active, expected))
    chance = _chance(sum(day.users for day in found), sum(day.expected for day in found))
    return found if len(found) >= SILENT and chance < CHANCE else []


def _chance(users: float, expected: float) -> float:
    """Of so few users or fewer: negative binomial, as days differ by more than chance (Poisson's distribution has SHAPE infinite)."""
    return float(special.nbdtr(round(users), SHAPE, SHAPE / (SHAPE + expected)))
