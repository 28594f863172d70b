"""ClickHouse, by its own client: a stream of Arrow over HTTP."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, NoReturn

import pyarrow as pa

from exp_platform.stages.sql_connections import Connection
from exp_platform.stages.sql_database import Column, DatabaseError, QueryError, down, failed, refused, stopped

_CONNECT_SECONDS = 10
_SECONDS = 3600  # that a query may take
# Types of which Arrow gets a number, or bytes, where a time or a text is meant
_INSTANT = re.compile(r"DateTime(64)?\b")
_DATE = re.compile(r"Date(32)?$")
_TEXT = re.compile(
    r"(U?Int(128|256)|UUID|IPv[46]|Enum(8|16)?|FixedString|JSON|Object|Dynamic|Variant|Time)\b"
)
_WRAPPED = re.compile(r"(?:Nullable|LowCardinality)\((.*)\)")
_SETTINGS = {
    "output_format_arrow_string_as_string": 1,
    "output_format_arrow_low_cardinality_as_dictionary": 0,
}
_ABOUT = re.compile(r"DB::Exception: (?P<what>.*?)(\(version|$)", re.DOTALL)
_ENDED = (
    "TIMEOUT_EXCEEDED",
    "MEMORY_LIMIT_EXCEEDED",
    "QUERY_WAS_CANCELLED",
    "TOO_MANY_SIMULTANEOUS_QUERIES",
    "NOT_ENOUGH_SPACE",
)


@dataclass(frozen=True)
class ClickHouse:
    """A ClickHouse database; its times are instants."""

    connection: Connection

    def columns(self, relation: str) -> tuple[Column, ...]:
        """As `Database`: times are read as instants, and what Arrow has no type for as text."""
        with self._client() as client:
            described = client.query(f"DESCRIBE TABLE (SELECT * FROM {relation})").result_rows
        read = {str(row[0]): self._expression(str(row[0]), str(row[1])) for row in described}
        shown = ", ".join(f"{expression} AS {self.quoted(name)}" for name, expression in read.items())
        schema = next(iter(self._stream(f"SELECT {shown} FROM {relation} LIMIT 0")))
        return tuple(Column(field.name, read[field.name], field.type) for field in schema)

    def batches(self, select: str) -> Iterator[pa.RecordBatch]:
        """As `Database`."""
        stream = self._stream(select)
        next(stream)
        yield from stream

    def quoted(self, name: str) -> str:
        """As `Database`."""
        return "`" + name.replace("\\", "\\\\").replace("`", "\\`") + "`"

    def text(self, value: str) -> str:
        """As `Database`."""
        return "'" + value.replace("\\", "\\\\").replace("'", "\\'") + "'"

    def instant(self, value: datetime) -> str:
        """As `Database`."""
        return f"toDateTime64('{value.astimezone(UTC):%Y-%m-%d %H:%M:%S.%f}', 6, 'UTC')"

    def as_text(self, expression: str) -> str:
        """As `Database`."""
        return f"toString({expression})"

    def beginning(self, expression: str, prefix: str) -> str:
        """As `Database`."""
        return f"startsWith({expression}, {self.text(prefix)})"

    def in_part(self, expression: str, number: int, parts: int) -> str:
        """As `Database`."""
        return f"modulo(cityHash64(ifNull(toString({expression}), '')), {parts}) = {number}"

    def _expression(self, name: str, kind: str) -> str:
        column = self.quoted(name)
        while wrapped := _WRAPPED.fullmatch(kind):
            kind = wrapped[1]
        if _INSTANT.match(kind):
            return f"toDateTime64({column}, 6, 'UTC')"
        if _DATE.match(kind):
            return f"toDate32({column})"
        return f"toString({column})" if _TEXT.match(kind) else column

    def _stream(self, select: str) -> Iterator[Any]:
        """The schema of a select, then its rows."""
        with (
            self._client() as client,
            closing(client.raw_stream(select, fmt="ArrowStream")) as answer,
            pa.ipc.open_stream(answer) as reader,
        ):
            yield reader.schema
            yield from reader

    @contextmanager
    def _client(self) -> Iterator[Any]:
        """A client, of whose errors the meaning is told."""
        import logging

        import clickhouse_connect
        from clickhouse_connect.driver.exceptions import Error as ClientError
        from urllib3.exceptions import HTTPError

        logging.getLogger("clickhouse_connect").setLevel(logging.CRITICAL)  # what it logs is raised as well
        said = self.connection
        secure = str(said.extra.get("secure", "")).lower() in ("1", "true")
        extra = {
            key: said.extra[key]
            for key in ("verify", "ca_cert", "connect_timeout", "send_receive_timeout")
            if key in said.extra
        }
        options = {"connect_timeout": _CONNECT_SECONDS, "send_receive_timeout": _SECONDS, **extra}
        try:
            with closing(
                clickhouse_connect.get_client(
                    host=said.host,
                    port=said.port or (8443 if secure else 8123),
                    username=said.login or None,
                    password=said.password,
                    database=said.database or "__default__",
                    secure=secure,
                    settings=_SETTINGS,
                    autogenerate_session_id=False,
                    query_retries=0,
                    client_name="exp_platform",
                    **options,
                )
            ) as client:
                yield client
        except (QueryError, DatabaseError):
            raise
        except (ClientError, HTTPError, OSError, pa.ArrowException) as error:
            _explain(said, error)


def _explain(connection: Connection, error: Exception) -> NoReturn:
    said = str(error)
    found = _ABOUT.search(said)
    what = found["what"] if found else said
    if any(word in said for word in ("AUTHENTICATION_FAILED", "REQUIRED_PASSWORD", "UNKNOWN_USER")):
        refused(connection, what)
    if any(word in said for word in _ENDED):
        stopped(connection, what)
    if found is None:
        down(connection, what)
    failed(connection, what)
