"""The reasons that follow from effects, sizes and what was skipped, in words and as data."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from exp_platform import numbers
from exp_platform.analyses.rows import Status
from exp_platform.decision.findings import Case, Finding, excludes_mde, findings
from exp_platform.decision.model import Adequacy, Reason
from exp_platform.decision.standing import Standing

_CODES = {
    "better": ("SIGNIFICANTLY_BETTER", "significantly better than control"),
    "worse": ("SIGNIFICANTLY_WORSE", "significantly worse than control"),
    "below_practical": ("BELOW_PRACTICAL", "significantly better than control, by less than is worth having"),
    "not_significant": ("NOT_SIGNIFICANT", "not significantly different from control"),
}


def of_treatment(case: Case, standing: Standing) -> list[Reason]:
    """What each primary metric says of one treatment."""
    reasons = [_of_finding(case, f) for f in standing.findings]
    reasons += [
        _fallback(f)
        for f in standing.findings
        if f.row and f.row.estimated_by != case.experiment.decision.estimate
    ]
    reasons += [_caution(f) for f in standing.findings if f.row and f.row.caution]
    if {"better", "worse"} <= {f.outcome for f in standing.findings}:
        text = f"{standing.treatment_id} is better on one primary metric and worse on another: it counts as worse."
        reasons.append(Reason("PRIMARY_METRICS_DISAGREE", text, {"treatment_id": standing.treatment_id}))
    return reasons


def _of_finding(case: Case, f: Finding) -> Reason:
    data = {"metric_id": f.metric.id, "treatment_id": f.treatment_id}
    if f.row is None or f.row.status is not Status.OK:
        status, why = ("ABSENT", "no result") if f.row is None else (str(f.row.status), f.row.message)
        text = f"{f.treatment_id} has no estimate on {f.metric.id}: {why}."
        return Reason("NO_ESTIMATE", text, data | {"status": status})
    code, words = _CODES[f.outcome]
    relative = f.row.relative
    scale = case.experiment.scale(f.metric.id, f.row.metric_kind)
    effect = numbers.change(f.effect, *scale) if relative is None else numbers.percent(relative)
    text = f"{f.treatment_id} is {words} on {f.metric.id} ({effect})."
    found = {"effect": f.effect, "lift": f.lift, "p_adjusted": f.row.p_adjusted, "confidence": f.confidence}
    return Reason(code, text, data | found)


def _fallback(f: Finding) -> Reason:
    text = f"Nothing is there to adjust {f.metric.id} by, so its unadjusted estimate decides."
    return Reason("UNADJUSTED_ESTIMATE", text, {"metric_id": f.metric.id, "treatment_id": f.treatment_id})


def _caution(f: Finding) -> Reason:
    said = f.row.caution if f.row else None
    data = {"metric_id": f.metric.id, "treatment_id": f.treatment_id}
    return Reason("CAUTION", f"{f.metric.id} of {f.treatment_id}: {said}.", data)


def of_secondaries(case: Case) -> list[Reason]:
    """Secondary metrics that are significantly worse: they do not decide, and whoever ships should know."""
    return [
        replace(_of_finding(case, f), code="SECONDARY_WORSE")
        for f in findings(case, case.secondaries)
        if f.outcome == "worse"
    ]


def no_effect(left: Sequence[Standing]) -> list[Reason]:
    """The findings whose interval leaves no room for the smallest effect that was looked for."""
    return [
        Reason(
            "NO_EFFECT_OF_MDE",
            f"{f.treatment_id} does not improve {f.metric.id} by as much as was looked for.",
            {
                "metric_id": f.metric.id,
                "treatment_id": f.treatment_id,
                "ci_low": f.row.ci_low,
                "ci_high": f.row.ci_high,
            },
        )
        for standing in left
        for f in standing.findings
        if f.row is not None and excludes_mde(f.metric, f.row)
    ]


def of_size(case: Case, size: Adequacy) -> list[Reason]:
    """How far the experiment is along its plan. From its planned end on no more days are told: who comes later is not of the plan."""
    data = {
        "metric_id": size.metric_id,
        "required_users": size.required_users,
        "current_users": size.current_users,
        "days_remaining": size.days_remaining,
    }
    if size.required_users is None:
        reasons = [
            Reason(
                "NO_PLANNED_SIZE", "No size follows from the spec: the planned window stands for it.", data
            )
        ]
    elif size.planned_size_reached:
        text = f"{size.current_users:,} users of {size.required_users:,} planned ones are observed."
        reasons = [Reason("PLANNED_SIZE_REACHED", text, data)]
    else:
        over = case.final or case.as_of_date >= case.experiment.decision_date
        left = None if over else size.days_remaining
        days = "" if left is None else f"; about {left} day{'' if left == 1 else 's'} more"
        text = f"{size.current_users:,} users of {size.required_users:,} planned ones are observed{days}."
        reasons = [Reason("PLANNED_SIZE_NOT_REACHED", text, data)]
    return reasons


def of_skipped(skipped: Sequence[str]) -> list[Reason]:
    """Which stages did not run."""
    if not skipped:
        return []
    text = f"Not run this time: {', '.join(skipped)}; stored results stand in where there are any."
    return [Reason("STAGES_SKIPPED", text, {"skipped": list(skipped)})]
