"""Copies of a catalog on SQLite: whole and of one moment, whoever reads and writes it meanwhile."""

from __future__ import annotations

import os
import sqlite3
from contextlib import closing
from pathlib import Path

from exp_platform.config.environment import CATALOG, Environment
from exp_platform.errors import ConfigError
from exp_platform.tables.schemas import NAMESPACE
from exp_platform.tables.standing import read_only

_WAIT_SECONDS = 30
_LOCATIONS = "SELECT metadata_location FROM iceberg_tables WHERE catalog_name = ? AND table_namespace = ?"


def copy(source: Path, target: Path) -> None:
    """Make a database the copy of another in one transaction, by SQLite's online backup: its log is in it.

    Whoever has the target open goes on with what it holds then.
    """
    with (
        closing(sqlite3.connect(source, timeout=_WAIT_SECONDS)) as reading,
        closing(sqlite3.connect(target, timeout=_WAIT_SECONDS)) as writing,
    ):
        new = not target.stat().st_size
        reading.backup(writing)
        if new:
            writing.execute("PRAGMA journal_mode=DELETE")  # a backup is one file, without a log beside it


def is_damaged(file: Path) -> bool:
    """Whether a file is there and is no whole SQLite database."""
    if not file.is_file():
        return False
    try:
        with closing(read_only(file)) as connection:
            return bool(connection.execute("PRAGMA integrity_check").fetchone() != ("ok",))
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError):
            raise  # locked, or not to be opened by this user
        return True


def check(environment: Environment, file: Path) -> None:
    """Raise ConfigError where a file is no backup of the environment's catalog."""
    if is_damaged(file):
        raise ConfigError(f"{file} is no backup, or a damaged one: SQLite cannot read it")
    try:
        with closing(read_only(file)) as connection:
            locations = [row[0] for row in connection.execute(_LOCATIONS, (CATALOG, NAMESPACE))]
    except sqlite3.OperationalError as error:
        raise ConfigError(f"{file} is no backup of a catalog: {error}") from error
    elsewhere = [place for place in locations if not place.startswith(f"{environment.warehouse}/")]
    if elsewhere:
        raise ConfigError(
            f"{file} is the backup of another catalog: its tables lie at {elsewhere[0]}, those of the environment "
            f"{environment.name} in {environment.warehouse}"
        )


def move_away(file: Path, to: Path) -> Path:
    """Move a database that cannot be read out of the way, with the log beside it."""
    for suffix in ("-wal", "-shm", ""):
        beside = Path(f"{file}{suffix}")
        if beside.exists():
            os.replace(beside, f"{to}{suffix}")
    return to
