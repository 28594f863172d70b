"""SRM: whether users were split as planned, and whether the arms lose users to crossovers alike."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, NamedTuple

from exp_platform.aggregates import Aggregates, Arrivals
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.config.allocation import in_period
from exp_platform.config.experiment import Experiment
from exp_platform.stats.srm import e_value_in_periods, mismatch_in_periods

METHOD = "srm"
SEGMENT = "users"  # rows have no metric; their segment value says which users were counted
ASSIGNED, ANALYSED, CROSSOVERS = "assigned", "analysed", "crossovers"
ALPHA = 0.001  # at the end; before it an e-value of 1 / ALPHA


class _Split(NamedTuple):
    """The arms' users who came under one allocation, and the shares that each kind of count is held against."""

    start: str
    assigned: list[int]
    crossovers: list[int]
    planned: Sequence[float]

    def counts(self, value: str) -> list[int]:
        if value == ANALYSED:
            return [a - x for a, x in zip(self.assigned, self.crossovers, strict=True)]
        return self.assigned if value == ASSIGNED else self.crossovers

    def shares(self, value: str) -> Sequence[float]:
        return [float(a) for a in self.assigned] if value == CROSSOVERS else self.planned


def analyse(experiment: Experiment, aggregates: Aggregates) -> list[Row]:
    """One row for assigned users, one for those left after crossovers are excluded, one for the crossovers themselves.

    Crossovers are tested against the arms' assigned users, because under independence every arm loses the same share
    (conservative by a factor of one minus that share). While users still arrive the verdict rests on the sequential
    e-value (Lindon and Malek 2020), from the window's last day on Pearson's test (exact for small counts), both at .001.
    Under a ramp each period is held against its own shares. The verdict is that of all periods together; rows of single
    periods follow, which say where, and have none.
    """
    splits = _splits(experiment, aggregates)
    values = [ASSIGNED]
    if experiment.analyses.crossovers == "exclude":
        values.append(ANALYSED)
    rows: list[Row] = [_joint(experiment, aggregates, value, splits) for value in values]
    whole = [split for split in splits if min(split.assigned) > 0]
    if whole:
        rows.append(_joint(experiment, aggregates, CROSSOVERS, whole))
    if experiment.ramp:
        rows += [_row(experiment, aggregates, value, [s], s.start) for value in values for s in splits]
    return rows


def _splits(experiment: Experiment, aggregates: Aggregates) -> list[_Split]:
    """Users by allocation; of a ramp only the periods that somebody came in."""
    everybody = Arrivals(aggregates.assigned, aggregates.crossovers)
    splits = []
    for allocation in experiment.allocations:
        start = str(allocation.start)
        found = aggregates.periods.get(start, Arrivals({}, {})) if experiment.ramp else everybody
        assigned, crossovers = (
            [counts.get(v.id, 0) for v in experiment.variants]
            for counts in (found.assigned, found.crossovers)
        )
        splits.append(_Split(start, assigned, crossovers, allocation.shares))
    return [split for split in splits if sum(split.assigned) > 0] or splits[:1]


def _joint(experiment: Experiment, aggregates: Aggregates, value: str, splits: Sequence[_Split]) -> ResultRow:
    """The row that has the verdict."""
    row = _row(experiment, aggregates, value, splits)
    if row.p_value is None or row.e_value is None:
        return row
    final = aggregates.as_of_date >= experiment.window.end
    failed = row.p_value < ALPHA if final else row.e_value >= 1 / ALPHA
    return replace(row, alpha=ALPHA, verdict="mismatch" if failed else "ok")


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
    segment = (SEGMENT, value) if start is None else in_period(start, SEGMENT, value)

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
        f"{v.id}: {count:,} ({count / total:.2%}, expected {share:.2%})"
        for v, count, share in zip(experiment.variants, users, expected, strict=True)
    )
