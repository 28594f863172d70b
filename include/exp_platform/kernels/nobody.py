"""Ids that name nobody: words for null, and placeholders that so many rows share that no user can be behind them."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.kernels.conform import MAYBE_WORDS, NULL_WORDS
from exp_platform.kernels.measured import Counts

_NIL_UUIDS = ("0" * 32, "00000000-0000-0000-0000-000000000000", "ffffffff-ffff-ffff-ffff-ffffffffffff")
_ID_WORDS = (*NULL_WORDS, *MAYBE_WORDS, *_NIL_UUIDS)

# Each may be somebody's id (users are often numbered from 0), so how many rows have it decides.
PLACEHOLDERS = (
    *("0" * n for n in range(1, 32)),
    *("-1", "-", "--", "?", "unknown", "anonymous", "anon", "guest", "default", "missing", "empty", "(none)"),
    *("not set", "(not set)", "unset"),
    # What NaN becomes as an integer:
    *("2147483647", "-2147483648", "9223372036854775807", "-9223372036854775808"),
)
PLACEHOLDER_ROWS = 50  # of one table, and so many times the rows of an average user


def without_null_words(column: Any, *, ids: bool) -> tuple[Any, Counts]:
    """Strings whose words for null are null, in any case, and how many rows had each word.

    Words that may name a group (`none`, `NA`), and UUIDs of zeros alone, are only null among `ids`.
    """
    return _without(column, _ID_WORDS if ids else NULL_WORDS)


def without_placeholders(user_ids: dict[str, Any]) -> dict[str, tuple[Any, Counts]]:
    """User ids of each table, with null for placeholders, and how many rows had each.

    One counts as nobody, in all tables, where in one of them it has at least PLACEHOLDER_ROWS rows and
    PLACEHOLDER_ROWS times the average of the other users.
    """
    shared = {word for ids in user_ids.values() for word in _shared(ids)}
    return {name: _without(ids, shared) for name, ids in user_ids.items()}


def _shared(ids: Any) -> list[str]:
    _, found = _without(ids, PLACEHOLDERS)
    many = {word: n for word, n in found.items() if n >= PLACEHOLDER_ROWS}
    if not many:
        return []
    rows, users = len(ids) - ids.null_count, pc.count_distinct(ids).as_py()
    return [word for word, n in many.items() if n * (users - 1) >= PLACEHOLDER_ROWS * (rows - n) > 0]


def _without(column: Any, words: Iterable[str]) -> tuple[Any, Counts]:
    known = sorted(words)
    if not known:
        return column, {}
    short = pc.less_equal(pc.binary_length(column), max(map(len, known)))
    if not pc.any(short).as_py():
        return column, {}
    lower = pc.utf8_lower(pc.if_else(short, column, pa.scalar(None, pa.string())))
    chosen = pc.is_in(lower, value_set=pa.array(known))
    if not pc.any(chosen).as_py():
        return column, {}
    counted = lower.filter(chosen).value_counts()
    rows = dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))
    return pc.if_else(chosen, pa.scalar(None, pa.string()), column), dict(sorted(rows.items()))
