"""ClickHouse's own engine, which the package chdb runs in this process, behind an HTTP front that answers as its server does.

The engine reads, sorts and adds up; the front only takes a request apart, as there is no package of the server itself.
"""

from __future__ import annotations

import base64
import re
import secrets
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, urlsplit

USER = "reader"
_FORMAT = re.compile(r"\s+FORMAT\s+(\w+)\s*$", re.IGNORECASE)
# What a request says to the server's HTTP handler, and not to its engine
_OF_HTTP = (
    "query", "database", "client_protocol_version", "query_id", "session_id", "default_format", "role", "wait_end_of_query",
    "buffer_size", "compress", "decompress",
)  # fmt: skip
_DENIED = (
    "Code: 516. DB::Exception: {}: Authentication failed: password is incorrect, or there is no user with such name. "
    "(AUTHENTICATION_FAILED)"
)


class ClickHouse:
    """One engine with a front; `queries` are those that came through it."""

    def __init__(self) -> None:
        from chdb import session

        self.engine: Any = session.Session()
        self.password = secrets.token_urlsafe(16)
        self.queries: list[str] = []
        self.broken = False  # whether a stream of rows breaks off in the middle
        self._lock = threading.Lock()
        front = self

        class Handler(_Handler):
            clickhouse = front

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        threading.Thread(target=self._server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self.engine.close()

    def execute(self, sql: str) -> None:
        with self._lock:
            self.engine.query(sql)

    def answer(self, sql: str, settings: dict[str, str]) -> bytes:
        self.queries.append(sql)
        found = _FORMAT.search(sql)
        with self._lock:
            for name, value in settings.items():
                self.engine.query(f"SET {name} = '{value}'")
            try:
                answer = self.engine.query(_FORMAT.sub("", sql), found[1] if found else "TabSeparated")
            except RuntimeError:
                # What an answer broken off in its middle was written as, the engine answers the next query as
                self.engine.query("SELECT 1", "TabSeparated")
                raise
        return bytes(answer.bytes())


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    clickhouse: ClickHouse

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        asked = dict(parse_qsl(urlsplit(self.path).query, keep_blank_values=True))
        sql = self.rfile.read(length).decode() or asked.get("query", "")
        if "query" in asked and asked["query"] != sql:
            sql = f"{asked['query']} {sql}"
        if self._user() != (USER, self.clickhouse.password):
            return self._say(403, _DENIED.format(self._user()[0]).encode())
        settings = {key: value for key, value in asked.items() if key not in _OF_HTTP}
        try:
            answer = self.clickhouse.answer(sql, settings)
        except RuntimeError as error:
            return self._say(500, str(error).encode())
        if self.clickhouse.broken and "ArrowStream" in sql and "LIMIT 0" not in sql:
            answer = answer[: len(answer) // 2]
        return self._say(200, answer)

    def do_GET(self) -> None:
        self._say(200, b"Ok.\n")

    def _user(self) -> tuple[str, str]:
        found = self.headers.get("Authorization", "")
        if found.startswith("Basic "):
            user, _, password = base64.b64decode(found[6:]).decode().partition(":")
            return user, password
        return self.headers.get("X-ClickHouse-User", ""), self.headers.get("X-ClickHouse-Key", "")

    def _say(self, status: int, body: bytes) -> None:
        self.send_response(status)
        if status != 200:
            self.send_header("X-ClickHouse-Exception-Code", "1")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing."""


@contextmanager
def clickhouse() -> Iterator[ClickHouse]:
    made = ClickHouse()
    try:
        yield made
    finally:
        made.close()
