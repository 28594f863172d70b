"""Connections are read as Airflow writes them, and no message has their secrets."""

from __future__ import annotations

import json
from typing import Any

import pytest
from airflow.sdk import Connection as AirflowConnection

from exp_platform.errors import ConfigError
from exp_platform.stages.sql_connections import Connection, connection_of

SECRET = "s3cr/et p@ss:w'rd%&="
PARTS: dict[str, Any] = {
    "conn_type": "postgres",
    "host": "db.example.com",
    "port": 5433,
    "login": "read er",
    "password": SECRET,
    "schema": "la ke",
}
READ = Connection(
    "lake", "postgres", "db.example.com", 5433, "read er", SECRET, "la ke", {"sslmode": "require"}
)


@pytest.mark.parametrize("extra", [{"sslmode": "require"}, {"sslmode": "require", "nested": {"a": 1}}])
def test_airflows_own_ways_to_write_a_connection_are_read(
    monkeypatch: pytest.MonkeyPatch, extra: dict[str, Any]
) -> None:
    whole = AirflowConnection(conn_id="lake", **PARTS, extra=json.dumps(extra))
    for written in (
        whole.get_uri(),
        json.dumps(PARTS | {"extra": extra}),
        json.dumps(PARTS | {"extra": json.dumps(extra)}),
    ):
        monkeypatch.setenv("AIRFLOW_CONN_LAKE", written)
        found = connection_of("lake", "x")
        assert found == Connection(**{**vars(READ), "extra": extra}), written


def test_a_short_uri_is_enough(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AIRFLOW_CONN_LAKE", "postgresql://me@localhost/shop")
    assert connection_of("lake", "x") == Connection(
        "lake", "postgres", "localhost", None, "me", "", "shop", {}
    )


@pytest.mark.parametrize(
    ("written", "said"),
    [
        (None, "found 'lake', and there is no such connection: add it in Airflow"),
        ("{", "cannot be read"),
        (f"postgres//me:{SECRET}", "cannot be read"),
        (json.dumps(PARTS | {"port": SECRET}), "cannot be read"),
        (
            json.dumps(PARTS | {"conn_type": "mysql"}),
            "is of the type 'mysql'; allowed are postgres, clickhouse, and jdbc",
        ),
        (json.dumps(PARTS | {"host": ""}), "names no host"),
        (json.dumps([SECRET]), "cannot be read"),
    ],
)
def test_a_connection_that_is_none_is_told_without_what_it_holds(
    monkeypatch: pytest.MonkeyPatch, written: str | None, said: str
) -> None:
    if written is None:
        monkeypatch.delenv("AIRFLOW_CONN_LAKE", raising=False)
    else:
        monkeypatch.setenv("AIRFLOW_CONN_LAKE", written)
    with pytest.raises(ConfigError) as raised:
        connection_of("lake", "shop.yaml: source.exposures.connection")
    assert str(raised.value).startswith("shop.yaml: source.exposures.connection: ")
    assert said in str(raised.value)
    assert SECRET not in str(raised.value)


def test_what_a_library_quotes_of_a_secret_is_hidden() -> None:
    from urllib.parse import quote

    known = Connection(**{**vars(READ), "extra": {"api_token": "tok-123"}})
    said = f"no: postgresql://me:{quote(SECRET, safe='')}@h, {SECRET}, tok-123, jdbc:x?user=me&password=other&ssl=1"
    assert known.hide(said) == "no: postgresql://me:***@h, ***, ***, jdbc:x?user=me&password=***&ssl=1"
    assert SECRET not in repr(known)
