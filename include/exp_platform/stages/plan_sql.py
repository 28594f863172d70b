"""Tables in databases: what a spec's SQL returns, its columns checked and cut into pieces.

A piece is one select around the spec's own, which stands in parentheses: it names the columns that are read, asks for the rows
that are wanted as far as the types let it, and for one part of the users or of the values of `split_by`.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from decimal import Decimal, InvalidOperation
from typing import Any

import pyarrow as pa

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.faults import render_key
from exp_platform.config.locations import tables_of
from exp_platform.config.sources import EventsSource, SqlQuery
from exp_platform.config.sql_text import with_parameters
from exp_platform.errors import ConfigError
from exp_platform.stages import jdbc_pieces
from exp_platform.stages.column_faults import column_faults
from exp_platform.stages.jdbc_pieces import JdbcPiece
from exp_platform.stages.pieces import PIECE_ROWS, Piece
from exp_platform.stages.reading import Layout, Problem, Reading, layout
from exp_platform.stages.sql_clickhouse import ClickHouse
from exp_platform.stages.sql_connections import Connection, connection_of
from exp_platform.stages.sql_database import Column, Database, DatabaseError, QueryError
from exp_platform.stages.sql_pieces import SqlPiece
from exp_platform.stages.sql_postgres import Postgres
from exp_platform.stages.sql_where import conditions
from exp_platform.stages.wanted import period_of

_MOST_PARTS = 256


@dataclass(frozen=True)
class SqlTable:
    """What a spec's query returns: in which database, as what may stand after `from`, with which columns."""

    database: Database
    relation: str
    columns: tuple[Column, ...]


def plan_sql(experiment: Experiment, reading: Reading, environment: Environment) -> Iterator[Piece | Problem]:
    """Pieces or problems of a table in a database, which is asked for its columns and how many rows there are.

    Raises ConfigError for the connection, DatabaseError where the database is at fault.
    """
    place = place_of(experiment, reading.table)
    connection = connection_for(experiment, reading, environment)
    try:
        if reading.numbers_rows:
            raise QueryError(
                "rows of a database have no order to number users by: name the column of the id, `user_id` under columns"
            )
        if connection.kind == "jdbc":
            yield _by_spark(experiment, reading, place, connection)
            return
        table = _sql_table(experiment, reading, database_of(experiment, reading, connection))
        schema = pa.schema([(column.name, column.type) for column in table.columns])
        where = layout(reading, schema, {})
        yield from list(column_faults(reading, place, schema, where)) or _pieces(reading, where, place, table)
    except QueryError as error:
        yield Problem("source", f"{reading.table}: {place}: {error}")
    except DatabaseError as error:
        raise DatabaseError(f"{place}: {error}") from error


def _by_spark(experiment: Experiment, reading: Reading, place: str, connection: Connection) -> JdbcPiece:
    """What stands for the rows of a table that only Spark can look into."""
    query = _query_of(reading)
    if query.sql is None:
        relation = jdbc_pieces.table_name(query.table or "")
    else:
        start, end = (jdbc_pieces.instant(one, connection) for one in period_of(experiment))
        literals = {"start": start, "end": end}
        if ":key" in query.sql:
            literals["key"] = jdbc_pieces.text(_key_of(experiment))
        relation = f"({with_parameters(query.sql, literals)}\n) source"
    return JdbcPiece(reading, Layout({}), place, 0, 0, connection, relation)


def place_of(experiment: Experiment, table: str) -> str:
    """Where a spec says what is read of a table in a database: file and key, for messages."""
    key = next(key for name, key, _ in tables_of(experiment.source) if name == table)
    return f"{experiment.spec_file or experiment.id}: {render_key(key)}"


def connection_for(experiment: Experiment, reading: Reading, environment: Environment) -> Connection:
    """The connection of a table in a database. Raises ConfigError where there is none, or specs may not name it."""
    place, name = f"{place_of(experiment, reading.table)}.connection", reading.source.location
    allowed = environment.connections
    if allowed is not None and name not in allowed:
        raise ConfigError(
            f"{place}: found {name!r}; {environment.source_rules.file} lets specs name {', '.join(allowed) or 'none'}: name one of "
            "them, or have it added to `connections` there"
        )
    return connection_of(name, place)


def database_of(experiment: Experiment, reading: Reading, connection: Connection) -> Database:
    """The database of a connection that this process reads itself."""
    if connection.kind == "clickhouse":
        return ClickHouse(connection)
    return Postgres(connection, reading.source.timezone or experiment.window.timezone)


def _sql_table(experiment: Experiment, reading: Reading, database: Database) -> SqlTable:
    """What a spec's query returns. Raises QueryError or DatabaseError."""
    query = _query_of(reading)
    written = query.sql or f"select * from {_table_name(query, database)}"
    relation = f"({bound(written, experiment, database)}\n) AS source"
    return SqlTable(database, relation, database.columns(relation))


def _query_of(reading: Reading) -> SqlQuery:
    """The query of a table in a database."""
    assert reading.source.query is not None
    return reading.source.query


def _table_name(query: SqlQuery, database: Database) -> str:
    """A table's name, with its schema where it has one, as identifiers."""
    return ".".join(map(database.quoted, (query.table or "").split(".")))


def bound(sql: str, experiment: Experiment, database: Database) -> str:
    """A spec's SQL with literals for its parameters."""
    start, end = period_of(experiment)
    literals = {
        "start": database.instant(start),
        "end": database.instant(end),
        "key": database.text(_key_of(experiment)),
    }
    return with_parameters(sql, literals)


def _key_of(experiment: Experiment) -> str:
    source = experiment.source
    return (source.key if isinstance(source, EventsSource) else None) or experiment.id


def _pieces(reading: Reading, where: Layout, place: str, table: SqlTable) -> Iterator[SqlPiece]:
    """The pieces of a table in a database, which is asked once how many rows there are, and where there are many how many in each part.

    Raises QueryError, also for a `split_by` that has no order, or DatabaseError.
    """
    database = table.database
    by_name = {column.name: column for column in table.columns}
    read = [by_name[name] for name in sorted({path.column for path in where.paths.values()})]
    whole = {ours: by_name[path.column] for ours, path in where.paths.items() if path.plain}
    wanted = [f"({one})" for one in conditions(reading.wanted, whole, database)]
    split = _query_of(reading).split_by
    total, ends = _extent(table, wanted, by_name, split)
    parts = min(math.ceil(total / PIECE_ROWS), _MOST_PARTS)
    if parts <= 1:
        tests: Sequence[str] = ("",)
    elif split is None:
        whose = next(
            (ours for ours in where.paths if ours in ("user_id", "other_id")), next(iter(where.paths))
        )
        user = database.quoted(where.paths[whose].column)
        tests = [database.in_part(user, number, parts) for number in range(parts)]
    else:
        tests = _ranges(database.quoted(split), ends, parts, database)
    counts = [total] if len(tests) == 1 else _counts(table, wanted, tests)
    shown = ", ".join(f"{column.expression} AS {database.quoted(column.name)}" for column in read)
    first_row = 0
    for test, rows in zip(tests, counts, strict=True):
        asked = _where([*wanted, *([f"({test})"] if test else [])])
        select = f"SELECT {shown} FROM {table.relation}{asked}"
        yield SqlPiece(reading, where, place, rows, first_row, database, select)
        first_row += rows


def _one_row(database: Database, select: str) -> list[Any]:
    """The values of a select of one row, as Arrow scalars; none where there is no row."""
    rows = pa.Table.from_batches(list(database.batches(select)) or [pa.record_batch({})])
    return [column[0] for column in rows.columns if len(column)]


def _where(tests: Sequence[str]) -> str:
    return f" WHERE {' AND '.join(tests)}" if tests else ""


def _extent(
    table: SqlTable, wanted: Sequence[str], by_name: Mapping[str, Column], split: str | None
) -> tuple[int, tuple[Any, Any]]:
    """How many rows are wanted, and the least and the greatest value of what they are split by."""
    asked = "count(*)"
    if split is not None:
        if split not in by_name:
            raise QueryError(
                f"split_by: there is no column {split} but {', '.join(sorted(by_name))}: name a numeric or date column"
            )
        found = by_name[split]
        column = table.database.quoted(split)
        dated = pa.types.is_date(found.type) or pa.types.is_timestamp(found.type)
        least, greatest = (f"{name}({column})" for name in ("min", "max"))
        if dated:
            least, greatest = (f"{name}({found.expression})" for name in ("min", "max"))
        else:  # as text, whatever the width of the number
            least, greatest = map(table.database.as_text, (least, greatest))
        asked += f", {least} AS least, {greatest} AS greatest"
    values = [
        value.as_py()
        for value in _one_row(table.database, f"SELECT {asked} FROM {table.relation}{_where(wanted)}")
    ]
    total, ends = int(values[0]), tuple(values[1:])
    if split is None or not total or ends[0] is None:
        return total, (None, None)
    try:
        low, high = (Decimal(end) if isinstance(end, str) else end for end in ends)
        if isinstance(low, Decimal) and not (low.is_finite() and high.is_finite()):
            raise InvalidOperation
    except InvalidOperation:
        raise QueryError(
            f"split_by: {split} is {by_name[split].type}, allowed is a column of finite numbers, dates or times"
        ) from None
    return total, (low, high)


def _ranges(column: str, ends: tuple[Any, Any], parts: int, database: Database) -> list[str]:
    """Conditions that each row meets one of: ranges of equal width; missing values are in the first."""
    low, high = ends
    if low is None or low == high:
        return [""]
    cuts = list(
        dict.fromkeys(_literal(low, high, Decimal(number) / parts, database) for number in range(1, parts))
    )
    above = [
        f"NOT ({column} < {cut})" for cut in cuts
    ]  # what compares with nothing, such as NaN, is in the last
    between = [f"{over} AND {column} < {cut}" for over, cut in zip(above, cuts[1:], strict=False)]
    return [f"{column} < {cuts[0]} OR {column} IS NULL", *between, above[-1]]


def _literal(low: Any, high: Any, share: Decimal, database: Database) -> str:
    """The literal of a value between two: a number, a date or a time."""
    if isinstance(low, Decimal):
        return f"{low + (high - low) * share:f}"
    if isinstance(low, datetime):
        between = low + (high - low) * float(share)
        return database.instant(between) if between.tzinfo else f"TIMESTAMP '{between:%Y-%m-%d %H:%M:%S.%f}'"
    assert isinstance(low, date)
    return f"DATE '{low + timedelta(days=int((high - low).days * share))}'"


def _counts(table: SqlTable, wanted: Sequence[str], tests: Sequence[str]) -> list[int]:
    asked = ", ".join(
        f"sum(CASE WHEN {test} THEN 1 ELSE 0 END) AS part_{number}" for number, test in enumerate(tests)
    )
    values = _one_row(table.database, f"SELECT {asked} FROM {table.relation}{_where(wanted)}")
    return [int(value.as_py() or 0) for value in values]
