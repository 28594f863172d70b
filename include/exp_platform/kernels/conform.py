"""Columns as they were found, turned into the staged types: what cannot be read becomes null and is counted.

Numbers: any numeric type, booleans as 1 and 0, text in the usual notation or TRUE and FALSE. NaN is a missing value,
an infinite number is malformed. Times: ISO 8601 text, dates and timestamps; those without a zone are local times of
the experiment's time zone, whatever the zone of machine or session. A local time that occurs twice in a year is its
first occurrence; one that is skipped is the instant of the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.kernels.sql import query

INSTANT = pa.timestamp("us", "UTC")
STRINGS = pa.map_(pa.string(), pa.string())

_EXAMPLES = 3
_EXAMPLE_LENGTH = 40

_NUMBER = """
SELECT CASE lower(trim(x)) WHEN 'true' THEN 1 WHEN 'false' THEN 0 ELSE try_cast(trim(x) AS DOUBLE) END AS value,
       lower(trim(x)) IN ('', 'null', 'na', 'n/a', 'nan', 'none', '\\n') AS missing
FROM found"""

_ISO = r"^\s*(\d{4}-\d{2}-\d{2}(?:[T ]\d{2}:\d{2}(?::\d{2}(?:\.\d{1,9})?)?)?)\s*([Zz]|UTC|[+-]\d{2}(?::?\d{2})?)?\s*$"
_TIME = f"""
WITH parts AS (
    SELECT try_cast(regexp_extract(x, '{_ISO}', 1) AS TIMESTAMP) AS clock,
           replace(regexp_extract(x, '{_ISO}', 2), ':', '') AS zone,
           lower(trim(x)) IN ('', 'null', 'na', 'n/a', 'nat', 'none', '\\n') AS missing
    FROM found)
SELECT clock, zone <> '' AS zoned, missing,
       CASE WHEN zone[1] IN ('+', '-')
            THEN (CASE zone[1] WHEN '-' THEN -60 ELSE 60 END)
                 * (60 * zone[2:3]::BIGINT + coalesce(try_cast(zone[4:5] AS BIGINT), 0)) ELSE 0 END AS seconds
FROM parts"""


@dataclass(frozen=True)
class Conformed:
    """A column in its staged type; `malformed` counts the values that could not be read, `examples` shows some."""

    values: Any  # pa.ChunkedArray
    malformed: int = 0
    examples: tuple[str, ...] = ()


def text(column: Any) -> Any:
    """A column as strings, shape kept; an empty text is null."""
    if not pa.types.is_string(column.type):
        column = column.cast(pa.string())
    empty = pc.equal(column, "")
    return pc.if_else(empty, pa.scalar(None, pa.string()), column) if pc.any(empty).as_py() else column


def number(column: Any) -> Conformed:
    """A column as doubles."""
    kind = column.type
    if pa.types.is_boolean(kind):
        return Conformed(column.cast(pa.uint8()).cast(pa.float64()))
    if (
        pa.types.is_integer(kind)
        or pa.types.is_floating(kind)
        or pa.types.is_decimal(kind)
        or pa.types.is_null(kind)
    ):
        found, given = column.cast(pa.float64(), safe=False), pc.invert(column.is_null(nan_is_null=True))
    else:
        column = column.cast(pa.string())
        parsed = query(_NUMBER, pa.table({"x": column}))
        found, given = parsed["value"], pc.and_not(column.is_valid(), parsed["missing"].fill_null(False))
    good = pc.is_finite(found).fill_null(False)
    return _conformed(pc.if_else(good, found, None), column, pc.and_not(given, good))


def instants(column: Any, zone: str) -> Conformed:
    """A column as instants (UTC, microseconds); times without a zone are local times of `zone`."""
    kind = column.type
    if pa.types.is_timestamp(kind) and kind.tz is not None:
        return Conformed(column.cast(INSTANT, safe=False))
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind):
        return Conformed(_in_zone(column.cast(pa.timestamp("us"), safe=False), zone))
    column = column.cast(pa.string())
    parsed = query(_TIME, pa.table({"x": column}))
    shift = parsed["seconds"].cast(pa.duration("s"))
    zoned = pc.subtract(parsed["clock"], shift).cast(pa.timestamp("us")).cast(INSTANT)
    values = pc.if_else(parsed["zoned"], zoned, _in_zone(parsed["clock"], zone))
    given = pc.and_not(column.is_valid(), parsed["missing"].fill_null(False))
    return _conformed(values, column, pc.and_not(given, values.is_valid()))


def string_map(columns: dict[str, Any], rows: int) -> Any:
    """One map<string, string> a row, with every name as a key; no names: null maps. Columns are strings."""
    if not columns:
        return pa.nulls(rows, STRINGS)
    k = len(columns)
    values = pa.concat_arrays([chunk for column in columns.values() for chunk in column.chunks])
    row_major = np.arange(rows * k).reshape(k, rows).T.ravel()
    keys = pa.array(list(columns)).take(pa.array(np.tile(np.arange(k), rows)))
    offsets = pa.array(np.arange(0, rows * k + 1, k, dtype=np.int32))
    return pa.MapArray.from_arrays(offsets, keys, values.take(pa.array(row_major)))


def _in_zone(clock: Any, zone: str) -> Any:
    return pc.assume_timezone(clock, zone, ambiguous="earliest", nonexistent="latest").cast(INSTANT)


def _conformed(values: Any, column: Any, malformed: Any) -> Conformed:
    count = pc.sum(malformed).as_py() or 0
    if not count:
        return Conformed(values)
    shown = pc.unique(column.filter(malformed))[:_EXAMPLES].cast(pa.string()).to_pylist()
    return Conformed(values, count, tuple(value[:_EXAMPLE_LENGTH] for value in shown))
