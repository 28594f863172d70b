"""What a database is to whoever reads of it: its dialect, the columns of a select, and the rows of one as a stream of Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any, NoReturn, Protocol

from exp_platform.errors import DataError, ExpPlatformError
from exp_platform.stages.sql_connections import Connection


class DatabaseError(ExpPlatformError):
    """A database is at fault, not what it was asked: the next try may find it well."""


class QueryError(DataError):
    """What a database was asked is at fault: a retry gives the same."""


@dataclass(frozen=True)
class Column:
    """A column of a select, the expression that reads it, and the Arrow type that this gives."""

    name: str
    expression: str
    type: Any


class Database(Protocol):
    """A database that is asked in its own words. One pickles to what a task needs to open it."""

    @property
    def connection(self) -> Connection: ...  # noqa: D102

    def columns(self, relation: str) -> tuple[Column, ...]:
        """The columns of what may stand after `from`. Raises QueryError or DatabaseError, as all of these do."""
        ...

    def batches(self, select: str) -> Iterator[Any]:
        """The rows of a select as Arrow record batches, of which a few are held at a time."""
        ...

    def quoted(self, name: str) -> str:
        """A name as an identifier."""
        ...

    def text(self, value: str) -> str:
        """A literal of text."""
        ...

    def instant(self, value: datetime) -> str:
        """A literal of an aware instant."""
        ...

    def as_text(self, expression: str) -> str:
        """An expression as text."""
        ...

    def beginning(self, expression: str, prefix: str) -> str:
        """A condition that a text begins with another."""
        ...

    def in_part(self, expression: str, number: int, parts: int) -> str:
        """A condition that a hash of the expression falls into one of several parts; missing values fall into the first."""
        ...


def down(connection: Connection, why: str) -> NoReturn:
    """Raise DatabaseError for one that does not answer, or went away."""
    raise DatabaseError(
        f"the database of the connection {connection.name!r} does not answer: start it, or correct the host and port of the "
        f"connection ({_told(connection, why)})"
    )


def refused(connection: Connection, why: str) -> NoReturn:
    """Raise DatabaseError for one that does not let this user in."""
    raise DatabaseError(
        f"the database refused the user {connection.login!r} of the connection {connection.name!r}: correct its login and "
        f"password ({_told(connection, why)})"
    )


def failed(connection: Connection, why: str) -> NoReturn:
    """Raise QueryError for what it cannot carry out."""
    raise QueryError(
        f"the database of the connection {connection.name!r} refused the query ({_told(connection, why)}): correct the query or the "
        "connection, or give its user the right to read that"
    )


def stopped(connection: Connection, why: str) -> NoReturn:
    """Raise DatabaseError for a query that was ended before it was done."""
    raise DatabaseError(
        f"the database of the connection {connection.name!r} ended a query before it was done: run again, or raise its limits "
        f"({_told(connection, why)})"
    )


def _told(connection: Connection, why: str, longest: int = 300) -> str:
    said = " ".join(connection.hide(why).split()).rstrip(".")
    return said if len(said) <= longest else f"{said[:longest]} ..."
