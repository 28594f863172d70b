"""Many strings by a hash of 64 bits each: to deal them out, and to find them among others.

A hash that two strings share is no proof that they are one, so whoever needs to know compares them.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.kernels.sql import query

Hashes = NDArray[np.uint64]
Positions = NDArray[np.int64]

_SLOTS = 8  # for each string: so one in 16 meets another one


def hashes(strings: Any) -> Hashes:
    """A hash of each string, shape (rows,), the same in every process with the same version of DuckDB."""
    return np.asarray(
        query("SELECT hash(id) AS hash FROM found", pa.table({"id": strings}))["hash"].to_numpy()
    )


def found_among(values: Any, among: Any) -> Positions:
    """Where each of some strings is first in the array `among`, -1 where nowhere; shape of `values`, neither has a null.

    A third of what a table of the strings costs, whose entries lie apart: here each is looked up in one place, and compared once.
    """
    slots = _Slots.of(among)
    mine = hashes(values)
    at = slots.first[slots.of_hashes(mine)].astype(np.int64)
    at[slots.hashes[at] != mine] = -1
    here = np.flatnonzero(at >= 0)
    at[here[_differ(values, here, among, at[here])]] = -1
    left = np.flatnonzero(at < 0)
    behind = np.flatnonzero(slots.first_of_each != np.arange(len(among)))  # another one has their slot
    sought = pc.index_in(values.take(pa.array(left)), value_set=among.take(pa.array(behind)))
    at[left] = np.append(behind, -1)[sought.fill_null(-1).to_numpy()]
    return at


def first_places(strings: Any) -> Positions:
    """Where each of some strings stands first among them, shape (rows,); none is null. The same saving."""
    slots = _Slots.of(strings)
    at = slots.first_of_each.astype(np.int64)
    other = at != np.arange(len(at))
    others = np.flatnonzero(other)
    alike = others[slots.hashes[others] == slots.hashes[at[others]]]
    other[alike] = _differ(strings, alike, strings, at[alike])
    left = np.flatnonzero(other)  # of another string in their slot
    once = strings.take(pa.array(left)).dictionary_encode()
    code = once.indices.to_numpy()
    first = np.zeros(len(once.dictionary), dtype=np.int64)
    first[code[::-1]] = left[::-1]
    at[left] = first[code]
    return at


class _Slots(NamedTuple):
    """Strings by the first bits of their hashes."""

    hashes: Hashes
    first: NDArray[np.int32]  # of each slot the position of the first string that has it, -1 of none
    bits: int

    @staticmethod
    def of(strings: Any) -> _Slots:
        hashed, bits = hashes(strings), (_SLOTS * len(strings)).bit_length()
        slots = _Slots(hashed, np.full(1 << bits, -1, dtype=np.int32), bits)
        own = np.arange(len(strings), dtype=np.int32)
        slots.first[slots.of_hashes(hashed)[::-1]] = own[::-1]  # the last one written is the first
        return slots

    def of_hashes(self, hashed: Hashes) -> Positions:
        return (hashed >> np.uint64(64 - self.bits)).view(np.int64)

    @property
    def first_of_each(self) -> NDArray[np.int32]:
        """The position of the first string in the slot of each, its own where it is that."""
        return self.first[self.of_hashes(self.hashes)]


def _differ(some: Any, at: Positions, others: Any, there: Positions) -> NDArray[np.bool_]:
    differ = pc.not_equal(some.take(pa.array(at)), others.take(pa.array(there)))
    return np.asarray(differ.to_numpy(zero_copy_only=False))
