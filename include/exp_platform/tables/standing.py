"""Leases and catalog entries as they stand, read as they are written and never changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from pyiceberg.exceptions import ForbiddenError

from exp_platform.config.database import Database
from exp_platform.config.environment import CATALOG, Environment
from exp_platform.errors import LeaseError
from exp_platform.tables.catalog import existing_catalog, table
from exp_platform.tables.holders import has_ended
from exp_platform.tables.schemas import NAMESPACE
from exp_platform.tables.views import VIEWS

if TYPE_CHECKING:
    from sqlalchemy import Connection

_LEASES = "SELECT experiment_id, holder, acquired_at, heartbeat_at, ttl FROM exp_leases WHERE holder <> '' ORDER BY experiment_id"
_ENTRIES = (
    "SELECT table_name, metadata_location FROM iceberg_tables "
    "WHERE catalog_name = :catalog AND table_namespace = :namespace"
)


@dataclass(frozen=True)
class StandingLease:
    """A lease that somebody holds, alive or dead."""

    experiment_id: str
    holder: str
    acquired: datetime  # aware, in UTC
    heartbeat: datetime  # likewise
    fresh: bool  # younger than its time to live, and no process of this machine that has ended


def leases(environment: Environment) -> list[StandingLease]:
    """All leases that are held; none where nobody has ever held one."""
    with reading(environment.lease_database) as connection:
        rows = _rows(connection, "exp_leases", _LEASES)
    now = time.time()
    return [
        StandingLease(
            row.experiment_id,
            row.holder,
            datetime.fromtimestamp(row.acquired_at, UTC),
            datetime.fromtimestamp(row.heartbeat_at, UTC),
            row.heartbeat_at + row.ttl >= now and not has_ended(row.holder),
        )
        for row in rows
    ]


def refuse_while_running(environment: Environment, what: str) -> None:
    """Raise LeaseError while any experiment is being run: its commits would go into the catalog that is replaced."""
    fresh = [lease for lease in leases(environment) if lease.fresh]
    if fresh:
        who = ", ".join(f"{lease.experiment_id} by {lease.holder}" for lease in fresh)
        raise LeaseError(
            f"{what} changes the catalog under every run, and there are runs under way: {who}. Wait for them; a lease of a "
            "dead run is given back by `exp unlock EXPERIMENT_ID`"
        )


def entries(environment: Environment) -> dict[str, str]:
    """The metadata file that the catalog names for each table, whether or not it is there."""
    if environment.catalog.kind == "rest":
        catalog = existing_catalog(environment)
        known = (
            catalog.list_tables(NAMESPACE)
            if catalog is not None and catalog.namespace_exists(NAMESPACE)
            else []
        )
        return {name: table(catalog, name).metadata_location for _, name in known if catalog is not None}
    with reading(environment.catalog) as connection:
        key = {"catalog": CATALOG, "namespace": NAMESPACE}
        rows = _rows(connection, "iceberg_tables", _ENTRIES, key)
    return {row.table_name: row.metadata_location for row in rows}


def known_views(environment: Environment) -> set[str]:
    """The names of the views of `analysis_results` that the catalog has; none of a service that holds or grants none."""
    if environment.catalog.kind != "rest":
        return entries(environment).keys() & VIEWS.keys()
    catalog = existing_catalog(environment)
    with suppress(ForbiddenError):
        return set() if catalog is None else {name for *_, name in catalog.list_views(NAMESPACE)}
    return set()


@contextmanager
def reading(database: Database) -> Iterator[Connection | None]:
    """A connection that cannot write; None where the file of a SQLite database is not there."""
    from sqlalchemy import NullPool, create_engine

    if "://" in database.uri:
        engine = create_engine(database.sqlalchemy_uri, poolclass=NullPool)
    elif Path(database.uri).is_file():
        engine = create_engine("sqlite://", creator=lambda: read_only(Path(database.uri)), poolclass=NullPool)
    else:
        yield None
        return
    with engine.connect() as connection:
        yield connection.execution_options(postgresql_readonly=True)


def read_only(path: Path) -> Any:
    """An `sqlite3.Connection` to a file that is only read, and beside which none is made."""
    import sqlite3
    from urllib.parse import quote

    # Without a log beside it the file is whole, and reading it as unchanging makes no log either.
    mode = "ro" if Path(f"{path}-wal").exists() else "ro&immutable=1"
    return sqlite3.connect(
        f"file:{quote(str(path))}?mode={mode}", uri=True, timeout=30, check_same_thread=False
    )


def _rows(
    connection: Connection | None, table_name: str, statement: str, values: dict[str, str] | None = None
) -> list[Any]:
    from sqlalchemy import inspect, text

    if connection is None or not inspect(connection).has_table(table_name):
        return []
    return list(connection.execute(text(statement), values or {}))
