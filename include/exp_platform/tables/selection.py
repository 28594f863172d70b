"""Conditions on rows, written as mappings from columns to values."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import reduce
from typing import Any

from pyiceberg import expressions
from pyiceberg.expressions import AlwaysTrue, BooleanExpression

# mypy's pydantic plugin expects fields where these classes have constructors of their own.
_equal_to: Any = expressions.EqualTo
_in: Any = expressions.In
_and: Any = expressions.And
_or: Any = expressions.Or
_less_than: Any = expressions.LessThan


def selection(where: Mapping[str, Any]) -> BooleanExpression:
    """Rows whose columns have these values (a list: one of them)."""
    terms = [
        _in(column, value) if isinstance(value, (list, tuple)) else _equal_to(column, value)
        for column, value in where.items()
    ]
    chosen: BooleanExpression = reduce(_and, terms, AlwaysTrue())
    return chosen


def superseded(among: BooleanExpression, run_id: str, named: Sequence[str]) -> BooleanExpression:
    """Of some rows those of runs that began before this one, by their ids, or that are named; never its own."""
    earlier: BooleanExpression = _less_than("run_id", run_id)
    others = [name for name in named if name != run_id]
    chosen: BooleanExpression = _and(among, _or(earlier, _in("run_id", others)) if others else earlier)
    return chosen
