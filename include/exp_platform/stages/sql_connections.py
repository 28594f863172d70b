"""Connections to databases: what Airflow calls one, from the variable `AIRFLOW_CONN_<NAME>` of this process.

Under Airflow a task puts its connection there itself (`orchestration/connections.py`); for the command `exp` whoever calls it
does. A connection travels to Spark's tasks in their pickled plan; nothing that is written or said has its secrets.
"""

from __future__ import annotations

import json
import os
import re
from dataclasses import dataclass, field
from typing import Any, Literal, cast, get_args
from urllib.parse import parse_qsl, quote, quote_plus, unquote

from exp_platform.errors import ConfigError

Kind = Literal["postgres", "clickhouse", "jdbc"]

_HIDDEN = "***"
_URI = re.compile(
    r"(?P<kind>[a-z][a-z0-9+._-]*)://(?P<authority>[^/?]*)(?:/(?P<database>[^?]*))?(?:\?(?P<query>.*))?$",
    re.I | re.S,
)
_SECRET = re.compile(r"secret|passw|pwd|token|credential|private|key", re.IGNORECASE)
_REMEDY = 'say {"conn_type": "postgres", "host": ..., "login": ..., "password": ..., "schema": ...} as JSON, or a URI'


@dataclass(frozen=True)
class Connection:
    """One connection; `database` is what Airflow calls the schema. Its repr has no secrets."""

    name: str
    kind: Kind
    host: str = ""
    port: int | None = None
    login: str = ""
    password: str = field(default="", repr=False)
    database: str = ""
    extra: dict[str, Any] = field(default_factory=dict, repr=False)

    def hide(self, text: str) -> str:
        """The text without this connection's secrets, however a client library quotes them."""
        secrets = [self.password, *(str(v) for k, v in self.extra.items() if _SECRET.search(k))]
        written = {
            w for s in secrets if s for w in (s, quote(s, safe=""), quote_plus(s), json.dumps(s)[1:-1])
        }
        for secret in sorted(written, key=len, reverse=True):
            text = text.replace(secret, _HIDDEN)
        return re.sub(r"(?i)((?:password|pwd|token|secret)=)[^&;\s]+", rf"\1{_HIDDEN}", text)


def variable_of(name: str) -> str:
    """The variable that holds the connection of a name."""
    return f"AIRFLOW_CONN_{name.upper()}"


def connection_of(name: str, place: str) -> Connection:
    """The connection of a name. Raises ConfigError, which begins with `place`, where there is none or it is none of a database."""
    variable = variable_of(name)
    written = os.environ.get(variable)
    if not written:
        raise ConfigError(
            f"{place}: found {name!r}, and there is no such connection: add it in Airflow (Admin, Connections), or for `exp` "
            f"set {variable}"
        )
    try:
        parts = json.loads(written) if written.lstrip().startswith("{") else _of_uri(written)
        extra = parts.get("extra") or {}
        extra = json.loads(extra) if isinstance(extra, str) else extra
        port = parts.get("port")
        found = {
            key: str(parts.get(key) or "") for key in ("conn_type", "host", "login", "password", "schema")
        }
        kind = found["conn_type"].lower().replace("postgresql", "postgres")
        if not isinstance(extra, dict):
            raise ValueError
        port = None if port in (None, "") else int(port)
    except (ValueError, TypeError, AttributeError):  # none of them may be quoted: it holds a password
        raise ConfigError(
            f"{place}: the connection {name!r} ({variable}) cannot be read: {_REMEDY}"
        ) from None
    if kind not in get_args(Kind):
        raise ConfigError(
            f"{place}: the connection {name!r} is of the type {kind!r}; allowed are postgres, clickhouse, and jdbc for any other "
            "database"
        )
    if not found["host"]:
        raise ConfigError(f"{place}: the connection {name!r} ({variable}) names no host: add it")
    return Connection(
        name,
        cast(Kind, kind),
        found["host"],
        port,
        found["login"],
        found["password"],
        found["schema"],
        extra,
    )


def _of_uri(written: str) -> dict[str, Any]:
    """A URI as Airflow writes it: percent signs for marks, what is extra as the query."""
    match = _URI.match(written.strip())
    if match is None or match["kind"].lower() == "jdbc":  # the host of jdbc is a URI itself
        raise ValueError
    login, at, address = match["authority"].rpartition("@")
    user, _, password = login.partition(":") if at else ("", "", "")
    host, colon, port = address.rpartition(":")
    query = dict(parse_qsl(match["query"] or "", keep_blank_values=True))
    return {
        "conn_type": match["kind"],
        "login": unquote(user),
        "password": unquote(password),
        "host": unquote(host if colon else address),
        "port": port if colon else None,
        "schema": unquote(match["database"] or ""),
        "extra": query.pop("__extra__", None) or query,
    }
