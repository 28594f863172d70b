"""Tables of any other database, by a JDBC driver: Spark alone can read them, so their pieces are completed where it is."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import pyarrow as pa

from exp_platform.errors import ConfigError
from exp_platform.stages.pieces import BATCH_ROWS, Among, Part, Piece
from exp_platform.stages.sql_connections import Connection
from exp_platform.stages.sql_database import QueryError

_NAME = re.compile(r"[^\W\d]\w*(\.[^\W\d]\w*)*")
_TEXT_TIMES = ("jdbc:sqlite:", "jdbc:sqlserver:")  # have no literal of a timestamp


@dataclass(frozen=True)
class JdbcPiece(Piece):
    """Some rows of what a connection's driver reads. `relation` is a name or a select in parentheses, as after `from`."""

    connection: Connection
    relation: str
    condition: str = ""  # a condition in Spark's SQL; empty: all rows that are wanted

    def parts(self, among: Among | None = None) -> Iterator[Part]:
        """Raises ConfigError: a driver is in Java's process, where `plan_jdbc` reads."""
        raise ConfigError(
            f"{self.place}: the connection {self.connection.name!r} is of the type 'jdbc', which Spark alone reads: only a run does"
        )


@dataclass(frozen=True)
class StreamedPiece(Piece):
    """The same within a Spark task, which is given its rows."""

    batches: Iterable[Any]

    def parts(self, among: Among | None = None) -> Iterator[Part]:
        """Read it."""
        for batch in self.batches:
            for start in range(0, len(batch), BATCH_ROWS):
                yield self.part(pa.Table.from_batches([batch.slice(start, BATCH_ROWS)]), among)


def table_name(name: str) -> str:
    """A table's name, which stands unquoted. Raises QueryError for what is more than a name."""
    if not _NAME.fullmatch(name):
        raise QueryError(
            f"table: found {name!r}; allowed are letters, digits and _, with a schema before a point; or say it as `sql`"
        )
    return name


def text(value: str) -> str:
    """A literal of text. Raises QueryError for a backslash, which databases read differently."""
    if "\\" in value:
        raise QueryError(
            f"key: found {value!r}; databases read a backslash differently: leave :key out of the query"
        )
    return "'" + value.replace("'", "''") + "'"


def instant(value: datetime, connection: Connection) -> str:
    """A literal of an aware instant, in UTC."""
    written = f"'{value.astimezone(UTC):%Y-%m-%d %H:%M:%S}'"
    return written if connection.host.startswith(_TEXT_TIMES) else f"TIMESTAMP {written}"
