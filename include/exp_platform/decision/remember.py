"""What a decision adds to the memory of the readings, so that no test is taken twice."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import date

from exp_platform.config.analyses import GUARDING
from exp_platform.config.experiment import Experiment
from exp_platform.config.readings import Claim, FirstLook, Memory, Reading, Refused, Verdict
from exp_platform.decision.findings import Case, Finding, findings
from exp_platform.decision.model import Trust

_CLAIMS = {"non_inferior": 1, "proven_breach": -1}


def remember(case: Case, found: Sequence[Finding], trust: Trust, verdict: Verdict) -> Memory:
    """The memory after this decision; the same decision twice leaves it the same.

    The first decision that shows a number of the family is the first look, whatever becomes of it. The first reading at the
    planned end of that look's plan, or on one of its looks, is the one that counts: by whatever plan it was made, and
    whether or not its data were checked. Only one whose data failed is not; its thresholds are kept, as it is by better
    data that it may be repeated, and not by kinder thresholds.
    """
    memory, day = case.state.memory, _read_on(case)
    if memory.first is None and _shows_something(case):
        memory = replace(memory, first=FirstLook(case.as_of_date, day, case.state.plan))
    ended = _has_ended(case, memory)
    if not (ended or _is_interim_look(case, memory)) or all(f.effect is None for f in found):
        return memory
    if trust == "failed" or case.state.lenient:
        refused = memory.refused or Refused(case.as_of_date, day, asdict(case.experiment.quality))
        return replace(memory, refused=refused)
    earlier = case.state
    reading = Reading(ended, case.as_of_date, day, earlier.data, _claims(case), verdict, len(earlier.edits))
    return _with(case, memory, reading)


def _read_on(case: Case) -> date:
    return case.state.read_on or case.as_of_date


def _shows_something(case: Case) -> bool:
    family = {metric.id for metric in case.experiment.family}
    return any(row.metric_id in family and row.estimate is not None for row in case.results)


def _has_ended(case: Case, memory: Memory) -> bool:
    """Whether the planned end of the first look has come; a table without times shows no less on an earlier as_of date."""
    end = planned_end(case.experiment, memory)
    return case.as_of_date >= end or (case.experiment.undated and _read_on(case) > end)


def planned_end(experiment: Experiment, memory: Memory) -> date:
    """The planned decision date of the first look's plan, else of the present one."""
    if memory.first is None:
        return experiment.decision_date
    return date.fromisoformat(memory.first.plan["decision_date"])


def _is_interim_look(case: Case, memory: Memory) -> bool:
    if case.experiment.decision.sequential != "group_sequential" or memory.first is None:
        return False
    return case.as_of_date.isoformat() in memory.first.plan["looks"]


def _claims(case: Case) -> tuple[Claim, ...]:
    """What is significant by today's test, of all metrics that share alpha, and what guardrails prove."""
    found = findings(case, case.experiment.family)
    claims = [case.claim(f.metric, f.treatment_id, f.row) for f in found if f.tested and f.row is not None]
    guards = (
        case.row(GUARDING, metric.id, treatment.id)
        for metric in case.experiment.metrics
        for treatment in case.experiment.treatments
    )
    proven = [
        (GUARDING, case.state.name(row.metric_id), row.treatment_id, _CLAIMS[row.verdict])
        for row in guards
        if row is not None and row.verdict in _CLAIMS and (case.final or case.look)
    ]
    return (*claims, *proven)


def _with(case: Case, memory: Memory, reading: Reading) -> Memory:
    """A reading on other data than the first leaves that one; one on the same data adds to it what counts there."""
    before = memory.final if reading.final else memory.look(reading.as_of_date)
    if before is None:
        return replace(memory, readings=(*memory.readings, reading))
    same_day = before.as_of_date == reading.as_of_date or case.experiment.undated
    if not same_day or before.data != reading.data:
        return memory
    both = replace(before, found=tuple(dict.fromkeys((*before.found, *reading.found))))
    return replace(memory, readings=tuple(both if r is before else r for r in memory.readings))
