"""SRM: were users split as planned, within segments too; crossovers and missing values lost alike from all arms."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from exp_platform import numbers
from exp_platform.aggregates import ALL, Aggregates, Arrivals
from exp_platform.analyses.rows import (
    ANALYSED,
    ASSIGNED,
    CROSSOVERS,
    TRIGGERED,
    USERS,
    WITH_VALUE,
    ResultRow,
    Row,
    Status,
)
from exp_platform.config.allocation import in_period
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric, Role
from exp_platform.config.readings import NOTHING_READ, RunState
from exp_platform.stats.srm import (
    e_value_in_periods,
    mismatch,
    mismatch_in_periods,
    sequential_e_value,
    uneven_loss,
)

METHOD = "srm"
ALPHA = 0.001  # at the end; before it an e-value of 1 / ALPHA


class _Split(NamedTuple):
    """Some of the arms' users, all of one allocation, and the shares that each kind of count is held against."""

    users_of: str  # the period, or the segment's value
    assigned: list[int]
    crossovers: list[int]
    planned: Sequence[float]

    def counts(self, value: str) -> list[int]:
        if value in (ANALYSED, TRIGGERED):
            return [a - x for a, x in zip(self.assigned, self.crossovers, strict=True)]
        return self.crossovers if value == CROSSOVERS else self.assigned

    def shares(self, value: str) -> Sequence[float]:
        return [float(a) for a in self.assigned] if value == CROSSOVERS else self.planned


def analyse(experiment: Experiment, aggregates: Aggregates, state: RunState = NOTHING_READ) -> list[Row]:
    """One row for assigned users, one for those left after crossovers are excluded, one for the crossovers themselves.

    Crossovers are tested against the arms' assigned users, because under independence every arm loses the same share
    (conservative by a factor of one minus that share). While users still arrive the verdict rests on the sequential
    e-value (Lindon and Malek 2020), from the window's last day on Pearson's test (exact for small counts), both at .001.
    Under a ramp each period is held against its own shares. The verdict is that of all periods together; rows of single
    periods follow, which say where, and have none.

    Under a trigger a row for the analysed users who reached it, held against the same shares: a treatment that changes who
    reaches it leaves other people to be compared (Kohavi, Tang and Xu 2020, chapter 20). The rows above stay those of all
    exposed users.

    A row for each segment: whether users of each of its values were split as planned. All arms together may be so although
    the assignment depended on the segment; then their plain difference compares other people (Simpson's paradox).

    A row for each deciding metric that leaves out users without a value (`missing: exclude`): whether the arms lose the same
    share of their users to that. Who is left in is compared, so where they do not, other people are.
    """
    splits = _splits(experiment, aggregates)
    values = [ASSIGNED]
    if experiment.analyses.crossovers == "exclude":
        values.append(ANALYSED)
    rows: list[Row] = [_joint(experiment, aggregates, value, splits) for value in values]
    if experiment.trigger is not None:
        reached = _splits(experiment, aggregates, aggregates.triggered)
        rows.append(_joint(experiment, aggregates, TRIGGERED, _uncrossed(experiment, reached)))
    whole = [split for split in splits if min(split.assigned) > 0]
    if whole:
        rows.append(_joint(experiment, aggregates, CROSSOVERS, whole))
    if experiment.ramp:
        rows += [_row(experiment, aggregates, value, [s], s.users_of) for value in values for s in splits]
    within = (_within(experiment, aggregates, segment) for segment in experiment.segments)
    rows += [row for row in within if row is not None]
    excluding = [m for m in experiment.metrics if m.missing == "exclude" and _decides(state, m)]
    return rows + [_with_value(experiment, aggregates, m, ALPHA / len(excluding)) for m in excluding]


def _uncrossed(experiment: Experiment, splits: Sequence[_Split]) -> list[_Split]:
    """The splits without crossovers, where those are analysed under their first arm."""
    if experiment.analyses.crossovers == "exclude":
        return list(splits)
    return [split._replace(crossovers=[0] * len(split.assigned)) for split in splits]


def _decides(state: RunState, metric: Metric) -> bool:
    guardrail = state.guardrail_of(metric)
    return metric.role is Role.PRIMARY or (guardrail is not None and guardrail.severity == "critical")


def _with_value(experiment: Experiment, aggregates: Aggregates, metric: Metric, alpha: float) -> ResultRow:
    """Whether the arms lose the same share of their analysed users for want of a value, within each period of a ramp.

    Of several periods the smallest p counts as often as there are periods (Bonferroni).
    """
    parts = _values(experiment, aggregates, metric)
    users, lost = _of_arms(part.users for part in parts), _of_arms(part.lost for part in parts)
    told = [(v.id, n - x, n) for v, n, x in zip(experiment.variants, users, lost, strict=True)]
    row = ResultRow(
        as_of_date=aggregates.as_of_date,
        method=METHOD,
        metric_id=metric.id,
        metric_kind=metric.kind,
        role=str(metric.role),
        treatment_id="",
        control_id=experiment.control.id,
        segment=USERS,
        segment_value=WITH_VALUE,
        status=Status.OK,
        message="; ".join(f"{arm}: {kept:,} of {users:,} users have a value" for arm, kept, users in told),
        n_control=told[0][1],
        n_treatment=sum(kept for _, kept, _ in told[1:]),
    )
    parts = [part for part in parts if min(part.users) > 0 and 0 < sum(part.lost) < sum(part.users)]
    if not parts:
        return replace(row, status=Status.NOT_APPLICABLE)
    least = min((uneven_loss(part.lost, part.users) for part in parts), key=lambda test: test.log10_p)
    log10_p = min(0.0, least.log10_p + math.log10(len(parts)))
    # Of those without a value and of those with one: whichever are rarer tell more, and the mean of two e-values is one.
    planned = [part.planned for part in parts]
    without, having = (
        e_value_in_periods(counts, planned).e_value
        for counts in ([part.lost for part in parts], [part.kept for part in parts])
    )
    row = replace(
        row,
        test=least.method,
        statistic=least.statistic,
        degrees_of_freedom=float(least.df),
        p_value=10**log10_p,
        log10_p=log10_p,
        e_value=without / 2 + having / 2,
    )
    return _judged(experiment, row, alpha)


class _Values(NamedTuple):
    """The arms' analysed users of one allocation, those of them without a value of a metric, and the planned shares."""

    users: list[int]
    lost: list[int]
    planned: Sequence[float]

    @property
    def kept(self) -> list[int]:
        return [n - x for n, x in zip(self.users, self.lost, strict=True)]


def _values(experiment: Experiment, aggregates: Aggregates, metric: Metric) -> list[_Values]:
    """By allocation, in their order."""
    parts = []
    for split in _uncrossed(experiment, _splits(experiment, aggregates, aggregates.triggered)):
        users = split.counts(ANALYSED)
        key = in_period(split.users_of, ALL, ALL) if experiment.ramp else (ALL, ALL)
        blocks = (aggregates.block(metric.id, v.id, *key) for v in experiment.variants)
        kept = [0 if block is None else block.moments.n for block in blocks]
        parts.append(_Values(users, [n - k for n, k in zip(users, kept, strict=True)], split.planned))
    return parts


def _of_arms(parts: Iterable[Sequence[int]]) -> list[int]:
    return [sum(of_arm) for of_arm in zip(*parts, strict=True)]


def _splits(
    experiment: Experiment, aggregates: Aggregates, triggered: Mapping[str, Arrivals] | None = None
) -> list[_Split]:
    """Users by allocation, or under a trigger those who reached it; of a ramp only the periods that somebody came in."""
    everybody = Arrivals(aggregates.assigned, aggregates.crossovers)
    splits = []
    for allocation in experiment.allocations:
        start = str(allocation.start)
        nobody = Arrivals({}, {})
        found = aggregates.periods.get(start, nobody) if experiment.ramp else everybody
        found = triggered.get(start, nobody) if triggered else found
        assigned, crossovers = (
            [counts.get(v.id, 0) for v in experiment.variants]
            for counts in (found.assigned, found.crossovers)
        )
        splits.append(_Split(start, assigned, crossovers, allocation.shares))
    return [split for split in splits if sum(split.assigned) > 0] or splits[:1]


def _within(experiment: Experiment, aggregates: Aggregates, segment: str) -> ResultRow | None:
    """The row of a segment: all its values together; None where no user has any.

    Values are independent parts as periods are, and the segments of an experiment share the level. The sequential evidence
    is the mean of the values' e-values, which is one as well, and is not outweighed by values that are as planned.
    """
    splits = _by_value(experiment, aggregates, segment)
    if not splits:
        return None
    furthest = min(splits, key=lambda split: mismatch(split.assigned, split.planned).log10_p)
    told = _told(experiment, [furthest.assigned], [furthest.planned])
    evidence = [sequential_e_value(split.assigned, split.planned).e_value for split in splits]
    row = replace(
        _row(experiment, aggregates, ASSIGNED, splits),
        segment=segment,
        segment_value=ALL,
        message=f"furthest from the plan is {furthest.users_of}: {told}",
        e_value=sum(e / len(evidence) for e in evidence),
    )
    return _judged(experiment, row, ALPHA / len(experiment.segments))


def _by_value(experiment: Experiment, aggregates: Aggregates, segment: str) -> list[_Split]:
    """Analysed users by value, under a ramp by period and value.

    They are those of the metric that most users are in: whom one metric leaves out another one has.
    """

    def users(metric: Metric, name: str, value: str) -> list[int]:
        found = (aggregates.block(metric.id, v.id, name, value) for v in experiment.variants)
        return [0 if block is None else block.moments.n for block in found]

    metric = max(experiment.metrics, key=lambda m: sum(users(m, ALL, ALL)))
    none = [0] * len(experiment.variants)
    splits = []
    for value in aggregates.segment_values(segment):
        for allocation in experiment.allocations:
            key = in_period(allocation.start, segment, value) if experiment.ramp else (segment, value)
            splits.append(_Split(key[1], users(metric, *key), none, allocation.shares))
    return [split for split in splits if sum(split.assigned) > 0]


def _joint(experiment: Experiment, aggregates: Aggregates, value: str, splits: Sequence[_Split]) -> ResultRow:
    """The row that has the verdict."""
    return _judged(experiment, _row(experiment, aggregates, value, splits), ALPHA)


def _judged(experiment: Experiment, row: ResultRow, alpha: float) -> ResultRow:
    """The row with its verdict, where it is a test."""
    if row.p_value is None or row.e_value is None:
        return row
    final = row.as_of_date >= experiment.window.end
    failed = row.p_value < alpha if final else row.e_value >= 1 / alpha
    return replace(row, alpha=alpha, verdict="mismatch" if failed else "ok")


def _row(
    experiment: Experiment,
    aggregates: Aggregates,
    value: str,
    splits: Sequence[_Split],
    start: str | None = None,
) -> ResultRow:
    """The test of these splits together; `start` names the one period that they are."""
    counts = [split.counts(value) for split in splits]
    shares = [split.shares(value) for split in splits]
    users = [sum(of_arm) for of_arm in zip(*counts, strict=True)]
    segment = (USERS, value) if start is None else in_period(start, USERS, value)

    def row(status: Status, **numbers: Any) -> ResultRow:
        return ResultRow(
            as_of_date=aggregates.as_of_date,
            method=METHOD,
            metric_id="",
            metric_kind="",
            role="",
            treatment_id="",
            control_id=experiment.control.id,
            segment=segment[0],
            segment_value=segment[1],
            status=status,
            n_control=users[0],
            n_treatment=sum(users[1:]),
            **numbers,
        )

    if sum(users) == 0:
        return row(
            Status.INSUFFICIENT_DATA, message=f"no {value} users" if value != CROSSOVERS else "no crossovers"
        )
    test = mismatch_in_periods(counts, shares)
    # An e-value needs shares that are known beforehand. Of crossovers they are the planned ones too: arms lose alike.
    evidence = e_value_in_periods(counts, [split.planned for split in splits])
    return row(
        Status.OK,
        message=_told(experiment, counts, shares),
        test=test.method,
        statistic=test.statistic,
        degrees_of_freedom=float(test.df),
        p_value=test.p,
        log10_p=test.log10_p,
        e_value=evidence.e_value,
    )


def _told(experiment: Experiment, counts: Sequence[Sequence[int]], shares: Sequence[Sequence[float]]) -> str:
    """Each arm's users, and the share of all that was to be expected of it."""
    total = sum(map(sum, counts))
    expected = [
        sum(sum(n) * planned[arm] / sum(planned) for n, planned in zip(counts, shares, strict=True)) / total
        for arm in range(len(experiment.variants))
    ]
    users = [sum(of_arm) for of_arm in zip(*counts, strict=True)]
    return "; ".join(
        f"{v.id}: {count:,} ({numbers.share(count / total, 2)}, expected {numbers.share(share, 2)})"
        for v, count, share in zip(experiment.variants, users, expected, strict=True)
    )
