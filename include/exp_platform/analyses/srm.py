"""SRM: whether users were split as planned, and whether the arms lose users to crossovers alike."""

from __future__ import annotations

from typing import Any

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.config.experiment import Experiment
from exp_platform.stats.srm import mismatch, sequential_e_value

METHOD = "srm"
SEGMENT = "users"  # rows have no metric; their segment value says which users were counted
ASSIGNED, ANALYSED, CROSSOVERS = "assigned", "analysed", "crossovers"
ALPHA = 0.001  # at the end; before it an e-value of 1 / ALPHA


def analyse(experiment: Experiment, aggregates: Aggregates) -> list[Row]:
    """One row for assigned users, one for those left after crossovers are excluded, one for the crossovers themselves.

    Crossovers are tested against the arms' assigned users, because under independence every arm loses the same share
    (conservative by a factor of one minus that share). While users still arrive the verdict rests on the sequential
    e-value (Lindon and Malek 2020), from the window's last day on Pearson's test (exact for small counts), both at .001.
    """
    variants = [v.id for v in experiment.variants]
    planned = [v.share for v in experiment.variants]
    assigned = [aggregates.assigned.get(v, 0) for v in variants]
    crossovers = [aggregates.crossovers.get(v, 0) for v in variants]
    rows: list[Row] = [_row(experiment, aggregates, ASSIGNED, assigned, planned)]
    if experiment.analyses.crossovers == "exclude":
        left = [a - x for a, x in zip(assigned, crossovers, strict=True)]
        rows.append(_row(experiment, aggregates, ANALYSED, left, planned))
    if min(assigned) > 0:
        rows.append(_row(experiment, aggregates, CROSSOVERS, crossovers, [float(a) for a in assigned]))
    return rows


def _row(
    experiment: Experiment, aggregates: Aggregates, value: str, counts: list[int], shares: list[float]
) -> ResultRow:
    def row(status: Status, **numbers: Any) -> ResultRow:
        return ResultRow(
            as_of_date=aggregates.as_of_date,
            method=METHOD,
            metric_id="",
            metric_kind="",
            role="",
            treatment_id="",
            control_id=experiment.control.id,
            segment=SEGMENT,
            segment_value=value,
            status=status,
            n_control=counts[0],
            n_treatment=sum(counts[1:]),
            **numbers,
        )

    if sum(counts) == 0:
        return row(
            Status.INSUFFICIENT_DATA, message=f"no {value} users" if value != CROSSOVERS else "no crossovers"
        )
    test = mismatch(counts, shares)
    evidence = sequential_e_value(counts, [v.share for v in experiment.variants])
    if aggregates.as_of_date >= experiment.window.end:
        failed = test.p < ALPHA
    else:
        failed = evidence.e_value >= 1 / ALPHA
    return row(
        Status.OK,
        message=_told(experiment, counts, shares),
        test=test.method,
        statistic=test.statistic,
        degrees_of_freedom=float(test.df),
        p_value=test.p,
        log10_p=test.log10_p,
        alpha=ALPHA,
        e_value=evidence.e_value,
        verdict="mismatch" if failed else "ok",
    )


def _told(experiment: Experiment, counts: list[int], shares: list[float]) -> str:
    total, whole = sum(counts), sum(shares)
    return "; ".join(
        f"{v.id}: {count:,} ({count / total:.2%}, expected {share / whole:.2%})"
        for v, count, share in zip(experiment.variants, counts, shares, strict=True)
    )
