"""Ids that name nobody: words for null, and placeholders that so many rows share that no user can be behind them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.kernels.conform import MAYBE_WORDS, NULL_WORDS
from exp_platform.kernels.measured import Counts
from exp_platform.kernels.string_bytes import Spans, chunks_of, spans

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
_LONGEST = max(len(word) for word in (*_ID_WORDS, *PLACEHOLDERS))
_NOWHERE = np.zeros(0, dtype=np.bool_)
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
    likely = np.concatenate([_likely(spans(chunk), known) for chunk in chunks_of(column)] or [_NOWHERE])
    at = np.flatnonzero(likely)
    if not len(at):
        return column, {}
    lower = pc.utf8_lower(column.take(pa.array(at)))
    named = pc.is_in(lower, value_set=pa.array(known, pa.string()))
    counted = lower.filter(named).value_counts()
    if not len(counted):
        return column, {}
    rows = dict(zip(counted.field(0).to_pylist(), counted.field(1).to_pylist(), strict=True))
    chosen = np.zeros(len(column), dtype=np.bool_)
    chosen[at[named.to_numpy()]] = True
    return pc.if_else(pa.array(chosen), pa.scalar(None, pa.string()), column), dict(sorted(rows.items()))


def _likely(found: Spans, words: Sequence[str]) -> NDArray[np.bool_]:
    """Which strings begin as one of the words and are as long as one: few, as a rule, so few are looked into."""
    lengths, begins = np.zeros(_LONGEST + 2, np.bool_), np.zeros(256, np.bool_)
    for word in words:
        lengths[len(word)] = True
        begins[[ord(word[0].lower()), ord(word[0].upper())]] = True
    likely = lengths[np.minimum(found.lengths, _LONGEST + 1)]
    if found.valid is not None:
        likely &= found.valid
    at = np.flatnonzero(likely)
    likely[at] = begins[found.data[found.starts[at]]]
    return likely
