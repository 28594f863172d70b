"""The reasons that say what counts on this day: the end, looks, what was read before, and what became of the plan."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from exp_platform.config.readings import Edit, Reading
from exp_platform.decision.findings import Case
from exp_platform.decision.model import Action, Reason
from exp_platform.decision.words import told

_MOST_EDITS = 5  # the newest ones, that a sentence names; the data has all


def of_end(case: Case, action: Action) -> list[Reason]:
    """What counts on this day, and why no more does."""
    grouped = case.experiment.decision.sequential == "group_sequential"
    return [
        *_of_edits(case),
        *_of_plan(case),
        *_of_readings(case),
        *(_of_looks(case) if grouped else _of_date(case, action)),
    ]


def _of_edits(case: Case) -> Iterator[Reason]:
    """Every edit of the spec since its first run, with its day, also one that was set back."""
    edits = case.state.edits
    if not edits:
        return
    named = "; ".join(f"on {edit.on}{_or_by(edit)}: {told(edit.changes)}" for edit in edits[-_MOST_EDITS:])
    before = len(edits) - _MOST_EDITS
    text = f"The spec was changed after its first run, {named}" + (
        f"; {before} earlier" if before > 0 else ""
    )
    data = [
        {"on": e.on.isoformat(), "changes": [vars(change) for change in e.changes], "upgraded": e.upgraded}
        for e in edits
    ]
    yield Reason("SPEC_CHANGED", f"{text}.", {"edits": data})


def _or_by(edit: Edit) -> str:
    """What else than an author may have changed what the spec means."""
    return " (the platform was upgraded too, and may have other defaults)" if edit.upgraded else ""


def _of_plan(case: Case) -> Iterator[Reason]:
    """What is not as it was at the first look, and what that leaves."""
    earlier = case.state
    if not earlier.changes:
        return
    first, refused = earlier.memory.first, earlier.memory.refused
    since = (
        f"the first look (as of {first.as_of_date}, read on {first.read_on})" if first else "the first look"
    )
    data: dict[str, Any] = {
        "since": first.as_of_date.isoformat() if first else None,
        "read_on": first.read_on.isoformat() if first else None,
        "changes": [{"key": c.key, "before": c.before, "now": c.now} for c in earlier.changes],
    }
    text = f"The plan is not that of {since}: {told(earlier.changes)}. {' '.join(_consequences(case))}"
    if earlier.lenient and refused:
        data["refused_as_of"] = refused.as_of_date.isoformat()
    yield Reason("PLAN_CHANGED", text.rstrip(), data)


def _consequences(case: Case) -> Iterator[str]:
    experiment, earlier = case.experiment, case.state
    grouped = experiment.decision.sequential == "group_sequential"
    if earlier.incomparable:
        yield "Numbers were seen before this comparison was chosen, so nothing counts until it is set back."
        return
    if earlier.lenient and earlier.memory.refused:
        yield (
            f"The reading as of {earlier.memory.refused.as_of_date} failed by the thresholds as they were: better data can "
            f"repeat it, other thresholds cannot."
        )
    if earlier.moved:
        yield (
            "No look counts until it is set back."
            if grouped
            else "Only always-valid evidence counts until it is set back."
        )
    if earlier.fixed_alpha is not None:
        yield "Each comparison has the smaller of both levels."
    late = [m.id for m in case.primaries if not case.decides(m)]
    if late:
        yield f"{', '.join(late)}: no share of alpha was kept for this when numbers were seen first, so it decides nothing."
    if earlier.new_treatments:
        yield f"{', '.join(earlier.new_treatments)}: added later, so only always-valid evidence counts."


def _of_readings(case: Case) -> Iterator[Reason]:
    """That the test of this plan was taken before: of another end, or on other data."""
    experiment = case.experiment
    read, before = case.state.memory.final, case.earlier_reading
    grouped = experiment.decision.sequential == "group_sequential"
    test = "the last look was taken" if grouped else "the fixed-horizon test was read"
    if read is not None and not case.final and case.state.moved and not case.state.lenient:
        left = "all of alpha is spent" if grouped else "only always-valid evidence counts"
        text = f"The planned end was moved after {test} as of {read.as_of_date} (on {read.read_on}): {left}."
        yield Reason("FIXED_HORIZON_READ", text, _data(read))
    elif before is not None and (case.final or case.look):
        what = test if before.final else "this look was taken"
        lost, added = _taken_back(case, before), _not_added(case, before)
        text = (
            f"{what[0].upper()}{what[1:]} as of {before.as_of_date} (on {before.read_on}), with other data."
        )
        text += " A later reading may take back what it found and adds nothing"
        text += f"; not counted: {', '.join(added)}" if added else ""
        text += f"; taken back: {', '.join(lost)}" if lost else ""
        yield Reason("FIXED_HORIZON_READ", f"{text}.", _data(before) | {"added": added, "taken_back": lost})


def _data(reading: Reading) -> dict[str, Any]:
    return {
        "read_as_of": reading.as_of_date.isoformat(),
        "read_on": reading.read_on.isoformat(),
        "found": [list(claim) for claim in reading.found],
    }


def _significant(case: Case) -> dict[tuple[str, ...], str]:
    """Claims that the rows of metrics that share alpha make by p alone -> their words."""
    claims = {}
    for metric in case.experiment.family:
        for treatment in case.experiment.treatments:
            row = case.estimate(metric, treatment.id)
            if (
                row is not None
                and row.p_value is not None
                and row.alpha is not None
                and row.p_value < row.alpha
            ):
                claims[tuple(map(str, case.claim(metric, treatment.id, row)))] = (
                    f"{metric.id} of {treatment.id}"
                )
    return claims


def _not_added(case: Case, before: Reading) -> list[str]:
    found = {tuple(map(str, claim)) for claim in before.found}
    return [words for claim, words in _significant(case).items() if claim not in found]


def _taken_back(case: Case, before: Reading) -> list[str]:
    now = _significant(case)
    family = {case.state.name(metric.id) for metric in case.experiment.family}
    return [
        f"{claim[1]} of {claim[2]}"
        for claim in before.found
        if claim[0] == "decision" and claim[1] in family and tuple(map(str, claim)) not in now
    ]


def _of_looks(case: Case) -> Iterator[Reason]:
    """Which look of a group-sequential test this is, or why it is none."""
    dates = [day.isoformat() for day in case.state.look_dates(case.experiment)]
    if case.state.moved or case.state.incomparable:
        return
    data = {"look": case.look, "looks": dates}
    if case.look is None:
        yield Reason("NOT_A_LOOK", f"Today is no look: nothing counts but on {', '.join(dates)}.", data)
        return
    text = f"This is look {case.look} of {len(dates)} of a group-sequential test."
    yield Reason("LAST_LOOK" if case.final else "INTERIM_LOOK", text, data)


def _of_date(case: Case, action: Action) -> Iterator[Reason]:
    """What counts on this day, where always-valid evidence stands beside the fixed-horizon test."""
    planned_end = case.experiment.decision_date
    data = {"decision_date": planned_end.isoformat()}
    if case.state.moved or case.state.incomparable:
        return
    if not case.final:
        text = f"Until the planned decision date {planned_end} only always-valid evidence counts."
        yield Reason("BEFORE_PLANNED_END", text, data)
    elif action == "extend":
        text = f"The planned decision date {planned_end} has come: of a window extended now, only always-valid evidence counts."
        yield Reason("AFTER_PLANNED_END", text, data)
