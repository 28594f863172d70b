"""What the guardrails say of each treatment."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from exp_platform import numbers
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.analyses import GUARDING
from exp_platform.config.metrics import MetricScale
from exp_platform.decision.findings import Case
from exp_platform.decision.model import Reason

_WORDS = {
    "proven_breach": ("GUARDRAIL_PROVEN_BREACH", "is proven to be beyond its margin"),
    "observed_breach": ("GUARDRAIL_OBSERVED_BREACH", "is beyond its margin, which is not proven"),
    "unproven": ("GUARDRAIL_UNPROVEN", "is within its margin, which is not proven"),
}


@dataclass(frozen=True)
class Guardrails:
    """What critical guardrails say by treatment, the reasons of all guardrails, and those that were not tested at all."""

    proven: frozenset[str]
    observed: frozenset[str]
    unread: Mapping[str, tuple[Status, ...]]  # of critical guardrails without a number
    reasons: tuple[Reason, ...]
    untested: tuple[Reason, ...]


def guardrails(case: Case) -> Guardrails:
    """Read the guardrail rows: warnings and unproven ones are reasons only, a critical one without a number is not."""
    proven, observed, reasons, untested = set(), set(), [], []
    unread: dict[str, tuple[Status, ...]] = {}
    untested += [_taken_out(metric_id) for metric_id in case.state.unguarded]
    for metric in case.experiment.metrics:
        guardrail = case.state.guardrail_of(metric)
        if guardrail is None:
            continue
        for treatment in case.experiment.treatments:
            row = case.row(GUARDING, metric.id, treatment.id)
            if row is None:
                untested.append(_untested(metric.id, treatment.id))
                continue
            scale = case.experiment.scale(metric.id, row.metric_kind)
            reasons += _reasons(row, guardrail.severity, scale)
            if guardrail.severity != "critical":
                continue
            if row.status is not Status.OK:
                unread[treatment.id] = (*unread.get(treatment.id, ()), row.status)
            elif row.verdict == "proven_breach":
                proven.add(treatment.id)
            elif row.verdict == "observed_breach":
                observed.add(treatment.id)
    return Guardrails(frozenset(proven), frozenset(observed), unread, tuple(reasons), tuple(untested))


def _untested(metric_id: str, treatment_id: str) -> Reason:
    text = f"The guardrail {metric_id} was not tested for {treatment_id}."
    return Reason("GUARDRAIL_NOT_TESTED", text, {"metric_id": metric_id, "treatment_id": treatment_id})


def _taken_out(metric_id: str) -> Reason:
    text = (
        f"The critical guardrail {metric_id} was in the plan of the first look, and the spec no longer has this metric as it "
        "was: put it back, so that it can be tested."
    )
    return Reason("GUARDRAIL_NOT_TESTED", text, {"metric_id": metric_id})


def _reasons(row: ResultRow, severity: str, scale: MetricScale) -> list[Reason]:
    data = {
        "metric_id": row.metric_id,
        "treatment_id": row.treatment_id,
        "severity": severity,
        "estimate": row.estimate,
        "margin": row.margin,
    }
    if row.status is not Status.OK:
        text = (
            f"The {severity} guardrail {row.metric_id} has no estimate for {row.treatment_id}: {row.message}."
        )
        return [Reason("GUARDRAIL_NO_ESTIMATE", text, data | {"status": str(row.status)})]
    if row.verdict not in _WORDS:
        return []
    code, words = _WORDS[row.verdict]
    found, margin = _written(row, scale)
    text = f"The {severity} guardrail {row.metric_id} {words} for {row.treatment_id}: {found} against a margin of {margin}."
    return [Reason(code, text, data)]


def _written(row: ResultRow, scale: MetricScale) -> tuple[str, str]:
    """The effect and its margin on the scale that the margin was given on."""
    if row.margin_relative is not None and row.relative is not None:
        return numbers.percent(row.relative), numbers.percent(row.margin_relative)
    return numbers.change(row.estimate, *scale), numbers.change(row.margin, *scale)
