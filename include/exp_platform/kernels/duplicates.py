"""Rows that stand twice: of one user's rows with the same key the earliest counts, wherever the other one was read.

A key is what the spec says tells rows apart: an event id, or the whole row. Of each row a hash of it is stored, in which the user
has no part. With pseudonyms, where an id must not be guessed, the hash is keyed as they are.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from datetime import UTC, date, datetime
from decimal import Decimal
from functools import cache
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.config.privacy import Key
from exp_platform.config.sources import EventsSource, UnitsSource
from exp_platform.kernels.canonical_text import text
from exp_platform.kernels.coded import Coded, plain
from exp_platform.kernels.complete_rows import of_facts
from exp_platform.kernels.facts import ROW
from exp_platform.kernels.hashing import hashes
from exp_platform.kernels.sql import query

_ODD = np.uint64(0x9E3779B97F4A7C15)  # 2^64 over the golden ratio: spreads small numbers over all bits
_FILTER_BITS = 22
_SAMPLES: tuple[list[Any], ...] = (
    ["", "7", "of twelve...", "of thirteen..", "3f2b8c1e-5d0a-4e7b-9c61-0a8f7e6d5c4b", "ü ü ü ü ü ü ü"],
    [0.1, 1 / 3, 12.0, -0.0, 1.5e-7, 1e16, 1e300],
    [Decimal("12.50"), Decimal("-0.01")],
    [datetime(2026, 3, 29, 1, 30, 0, 250_000, UTC)],
    [date(2026, 3, 29)],
    [True],
)

Mask = NDArray[np.bool_]
Keys = NDArray[np.uint64]


def row_keys(name: str, table: pa.Table, experiment: Experiment, secret: Key | None) -> Any:
    """What equal rows of one user have in common as 64 bits, type int64; null: nothing is a duplicate of the row."""
    key = _key(name, table, experiment)
    if key is None:
        return pa.nulls(len(table), pa.int64())
    hashed = hashes(key) if secret is None else _keyed(key, secret)
    return pa.array(hashed.view(np.int64), mask=_nulls(key))


def repeated(table: pa.Table, keys: Any) -> Mask:
    """Which rows follow another one of the same user and key, in the order of time and then of all other columns."""
    dropped, there = np.zeros(len(table), dtype=np.bool_), np.flatnonzero(~_nulls(keys))
    if not len(there):
        return dropped
    key = _bits(keys)[there]
    user = Coded.distinct(table["user_id"]).codes[there].view(np.uint64)
    both = (key ^ (user * _ODD)) * _ODD
    suspects = there[_several(both)]  # few, so what follows costs little
    if len(suspects):
        code = np.unique(_bits(keys)[suspects], return_inverse=True)[1]
        dropped[suspects[_later(table.take(pa.array(suspects)), code)]] = True
    return dropped


def pairs(
    users: Any, keys: Any, base_keys: Any, base_users: Callable[[Any], Any]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Positions of rows, and of the base's rows of the same user and key. Neither has two of the same.

    `base_users` gives the users of some of the base's rows by position.
    """
    nothing = np.zeros(0, dtype=np.int64)
    here = np.flatnonzero(~_nulls(keys))
    if not len(here) or not len(base_keys):
        return nothing, nothing
    mine, theirs = _bits(keys)[here], _bits(base_keys)
    there = np.flatnonzero(_among(theirs, mine) & ~_nulls(base_keys))
    if not len(there):
        return nothing, nothing
    here = here[np.isin(mine, theirs[there])]
    both_users = [plain(users.take(pa.array(here))), plain(base_users(pa.array(there)))]
    user = Coded.distinct(pa.chunked_array([chunk for column in both_users for chunk in column.chunks])).codes
    key = np.concatenate([_bits(keys)[here], theirs[there]]).view(np.int64)
    both = np.unique(np.stack([user, key], axis=1), axis=0, return_inverse=True)[1].ravel()
    mine_code, base_code = both[: len(here)], both[len(here) :]
    at = np.full(int(both.max()) + 1, -1, dtype=np.int64)
    at[base_code] = np.arange(len(there))
    found = at[mine_code] >= 0
    return here[found], there[at[mine_code][found]]


@cache
def told_apart_by() -> str:
    """What users and rows of some samples are told apart by, in short: by texts and hashes, of which libraries promise nothing.

    Where a process makes another one of them, a user's rows would lie in several buckets, and a row that comes again would pass for a new one.
    """
    samples = [pa.chunked_array([values]) for values in _SAMPLES]
    texts = pa.chunked_array([chunk for of in (text, _plain_text) for s in samples for chunk in of(s).chunks])
    said = "\n".join(map(str, texts.to_pylist())).encode() + hashes(texts.fill_null("")).tobytes()
    return hashlib.blake2b(said, digest_size=8).hexdigest()


def _key(name: str, table: pa.Table, experiment: Experiment) -> Any | None:
    source = experiment.source
    by = source.dedupe if isinstance(source, EventsSource) else "event_id"  # synthetic rows have event ids
    if isinstance(source, UnitsSource):
        return pa.repeat(pa.scalar(""), len(table))  # a user has one row
    if by == "none":
        return None
    if of_facts(name, experiment):
        # A row of a fact counts once in each series, and may be in several.
        column = {"event_id": "event_id", "whole_row": ROW}[by]
        known = column in table.column_names
        return pc.binary_join_element_wise(plain(table["event"]), table[column], "\x1f") if known else None
    if by == "event_id":
        return table["event_id"] if "event_id" in table.column_names else None
    columns = [_plain_text(table[column]) for column in table.column_names if column != "user_id"]
    return pc.binary_join_element_wise(*columns, "\x1f", null_handling="replace", null_replacement="\x00")


def _plain_text(column: Any) -> Any:
    return (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).cast(pa.string())


def _keyed(key: Any, secret: Key) -> Keys:
    """The first 64 bits of SHA-256 of a secret and each key; that they are so few hides what SHA-256 would let be appended."""
    own = secret.hashes(["\0row_key"])[0]
    salted = pc.binary_join_element_wise(own, key.fill_null(""), "\x1f")
    found = query("SELECT ('0x' || sha256(x)[1:16])::UBIGINT AS hash FROM found", pa.table({"x": salted}))
    return np.asarray(found["hash"].to_numpy())


def _later(rows: pa.Table, code: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the rows that follow another one of the same user and key."""
    time = "exposed_at" if "exposed_at" in rows.column_names else "occurred_at"
    rest = [column for column in rows.column_names if column not in ("user_id", time)]
    rows = pa.table({column: plain(rows[column]) for column in rows.column_names})
    keys = [(column, "ascending") for column in ("code", "user_id", time, *rest)]
    order = pc.sort_indices(rows.append_column("code", pa.array(code)), sort_keys=keys).to_numpy()
    user = Coded.distinct(rows["user_id"]).codes[order]
    same = (user[1:] == user[:-1]) & (code[order][1:] == code[order][:-1])
    return np.asarray(order[1:][same], dtype=np.int64)


def _several(values: Keys) -> Mask:
    """Which values stand more than once."""
    ordered = np.sort(values)
    twice = np.unique(ordered[1:][ordered[1:] == ordered[:-1]])
    return _among(values, twice)


def _among(values: Keys, wanted: Keys) -> Mask:
    """Which values are among some that are few: by their last bits, and only where those are wanted by search."""
    found = np.zeros(len(values), dtype=np.bool_)
    if not len(wanted):
        return found
    ordered, table = np.sort(wanted), np.zeros(1 << _FILTER_BITS, dtype=np.bool_)
    last = np.uint64((1 << _FILTER_BITS) - 1)
    table[ordered & last] = True
    maybe = np.flatnonzero(table[(values & last).view(np.int64)])
    at = np.minimum(np.searchsorted(ordered, values[maybe]), len(ordered) - 1)
    found[maybe] = ordered[at] == values[maybe]
    return found


def _one_array(column: Any) -> Any:
    return column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column


def _bits(keys: Any) -> Keys:
    return np.asarray(_one_array(keys).fill_null(0).to_numpy(zero_copy_only=False)).view(np.uint64)


def _nulls(column: Any) -> Mask:
    return np.asarray(_one_array(column).is_null().to_numpy(zero_copy_only=False))
