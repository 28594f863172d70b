"""String columns as positions in their different values: strings are hashed and compared once per value, not per row.

Where dictionaries begin and end: a column of few names (events, variants, attributes) comes as one from a file that has it as one
(`stages.pieces`). Users' ids become one where all rows of their bucket are together (`kernels.complete_rows`), for all tables
the same: before, most ids stand once, and a dictionary would travel with each part of its rows. The writer (`tables.files`) makes
plain strings in Parquet of all of them. Event ids never are one, as each is another. Kernels take both kinds of
columns, and look into them here alone.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.kernels.hashing import first_places, found_among

Codes = NDArray[np.int64]
Mask = NDArray[np.bool_]

CODED = pa.dictionary(pa.int32(), pa.string())

_MANY = 50_000  # strings whose table fits into no cache

_RUN, _LONG, _AHEAD = (
    4096,
    128,
    256,
)  # compared at once; on average, or hashing is faster; where the next run is looked for


@dataclass(frozen=True, eq=False)
class Coded:
    """A column's entries as `values[codes]`; codes have shape (rows,) and are -1 for null."""

    codes: Codes
    values: Any  # pa.Array of strings; some may be no row's, and of a column of several dictionaries one may stand there twice

    @staticmethod
    def of(column: Any) -> Coded:
        """A plain or dictionary column, chunked or not; a dictionary has each value once and no null among them."""
        chunks = _chunks(column if is_coded(column) else column.dictionary_encode())
        if not chunks:
            return Coded(np.zeros(0, np.int64), pa.array([], pa.string()))
        values = [chunks[0].dictionary]
        codes, start = [_indices(chunks[0], 0)], 0
        for before, part in pairwise(chunks):
            if not _same(before.dictionary, part.dictionary):
                start += len(before.dictionary)
                values.append(part.dictionary)
            codes.append(_indices(part, start))
        if len(codes) == 1:
            return Coded(codes[0], values[0])
        return Coded(np.concatenate(codes), values[0] if len(values) == 1 else pa.concat_arrays(values))

    @staticmethod
    def distinct(column: Any) -> Coded:
        """The same, each value once; the values' order follows from the column alone."""
        coded = Coded.of(column)
        dictionaries = [chunk.dictionary for chunk in _chunks(column)] if is_coded(column) else []
        if len(dictionaries) < 2 or len(coded.values) == len(dictionaries[0]):
            return coded
        position, values = _distinct(dictionaries[0], coded.values)
        return Coded(looked_up(position, coded.codes), values)

    def positions(self, among: Any) -> Codes:
        """Where each entry is in the array `among`, -1 for any other and for null; shape (rows,)."""
        return looked_up(positions(self.values, among.cast(self.values.type)), self.codes)

    def where(self, rows: Mask) -> Coded:
        """Some of the entries."""
        return Coded(self.codes[rows], self.values)

    @property
    def rows(self) -> Codes:
        """How many rows have each value, shape of `values`."""
        return np.bincount(self.codes[self.codes >= 0], minlength=len(self.values))

    @property
    def column(self) -> Any:
        """As a dictionary column of one chunk."""
        codes = pa.array(self.codes.astype(np.int32), mask=self.codes < 0)
        return pa.chunked_array([pa.DictionaryArray.from_arrays(codes, self.values)])


def codes_in(column: Any, values: Any) -> Codes:
    """As `Coded.of(column).positions(values)`; where the column's dictionary is these values nothing is looked up."""
    found = Coded.of(column)
    return found.codes if _same(found.values, values) else found.positions(values)


def positions(values: Any, among: Any) -> Codes:
    """Where each of some strings is in the array `among`, -1 where nowhere; shape of `values`, neither has a null."""
    if not _few(values, among):
        if len(among) >= _MANY:
            return found_among(values, among)
        return np.asarray(pc.index_in(values, value_set=among).fill_null(-1).to_numpy(), dtype=np.int64)
    once = values.dictionary_encode()
    found = pc.index_in(among, value_set=once.dictionary)
    where = np.flatnonzero(found.is_valid().to_numpy(zero_copy_only=False))[::-1]
    at = np.full(len(once.dictionary), -1)
    at[found.drop_null().to_numpy()[::-1]] = where  # of equal ones the first
    return np.asarray(at[once.indices.to_numpy()])


def positions_in_order(values: Any, among: Any) -> Codes:
    """The same of arrays that have each string once, fast where most of `values` stand in `among` in their order, others between them.

    Runs of equal ones are compared and not hashed, for as long as they are long.
    """
    at = np.full(len(values), -1)
    mine = theirs = runs = 0
    while mine >= _LONG * (runs - 8):
        n = min(len(values) - mine, len(among) - theirs, _RUN)
        other = pc.index(pc.equal(values.slice(mine, n), among.slice(theirs, n)), False).as_py()
        equal = n if other < 0 else other
        at[mine : mine + equal] = np.arange(theirs, theirs + equal)
        mine, theirs, runs = mine + equal, theirs + equal, runs + 1
        if mine == len(values) or theirs == len(among):
            break
        if other >= 0:
            ahead = pc.index(among.slice(theirs, _AHEAD), values[mine]).as_py()
            mine, theirs = (mine + 1, theirs) if ahead < 0 else (mine, theirs + ahead)
    left = np.flatnonzero(at < 0)
    at[left] = positions(values.take(pa.array(left)), among)
    return at


def is_coded(column: Any) -> bool:
    """Whether a column is a dictionary."""
    return bool(pa.types.is_dictionary(column.type))


def coded(column: Any) -> Any:
    """A column of strings as a dictionary; what is one stays as it is."""
    return column if column.type == CODED else Coded.distinct(column).column


def coded_together(columns: Mapping[str, Any]) -> dict[str, Any]:
    """Several columns of strings as dictionaries that are one and the same."""
    chunks = [chunk for column in columns.values() for chunk in _chunks(column)]
    every = Coded.distinct(pa.chunked_array(chunks, None if chunks else pa.string()))
    ends = np.cumsum([len(column) for column in columns.values()])[:-1]
    parts = np.split(every.codes, ends)
    return {name: Coded(part, every.values).column for name, part in zip(columns, parts, strict=True)}


def plain(column: Any) -> Any:
    """A column as it is without a dictionary."""
    return column.cast(column.type.value_type) if is_coded(column) else column


def by_value(column: Any, function: Callable[[Any], Any]) -> Any:
    """A dictionary column whose values went through a function of strings, which may give null, and the same of two."""
    found = Coded.of(column)
    changed = function(found.values)
    if not changed.null_count and changed.equals(found.values):
        return column
    again = changed.dictionary_encode()
    codes = again.indices.fill_null(-1).to_numpy()
    return Coded(looked_up(codes, found.codes), again.dictionary).column


def with_used_values(column: Any) -> Any:
    """A dictionary column of one chunk whose dictionary has nothing but what rows have."""
    found = Coded.distinct(column)
    used = found.rows > 0
    if used.all():
        return column if len(_chunks(column)) == 1 else found.column
    position = np.cumsum(used) - 1
    return Coded(looked_up(position, found.codes), found.values.filter(pa.array(used))).column


def among(column: Any, others: Any) -> Mask:
    """Which entries of a column another column has too, shape (rows,); null is nowhere."""
    if not len(column):
        return np.zeros(0, dtype=np.bool_)
    mine, theirs = Coded.distinct(column), Coded.distinct(others)
    there = theirs.rows > 0
    if _same(mine.values, theirs.values):
        return np.append(there, False)[mine.codes]
    return mine.positions(theirs.values.filter(pa.array(there))) >= 0


def looked_up(found: NDArray[Any], codes: Codes) -> Codes:
    """`found` by code as positions, -1 for the code -1."""
    return np.asarray(np.append(found, -1).astype(np.int64)[codes])


def sorting(key: Codes) -> Codes:
    """An order of rows by a key that is never negative. Sorting key and row in one integer is several times as fast as an argsort."""
    bits = len(key).bit_length()
    if int(key.max(initial=0)).bit_length() + bits > 63:
        return np.argsort(key, kind="stable")
    both = key << bits
    both |= np.arange(len(key))
    both.sort()
    both &= (1 << bits) - 1
    return both


def _distinct(first: Any, values: Any) -> tuple[Codes, Any]:
    """Where each value is among the different ones, and these; the values begin with those of `first`, which differ."""
    rest = values.slice(len(first))
    if not _few(rest, first):
        if len(values) >= _MANY:
            at = first_places(values)
            new = at == np.arange(len(at))
            return (np.cumsum(new) - 1)[at], values.filter(pa.array(new))
        whole = values.dictionary_encode()
        return whole.indices.to_numpy(), whole.dictionary
    at = positions(rest, first)
    new = at < 0
    more = rest.filter(pa.array(new)).dictionary_encode()
    at[new] = len(first) + more.indices.to_numpy()
    return np.concatenate([np.arange(len(first)), at]), pa.concat_arrays([first, more.dictionary])


def _few(values: Any, among: Any) -> bool:
    """Whether to hash the values and look for the others among them takes a fraction of the opposite: the table fits into a cache."""
    return 3 * len(values) < len(among)


def _indices(part: Any, start: int) -> Codes:
    indices = part.indices
    if not indices.null_count:
        return np.asarray(indices.to_numpy().astype(np.int64) + start)
    codes = indices.fill_null(-1).to_numpy().astype(np.int64)
    return np.asarray(np.where(codes < 0, -1, codes + start))


def _same(one: Any, other: Any) -> bool:
    """Whether two dictionaries are one; to compare their bytes costs little beside a hash of each."""
    return len(one) == len(other) and bool(one.equals(other))


def _chunks(column: Any) -> list[Any]:
    return column.chunks if isinstance(column, pa.ChunkedArray) else [column]
