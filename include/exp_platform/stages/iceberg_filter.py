"""What is wanted of an Iceberg table as a filter by which its library skips manifests, files and row groups.

It lets more rows pass than are wanted, never fewer: text may have spaces around it, and times without a zone are any zone's.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from functools import reduce
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from exp_platform.config.sources import DIMENSION, Series
from exp_platform.config.where import Condition
from exp_platform.kernels.canonical_text import is_text
from exp_platform.stages.reading import Layout
from exp_platform.stages.wanted import Wanted

if TYPE_CHECKING:
    from pyiceberg.expressions import BooleanExpression

_DAY = timedelta(days=1)
_FIRST_VISIBLE, _AFTER_ASCII = "!", "\x7f"  # all spaces are before the one, or from the other on

Named = Callable[
    [str], tuple[str, pa.DataType] | None
]  # ours -> the column and its type, where it is a plain one


def iceberg_filter(wanted: Wanted, layout: Layout) -> BooleanExpression:
    """The filter; a column within another, or of a type that cannot be compared safely, is no part of it."""
    from pyiceberg.expressions import AlwaysTrue, And, Or

    def named(ours: str) -> tuple[str, pa.DataType] | None:
        path = layout.paths.get(ours)
        return (
            (path.column, path.type) if path is not None and path.plain and "." not in path.column else None
        )

    parts: list[BooleanExpression] = [AlwaysTrue()]
    if wanted.key is not None:
        parts.append(_begins(named("experiment"), [wanted.key]))
    if wanted.time is not None and wanted.start is not None and wanted.end is not None:
        parts.append(_between(named(wanted.time), wanted.start, wanted.end))
    if wanted.series:
        parts.append(reduce(Or, [reduce(And, _of_series(one, named)) for one in wanted.series]))
    return reduce(And, parts)


def _of_series(series: Series, named: Named) -> list[BooleanExpression]:
    from pyiceberg.expressions import AlwaysTrue

    found: list[BooleanExpression] = [AlwaysTrue()]
    if series.event is not None:
        found.append(_begins(named("event"), [series.event]))
    return found + [_meets(condition, named(DIMENSION + condition.column)) for condition in series.where]


def _meets(condition: Condition, at: tuple[str, pa.DataType] | None) -> BooleanExpression:
    from pyiceberg.expressions import AlwaysTrue, GreaterThanOrEqual, LessThanOrEqual

    texts = [value for value in condition.values if isinstance(value, str)]
    if condition.operator in ("in", "starts_with") and len(texts) == len(condition.values):
        return _begins(at, texts)
    if at is None or condition.operator not in ("min", "max"):
        return AlwaysTrue()
    column, kind = at
    value: Any = condition.values[0]
    if pa.types.is_integer(kind) and abs(value) < 2**31:
        value = math.ceil(value) if condition.operator == "min" else math.floor(value)
    elif not pa.types.is_float64(kind):
        return AlwaysTrue()
    return _is(GreaterThanOrEqual if condition.operator == "min" else LessThanOrEqual, column, value)


def _begins(at: tuple[str, pa.DataType] | None, values: list[str]) -> BooleanExpression:
    """Text that begins with one of the values, or with what may be a space."""
    from pyiceberg.expressions import AlwaysTrue, GreaterThanOrEqual, LessThan, Or, StartsWith

    if at is None or not is_text(at[1]):
        return AlwaysTrue()
    column = at[0]
    spaces: list[BooleanExpression] = [
        _is(LessThan, column, _FIRST_VISIBLE),
        _is(GreaterThanOrEqual, column, _AFTER_ASCII),
    ]
    return reduce(Or, [*spaces, *(_is(StartsWith, column, value) for value in values)])


def _between(at: tuple[str, pa.DataType] | None, start: datetime, end: datetime) -> BooleanExpression:
    from pyiceberg.expressions import AlwaysTrue, And, GreaterThanOrEqual, IsNull, LessThan, Or

    if at is None or not (pa.types.is_timestamp(at[1]) or pa.types.is_date(at[1])):
        return AlwaysTrue()
    column = at[0]
    if pa.types.is_date(at[1]):
        low, high = ((day.astimezone(UTC)).date().isoformat() for day in (start - _DAY, end + 2 * _DAY))
    elif at[1].tz is None:
        low, high = (
            day.astimezone(UTC).replace(tzinfo=None).isoformat() for day in (start - _DAY, end + _DAY)
        )
    else:
        low, high = (moment.astimezone(UTC).isoformat() for moment in (start, end))
    return Or(_is(IsNull, column), And(_is(GreaterThanOrEqual, column, low), _is(LessThan, column, high)))


def _is(how: Any, column: str, *value: Any) -> BooleanExpression:
    """A comparison of the library's, whose types do not know the names of columns."""
    made: BooleanExpression = how(column, *value)
    return made
