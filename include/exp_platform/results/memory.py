"""What the stored decisions of an experiment remember of its readings."""

from __future__ import annotations

from collections.abc import Sequence

from exp_platform.config.readings import DECIDING, Claim, Memory, Reading
from exp_platform.decision.model import Decision
from exp_platform.results.stored import StoredDecision

_SIGNIFICANT = ("SIGNIFICANTLY_BETTER", "SIGNIFICANTLY_WORSE", "BELOW_PRACTICAL")


def memory_of(stored: Sequence[StoredDecision]) -> Memory:
    """The memory that the last run left: each hands on what it began with, so that none is lost with a replaced row.

    Decisions of versions that kept none say when a test was taken and what was significant; by which plan is not known,
    and taken to be unchanged.
    """
    for newest_first in sorted(stored, key=lambda d: (d.computed_at, d.as_of_date), reverse=True):
        if newest_first.decision.memory != Memory():
            return newest_first.decision.memory  # and of a year of decisions no other is unfolded
    readings = [_reading(d) for d in stored if d.decision.trust == "ok"]
    final = min((r for r in readings if r and r.final), key=lambda r: (r.read_on, r.as_of_date), default=None)
    looks = [r for r in readings if r and not r.final]
    return Memory(readings=(*looks, *(() if final is None else (final,))))


def _reading(stored: StoredDecision) -> Reading | None:
    decision = stored.decision
    if not decision.final and decision.look is None:
        return None
    on = stored.computed_at.date()
    return Reading(decision.final, stored.as_of_date, on, stored.input_fingerprint, _found(decision))


def _found(decision: Decision) -> tuple[Claim, ...]:
    told = [r.data for r in decision.reasons if r.code in _SIGNIFICANT and r.data.get("effect")]
    return tuple((DECIDING, d["metric_id"], d["treatment_id"], 1 if d["effect"] > 0 else -1) for d in told)
