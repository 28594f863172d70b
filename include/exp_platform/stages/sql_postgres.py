"""Postgres, by ADBC: a stream of Arrow from its binary COPY, in a transaction that only reads."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn
from urllib.parse import quote, urlencode

import pyarrow as pa

from exp_platform.stages.sql_connections import Connection
from exp_platform.stages.sql_database import Column, DatabaseError, QueryError, down, failed, refused, stopped

_CONNECT_SECONDS = 10
_BATCH_BYTES = 8 * 1024 * 1024
# What an Airflow connection's extra may say that is libpq's own: how the server is known, and how long it is waited for.
_OPTIONS = (
    "sslmode", "sslrootcert", "sslcert", "sslkey", "target_session_attrs", "connect_timeout", "channel_binding",
    "keepalives", "keepalives_idle", "keepalives_interval", "keepalives_count", "tcp_user_timeout", "options",
)  # fmt: skip
# What is said where there is no SQLSTATE
_NO_ENTRY = re.compile(
    r"authentication failed|no password supplied|role \".*\" does not exist|no pg_hba.conf entry"
)
_NO_DATABASE = re.compile(r"database \".*\" does not exist|invalid (connection option|URI|sslmode)")
_AWAY = re.compile(
    r"terminating connection|server closed the connection|connection to server|could not (receive|send) data|SSL SYSCALL"
    r"|starting up|shutting down|too many (clients|connections)|remaining connection slots"
)
_ENDED = re.compile(
    r"canceling statement|deadlock detected|could not serialize|conflict with recovery|out of memory|No space left"
)
_ABOUT = re.compile(r"(ERROR|FATAL):\s+(?P<what>.*?)(\s+LINE \d+:|\s+Query was:|\. SQLSTATE|$)", re.DOTALL)


@dataclass(frozen=True)
class Postgres:
    """A Postgres database; times without a zone are those of `zone`."""

    connection: Connection
    zone: str = "UTC"

    def columns(self, relation: str) -> tuple[Column, ...]:
        """As `Database`: of types that Arrow has none for, such as numeric and jsonb, the text is read."""
        with self._cursor() as cursor, self._explained():
            cursor.execute(f"SELECT * FROM {relation} LIMIT 0")
            schema = cursor.fetch_record_batch().schema
        return tuple(
            Column(field.name, self.as_text(self.quoted(field.name)), pa.string())
            if isinstance(field.type, pa.BaseExtensionType)
            else Column(field.name, self.quoted(field.name), field.type)
            for field in schema
        )

    def batches(self, select: str) -> Iterator[pa.RecordBatch]:
        """As `Database`."""
        with self._cursor() as cursor, self._explained():
            cursor.execute(select)
            yield from cursor.fetch_record_batch()

    def quoted(self, name: str) -> str:
        """As `Database`."""
        return '"' + name.replace('"', '""') + '"'

    def text(self, value: str) -> str:
        """As `Database`; a backslash means itself whatever the server's settings."""
        plain = value.replace("'", "''")
        return f"E'{plain.replace(chr(92), chr(92) * 2)}'" if "\\" in value else f"'{plain}'"

    def instant(self, value: datetime) -> str:
        """As `Database`; beside a time without a zone it is a local time of `zone`."""
        return f"TIMESTAMPTZ '{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}+00'"

    def as_text(self, expression: str) -> str:
        """As `Database`."""
        return f"{expression}::text"

    def beginning(self, expression: str, prefix: str) -> str:
        """As `Database`."""
        return f"left({expression}, {len(prefix)}) = {self.text(prefix)}"

    def in_part(self, expression: str, number: int, parts: int) -> str:
        """As `Database`."""
        return f"coalesce(mod(abs(hashtext({expression}::text)::bigint), {parts}), 0) = {number}"

    @property
    def _uri(self) -> str:
        said = self.connection
        options = {"connect_timeout": _CONNECT_SECONDS, "application_name": "exp_platform"}
        options |= {key: value for key, value in said.extra.items() if key in _OPTIONS}
        login = quote(said.login, safe="") + (f":{quote(said.password, safe='')}" if said.password else "")
        place = f"{said.host}:{said.port or 5432}/{quote(said.database, safe='')}"
        return f"postgresql://{login}{'@' if login else ''}{place}?{urlencode(options, quote_via=quote)}"

    @contextmanager
    def _cursor(self) -> Iterator[Any]:
        """A cursor of a transaction that may only read."""
        from adbc_driver_manager import Error
        from adbc_driver_postgresql import dbapi

        try:
            opened = dbapi.connect(self._uri)
        except Error as error:
            _explain(self.connection, error, connecting=True)
        with closing(opened), closing(opened.cursor()) as cursor:
            with self._explained():
                cursor.execute("SET TRANSACTION READ ONLY")
                cursor.execute(f"SET LOCAL TIME ZONE {self.text(self.zone)}")
            cursor.adbc_statement.set_options(**{"adbc.postgresql.batch_size_hint_bytes": _BATCH_BYTES})
            yield cursor

    @contextmanager
    def _explained(self) -> Iterator[None]:
        from adbc_driver_manager import Error

        try:
            yield
        except (QueryError, DatabaseError):
            raise
        except (Error, OSError, pa.ArrowException) as error:  # within a stream it is an OSError
            _explain(self.connection, error)


def _explain(connection: Connection, error: Exception, *, connecting: bool = False) -> NoReturn:
    said = str(error)
    found = _ABOUT.search(said)
    what = found["what"] if found else said.partition("[libpq] ")[2] or said
    state = getattr(error, "sqlstate", None) or ""
    if state.startswith("28") or _NO_ENTRY.search(said):
        refused(connection, what)
    if connecting and _NO_DATABASE.search(said):
        failed(connection, what)
    if connecting or state.startswith(("08", "57P", "53")) or _AWAY.search(said):
        down(connection, what)
    if state.startswith(("40", "57")) or _ENDED.search(said):
        stopped(connection, what)
    failed(connection, what)
