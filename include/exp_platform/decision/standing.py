"""Where each treatment stands, guardrails and all its primary metrics considered."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from exp_platform.analyses.rows import Status
from exp_platform.decision.findings import Case, Finding, leading
from exp_platform.decision.guardrails import Guardrails
from exp_platform.decision.model import Outcome, TreatmentVerdict

_STRONGEST: tuple[Outcome, ...] = ("worse", "better", "below_practical", "no_estimate", "not_significant")


@dataclass(frozen=True)
class Standing:
    """One treatment: its outcome, its findings in the spec's order, and the one that the outcome rests on.

    `unread` are the statuses of critical guardrails and primary metrics without a number, where these hold it back.
    """

    treatment_id: str
    outcome: Outcome
    findings: tuple[Finding, ...]
    rests_on: Finding
    unread: tuple[Status | None, ...] = ()

    @property
    def lacks_users_only(self) -> bool:
        """Whether all that cannot be read wants for nothing but users."""
        return all(status is Status.INSUFFICIENT_DATA for status in self.unread)

    def verdict(self) -> TreatmentVerdict:
        """The standing as the decision tells it."""
        f = self.rests_on
        return TreatmentVerdict(self.treatment_id, self.outcome, f.metric.id, f.effect, f.lift, f.confidence)


def standings(case: Case, found: Sequence[Finding], guards: Guardrails) -> list[Standing]:
    """One standing per treatment, in the spec's order.

    With several primary metrics a treatment is worse where any is significantly worse, else better where any is
    significantly better and large enough; the first such metric of the spec is the one it rests on. A proven critical
    breach overrules that; an observed one does at the planned end, or where the treatment would be shipped. What would be
    shipped is `unread` while a critical guardrail or another primary metric has no number: nobody knows what it would say.
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
    if strongest.outcome == "better":
        primaries = (None if f.row is None else f.row.status for f in own if f.outcome == "no_estimate")
        unread = (*guards.unread.get(treatment_id, ()), *primaries)
        return Standing(treatment_id, "unread" if unread else "better", own, strongest, unread)
    return Standing(treatment_id, strongest.outcome, own, strongest)
