"""What to do next, where the experiment stands in its plan, and what its confidence is: sentences for whoever decides."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date

from exp_platform import numbers
from exp_platform.decision import Decision
from exp_platform.report.content import Report

# The first of these codes that a decision has says what to look at.
LOOK_AT = {
    "SRM_MISMATCH": "Find out which users are missing, and mend the assignment. Then read the effects.",
    "SRM_WITHIN_SEGMENT": "Find out why the assignment depends on a segment, and mend it.",
    "DATA_LATE": "Wait for the rows that are still to come, and run again.",
    "CHECK_FAILED": "Mend what the failed check names, and run again.",
    "VALUES_LOST_UNEVENLY": "Find out why the arms lose different shares of users, as whoever is left differs too.",
    "CROSSOVERS_UNEVEN": "Find out why users change arms, and mend the assignment.",
    "COVARIATES_UNBALANCED": "Look for a broken assignment, or for a covariate that the treatment changes.",
    "CHECKS_SKIPPED": "Run again without skipping the quality of the data.",
    "SRM_NOT_TESTED": "Run again with the test of the split.",
    "ESTIMATE_MISSING": "Run the analysis that decides.",
    "GUARDRAIL_NOT_TESTED": "Run the guardrails.",
    "GUARDRAIL_OBSERVED_BREACH": "Look at the guardrail that is beyond its margin before anything else.",
    "GUARDRAIL_NO_ESTIMATE": "See why a critical guardrail has no number: what cannot be read may say no.",
    "SIGNIFICANTLY_WORSE": "Find out why the treatment is worse. Nothing speaks for rolling it out.",
    "NO_ESTIMATE": "See why a primary metric has no number.",
}
# What whoever ships ought to have read.
_BEFORE_SHIPPING = {
    "GUARDRAIL_UNPROVEN": "a guardrail is within its margin without proof",
    "GUARDRAIL_PROVEN_BREACH": "a guardrail is proven to be beyond its margin",
    "GUARDRAIL_OBSERVED_BREACH": "a guardrail is beyond its margin",
    "SECONDARY_WORSE": "a secondary metric is worse",
    "RUNNER_UP_NOT_BEATEN": "the winner is not better than the next treatment",
    "CAUTION": "an interval may not keep its level",
}


def next_steps(report: Report) -> list[str]:
    """What to do now, the most urgent first."""
    decision = report.decision
    codes = {reason.code for reason in decision.reasons}
    if decision.action == "ship":
        about = {
            r.code for r in decision.reasons if r.data.get("treatment_id") in (None, decision.winning_variant)
        }
        before = [told for code, told in _BEFORE_SHIPPING.items() if code in about]
        weigh = [f"Weigh it first: {'; '.join(before)}."] if before else []
        early = (
            []
            if decision.final
            else ["The size of the effect is rough, as it was found before the planned end."]
        )
        return [f"Roll out {decision.winning_variant} to everybody.", *weigh, *early]
    if decision.action == "stop":
        if decision.winner == "guardrail-violated":
            return ["Roll back now: every treatment is proven to break a critical guardrail."]
        clear = "NO_EFFECT_OF_MDE" in codes
        why = " An effect as large as was looked for is excluded." if clear else ""
        return [f"End the experiment and keep {report.experiment.control.id}.{why}"]
    if decision.action == "investigate":
        return [
            "Do not act on the effects yet.",
            next(
                (told for code, told in LOOK_AT.items() if code in codes),
                "The first reason says what does not fit.",
            ),
        ]
    return _go_on(report)


def _go_on(report: Report) -> list[str]:
    where = standing(report)
    if where.over:
        return [
            "The planned end has come without an answer. Users who come later only count as always-valid evidence; "
            "moving the end for the sake of a number that was seen would be a second test."
        ]
    left = (
        ""
        if where.days_remaining is None
        else f", about {_days(where.days_remaining)} more for the planned size"
    )
    return [
        f"Keep it running until {where.planned}{left}.",
        "Look as often as you like: before that date a difference counts only where always-valid evidence shows it.",
    ]


@dataclass(frozen=True)
class Standing:
    """Where an experiment stands in its plan. `share` is of the planned users, else of the days."""

    day: int
    days: int
    planned: date  # the decision date
    days_remaining: int | None
    current_users: int
    required_users: int | None
    share: float
    over: bool

    @property
    def told(self) -> str:
        """In words."""
        if self.over:
            return f"The planned end, {self.planned}, has come."
        return f"Day {self.day} of {self.days}; planned end {self.planned}."

    @property
    def users_told(self) -> str:
        """How many users are observed, of how many that were planned."""
        if self.required_users is None:
            return f"{numbers.count(self.current_users)} users observed; no size was planned"
        return f"{numbers.count(self.current_users)} of {numbers.count(self.required_users)} planned users observed"


def standing(report: Report) -> Standing:
    """Where the experiment stands on the report's day."""
    experiment, size = report.experiment, report.decision.adequacy
    planned, start = experiment.decision_date, experiment.window.start
    days = (planned - start).days + 1
    day = min(max((report.as_of_date - start).days + 1, 0), days)
    share = day / days if size.required_users is None else size.current_users / max(size.required_users, 1)
    over = report.decision.final or report.as_of_date >= planned
    remaining = None if over or size.planned_size_reached else size.days_remaining
    return Standing(
        day, days, planned, remaining, size.current_users, size.required_users, min(share, 1.0), over
    )


def confidence(decision: Decision) -> str:
    """The confidence with what it is, and what it is not."""
    if decision.trust != "ok":
        return "0: the data cannot be trusted, so nothing counts."
    if not decision.confidence:
        return "0: nothing is significant. It is not the chance that there is no effect."
    told = numbers.confidence(decision.confidence)
    return f"{told}: 1 − adjusted p of the evidence that counts. It is not the chance that the treatment is better."


def _days(n: int) -> str:
    return f"{n} day{'' if n == 1 else 's'}"
