"""The rules, in order: from where each treatment stands to one winner and one action."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from typing import NamedTuple

from exp_platform.analyses.rows import Row, Status
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import DECISIVE
from exp_platform.config.experiment import Experiment
from exp_platform.config.readings import RunState, Verdict
from exp_platform.decision import reasons as because
from exp_platform.decision import trust
from exp_platform.decision.adequacy import adequacy
from exp_platform.decision.final import of_final, that_stands
from exp_platform.decision.findings import Case, Finding, findings, leading
from exp_platform.decision.guardrails import guardrails
from exp_platform.decision.model import Action, Adequacy, Decision, Reason, Trust, Winner
from exp_platform.decision.readings import of_end
from exp_platform.decision.remember import remember
from exp_platform.decision.runner_up import runner_up
from exp_platform.decision.standing import Standing, standings
from exp_platform.errors import DataError


class _Verdict(NamedTuple):
    winner: Winner
    action: Action
    about: Finding | None  # what lift, effect and confidence are taken from
    reasons: Sequence[Reason] = ()


def decide(
    experiment: Experiment,
    state: RunState,
    rows: Sequence[Row],
    checks: Sequence[CheckResult],
    skipped: Sequence[str] = (),
) -> Decision:
    """Decide at the as_of date of the rows; `skipped` names stages whose stored results stand in.

    The first rule that holds (`standings` says how a treatment's guardrails and primary metrics make its outcome):

    1. trust failed or unknown: inconclusive, investigate;
    2. every treatment has a proven critical breach: guardrail-violated, stop;
    3. a treatment is better: treatment, ship; the largest effect, on the first primary metric that was won;
    4. an observed critical breach holds a treatment back: inconclusive, investigate;
    5. a critical guardrail or another primary metric without a number does: inconclusive, extend where it wants for users,
       else investigate;
    6. a treatment is significantly worse: control, investigate;
    7. a primary metric cannot be estimated at the planned end, and not for want of users: inconclusive, investigate;
    8. the planned size is reached at the planned end: inconclusive, stop;
    9. else: inconclusive, extend.

    Before the planned end only always-valid evidence, or a look of a group-sequential test, is significant. A significant effect below `min_practical_effect`
    is told as BELOW_PRACTICAL and falls under 8 or 9. Above all stands a final ship or stop, once the spec is another one
    than it was read by (`final.that_stands`). Raises DataError without the rows of `analyses.evidence`.
    """
    case = Case(experiment, state, tuple(rows))
    if len(case.sizes) < len(case.primaries):
        raise DataError(
            f"{experiment.id}: the decision rests on the rows of {DECISIVE}, and there are none: run that stage first"
        )
    found, guards, size = findings(case, case.primaries), guardrails(case), adequacy(case)
    stand = standings(case, found, guards)
    failed, unknown = trust.failures(case, checks), [*trust.gaps(case, checks, skipped), *guards.untested]
    trusted = not failed and not unknown
    believed: Trust = "failed" if failed else "unknown" if unknown else "ok"
    verdict = (
        _combine(case, stand, size) if trusted else _Verdict("inconclusive", "investigate", leading(found))
    )
    final = that_stands(case, believed, guards)
    told = final.verdict if final and final.verdict else _told(case, verdict, size, trusted)
    return Decision(
        experiment_id=experiment.id,
        as_of_date=case.as_of_date,
        **asdict(told),
        estimate=experiment.decision.estimate,
        final=case.final or final is not None,
        look=case.look,
        sequential=experiment.decision.sequential,
        trust=believed,
        reasons=(
            *([of_final(case, final)] if final else []),
            *failed,
            *unknown,
            *guards.reasons,
            *(reason for s in stand for reason in because.of_treatment(case, s)),
            *because.of_secondaries(case),
            *verdict.reasons,
            *because.of_size(case, size),
            *of_end(case, verdict.action),
            *because.of_skipped(skipped),
        ),
        adequacy=size,
        treatments=tuple(s.verdict() for s in stand),
        skipped=tuple(skipped),
        memory=remember(case, found, believed, told),
    )


def _told(case: Case, verdict: _Verdict, size: Adequacy, trusted: bool) -> Verdict:
    about = verdict.about
    reported = about.treatment_id if about else None
    winning = {"treatment": reported, "control": case.experiment.control.id}
    return Verdict(
        winner=verdict.winner,
        action=verdict.action,
        winning_variant=winning.get(verdict.winner),
        reported_variant=reported,
        decisive_metric=about.metric.id if about else size.metric_id,
        confidence=about.confidence if about and trusted else 0.0,
        lift=about.lift if about else None,
        effect=about.effect if about else None,
    )


def _combine(case: Case, stand: Sequence[Standing], size: Adequacy) -> _Verdict:
    """Rules 2 to 9."""
    left = [s for s in stand if s.outcome != "breach"]
    lead = leading(f for s in left or stand for f in s.findings)
    if not left:
        return _Verdict("guardrail-violated", "stop", lead)
    if any(s.outcome == "better" for s in left):
        return _ship(case, left)
    if any(s.outcome == "observed_breach" for s in left):
        return _Verdict("inconclusive", "investigate", lead)
    held = [s for s in left if s.outcome == "unread"]
    if held:
        wait = all(s.lacks_users_only for s in held)
        return _Verdict("inconclusive", "extend" if wait else "investigate", held[0].rests_on)
    worse = [s.rests_on for s in left if s.outcome == "worse"]
    if worse:
        return _Verdict("control", "investigate", worse[0])
    unread = [f for s in left for f in s.findings if f.outcome == "no_estimate"]
    if case.final and any(f.row is None or f.row.status is not Status.INSUFFICIENT_DATA for f in unread):
        return _Verdict("inconclusive", "investigate", lead)
    if case.final and size.planned_size_reached and not unread:
        return _Verdict("inconclusive", "stop", lead, because.no_effect(left))
    return _Verdict("inconclusive", "extend", lead)


def _ship(case: Case, left: Sequence[Standing]) -> _Verdict:
    """Rule 3, and whether the winner is ahead of the next treatment that may still be chosen."""
    won = [f for s in left if s.outcome == "better" for f in s.findings if f.outcome == "better"]
    metric = next(m for m in case.primaries if any(f.metric == m for f in won))
    winner = max((f for f in won if f.metric == metric), key=lambda f: f.improvement)
    others = [f for s in left if s.outcome != "observed_breach" for f in s.findings if f.metric == metric]
    reason = runner_up(case, winner, others)
    return _Verdict("treatment", "ship", winner, () if reason is None else (reason,))
