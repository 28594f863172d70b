"""Whether the numbers can be believed at all."""

from __future__ import annotations

from collections.abc import Sequence

from exp_platform.analyses import srm
from exp_platform.analyses.rows import Status
from exp_platform.checks import CheckResult
from exp_platform.decision.evidence import Case
from exp_platform.decision.late_data import late_data
from exp_platform.decision.model import Reason


def failures(case: Case, checks: Sequence[CheckResult]) -> list[Reason]:
    """What is known to be wrong: failed checks, an arm's rows that come late, a sample ratio mismatch, uneven crossovers, unbalanced covariates."""
    mismatches = _mismatches(case)
    # A split that its rows tell of is one fault, though the check of the data found it too.
    told = {srm.METHOD} if any(reason.code == "SRM_MISMATCH" for reason in mismatches) else set()
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
    return [*reasons, *late_data(case), *mismatches, *_unbalanced(case)]


def _mismatches(case: Case) -> list[Reason]:
    """Users that were not split as planned, each fault once: those who are analysed, and within segments, where the assigned were."""
    failed = [row for row in case.results if row.method == srm.METHOD and row.verdict == "mismatch"]
    of_all = {row.segment_value for row in failed if row.segment == srm.SEGMENT and not row.metric_id}
    reasons = []
    for row in failed:
        if row.segment_value == srm.ANALYSED and srm.ASSIGNED in of_all:
            continue
        code, users = "SRM_MISMATCH", row.segment_value
        what = f"not split as planned ({users} users)"
        if row.segment_value == srm.CROSSOVERS:
            code, what = "CROSSOVERS_UNEVEN", "lost unevenly to crossovers"
        elif row.segment_value == srm.WITH_VALUE:
            code, users = "VALUES_LOST_UNEVENLY", row.metric_id
            what = f"lost unevenly from {row.metric_id} for want of a value"
        elif row.segment != srm.SEGMENT:
            if of_all:
                continue
            code, users = "SRM_WITHIN_SEGMENT", row.segment
            what = f"not split as planned within {row.segment}, though all together may be"
        data = {"users": users, "p_value": row.p_value, "e_value": row.e_value}
        reasons.append(Reason(code, f"Users were {what}: {row.message}.", data))
    return reasons


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
    split = [r for r in case.results if r.method == srm.METHOD and r.segment_value == srm.ASSIGNED]
    if not any(r.status is Status.OK for r in split):
        reasons.append(Reason("SRM_NOT_TESTED", "It was not tested whether users were split as planned."))
    for metric in case.primaries:
        missing = [t.id for t in case.experiment.treatments if case.estimate(metric, t.id) is None]
        if missing:
            method = case.experiment.decision.estimate
            text = f"There is no {method} result of {metric.id} for {', '.join(missing)}."
            reasons.append(Reason("ESTIMATE_MISSING", text, {"metric_id": metric.id, "treatments": missing}))
    return reasons
