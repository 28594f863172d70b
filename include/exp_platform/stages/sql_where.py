"""What a run needs of a table, as conditions that its database tests: only where they leave out no row that is needed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import timedelta

import pyarrow as pa

from exp_platform.config.sources import DIMENSION, Series
from exp_platform.config.where import Condition
from exp_platform.stages.sql_database import Column, Database
from exp_platform.stages.wanted import Wanted

_MARGIN = timedelta(
    days=1
)  # of times without a zone: a day's length of zones lies between what databases take them for


def conditions(wanted: Wanted, columns: Mapping[str, Column], database: Database) -> Iterator[str]:
    """Conditions that all needed rows meet; `columns` are by our names, those that are paths left out."""
    if wanted.key is not None and "experiment" in columns:
        yield from _is_one_of(columns["experiment"], (wanted.key,), database)
    if wanted.time is not None and wanted.time in columns:
        yield from _within(wanted, columns[wanted.time], database)
    of_series = [" AND ".join(_of_series(one, columns, database)) for one in wanted.series]
    if of_series and all(of_series):
        yield " OR ".join(f"({one})" for one in of_series)


def _within(wanted: Wanted, column: Column, database: Database) -> Iterator[str]:
    """The time's bounds; a row without a time is needed too, as quality counts it."""
    tests = []
    for operator, bound, away in ((">=", wanted.start, -_MARGIN), ("<", wanted.end, _MARGIN)):
        if bound is None:
            continue
        if pa.types.is_date(column.type):
            day = (bound + away + (_MARGIN if operator == "<" else timedelta(0))).date()
            tests.append(f"{column.expression} {operator} DATE '{day}'")
        elif pa.types.is_timestamp(column.type):
            instant = bound if column.type.tz else bound + away
            tests.append(f"{column.expression} {operator} {database.instant(instant)}")
    if tests:
        yield f"({' AND '.join(tests)}) OR {column.expression} IS NULL"


def _of_series(series: Series, columns: Mapping[str, Column], database: Database) -> Iterator[str]:
    if series.event is not None and "event" in columns:
        yield from _is_one_of(columns["event"], (series.event,), database)
    for condition in series.where:
        column = columns.get(DIMENSION + condition.column)
        if column is not None:
            yield from _meets(condition, column, database)


def _meets(condition: Condition, column: Column, database: Database) -> Iterator[str]:
    values = condition.values
    if condition.of == "text" and all(isinstance(value, str) for value in values):
        if condition.operator == "in":
            yield from _is_one_of(column, tuple(map(str, values)), database)
        elif condition.operator == "starts_with" and pa.types.is_string(column.type):
            begins = [database.beginning(column.expression, str(value)) for value in values]
            yield f"({' OR '.join(begins)})"
    elif condition.of == "number" and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
        numbers = [repr(float(value)) for value in values]
        if condition.operator == "in":
            yield f"{column.expression} IN ({', '.join(numbers)})"
        elif condition.operator in ("min", "max"):
            yield f"{column.expression} {'>=' if condition.operator == 'min' else '<='} {numbers[0]}"


def _is_one_of(column: Column, values: tuple[str, ...], database: Database) -> Iterator[str]:
    """By what the column is as canonical text: of floats and times databases write another one."""
    exact = (
        pa.types.is_string(column.type)
        or pa.types.is_integer(column.type)
        or pa.types.is_boolean(column.type)
    )
    if exact:
        found = column.expression if pa.types.is_string(column.type) else database.as_text(column.expression)
        yield f"{found} IN ({', '.join(map(database.text, values))})"
