"""Rows of every kind as columns and back: the one way into tables and files, and out of them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import fields
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any, TypeVar, get_args, get_type_hints

from exp_platform.analyses.rows import ROW_TYPES, Row, Status
from exp_platform.json_file import write_whole

T = TypeVar("T")


def as_columns(row: object) -> dict[str, Any]:
    """A row as column -> plain value: dates stay dates, statuses become strings."""
    return {name: str(value) if isinstance(value, Status) else value for name, value in vars(row).items()}


def of_columns(row_type: type[T], columns: Mapping[str, Any]) -> T:
    """The row of these columns, dates as dates or ISO 8601; one that is missing is null, what the type does not know is left out."""
    of: Any = row_type
    names, statuses, dates = _columns(of)
    values: dict[str, Any] = {name: columns.get(name) for name in names}
    values |= {name: Status(values[name]) for name in statuses if values[name] is not None}
    values |= {name: date.fromisoformat(values[name]) for name in dates if isinstance(values[name], str)}
    return row_type(**values)


@cache
def _columns(row_type: Any) -> tuple[tuple[str, ...], tuple[str, ...], tuple[str, ...]]:
    """The names of a row type's columns, of those among them that hold a `Status`, and of those that hold a date."""
    types = get_type_hints(row_type)
    names = tuple(field.name for field in fields(row_type))
    statuses, dates = (
        tuple(n for n in names if of in (types[n], *get_args(types[n]))) for of in (Status, date)
    )
    return names, statuses, dates


def write_rows(path: Path, rows: Sequence[Row]) -> None:
    """Write rows as JSON whose floats round-trip exactly. Raises ValueError where a number is not finite."""

    def entry(row: Row) -> dict[str, Any]:
        columns = {name: value for name, value in as_columns(row).items() if value is not None}
        return {"table": row.TABLE, **columns}

    write_whole(path, json.dumps([entry(row) for row in rows], allow_nan=False, default=date.isoformat))


def read_rows(path: Path) -> list[Row]:
    """Read what `write_rows` wrote."""
    return [of_columns(ROW_TYPES[entry["table"]], entry) for entry in json.loads(path.read_text())]
