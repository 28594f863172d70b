"""Where each treatment stands, guardrails and all its primary metrics considered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exp_platform.decision.evidence import Case, Finding, leading
from exp_platform.decision.guardrails import Guardrails
from exp_platform.decision.model import Outcome, TreatmentVerdict

_STRONGEST: tuple[Outcome, ...] = ("worse", "better", "below_practical", "no_estimate", "not_significant")


@dataclass(frozen=True)
class Standing:
    """One treatment: its outcome, its findings in the spec's order, and the one that the outcome rests on."""

    treatment_id: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    rests_on: Finding

    def verdict(self) -> TreatmentVerdict:
        """The standing as the decision tells it."""
        f = self.rests_on
        return TreatmentVerdict(self.treatment_id, self.outcome, f.metric.id, f.effect, f.lift, f.confidence)


def standings(case: Case, found: Sequence[Finding], guards: Guardrails) -> list[Standing]:
    """One standing per treatment, in the spec's order.

    With several primary metrics a treatment is worse where any is significantly worse, else better where any is
    significantly better and large enough; the first such metric of the spec is the one it rests on. A proven critical
    breach overrules that; an observed one does at the planned end, or where the treatment would be shipped.
    """
    return [
        _standing(case, t.id, tuple(f for f in found if f.treatment_id == t.id), guards)
        for t in case.experiment.treatments
    ]


def _standing(case: Case, treatment_id: str, own: tuple[Finding, ...], guards: Guardrails) -> Standing:
    strongest = min(own, key=lambda f: _STRONGEST.index(f.outcome))  # the first of equals
    if treatment_id in guards.proven:
        return Standing(treatment_id, "breach", own, leading(own) or strongest)
    if treatment_id in guards.observed and (case.final or strongest.outcome == "better"):
        return Standing(treatment_id, "observed_breach", own, leading(own) or strongest)
    return Standing(treatment_id, strongest.outcome, own, strongest)
