"""What may be skipped unread: by the bounds that files, their row groups and the names of their folders tell.

A doubt is always a row: where nothing is known, or a value may be spelled otherwise (spaces around it, a time without a zone),
rows are read, and `ingest` looks at each.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from typing import Any, Literal

import pyarrow.parquet as pq

from exp_platform.config.sources import DIMENSION, Series
from exp_platform.config.where import Condition, Value
from exp_platform.stages.reading import Layout, Reading
from exp_platform.stages.wanted import Wanted

DAY = 86_400_000_000  # microseconds

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_PER_MICROSECOND = {"milliseconds": (1000, 1), "microseconds": (1, 1), "nanoseconds": (1, 1000)}
_SPACES = [c.encode() for c in map(chr, range(0x3001)) if c.isspace()]  # which text may begin with
_DATE = re.compile(r"(\d{4})(?:-?(\d{2})(?:-?(\d{2}))?)?")
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


_Kind = Literal["text", "number", "truth", "time"]
_Bounds = tuple[_Kind, Any, Any]


@dataclass(frozen=True)
class Range:
    """What is known of the values of a column in some rows. Texts are bytes, times microseconds since 1970 in UTC."""

    kind: _Kind
    low: Any = None
    high: Any = None
    nulls: bool = True  # whether some may be missing
    empty: bool = False  # whether all are


Ranges = Callable[[str], Range | None]  # by our name of a column; None: nothing is known


def may_hold(wanted: Wanted, ranges: Ranges) -> bool:
    """Whether a row that is wanted may be among rows of these ranges."""
    if wanted.key is not None and not _may_be(ranges("experiment"), wanted.key):
        return False
    if wanted.time is not None and _outside(ranges(wanted.time), wanted.start, wanted.end):
        return False
    return not wanted.series or any(_may_take(one, ranges) for one in wanted.series)


def of_folders(reading: Reading, partition: Mapping[str, str | None]) -> Ranges:
    """What the names of a file's folders tell of its rows."""
    columns = dict(reading.columns)

    def ranges(ours: str) -> Range | None:
        theirs = columns.get(ours, "")
        if theirs in partition:
            return _constant(partition[theirs], reading.kind(ours))
        by = reading.source.partitioned_by
        if by is not None and ours == reading.wanted.time and partition.get(by):
            return _days(partition[by] or "")
        return None

    return ranges


def of_row_group(metadata: pq.FileMetaData, group: int, layout: Layout, folders: Ranges) -> Ranges:
    """What the statistics of a row group tell of its rows, else the names of its folders."""
    leaves = [metadata.schema.column(i).path for i in range(metadata.num_columns)]

    def ranges(ours: str) -> Range | None:
        path = layout.paths.get(ours)
        if path is None or path.key is not None or path.json or leaves.count(path.leaf) != 1:
            return folders(ours)
        return _statistics(metadata, group, leaves.index(path.leaf)) or folders(ours)

    return ranges


def _may_take(series: Series, ranges: Ranges) -> bool:
    if series.event is not None and not _may_be(ranges("event"), series.event):
        return False
    return all(_may_meet(condition, ranges(DIMENSION + condition.column)) for condition in series.where)


def _may_meet(condition: Condition, found: Range | None) -> bool:
    if condition.operator in ("missing", "not_in"):
        return True
    if found is None or found.empty:
        return found is None
    if condition.operator == "in":
        return any(_may_be(found, value) for value in condition.values)
    if condition.operator == "starts_with":
        return found.kind != "text" or _may_begin(found, str(condition.values[0]))
    if found.kind == "number" and condition.operator == "min":
        return bool(found.high >= condition.values[0])
    if found.kind == "number" and condition.operator == "max":
        return bool(found.low <= condition.values[0])
    return True


def _may_be(found: Range | None, value: Value) -> bool:
    """Whether a value may be among them, as text (`kernels.canonical_text`) or as a number."""
    if found is None or found.empty:
        return found is None
    if found.kind == "text" and isinstance(value, str):
        return _may_begin(found, value)
    if found.kind == "number" and not isinstance(value, bool):
        number = value if isinstance(value, float) else _number(value)
        return number is None or bool(found.low <= number <= found.high)
    return True


def _may_begin(found: Range, value: str) -> bool:
    """Whether texts of these bounds may begin with a value, or with spaces, behind which it may stand."""
    return any(_meets(found, start) for start in (value.encode(), *_SPACES))


def _meets(found: Range, start: bytes) -> bool:
    return bool(found.low[: len(start)] <= start <= found.high)


def _outside(found: Range | None, start: datetime | None, end: datetime | None) -> bool:
    """Whether all have a time, and one that is not in [start, end)."""
    if found is None or found.kind != "time" or found.nulls:
        return False
    return bool(
        (start is not None and found.high < _instant(start))
        or (end is not None and found.low >= _instant(end))
    )


def _instant(at: datetime) -> int:
    return (at - _EPOCH) // timedelta(microseconds=1)


def _number(text: str) -> float | None:
    return float(text) if _NUMBER.fullmatch(text) else None


def _constant(value: str | None, read_as: str) -> Range | None:
    """What is known of a column with one value."""
    if value is None:
        return Range("text", empty=True)
    if read_as == "time":
        return _days(value)
    if read_as == "number":
        number = _number(value.strip())
        return None if number is None else Range("number", number, number, nulls=False)
    text = value.strip().encode()
    return Range("text", text, text, nulls=False)


def _days(value: str) -> Range | None:
    """The instants of a day, month or year in any time zone: `2026-03-01`, `20260301`, `2026-03`, `202603`, `2026`."""
    match = _DATE.fullmatch(value.strip())
    if match is None:
        return None
    year, month, day = (int(part) if part else None for part in match.groups())
    try:
        first = date(year or 1, month or 1, day or 1)
        last = date(year or 1, month or 12, day or 1)
        last = last if day else (last.replace(day=28) + timedelta(days=4)).replace(day=1)
        low, high = (datetime(d.year, d.month, d.day, tzinfo=UTC) for d in (first, last))
    except (ValueError, OverflowError):  # a date that no calendar has
        return None
    return Range("time", _instant(low) - DAY, _instant(high) + 2 * DAY, nulls=False)


def _statistics(metadata: pq.FileMetaData, group: int, column: int) -> Range | None:
    statistics = metadata.row_group(group).column(column).statistics
    if statistics is None:
        return None
    nulls = statistics.null_count if statistics.has_null_count else None
    if nulls is not None and nulls == metadata.row_group(group).num_rows:
        return Range("text", empty=True)
    if not statistics.has_min_max:
        return None
    logical = metadata.schema.column(column).logical_type
    found = _bounds(statistics, logical, metadata.schema.column(column).physical_type)
    return None if found is None else Range(found[0], found[1], found[2], nulls=nulls != 0)


def _bounds(statistics: Any, logical: Any, physical: str) -> _Bounds | None:
    low, high = statistics.min_raw, statistics.max_raw
    if logical.type == "STRING":
        return "text", _bytes(low), _bytes(high)
    if logical.type == "TIMESTAMP":
        told = json.loads(logical.to_json())
        times, by = _PER_MICROSECOND[told["timeUnit"]]
        wider = 0 if told["isAdjustedToUTC"] else DAY
        return "time", low * times // by - wider, high * times // by + wider
    if logical.type == "DATE":
        return "time", low * DAY - DAY, high * DAY + 2 * DAY
    if physical == "BOOLEAN":
        return "truth", low, high
    if physical in ("INT32", "INT64", "FLOAT", "DOUBLE") and logical.type in ("NONE", "INT"):
        low, high = float(statistics.min), float(statistics.max)
        return None if low != low or high != high else ("number", low, high)
    return None


def _bytes(found: Any) -> bytes:
    return found if isinstance(found, bytes) else str(found).encode()
