"""Bytes of strings where Arrow has them: a look at each costs a tenth of a function that makes new strings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

Bytes = NDArray[np.uint8]


@dataclass(frozen=True, eq=False)
class Spans:
    """The strings of one chunk, type string: `data[starts[i]:ends[i]]` of row i, which a null may have as well."""

    data: Bytes
    starts: NDArray[np.int32]
    ends: NDArray[np.int32]
    valid: NDArray[np.bool_] | None  # None: all are

    @property
    def lengths(self) -> NDArray[np.int32]:
        """Bytes of each, shape (rows,)."""
        return self.ends - self.starts

    @property
    def all_data(self) -> Bytes:
        """The bytes of all of them together."""
        return self.data[self.starts[0] : self.ends[-1]] if len(self.starts) else self.data[:0]


def spans(chunk: Any) -> Spans:
    """The strings of a pa.StringArray."""
    _, offsets, data = chunk.buffers()
    at = (
        np.frombuffer(offsets, np.int32)[chunk.offset : chunk.offset + len(chunk) + 1] if len(chunk) else None
    )
    found = np.zeros(0, np.uint8) if data is None else np.frombuffer(data, np.uint8)
    valid = chunk.is_valid().to_numpy(zero_copy_only=False) if chunk.null_count else None
    starts, ends = (np.zeros(0, np.int32),) * 2 if at is None else (at[:-1], at[1:])
    return Spans(found, starts, ends, valid)


def chunks_of(strings: Any) -> list[Any]:
    """The arrays of a column or of an array."""
    return strings.chunks if isinstance(strings, pa.ChunkedArray) else [strings]
