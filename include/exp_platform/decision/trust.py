"""Whether the numbers can be believed at all."""

from __future__ import annotations

from collections.abc import Sequence

from exp_platform.analyses.rows import (
    ANALYSED,
    ASSIGNED,
    CROSSOVERS,
    TRIGGERED,
    USERS,
    WITH_VALUE,
    LateRow,
    ResultRow,
    Status,
)
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import SPLIT
from exp_platform.decision.findings import Case
from exp_platform.decision.model import Reason


def failures(case: Case, checks: Sequence[CheckResult]) -> list[Reason]:
    """What is known to be wrong: failed checks, an arm's rows that come late, a sample ratio mismatch, uneven crossovers, unbalanced covariates."""
    mismatches = _mismatches(case)
    # A split that its rows tell of is one fault, though the check of the data found it too.
    told = {SPLIT} if any(reason.code == "SRM_MISMATCH" for reason in mismatches) else set()
    reasons = [
        Reason(
            "CHECK_FAILED",
            f"The quality check {check.check} failed: {check.message}",
            {
                "check": check.check,
                "severity": check.severity,
                "observed": check.observed,
                "threshold": check.threshold,
            },
        )
        for check in checks
        if check.status == "failed" and check.check not in told
    ]
    return [*reasons, *map(_late, case.late), *mismatches, *_unbalanced(case)]


def _mismatches(case: Case) -> list[Reason]:
    """Users that were not split as planned, each fault once: those who are analysed, and within segments, where the assigned were."""
    failed = [row for row in _split(case) if row.verdict == "mismatch"]
    of_all = {row.segment_value for row in failed if row.segment == USERS and not row.metric_id}
    reasons = []
    for row in sorted(failed, key=lambda row: _place(case, row)):
        if row.segment_value in (ANALYSED, TRIGGERED) and ASSIGNED in of_all:
            continue
        code, users = "SRM_MISMATCH", row.segment_value
        what = f"not split as planned ({users} users)"
        if row.segment_value == CROSSOVERS:
            code, what = "CROSSOVERS_UNEVEN", "lost unevenly to crossovers"
        elif row.segment_value == WITH_VALUE:
            code, users = "VALUES_LOST_UNEVENLY", row.metric_id
            what = f"lost unevenly from {row.metric_id} for want of a value"
        elif row.segment != USERS:
            if of_all:
                continue
            code, users = "SRM_WITHIN_SEGMENT", row.segment
            what = f"not split as planned within {row.segment}, though all together may be"
        data = {"users": users, "p_value": row.p_value, "e_value": row.e_value}
        reasons.append(Reason(code, f"Users were {what}: {row.message}.", data))
    return reasons


def _split(case: Case) -> list[ResultRow]:
    return [row for row in case.results if row.method == SPLIT]


def _place(case: Case, row: ResultRow) -> tuple[int, int, str]:
    """All users come first, then segments, then metrics, each in the spec's order."""
    names = (*case.experiment.segments, *(metric.id for metric in case.experiment.metrics))
    name = row.metric_id or row.segment
    kind = 2 if row.metric_id else 0 if row.segment == USERS else 1
    return kind, names.index(name) if name in names else len(names), row.segment_value


def _late(row: LateRow) -> Reason:
    span = f"the last {row.days} days" if row.days > 1 else "the last day"
    text = (
        f"Rows of {row.variant_id} seem to come late: on {span} (since {row.since}) {row.metric_id} has {row.arm:,.0f} active "
        f"users per day in {row.variant_id} and {row.others:,.0f} in the other arms; on the days before it had "
        f"{row.arm_before:,.0f} and {row.others_before:,.0f}. Wait for the missing rows and run again (schedule.grace_days, "
        "schedule.wait_for)."
    )
    data = {name: value for name, value in vars(row).items() if name not in ("as_of_date", "status")}
    return Reason("DATA_LATE", text, data | {"since": row.since.isoformat()})


def _unbalanced(case: Case) -> list[Reason]:
    """Covariates that differ between the arms, where the estimate that decides is adjusted by them."""
    rows = [case.estimate(metric, t.id) for metric in case.primaries for t in case.experiment.treatments]
    return [
        Reason(
            "COVARIATES_UNBALANCED",
            f"The estimate of {row.metric_id} for {row.treatment_id} cannot be trusted: {row.message}.",
            {"metric_id": row.metric_id, "treatment_id": row.treatment_id, "balance_p": row.balance_p},
        )
        for row in rows
        if row is not None and "unbalanced" in (row.health or "")
    ]


def gaps(case: Case, checks: Sequence[CheckResult], skipped: Sequence[str]) -> list[Reason]:
    """What is not known because it was not looked at: quality, the split, the estimates that decide."""
    reasons = []
    if "quality" in skipped or not checks:
        reasons.append(Reason("CHECKS_SKIPPED", "The quality of the data was not checked."))
    if not any(r.status is Status.OK for r in _split(case) if r.segment_value == ASSIGNED):
        reasons.append(Reason("SRM_NOT_TESTED", "It was not tested whether users were split as planned."))
    for metric in case.primaries:
        missing = [t.id for t in case.experiment.treatments if case.estimate(metric, t.id) is None]
        if missing:
            method = case.experiment.decision.estimate
            text = f"There is no {method} result of {metric.id} for {', '.join(missing)}."
            reasons.append(Reason("ESTIMATE_MISSING", text, {"metric_id": metric.id, "treatments": missing}))
    return reasons
