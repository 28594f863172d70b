"""String columns as positions in their different values: strings are hashed and compared once per value, not per row."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Coded:
    """A column's entries as `values[codes]`; codes have shape (rows,) and are -1 for null."""

    codes: Codes
    values: Any  # pa.Array of strings; of a column of several dictionaries one may stand there twice

    @staticmethod
    def of(column: Any) -> Coded:
        """A plain or dictionary column, chunked or not; a dictionary has each value once, as Parquet's reader makes them."""
        chunks = column.chunks if isinstance(column, pa.ChunkedArray) else [column]
        if not chunks:
            return Coded(np.zeros(0, np.int64), pa.array([], pa.string()))
        encoded = [c if pa.types.is_dictionary(c.type) else c.dictionary_encode() for c in chunks]
        if len(encoded) == 1:
            return Coded(_indices(encoded[0], 0), encoded[0].dictionary)
        starts = np.cumsum([0, *(len(part.dictionary) for part in encoded)])
        codes = [_indices(part, start) for part, start in zip(encoded, starts, strict=False)]
        return Coded(np.concatenate(codes), pa.concat_arrays([part.dictionary for part in encoded]))

    @staticmethod
    def distinct(column: Any) -> Coded:
        """The same, each value once; the values' order follows from the column alone."""
        coded = Coded.of(column)
        if not isinstance(column, pa.ChunkedArray) or column.num_chunks < 2:
            return coded
        again = coded.values.dictionary_encode()
        return Coded(looked_up(again.indices.to_numpy(), coded.codes), again.dictionary)

    def positions(self, among: Any) -> Codes:
        """Where each entry is in the array `among`, -1 for any other and for null; shape (rows,)."""
        found = pc.index_in(self.values, value_set=among.cast(self.values.type))
        return looked_up(found.fill_null(-1).to_numpy(), self.codes)


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


def _indices(part: Any, start: int) -> Codes:
    indices = part.indices
    if not indices.null_count:
        return np.asarray(indices.to_numpy().astype(np.int64) + start)
    codes = indices.fill_null(-1).to_numpy().astype(np.int64)
    return np.asarray(np.where(codes < 0, -1, codes + start))
