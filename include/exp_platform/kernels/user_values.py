"""One number per user: metrics and covariates of the users assigned by one as_of date."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Covariate, DayWindow, Measure, Metric
from exp_platform.kernels.coded import Codes
from exp_platform.kernels.local_days import DAY, Dates, date_number, instant
from exp_platform.kernels.unit_days import EventDays, Floats, UnitDays
from exp_platform.kernels.users import Users

Mask = NDArray[np.bool_]


def has_daily_block(metric: Metric, experiment: Experiment) -> bool:
    """Whether any analysis reads the metric day by day."""
    wanted = experiment.analyses.read("daily")
    return wanted and experiment.source.kind != "units" and not metric.not_daily


@dataclass(frozen=True, eq=False)
class MetricValues:
    """One metric's columns, each of shape (users,), and which users are in its population."""

    names: tuple[str, ...]
    columns: tuple[Floats, ...]
    population: Mask


class Snapshot:
    """Users and unit days as they were at the end of one as_of date: a prefix of the users, rows up to that date."""

    def __init__(self, users: Users, days: UnitDays, experiment: Experiment, as_of: date) -> None:
        self.users, self.experiment = users, experiment
        self.is_units = experiment.source.kind == "units"
        self.window_end = date_number(min(as_of, experiment.window.end))
        self.as_of = date_number(as_of)
        self.cutoff = instant(experiment.window.cutoff(as_of))
        self.n = int(np.searchsorted(users.began_at, self.cutoff))  # users whose days had begun by then
        self.variants = users.variants[: self.n]
        self.crossover: Mask = users.crossed_at[: self.n] < self.cutoff
        keep = experiment.analyses.crossovers == "first"
        self.analysed: Mask = np.ones(self.n, dtype=np.bool_) if keep else ~self.crossover
        self._days = days
        self._in_window: dict[tuple[Measure, DayWindow], EventDays] = {}

    def rows(self, measure: Measure) -> EventDays:
        """What a measure reads: its event's rows up to the as_of date. A zero in a units table is no event."""
        rows = self._rows(measure)
        return rows.where(rows.value != 0) if self.is_units and measure.agg == "any" else rows

    def in_window(self, measure: Measure, window: DayWindow) -> EventDays:
        """A measure's rows in a metric's window; one without an end closes with the experiment."""
        key = (measure, window)
        if key not in self._in_window:
            rows = self.rows(measure)
            self._in_window[key] = rows.where(self.is_inside(rows, window))
        return self._in_window[key]

    def is_inside(self, rows: EventDays, window: DayWindow) -> Mask:
        """Which rows are in a metric's window, shape (rows,)."""
        until = rows.date <= self.window_end if window.end is None else rows.day < window.end
        return np.asarray((rows.day >= window.start) & until)

    def before(self, rows: EventDays) -> EventDays:
        """The rows in the pre-period; of a units table, the one row before exposure that holds the column."""
        return rows.where(self.is_before(rows))

    def is_before(self, rows: EventDays) -> Mask:
        """Which rows are in the pre-period, shape (rows,)."""
        plan = self.experiment.analyses
        if self.is_units:
            return np.asarray(rows.day < 0)
        if plan.anchor == "first_exposure":
            return np.asarray((rows.day >= -plan.pre_period_days) & (rows.day < 0))
        start = date_number(self.experiment.window.start)
        return np.asarray((rows.date >= start - plan.pre_period_days) & (rows.date < start))

    def mature(self, days: int) -> Mask:
        """Users of whom so many days of 24 hours are over, shape (users,)."""
        return self.users.began_at[: self.n] + days * DAY <= self.cutoff

    def observed(self, window: DayWindow) -> Mask:
        """Users whose window is over or, where it never closes, has opened before the experiment's does, shape (users,)."""
        if window.end is not None:
            return self.mature(window.end)
        closes = min(self.cutoff, instant(self.experiment.window.cutoff(self.experiment.window.end)))
        return self.users.began_at[: self.n] + window.opens * DAY < closes

    def values(self, metric: Metric) -> MetricValues:
        """A metric's columns as `Block` names them, not capped, and its population; crossovers are not judged here."""
        columns: dict[str, Floats] = {}
        for name, measure in zip(metric.traits.columns, metric.measures, strict=True):
            columns[name] = per_user(self.in_window(measure, metric.window), measure, self.n)
        for covariate in metric.covariates:
            columns |= self._covariate(covariate)
        return MetricValues(tuple(columns), tuple(columns.values()), self.population(metric))

    def population(self, metric: Metric) -> Mask:
        """Which users a metric is about: those whose window is over, shape (users,).

        Users without a value are outside it where the metric does not take missing for zero.
        """
        population = self.observed(metric.window)
        if metric.missing != "zero":
            for measure in metric.measures:
                population &= self._present(measure, metric.window)
        return population

    def daily(self, metric: Metric) -> MetricValues:
        """A metric's value on each whole day around first exposure, of users whose days after it are over."""
        before, after = self.experiment.analyses.days_before, self.experiment.analyses.did_days
        rows = self.rows(metric.numerator)
        rows = rows.where((rows.day >= -before) & (rows.day < after))
        days = range(-before, after)
        at = (rows.day + before).astype(np.int64) * self.n + rows.user
        cell = EventDays(at, rows.date, rows.day, rows.n, rows.value)
        grid = per_user(cell, metric.numerator, self.n * len(days)).reshape(len(days), self.n)
        return MetricValues(tuple(f"day{day}" for day in days), tuple(grid), self.mature(after))

    def cohort(self, metric: Metric) -> MetricValues:
        """The metric without covariates over the same days since exposure for every user, of those whose days are over."""
        return self.values(self.as_cohort(metric))

    def as_cohort(self, metric: Metric) -> Metric:
        """The metric whose values `cohort` gives."""
        window = metric.window
        if window.end is None:
            window = DayWindow(window.start, window.start + self.experiment.analyses.did_days)
        return replace(metric, window=window, covariates=())

    def _rows(self, measure: Measure) -> EventDays:
        rows = self._days.of(measure).of_first(self.n)
        return rows.where(rows.date <= self.as_of)

    def _covariate(self, covariate: Covariate) -> dict[str, Floats]:
        measure = covariate.measure
        columns = {covariate.id: per_user(self.before(self.rows(measure)), measure, self.n)}
        if self.is_units:
            columns[f"{covariate.id}_missing"] = 1.0 - _seen(self.before(self._rows(measure)), self.n)
        return columns

    def _present(self, measure: Measure, window: DayWindow) -> Mask:
        of_value = Measure(measure.event, "count") if self.is_units else measure  # in units a zero is there
        return _seen(self.in_window(of_value, window), self.n) > 0


def _starts(rows: EventDays) -> NDArray[np.int64]:
    """Where each user's rows begin; they stand together, the earliest first."""
    return np.flatnonzero(np.diff(rows.user, prepend=-1))


def _first_of_user(rows: EventDays) -> Floats:
    """1 for the first row of each user, 0 for the others."""
    found = np.zeros(len(rows.user))
    found[_starts(rows)] = 1.0
    return found


def _first_of_pair(user: Codes, other: Codes | Dates | Floats) -> Floats:
    """1 for the first row of each user and something else of the row, 0 for the others."""
    order = np.lexsort((other, user))
    new = (np.diff(user[order], prepend=-1) != 0) | (np.diff(other[order], prepend=-1) != 0)
    found = np.zeros(len(user))
    found[order[new]] = 1.0
    return found


# What each row adds to its user's number, shape (rows,).
ADDENDS: dict[str, Callable[[EventDays], Floats]] = {
    "sum": lambda rows: rows.value,
    "count": lambda rows: rows.n.astype(np.float64),
    "any": _first_of_user,
    "distinct": lambda rows: _first_of_pair(rows.user, rows.value),
    "days": lambda rows: _first_of_pair(rows.user, rows.date),
}
# Ways that add nothing up: a user's number so far and the value of the next row -> the number after it.
PICKS: dict[str, Callable[[Floats, Floats], Floats]] = {
    "first": lambda so_far, value: so_far,
    "last": lambda so_far, value: value,
    "max": np.maximum,
    "min": np.minimum,
}

_ROUNDING = 1e-12  # of a threshold: 0.7 + 0.1 reaches 0.8, as people count


def per_user(rows: EventDays, measure: Measure, users: int) -> Floats:
    """Reduce rows to one number per user, shape (users,); 0 where there is no row."""
    if _adds_up(measure):
        added = ADDENDS[measure.agg](rows)
        return np.asarray(np.bincount(rows.user, weights=added, minlength=users), dtype=np.float64)
    found, ends = np.zeros(users), np.append(_starts(rows), len(rows.user))[1:] - 1
    found[rows.user[ends]] = _so_far(rows, measure)[ends] + 0.0  # never -0.0, as sums are
    return found


def changes(rows: EventDays, measure: Measure) -> Floats:
    """By how much each row changes its user's number, shape (rows,)."""
    if _adds_up(measure):
        return ADDENDS[measure.agg](rows)
    after = _so_far(rows, measure)
    before: Floats = np.append(0.0, after)[:-1]
    before[_starts(rows)] = 0.0
    return after - before


def _adds_up(measure: Measure) -> bool:
    return measure.agg in ADDENDS and measure.at_least is None


def _so_far(rows: EventDays, measure: Measure) -> Floats:
    """Each user's number after each of their rows, shape (rows,)."""
    together = PICKS.get(measure.agg, np.add)
    number = np.array(ADDENDS[measure.agg](rows) if measure.agg in ADDENDS else rows.value)
    starts = _starts(rows)
    length = np.diff(starts, append=len(number))
    for step in range(1, int(length.max(initial=0))):
        at = starts[length > step] + step
        number[at] = together(number[at - 1], number[at])
    if measure.at_least is None:
        return number
    return np.asarray(number >= measure.at_least * (1 - _ROUNDING), dtype=np.float64)


def _seen(rows: EventDays, users: int) -> Floats:
    seen = np.zeros(users)
    seen[rows.user] = 1.0
    return seen
