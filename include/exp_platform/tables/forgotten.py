"""The list of forgotten users, by keyed hashes of their ids: ingest leaves them out, whoever delivers them again."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import NoSuchTableError

from exp_platform.config.environment import Environment
from exp_platform.config.privacy import Key, made_key
from exp_platform.errors import ConfigError
from exp_platform.tables.catalog import existing_catalog, refuse_lost, table
from exp_platform.tables.folders import files_below
from exp_platform.tables.metadata_files import version_of
from exp_platform.tables.schemas import EVERY_EXPERIMENT, NAMESPACE, TABLES, table_location
from exp_platform.tables.selection import selection
from exp_platform.tables.write import replace_rows

NAME = "forgotten_users"
_BY = "forget"  # as the writer of files and snapshots


@dataclass(frozen=True)
class Request:
    """One row of the list; `remaining` says what was still to be done when the command ended."""

    experiment_id: str
    user_hash: str
    requested_at: datetime
    finished_at: datetime | None
    remaining: tuple[str, ...]


def forgotten_of(environment: Environment, experiment_id: str) -> tuple[Key | None, frozenset[str]]:
    """The key and the hashes of whom an experiment must not read; no key where there is nobody.

    Raises ConfigError where the key is absent or another one than that of the list, or the list is older than what lies in the
    warehouse: then nobody could tell who is meant.
    """
    _require_newest(environment)
    rows = _rows(environment, [EVERY_EXPERIMENT, experiment_id])
    if not rows:
        return None, frozenset()
    key = environment.forgotten_key.read("forgotten")
    _require_key(environment, key, rows)
    return key, frozenset(row["user_hash"] for row in rows)


def key_of_the_list(environment: Environment) -> Key:
    """The key for a new entry, made where there is neither a key nor a list. Raises ConfigError as above."""
    _require_newest(environment)
    rows = _rows(environment)
    source = environment.forgotten_key
    if environment.forgotten is None and not rows:
        made_key(Path(str(source.key_file)))
    key = source.read("forgotten")
    _require_key(environment, key, rows)
    return key


def requests(environment: Environment) -> list[Request]:
    """All requests to forget somebody, by time."""
    found = [
        Request(
            row["experiment_id"],
            row["user_hash"],
            row["requested_at"],
            row["finished_at"],
            tuple(json.loads(row["remaining"] or "[]")),
        )
        for row in _rows(environment)
    ]
    return sorted(found, key=lambda request: request.requested_at)


def enter(
    catalog: Catalog,
    key: Key,
    user_hash: str,
    experiment_id: str,
    *,
    requested_at: datetime,
    finished_at: datetime | None = None,
    remaining: Sequence[str] = (),
    note: str = "",
) -> None:
    """Put a user on the list, or say how far it has got."""
    where = {"experiment_id": experiment_id, "user_hash": user_hash}
    row = {
        "key_fingerprint": key.fingerprint,
        "requested_at": requested_at,
        "finished_at": finished_at,
        "remaining": json.dumps(list(remaining)),
        "note": note,
    }
    replace_rows(catalog, NAME, where, [row], _BY)


def _rows(environment: Environment, experiment_ids: list[str] | None = None) -> list[dict[str, Any]]:
    catalog = existing_catalog(environment)
    if catalog is None:
        return []
    try:
        stored = table(catalog, NAME)
    except NoSuchTableError:
        # Nothing has been run since the table came; or it was lost, and with it who is meant
        refuse_lost(environment, [NAME])
        return []
    scan = stored.scan(selection({"experiment_id": experiment_ids})) if experiment_ids else stored.scan()
    known = dict.fromkeys(name for name, _ in TABLES[NAME].columns)
    return [known | row for row in scan.to_arrow().to_pylist()]


def _require_newest(environment: Environment) -> None:
    """By the list of an older catalog, such as one that was restored, those who were forgotten since would come back."""
    catalog = existing_catalog(environment)
    if catalog is None or not catalog.table_exists((NAMESPACE, NAME)):
        return
    lying = files_below(environment, f"{table_location(environment, NAME)}/metadata")
    # After the listing, so that what is committed meanwhile is in it
    entry = table(catalog, NAME).metadata_location
    # Of a commit that failed, or is under way, one more version may lie there, of an older catalog more.
    if max((version_of(info.path) for info in lying), default=-1) > version_of(entry) + 1:
        raise ConfigError(
            f"the list of forgotten users was written to since {entry}, which the catalog names: by it those who were forgotten "
            "since would come back. An older catalog seems to be in use: `exp repair --forward`, before anything runs"
        )


def _require_key(environment: Environment, key: Key, rows: Sequence[dict[str, Any]]) -> None:
    others = sorted({row["key_fingerprint"] for row in rows} - {key.fingerprint})
    if others:
        raise ConfigError(
            f"environment {environment.name}: forgotten: the key is {key.fingerprint} (a fingerprint), and the list of "
            f"forgotten users was made with {', '.join(others)}: by this key they would come back. Set that key back"
        )
