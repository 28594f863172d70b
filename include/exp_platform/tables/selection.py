"""Conditions on rows, written as mappings from columns to values."""

from __future__ import annotations

from collections.abc import Mapping
from functools import reduce
from typing import Any

from pyiceberg import expressions
from pyiceberg.expressions import AlwaysTrue, BooleanExpression

# mypy's pydantic plugin expects fields where these classes have constructors of their own.
_equal_to: Any = expressions.EqualTo
_in: Any = expressions.In
_and: Any = expressions.And


def selection(where: Mapping[str, Any]) -> BooleanExpression:
    """Rows whose columns have these values (a list: one of them)."""
    terms = [
        _in(column, value) if isinstance(value, (list, tuple)) else _equal_to(column, value)
        for column, value in where.items()
    ]
    chosen: BooleanExpression = reduce(_and, terms, AlwaysTrue())
    return chosen
