"""The platform's own two tables in a SQL database, the catalog's where that has one: leases, and who did what.

Imports neither PyIceberg nor pyarrow, so that a scheduler's thread can use it at little cost.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

from exp_platform.config.environment import Environment

if TYPE_CHECKING:
    from sqlalchemy import Engine

_LEASES = """
CREATE TABLE IF NOT EXISTS exp_leases (
    experiment_id VARCHAR(64) PRIMARY KEY,
    holder VARCHAR(255) NOT NULL,
    acquired_at DOUBLE PRECISION NOT NULL,
    heartbeat_at DOUBLE PRECISION NOT NULL,
    ttl DOUBLE PRECISION NOT NULL,
    token BIGINT NOT NULL DEFAULT 0
)"""
_ADD_TOKEN = (
    "ALTER TABLE exp_leases ADD COLUMN token BIGINT NOT NULL DEFAULT 0"  # to tables of older versions
)
_AUDIT = """
CREATE TABLE IF NOT EXISTS exp_audit (
    event_id VARCHAR(160) PRIMARY KEY,
    at VARCHAR(32) NOT NULL,
    what VARCHAR(32) NOT NULL,
    who VARCHAR(255) NOT NULL,
    experiment_id VARCHAR(64) NOT NULL,
    run_id VARCHAR(64) NOT NULL,
    config_hash VARCHAR(64) NOT NULL,
    code_version VARCHAR(64) NOT NULL,
    details TEXT NOT NULL
)"""


def state_engine(environment: Environment) -> Engine:
    """The database of the leases, with both tables in it."""
    environment.prepare()
    return _engine(environment.lease_database.sqlalchemy_uri)


@lru_cache(maxsize=8)
def _engine(uri: str) -> Engine:
    from sqlalchemy import NullPool, create_engine, inspect, text

    # A beat in half a minute needs no pool, and a fork none to share
    engine = create_engine(uri, poolclass=NullPool)
    with engine.begin() as connection:
        if engine.dialect.name == "postgresql":  # two CREATE ... IF NOT EXISTS at once collide there
            connection.execute(text("SELECT pg_advisory_xact_lock(hashtext('exp_leases'))"))
        connection.execute(text(_LEASES))
        connection.execute(text(_AUDIT))
        if "token" not in {column["name"] for column in inspect(connection).get_columns("exp_leases")}:
            connection.execute(text(_ADD_TOKEN))
    return engine
