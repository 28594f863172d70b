"""Rows without a number, told together: one sentence for each reason, not a row of dashes for each of them."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from exp_platform.analyses.rows import Status

WORDS = {
    Status.INSUFFICIENT_DATA: "too little data so far",
    Status.DEGENERATE: "the metric does not vary",
    Status.NOT_APPLICABLE: "nothing to estimate it by",
    Status.NOT_YET: "not yet",
}
_LEADING = re.compile(rf"^({'|'.join(WORDS)})(?=:|$)")


class Told(NamedTuple):
    """The rows that have numbers, and a sentence for each reason why others have none."""

    rows: list[Any]
    without: list[str]


def told(rows: Sequence[Any], treatments: int = 1) -> Told:
    """Rows of comparisons, told apart by whether they have numbers; of several `treatments` each is named."""
    missing = [row for row in rows if row.status != Status.OK]
    named = [(f"{r.metric_id} ({r.treatment_id})" if treatments > 1 else r.metric_id, r) for r in missing]
    return Told([row for row in rows if row.status == Status.OK], sentences(named))


def sentences(named: Iterable[tuple[str, Any]]) -> list[str]:
    """One sentence for each status, with the rows' message where they have the same."""
    found: dict[Status, list[tuple[str, Any]]] = {}
    for name, row in named:
        found.setdefault(row.status, []).append((name, row))
    return [_sentence(status, rows) for status, rows in found.items()]


def _sentence(status: Status, rows: Sequence[tuple[str, Any]]) -> str:
    messages = dict.fromkeys(message for _, row in rows if (message := getattr(row, "message", None)))
    why = f" ({next(iter(messages))})" if len(messages) == 1 else ""
    names = ", ".join(dict.fromkeys(name for name, _ in rows))
    return f"No effect of {names}: {WORDS.get(status, 'no estimate')}{why}."


def plainly(said: str) -> str:
    """What is said of a row, with its status in words."""
    return _LEADING.sub(lambda found: WORDS[Status(found[1])], said)
