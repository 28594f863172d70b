"""Columns as they were found, turned into the staged types: what cannot be read becomes null and is counted.

Numbers: any numeric type, booleans as 1 and 0, text as digits with at most one point, a sign, an exponent, or TRUE and
FALSE. NaN is a missing value, an infinite number is malformed. Times: ISO 8601 text, dates and timestamps, of FIRST_DAY to
LAST_DAY; those without a zone are local times of the experiment's time zone, whatever the zone of machine or session.
A local time that occurs twice in a year is its first occurrence; one that is skipped is the instant of the change.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, timedelta
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.config.experiment import FIRST_DAY, LAST_DAY
from exp_platform.kernels.canonical_text import unwrapped
from exp_platform.kernels.coded import plain
from exp_platform.kernels.sql import query

INSTANT = pa.timestamp("us", "UTC")
STRINGS = pa.map_(pa.string(), pa.string())

_EXAMPLES = 3
_EXAMPLE_LENGTH = 40

# What programs write where there is nothing, in lower case: pandas and NumPy, JavaScript, SQL's tools, Hive, R, Spark.
NULL_WORDS = ("null", "(null)", "<null>", "nan", "nat", "<na>", "undefined", "\\n")
# The same, but words that a team may use for a group, a plan or a region as well.
MAYBE_WORDS = ("none", "na", "n/a", "nil")

_NOTHING = ", ".join(f"'{word}'" for word in ("", *NULL_WORDS, *MAYBE_WORDS))
_MISSING = rf"regexp_replace(lower(x), '^\s+|\s+$', '', 'g') IN ({_NOTHING})"

# Not what the parsers of databases take: DuckDB reads 1_000 and +-5, Python digits of any script.
_DECIMAL = r"^\s*[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
_NUMBER = f"""
WITH parsed AS (
    SELECT x, CASE WHEN regexp_matches(x, '{_DECIMAL}') THEN try_cast(x AS DOUBLE)
                   ELSE CASE lower(trim(x)) WHEN 'true' THEN 1 WHEN 'false' THEN 0 END END AS value
    FROM found)
SELECT value, CASE WHEN value IS NULL THEN {_MISSING} ELSE false END AS missing FROM parsed"""

_CLOCK = r"(?:[01]\d|2[0-3]):[0-5]\d(?::[0-5]\d(?:\.\d{1,9})?)?"
_OFFSET = (
    r"\+(?:0\d|1[0-3])(?::?[0-5]\d)?|\+14(?::?00)?|-(?:0\d|1[01])(?::?[0-5]\d)?|-12(?::?00)?"  # those in use
)
_ISO = rf"^\s*(\d{{4}}-\d{{2}}-\d{{2}}(?:[T ]{_CLOCK})?)\s*([Zz]|UTC|{_OFFSET})?\s*$"
_TIME = f"""
WITH parts AS (
    SELECT x, try_cast(regexp_extract(x, '{_ISO}', 1) AS TIMESTAMP) AS clock,
           replace(regexp_extract(x, '{_ISO}', 2), ':', '') AS zone
    FROM found)
SELECT clock, zone <> '' AS zoned, CASE WHEN clock IS NULL THEN {_MISSING} ELSE false END AS missing,
       CASE WHEN zone[1] IN ('+', '-')
            THEN (CASE zone[1] WHEN '-' THEN -60 ELSE 60 END)
                 * (60 * zone[2:3]::BIGINT + coalesce(try_cast(zone[4:5] AS BIGINT), 0)) ELSE 0 END AS seconds
FROM parts"""

_UNITS = {"s": 1, "ms": 1000, "us": 1_000_000, "ns": 1_000_000_000}  # a second's
_EPOCH = date(1970, 1, 1)


@dataclass(frozen=True)
class Conformed:
    """A column in its staged type; `malformed` counts the values that could not be read, `examples` shows some."""

    values: Any  # pa.ChunkedArray
    malformed: int = 0
    examples: tuple[str, ...] = ()
    bad: Any = None  # booleans, a row each: which those are; None where there are none


def number(column: Any) -> Conformed:
    """A column as doubles."""
    column = unwrapped(column)
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
    column = unwrapped(column)
    kind = column.type
    if pa.types.is_timestamp(kind) or pa.types.is_date(kind) or pa.types.is_null(kind):
        good = _bounded(column)
        values = good.cast(pa.timestamp("us", getattr(kind, "tz", None)), safe=False)
        values = _in_zone(values, zone) if getattr(kind, "tz", None) is None else values.cast(INSTANT)
        return _conformed(values, column, pc.and_(column.is_valid(), good.is_null()))
    column = column.cast(pa.string())
    parsed = query(_TIME, pa.table({"x": column}))
    clock = _bounded(parsed["clock"])
    shift = parsed["seconds"].cast(pa.duration("s"))
    zoned = pc.subtract(clock, shift).cast(pa.timestamp("us")).cast(INSTANT)
    values = pc.if_else(parsed["zoned"], zoned, _in_zone(clock, zone))
    given = pc.and_not(column.is_valid(), parsed["missing"].fill_null(False))
    return _conformed(values, column, pc.and_not(given, values.is_valid()))


def string_map(columns: dict[str, Any], rows: int) -> Any:
    """One map<string, string> a row, with every name as a key; no names: null maps. Columns are strings, plain or dictionaries."""
    if not columns or not rows:  # of no rows there may be no chunk to concatenate
        return pa.nulls(rows, STRINGS)
    k = len(columns)
    values = pa.concat_arrays([chunk for column in columns.values() for chunk in plain(column).chunks])
    row_major = np.arange(rows * k).reshape(k, rows).T.ravel()
    keys = pa.array(list(columns)).take(pa.array(np.tile(np.arange(k), rows)))
    offsets = pa.array(np.arange(0, rows * k + 1, k, dtype=np.int32))
    return pa.MapArray.from_arrays(offsets, keys, values.take(pa.array(row_major)))


def _bounded(column: Any) -> Any:
    """Times and dates, null where they are outside the bounds; compared in their own unit, which may hold more."""
    kind = column.type
    if pa.types.is_null(kind):
        return column
    days = pa.types.is_date32(kind)
    per_day = 1 if days else 86_400 * _UNITS["ms" if pa.types.is_date64(kind) else kind.unit]
    count = column.cast(pa.int32() if days else pa.int64())
    first, end = ((day - _EPOCH).days * per_day for day in (FIRST_DAY, LAST_DAY + timedelta(days=1)))
    inside = pc.and_(pc.greater_equal(count, first), pc.less(count, end))
    return pc.if_else(inside, column, pa.scalar(None, kind))


def _in_zone(clock: Any, zone: str) -> Any:
    return pc.assume_timezone(clock, zone, ambiguous="earliest", nonexistent="latest").cast(INSTANT)


def _conformed(values: Any, column: Any, malformed: Any) -> Conformed:
    count = pc.sum(malformed).as_py() or 0
    if not count:
        return Conformed(values)
    shown = pc.unique(column.filter(malformed))[:_EXAMPLES].cast(pa.string()).to_pylist()
    return Conformed(values, count, tuple(value[:_EXAMPLE_LENGTH] for value in shown), malformed)
