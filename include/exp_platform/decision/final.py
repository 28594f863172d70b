"""A final decision stands: what ended an experiment is not undone by an edit of its spec."""

from __future__ import annotations

from exp_platform.config.readings import Change, Reading, together
from exp_platform.decision.findings import Case
from exp_platform.decision.guardrails import Guardrails
from exp_platform.decision.model import Reason, Trust
from exp_platform.decision.words import told

_ENDS = ("ship", "stop")


def that_stands(case: Case, trust: Trust, guards: Guardrails) -> Reading | None:
    """The final reading whose verdict counts instead of today's, as the spec is not the one that it was read by; else None.

    A verdict that left the question open gives way. So does every verdict where other data than it was read on fail
    trust, or prove that the winner breaches a critical guardrail: that is no matter of the spec alone.
    """
    read, earlier = case.state.memory.final, case.state
    if read is None or read.verdict is None or read.verdict.action not in _ENDS:
        return None
    if case.as_of_date < read.as_of_date or not _edited(case, read):
        return None
    taken_back = trust != "ok" or read.verdict.winning_variant in guards.proven
    return None if taken_back and read.data != earlier.data else read


def of_final(case: Case, read: Reading) -> Reason:
    """That the final decision stands, and what would change it."""
    verdict, changes = read.verdict, _edited(case, read)
    assert verdict is not None
    what = f"{verdict.action} {verdict.winning_variant}" if verdict.action == "ship" else verdict.action
    text = (
        f"The final decision of {read.as_of_date} (read on {read.read_on}) stands: {what}. The spec has been changed since "
        f"({told(changes)}), and what is computed by it decides nothing. Set it back to let late data count; for another "
        "question begin an experiment with another id."
    )
    data = {"read_as_of": read.as_of_date.isoformat(), "read_on": read.read_on.isoformat()}
    return Reason("FINAL_STANDS", text, {**data, "changes": [vars(change) for change in changes]})


def _edited(case: Case, read: Reading) -> tuple[Change, ...]:
    """In what the spec differs from the one of the reading; words do not count."""
    changes = together(case.state.edits[read.edits :])
    return tuple(change for change in changes if change.key != "hypothesis")
