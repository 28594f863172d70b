"""How a change of the spec is put into words."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from exp_platform.config.readings import Change
from exp_platform.errors import bounded

_MOST_NAMED = 8  # changes that a sentence names; the data has all
_LONGEST = 120  # characters of a value


def told(changes: Sequence[Change]) -> str:
    """The changes in a line, each with what was and what is; of many the first ones."""
    more = len(changes) - _MOST_NAMED
    return "; ".join(map(_told, changes[:_MOST_NAMED])) + (f"; and {more} more" if more > 0 else "")


def _told(change: Change) -> str:
    if change.before is None and isinstance(change.now, dict):
        return f"{change.key} added"
    if change.now is None and isinstance(change.before, dict):
        return f"{change.key} removed"
    return f"{change.key} {_value(change.before)} -> {_value(change.now)}"


def _value(value: Any) -> str:
    return (
        "none" if value is None else bounded(value if isinstance(value, str) else json.dumps(value), _LONGEST)
    )
