"""Who did what, when, with which spec and code: a row per event in `exp_audit`, which nothing but a restored backup removes.

It lies beside the leases in SQL and not among the Iceberg tables: an event costs a millisecond, two at once are no
conflict, and the database's own rights can make the table one that is only added to.
"""

from __future__ import annotations

import getpass
import json
import os
import socket
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Literal

from exp_platform.code_version import code_version
from exp_platform.config.environment import Environment
from exp_platform.tables.standing import reading
from exp_platform.tables.state_database import state_engine

What = Literal["run", "spec changed", "decided", "unlocked", "deleted", "forgotten", "retention"]

_COLUMNS = (
    "event_id",
    "at",
    "what",
    "who",
    "experiment_id",
    "run_id",
    "config_hash",
    "code_version",
    "details",
)
_ADD = (
    f"INSERT INTO exp_audit ({', '.join(_COLUMNS)}) VALUES ({', '.join(f':{c}' for c in _COLUMNS)}) "
    "ON CONFLICT (event_id) DO NOTHING"
)
_LONGEST_NAME = 255


@dataclass(frozen=True)
class Event:
    """One event; `at` is an instant in UTC as ISO 8601, what does not apply is empty."""

    event_id: str
    at: str
    what: str
    who: str
    experiment_id: str
    run_id: str
    config_hash: str
    code_version: str
    details: dict[str, Any]


def person() -> str:
    """Who runs this process: the user and the host."""
    try:
        user = getpass.getuser()
    except (KeyError, OSError):  # a container's user id without a name
        user = f"uid {os.getuid()}"
    return f"{user} on {socket.gethostname()}"


def record(
    environment: Environment,
    what: What,
    *,
    who: str = "",
    experiment_id: str = "",
    run_id: str = "",
    config_hash: str = "",
    details: Mapping[str, Any] | None = None,
) -> None:
    """Write down an event; `who` is by default this process' user. Of one run each kind of event is written down once.

    Put no data of users into `details`: the table is kept when they are forgotten.
    """
    event = Event(
        event_id=f"{run_id}/{what}" if run_id else uuid.uuid4().hex,
        at=datetime.now(UTC).isoformat(timespec="milliseconds"),
        what=what,
        who=(who or person())[:_LONGEST_NAME],
        experiment_id=experiment_id,
        run_id=run_id,
        config_hash=config_hash,
        code_version=code_version(),
        details=dict(details or {}),
    )
    add(environment, [event])


def add(environment: Environment, events: Sequence[Event]) -> None:
    """Add the events that are not there yet, in one transaction."""
    from sqlalchemy import text

    if not events:
        return
    rows = [{**vars(event), "details": json.dumps(event.details, default=str)} for event in events]
    with state_engine(environment).begin() as connection:
        connection.execute(text(_ADD), rows)


def events(
    environment: Environment, experiment_id: str | None = None, newest: int | None = None
) -> list[Event]:
    """The events of one experiment or of all, oldest first; `newest`: that many of them. Writes nothing."""
    from sqlalchemy import inspect, text

    where = "" if experiment_id is None else " WHERE experiment_id = :experiment_id"
    limit = "" if newest is None else " LIMIT :newest"
    query = f"SELECT {', '.join(_COLUMNS)} FROM exp_audit{where} ORDER BY at DESC, event_id DESC{limit}"
    with reading(environment.lease_database) as connection:
        if connection is None or not inspect(connection).has_table("exp_audit"):
            return []
        given = {"experiment_id": experiment_id, "newest": newest}
        wanted = {name: value for name, value in given.items() if value is not None}
        rows = connection.execute(text(query), wanted).mappings().all()
    return [Event(**{**row, "details": json.loads(row["details"])}) for row in reversed(rows)]
