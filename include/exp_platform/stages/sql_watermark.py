"""The watermarks of tables in databases: what tells without reading them whether they changed.

A watermark is asked for before the rows are. What arrives in between is then read by this run, or by the next.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, date, datetime
from decimal import Decimal
from typing import Any

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.errors import ConfigError, DataError
from exp_platform.stages.plan_sql import bound, connection_for, database_of, place_of
from exp_platform.stages.reading import Reading
from exp_platform.stages.sources import readings
from exp_platform.stages.sql_database import Database, DatabaseError, QueryError

NOTHING = "nothing"


def watermarks(experiment: Experiment, environment: Environment) -> dict[str, str]:
    """Table -> its watermark's kind and value, such as `time 2026-03-02 08:00:00.000000`; of tables that declare one.

    Raises ConfigError for a connection, DataError where the query fails or gives no single value, DatabaseError where the
    database is at fault.
    """
    found = {}
    for reading in readings(experiment, environment):
        query = reading.source.query
        if query is None or query.watermark is None:
            continue
        place = f"{place_of(experiment, reading.table)}.watermark"
        with _told_at(place):
            database = _database(experiment, reading, environment, place)
            select = f"SELECT * FROM ({bound(query.watermark, experiment, database)}\n) AS watermark LIMIT 2"
            found[reading.table] = _value(database, select)
    return found


def require_forward(experiment: Experiment, now: Mapping[str, str], published: Mapping[str, str]) -> None:
    """Raise DataError where a watermark is behind the one of what is published: another database, or an older state of it."""
    for table, found in now.items():
        before = published.get(table)
        if before is not None and _is_behind(found, before):
            raise DataError(
                f"{place_of(experiment, table)}.watermark: found {found.partition(' ')[2] or NOTHING}, but {experiment.id} was "
                f"published at {before.partition(' ')[2]}: the source went back (a restored copy, or another database?), and the last "
                "good results stay. Bring it up to date; if this is meant, run with `--force`"
            )


def _is_behind(found: str, before: str) -> bool:
    kind, value = found.split(" ", 1) if " " in found else (found, "")
    kind_before, value_before = before.split(" ", 1) if " " in before else (before, "")
    if kind == NOTHING:
        return kind_before != NOTHING
    if kind != kind_before or kind == "text":  # a text has no order: it changes, or it does not
        return False
    return Decimal(value) < Decimal(value_before) if kind == "number" else value < value_before


def _database(experiment: Experiment, reading: Reading, environment: Environment, place: str) -> Database:
    connection = connection_for(experiment, reading, environment)
    if connection.kind == "jdbc":
        raise ConfigError(
            f"{place}: the connection {connection.name!r} is of the type 'jdbc', which only Spark reads, and whether to start it is "
            "what a watermark is for: leave it out, and the table is read by each run"
        )
    return database_of(experiment, reading, connection)


def _value(database: Database, select: str) -> str:
    batches = [batch for batch in database.batches(select) if len(batch)]
    if sum(map(len, batches)) > 1 or any(batch.num_columns != 1 for batch in batches):
        raise QueryError(
            "the query gives more than one value: let it return one row of one column, such as max(ts)"
        )
    value: Any = batches[0].column(0)[0].as_py() if batches else None
    if value is None:
        return NOTHING
    if isinstance(value, datetime):
        return f"time {(value.astimezone(UTC) if value.tzinfo else value):%Y-%m-%d %H:%M:%S.%f}"
    if isinstance(value, date):
        return f"time {value}"
    if isinstance(value, int | float | Decimal) and Decimal(value).is_finite():
        return f"number {value}"
    return f"text {value}"


@contextmanager
def _told_at(place: str) -> Iterator[None]:
    """Within the block, errors of a database begin with the key that is at fault."""
    try:
        yield
    except QueryError as error:
        raise DataError(f"{place}: {error}") from None
    except DatabaseError as error:
        raise DatabaseError(f"{place}: {error}") from None
