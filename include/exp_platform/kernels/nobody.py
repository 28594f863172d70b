"""Ids that name nobody: words for null, and placeholders that so many rows share that no user can be behind them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.errors import NotExactError
from exp_platform.kernels.coded import Coded, is_coded, looked_up
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
_NOTHING: Mapping[str, Any] = {}
PLACEHOLDER_ROWS = 50  # of one table, and so many times the rows of an average user


def without_null_words(column: Any, *, ids: bool) -> tuple[Any, Counts]:
    """Strings whose words for null are null, in any case, and how many rows had each word.

    Words that may name a group (`none`, `NA`), and UUIDs of zeros alone, are only null among `ids`.
    """
    return _without(column, _ID_WORDS if ids else NULL_WORDS)


@dataclass(frozen=True)
class Earlier:
    """Rows of a table and bucket that were read before others: those with a user, and of how many at least and at most."""

    rows: int = 0
    users: Callable[[], tuple[int, int]] = lambda: (0, 0)
    placeholders: Counts = field(default_factory=dict)  # as `placeholders` counts them
    nobody: frozenset[str] = frozenset()  # which of them count as nobody's


def placeholders(ids: Any) -> Counts:
    """How many rows have each id that may be a placeholder, in lower case."""
    return _without(ids, PLACEHOLDERS)[1]


def without_placeholders(
    user_ids: Mapping[str, Any],
    found: Mapping[str, Counts] | None = None,
    earlier: Mapping[str, Earlier] = _NOTHING,
) -> dict[str, tuple[Any, Counts]]:
    """User ids of each table, with null for placeholders, and how many rows had each.

    One counts as nobody, in all tables, where in one of them it has at least PLACEHOLDER_ROWS rows and
    PLACEHOLDER_ROWS times the average of the other users; `earlier` rows of the table among them. `found`: what
    `placeholders` tells of each table. Raises NotExactError where
    those were judged otherwise, or cannot be told.
    """
    words = {name: placeholders(ids) for name, ids in user_ids.items()} if found is None else found
    shared = {
        word
        for name, ids in user_ids.items()
        for word in _shared(ids, words[name], earlier.get(name, Earlier()))
    }
    known = {word for one in earlier.values() for word, rows in one.placeholders.items() if rows}
    before = {word for one in earlier.values() for word in one.nobody}
    if changed := sorted(known & (shared ^ before)):
        now = "is nobody's by now" if changed[0] in shared else "is somebody's by now"
        raise NotExactError(f"the user id {changed[0]!r} {now}")
    return {name: _without(ids, shared) for name, ids in user_ids.items()}


def _shared(ids: Any, found: Counts, earlier: Earlier) -> list[str]:
    words = {
        word: found.get(word, 0) + earlier.placeholders.get(word, 0)
        for word in {*found, *earlier.placeholders}
    }
    many = {word: n for word, n in words.items() if n >= PLACEHOLDER_ROWS}
    if not many:
        return []
    rows, users = earlier.rows + len(ids) - ids.null_count, int(np.count_nonzero(Coded.distinct(ids).rows))
    before = earlier.users()
    least, most = max(users, before[0]), users + before[1]
    shared = []
    for word, n in sorted(many.items()):
        sure, maybe = (n * (users - 1) >= PLACEHOLDER_ROWS * (rows - n) > 0 for users in (least, most))
        if sure != maybe:
            raise NotExactError(f"whether the user id {word!r} is somebody's takes all rows to tell")
        shared += [word] * sure
    return shared


def _without(column: Any, words: Iterable[str]) -> tuple[Any, Counts]:
    found = Coded.of(column) if is_coded(column) else None
    at, named = _named(column if found is None else found.values, sorted(words))
    rows = np.ones(len(at), np.int64) if found is None else found.rows[at]
    counted: Counts = {}
    for word, n in zip(named, rows.tolist(), strict=True):
        counted[word] = counted.get(word, 0) + n
    counted = {word: n for word, n in sorted(counted.items()) if n}
    if not counted:
        return column, {}
    if found is not None:
        code = np.arange(len(found.values))
        code[at] = -1
        return Coded(looked_up(code, found.codes), found.values).column, counted
    chosen = np.zeros(len(column), dtype=np.bool_)
    chosen[at] = True
    return pc.if_else(pa.array(chosen), pa.scalar(None, pa.string()), column), counted


def _named(strings: Any, words: Sequence[str]) -> tuple[NDArray[np.int64], list[str]]:
    """Positions of the strings that are one of some words in any case, and which word each is."""
    likely = np.concatenate([_likely(spans(chunk), words) for chunk in chunks_of(strings)] or [_NOWHERE])
    at = np.flatnonzero(likely)
    if not len(at):
        return at, []
    lower = pc.utf8_lower(strings.take(pa.array(at)))
    named = pc.is_in(lower, value_set=pa.array(words, pa.string()))
    return at[named.to_numpy(zero_copy_only=False)], lower.filter(named).to_pylist()


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
