"""One bucket's aggregates at one as_of date: Moments of every metric, variant and segment, and the daily series."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import numpy as np

from exp_platform.aggregates import ALL, COHORT, Aggregates, Arrivals, Block, Kind
from exp_platform.config.allocation import in_period
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.kernels.coded import Codes
from exp_platform.kernels.daily import daily_rows
from exp_platform.kernels.local_days import date_number
from exp_platform.kernels.order_statistics import Bracket, Bracketed, Marks
from exp_platform.kernels.pools import Pools, ValueCounts, segments_of
from exp_platform.kernels.quantiles import Caps, Distribution
from exp_platform.kernels.row_account import Exposures, accounts
from exp_platform.kernels.unit_days import Floats, UnitDays
from exp_platform.kernels.user_values import Mask, MetricValues, Snapshot, has_daily_block
from exp_platform.kernels.users import Attribute, Users
from exp_platform.stats.moments import Moments
from exp_platform.stats.rounding import LARGEST

BlockKey = tuple[str, str, str, str]  # metric, variant, segment, segment value
# Kind of block, metric -> a user's value beyond LARGEST, the largest
TooLarge = dict[tuple[Kind, str], float]

NO_CAPS: Caps = (None, None)
COHORT_DAYS = 7
_WITH_DAYS = (ALL, in_period("", ALL, ALL)[0])  # segments whose groups have daily blocks


@dataclass(frozen=True)
class BucketAggregates:
    """What one bucket gives for one as_of date: aggregates to merge, and the values that global quantiles need.

    `distributions` are of uncapped values by (metric, variant), ratios and quantiles left out. Quantile metrics have
    `marks` and, after the second round, `bracketed` users by the key of their block. `too_large` has the metrics without
    blocks in this bucket, because a user's value would make moments overflow. `values` counts users by segment.
    """

    aggregates: Aggregates
    distributions: dict[tuple[str, str], Distribution]
    marks: dict[BlockKey, Marks] = field(default_factory=dict)
    bracketed: dict[BlockKey, Bracketed] = field(default_factory=dict)
    too_large: TooLarge = field(default_factory=dict)
    values: Mapping[str, ValueCounts] = field(default_factory=dict)


@dataclass(frozen=True)
class Bounds:
    """What the second round must know of all buckets: caps by metric, and brackets of quantile metrics' blocks.

    And the pools of segments that the first round had, for the same groups.
    """

    caps: Mapping[str, Caps] = field(default_factory=dict)
    brackets: Mapping[BlockKey, Bracket] = field(default_factory=dict)
    pools: Pools = field(default_factory=dict)

    def __bool__(self) -> bool:
        """Whether there is anything for a second round."""
        return bool(self.caps or self.brackets)


@dataclass(frozen=True)
class Bounded:
    """What the second round gives of one bucket: the winsorised metrics' `total` blocks, and users around brackets."""

    blocks: tuple[Block, ...]
    bracketed: dict[BlockKey, Bracketed]
    too_large: TooLarge


@dataclass(frozen=True, eq=False)
class _Group:
    """The analysed users of one variant and segment value, by position."""

    variant: str
    segment: str
    value: str
    users: Codes


def aggregate(
    users: Users,
    days: UnitDays,
    experiment: Experiment,
    as_of: date,
    exposures: Exposures | None = None,
    pools: Pools | None = None,
    exposed: tuple[Users, UnitDays] | None = None,
) -> BucketAggregates:
    """Everything of one bucket that needs no bounds: all but the `total` blocks of winsorised metrics, and quantiles.

    Those need what is only known over all buckets: see `bounded`. So do segments of too many values: without `pools` they
    have no blocks. With `exposures` its rows are accounted for. Under a trigger `exposed` are the same users by first
    exposure, of which all counts of the assigned are made.
    """
    now = Snapshot(users, days, experiment, as_of)
    segments, values_of = segments_of(now, pools or {})
    groups, cohorts = list(_groups(now, segments)), list(_cohorts(now))
    blocks = _Blocks(now)
    distributions: dict[tuple[str, str], Distribution] = {}
    marks: dict[BlockKey, Marks] = {}
    for metric in experiment.metrics:
        values = now.values(metric)
        if metric.winsorise is None:
            blocks.add_totals(metric, values, groups, cohorts)
        if metric.q is not None:
            marks |= {_key(metric, g): Marks.of(_of_group(values, g)) for g in groups}
        elif metric.traits.agg is not None:
            distributions |= {
                (metric.id, g.variant): Distribution.of(_of_group(values, g))
                for g in groups
                if g.segment == ALL
            }
        if has_daily_block(metric, experiment):
            with_days = (*_WITH_DAYS, *experiment.replicated_by)
            days_of = [group for group in groups if group.segment in with_days]
            blocks.add("daily", metric, now.daily(metric), days_of)
    whole = now if exposed is None else Snapshot(*exposed, experiment, as_of)
    blocks.add_exposed(whole, None)
    everybody = _arrivals(whole, np.ones(whole.n, dtype=np.bool_))
    period = _period(whole)
    return BucketAggregates(
        Aggregates(
            as_of_date=as_of,
            assigned=everybody.assigned,
            crossovers=everybody.crossovers,
            blocks=tuple(blocks.found),
            daily=tuple(daily_rows(now)),
            periods={str(a.start): _arrivals(whole, period == i) for i, a in enumerate(experiment.ramp)},
            triggered=_triggered(now),
            rows=accounts(now, exposures, days) if exposures is not None else {},
        ),
        distributions,
        marks,
        too_large=blocks.too_large,
        values=values_of,
    )


def _triggered(now: Snapshot) -> dict[str, Arrivals]:
    """Users who reached the trigger by the first day of the allocation that they came under; {} without a trigger."""
    if now.experiment.trigger is None:
        return {}
    starts = [a.start for a in now.experiment.allocations]
    period = _period(now) if now.experiment.ramp else np.zeros(now.n, dtype=np.int64)
    return {str(start): _arrivals(now, period == i) for i, start in enumerate(starts)}


def _arrivals(now: Snapshot, among: Mask) -> Arrivals:
    """Users by variant, of those `among` all that are assigned."""
    names = [v.id for v in now.experiment.variants]

    def by_variant(users: Mask) -> dict[str, int]:
        found = np.bincount(now.variants[users], minlength=len(names))
        return {name: int(n) for name, n in zip(names, found, strict=True)}

    return Arrivals(by_variant(among), by_variant(among & now.crossover))


def bounded(
    users: Users,
    days: UnitDays,
    experiment: Experiment,
    as_of: date,
    bounds: Bounds,
    exposed: tuple[Users, UnitDays] | None = None,
) -> Bounded:
    """The second round of one bucket: what its first could not know the bounds of; all exposed users have the same caps."""
    now = Snapshot(users, days, experiment, as_of)
    groups, cohorts = list(_groups(now, segments_of(now, bounds.pools)[0])), list(_cohorts(now))
    blocks = _Blocks(now)
    bracketed: dict[BlockKey, Bracketed] = {}
    for metric in experiment.metrics:
        if metric.winsorise is not None:
            caps = bounds.caps.get(metric.id, NO_CAPS)
            blocks.add_totals(metric, now.values(metric), groups, cohorts, caps)
        elif metric.q is not None:
            values = now.values(metric)
            for group in groups:
                inside = bounds.brackets.get(_key(metric, group))
                if inside is not None:
                    bracketed[_key(metric, group)] = Bracketed.of(_of_group(values, group), inside)
    blocks.add_exposed(now if exposed is None else Snapshot(*exposed, experiment, as_of), bounds.caps)
    return Bounded(tuple(blocks.found), bracketed, blocks.too_large)


def with_bounds(experiment: Experiment) -> Experiment:
    """The experiment with those metrics alone that take a second round."""
    return replace(
        experiment, metrics=tuple(m for m in experiment.metrics if m.winsorise is not None or m.q is not None)
    )


def completed(part: BucketAggregates, second: Bounded) -> BucketAggregates:
    """One bucket's first round completed by its second."""
    aggregates = replace(part.aggregates, blocks=part.aggregates.blocks + second.blocks)
    too_large = part.too_large | second.too_large
    return replace(part, aggregates=aggregates, bracketed=second.bracketed, too_large=too_large)


def _key(metric: Metric, group: _Group) -> BlockKey:
    return metric.id, group.variant, group.segment, group.value


def _of_group(values: MetricValues, group: _Group) -> Floats:
    """The metric's values of a group's users in its population, not capped."""
    return values.columns[0][group.users[values.population[group.users]]]


def _groups(now: Snapshot, segments: Mapping[str, Attribute]) -> Iterator[_Group]:
    """Analysed users by variant and segment value; under a ramp each group is followed by its users of each period."""
    period, starts = _period(now), [a.start for a in now.experiment.ramp]
    for group in _whole_groups(now, segments):
        yield group
        if starts:
            for start, users in zip(
                starts, _split(period[group.users], len(starts), group.users), strict=True
            ):
                yield _Group(group.variant, *in_period(start, group.segment, group.value), users)


def _period(now: Snapshot) -> Codes:
    """The position of the allocation that each user came under, shape (users,)."""
    starts = [date_number(a.start) for a in now.experiment.ramp]
    return np.asarray(
        np.searchsorted(starts, now.users.exposed_on[: now.n], side="right") - 1, dtype=np.int64
    )


def _whole_groups(now: Snapshot, segments: Mapping[str, Attribute]) -> Iterator[_Group]:
    """Analysed users by variant, then by variant and value of each segment."""
    included = np.flatnonzero(now.analysed)
    names = [v.id for v in now.experiment.variants]
    for variant, users in zip(names, _split(now.variants[included], len(names), included), strict=True):
        yield _Group(variant, ALL, ALL, users)
    for segment, attribute in segments.items():
        code = now.variants[included] * len(attribute.values) + attribute.codes[included]
        keys = [(variant, value) for variant in names for value in attribute.values]
        for (variant, value), users in zip(keys, _split(code, len(keys), included), strict=True):
            yield _Group(variant, segment, value, users)


def _cohorts(now: Snapshot) -> Iterator[_Group]:
    """Analysed users by variant and exposure cohort: weeks of the window, or thirds of one of less than three weeks.

    A ramp's allocations begin cohorts of their own, so that each has one allocation.
    """
    experiment = now.experiment
    if not experiment.analyses.read("cohort") or now.is_units:
        return
    window = experiment.window
    days = (window.end - window.start).days + 1
    length = COHORT_DAYS if days >= 3 * COHORT_DAYS else math.ceil(days / 3)
    regular = [window.start + timedelta(days=i) for i in range(0, days, length)]
    starts = sorted({*regular, *(a.start for a in experiment.ramp)})
    included = np.flatnonzero(now.analysed)
    numbers = [date_number(start) for start in starts]
    cohort = np.searchsorted(numbers, now.users.exposed_on[included], side="right") - 1
    keys = [(v.id, start.isoformat()) for v in experiment.variants for start in starts]
    code = now.variants[included] * len(starts) + cohort
    for (variant, value), users in zip(keys, _split(code, len(keys), included), strict=True):
        yield _Group(variant, COHORT, value, users)


def _split(codes: Codes, n_codes: int, users: Codes) -> list[Codes]:
    """Users by code, each part in their order."""
    small = codes.astype(np.uint16 if n_codes <= 1 << 16 else np.int64)  # 16 bits are sorted by radix
    order = np.argsort(small, kind="stable")
    parts = np.split(users[order], np.cumsum(np.bincount(codes, minlength=n_codes))[:-1])
    return parts[:n_codes]  # a bucket without users has no crossed value


class _Blocks:
    """The blocks of one bucket, and of the metrics that have none the values that are too large."""

    def __init__(self, now: Snapshot) -> None:
        self.found: list[Block] = []
        self.too_large: TooLarge = {}
        self._now = now

    def add_totals(
        self,
        metric: Metric,
        values: MetricValues,
        groups: list[_Group],
        cohorts: list[_Group],
        caps: Caps = NO_CAPS,
    ) -> None:
        """A metric's `total` and `cohort` blocks; the caps of both are those of the totals."""
        self.add("total", metric, values, groups, caps)
        if cohorts and metric.traits.by_cohort:
            self.add("cohort", metric, self._now.cohort(metric), cohorts, caps)

    def add_exposed(self, whole: Snapshot, caps: Mapping[str, Caps] | None) -> None:
        """Blocks of all exposed users where an analysis reads them: with caps of the winsorised metrics, without of the others."""
        experiment = whole.experiment
        if experiment.trigger is None or not experiment.analyses.read("exposed"):
            return
        groups = list(_groups(whole, {}))
        for metric in experiment.metrics:
            if metric.q is None and (metric.winsorise is not None) == (caps is not None):
                values = whole.values(replace(metric, covariates=()))
                self.add("exposed", metric, values, groups, (caps or {}).get(metric.id, NO_CAPS), of=whole)

    def add(
        self,
        kind: Kind,
        metric: Metric,
        values: MetricValues,
        groups: list[_Group],
        caps: Caps = NO_CAPS,
        of: Snapshot | None = None,
    ) -> None:
        """A metric's blocks of one kind, of the groups that somebody is in; or what makes them overflow."""
        first, *others = values.columns
        columns = (np.clip(first, *caps) if caps != NO_CAPS else first, *others)
        largest = _largest(columns, values.population, (of or self._now).analysed)
        if not largest <= LARGEST:  # nor NaN, which overflowing sums of both signs make
            self.too_large[kind, metric.id] = largest
            return
        for group in groups:
            users = group.users[values.population[group.users]]
            if len(users):
                successes = None if kind == "daily" else int(np.count_nonzero(first[users]))
                self.found.append(
                    Block(
                        kind, metric.id, group.variant, group.segment, group.value, values.names,
                        Moments.of(_taken(columns, users).T), successes=successes,
                    )
                )  # fmt: skip


def _largest(columns: tuple[Floats, ...], population: Mask, analysed: Mask) -> float:
    """The largest absolute value of any column among the users of both, who are only looked up where it may matter."""
    largest = np.max([_size(column) for column in columns])
    if not largest <= LARGEST:
        users = population & analysed
        largest = np.max([_size(column[users]) for column in columns])
    return float(largest)


def _size(column: Floats) -> Any:
    """The largest absolute value, or NaN where one is."""
    return np.maximum(column.max(initial=0.0), -column.min(initial=0.0))


def _taken(columns: tuple[Floats, ...], users: Codes) -> Floats:
    """Some users' values of the columns, shape (columns, users)."""
    found = np.empty((len(columns), len(users)))
    for column, row in zip(columns, found, strict=True):
        column.take(users, out=row, mode="clip")  # no user is beyond; another mode would copy what it took
    return found
