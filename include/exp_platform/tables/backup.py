"""A backup of the catalog with its leases, and bringing it back.

The catalog names each table's newest metadata file, so a backup is small and says nothing about files of the warehouse. After
an older one is restored, tables stand at an older state, or are named by a file that is gone: `tables.repair` brings
them forward.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from exp_platform.config.environment import Environment
from exp_platform.errors import ConfigError
from exp_platform.json_file import sync_folder, unfinished
from exp_platform.tables import postgres_dump, sqlite_copy
from exp_platform.tables.audit import Event, add, events
from exp_platform.tables.repair import compared
from exp_platform.tables.schemas import TABLES
from exp_platform.tables.standing import entries, reading, refuse_while_running
from exp_platform.tables.state_database import state_engine

_TOKENS = "SELECT experiment_id, token FROM exp_leases"
# Who held a lease then does not hold it now; and who holds a token now must not find it again.
_NOBODYS = "UPDATE exp_leases SET holder = '', token = token + 1"
_RISEN = (
    "INSERT INTO exp_leases (experiment_id, holder, acquired_at, heartbeat_at, ttl, token) "
    "VALUES (:experiment_id, '', 0, 0, 0, :token) "
    "ON CONFLICT (experiment_id) DO UPDATE SET token = excluded.token WHERE exp_leases.token < excluded.token"
)


def backup(environment: Environment, file: Path) -> list[str]:
    """Write the catalog and the leases, as they are at one moment, into a new file; runs may go on meanwhile.

    Raises ConfigError where the file is there already, the catalog is a service of its own, or there is none.
    """
    if file.exists():
        raise ConfigError(
            f"{file} is there already, and no backup takes the place of another: name a new file"
        )
    if not file.parent.is_dir():
        raise ConfigError(f"{file.parent} is no folder: make it, or name another file")
    with _whole(file) as partial:
        _write(environment, partial)
    told = [f"{file}: the catalog at {environment.catalog.uri}, {file.stat().st_size:,} bytes"]
    if environment.lease_database != environment.catalog:
        told.append(f"without the leases in {environment.lease_database.uri}, which no restore needs")
    return told


def restore(environment: Environment, file: Path) -> list[str]:
    """Make the catalog what it was when a backup was made, and say how its tables stand to what lies in the warehouse.

    Raises ConfigError, before anything is changed, for a file that is no backup of this catalog; LeaseError while an
    experiment is being run. Leases are nobody's afterwards, and their tokens have risen.
    """
    if not file.is_file():
        raise ConfigError(f"{file} is not there")
    kept = environment.state_dir / f"catalog-before-restore-{datetime.now(UTC):%Y%m%dT%H%M%S}"
    if environment.catalog.kind == "rest":
        raise _a_service(environment)
    if environment.catalog.kind == "postgres":
        postgres_dump.check(environment, file)
        refuse_while_running(environment, "`exp restore`")
        tokens, known = _tokens(environment), _events(environment)
        postgres_dump.write(environment, kept)
        postgres_dump.load(environment, file)
        _raise_tokens(environment, tokens)
        add(environment, known)
        told = [f"what the catalog was lies in {kept}"]
    else:
        sqlite_copy.check(environment, file)
        told = _restore_sqlite(environment, file, kept)
    return [f"the catalog at {environment.catalog.uri} is that of {file}", *told, *_standing(environment)]


def _restore_sqlite(environment: Environment, file: Path, kept: Path) -> list[str]:
    place = Path(environment.catalog.uri)
    told, tokens, known = [], dict[str, int](), list[Event]()
    if sqlite_copy.is_damaged(place):
        damaged = sqlite_copy.move_away(place, kept)
        told.append(f"it was damaged, and lies in {damaged}; whether a run was under way could not be seen")
    elif place.is_file():
        refuse_while_running(environment, "`exp restore`")
        tokens, known = _tokens(environment), _events(environment)
        sqlite_copy.copy(place, kept)
        told.append(f"what the catalog was lies in {kept}")
    environment.prepare()
    scratch = place.with_name(unfinished(f".{place.name}"))
    try:
        sqlite_copy.copy(file, scratch)
        if environment.lease_database == environment.catalog:
            there = environment.catalog.model_copy(update={"uri": str(scratch)})
            restored = environment.model_copy(update={"catalog": there})
            _raise_tokens(restored, tokens)
            add(restored, known)
        sqlite_copy.copy(scratch, place)
    finally:
        scratch.unlink(missing_ok=True)
    return told


def _write(environment: Environment, file: Path) -> None:
    if environment.catalog.kind == "rest":
        raise _a_service(environment)
    if environment.catalog.kind == "postgres":
        postgres_dump.write(environment, file)
        return
    place = Path(environment.catalog.uri)
    if not place.is_file():
        raise ConfigError(
            f"there is no catalog at {place}: nothing has been run yet, or it was lost (`exp doctor`)"
        )
    if sqlite_copy.is_damaged(place):
        raise ConfigError(
            f"the catalog at {place} is damaged, and a backup of it would be: `exp restore` an earlier one, or move it away "
            "and `exp repair`"
        )
    sqlite_copy.copy(place, file)


@contextmanager
def _whole(file: Path) -> Iterator[Path]:
    """A file beside, which takes the name once it is whole and on the disk."""
    partial = file.with_name(unfinished(f".{file.name}"))
    try:
        yield partial
        with partial.open("rb") as written:
            os.fsync(written.fileno())
        partial.replace(file)
        sync_folder(file.parent)
    finally:
        partial.unlink(missing_ok=True)


def _events(environment: Environment) -> list[Event]:
    """What was written down since, or before: nobody gets rid of it by a restore."""
    return events(environment) if environment.lease_database == environment.catalog else []


def _tokens(environment: Environment) -> dict[str, int]:
    from sqlalchemy import inspect, text

    if environment.lease_database != environment.catalog:
        return {}
    with reading(environment.lease_database) as connection:
        if connection is None or not inspect(connection).has_table("exp_leases"):
            return {}
        columns = {column["name"] for column in inspect(connection).get_columns("exp_leases")}
        if "token" not in columns:  # leases of an older version
            return {}
        return {row.experiment_id: row.token for row in connection.execute(text(_TOKENS))}


def _raise_tokens(environment: Environment, tokens: dict[str, int]) -> None:
    from sqlalchemy import text

    if environment.lease_database != environment.catalog:
        return
    with state_engine(environment).begin() as connection:
        connection.execute(text(_NOBODYS))
        for experiment_id, token in tokens.items():
            connection.execute(text(_RISEN), {"experiment_id": experiment_id, "token": token + 1})


def _standing(environment: Environment) -> list[str]:
    """What the restored entries say of tables that have gone on since, or that are not in the backup at all."""
    known = entries(environment)
    words = {
        "lost": "the backup does not know it, and it lies in the warehouse: `exp repair` registers it",
        "broken": "the backup names {entry}, which is gone or cut: `exp repair` takes the newest, {newest}",
        "behind": "older than what lies in the warehouse: `exp repair --forward` takes {newest} instead of {entry}",
        "apart": "{newest} is newer and does not follow from {entry}: it was written by another history of this catalog",
    }
    told = []
    for name in TABLES:
        state, found, _ = compared(environment, name, known.get(name))
        if state in words:
            newest = found.newest.location if found.newest else "none"
            told.append(f"{name}: {words[state].format(entry=known.get(name), newest=newest)}")
    return told or ["every table stands at its newest metadata"]


def _a_service(environment: Environment) -> ConfigError:
    return ConfigError(
        f"the catalog at {environment.catalog.uri} is a service with a database of its own: back that up by its own means. "
        "What it loses `exp repair` registers again"
    )
