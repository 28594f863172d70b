"""One run of an experiment at a time: a row in a SQL database (the catalog's own), kept alive by a heartbeat.

Imports neither PyIceberg nor pyarrow, so that a scheduler's thread can beat at little cost.
"""

from __future__ import annotations

import logging
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from exp_platform.config.environment import Environment
from exp_platform.errors import LeaseError
from exp_platform.tables.holders import has_ended
from exp_platform.tables.state_database import state_engine

log = logging.getLogger(__name__)

DEFAULT_TTL = 300.0  # seconds without a heartbeat after which a lease may be taken over
HEARTBEAT_EVERY = 30.0  # seconds
FRESH = 2 * HEARTBEAT_EVERY  # a holder whose last heartbeat is younger is taken to be alive

# One statement, so that of two that try at once exactly one sees its row. A holder may acquire again (a task's retry).
_ACQUIRE = """
INSERT INTO exp_leases (experiment_id, holder, acquired_at, heartbeat_at, ttl, token)
VALUES (:experiment_id, :holder, :now, :now, :ttl, 1)
ON CONFLICT (experiment_id) DO UPDATE
SET holder = excluded.holder, acquired_at = excluded.acquired_at, heartbeat_at = excluded.heartbeat_at,
    ttl = excluded.ttl,
    token = exp_leases.token + CASE WHEN exp_leases.holder = excluded.holder THEN 0 ELSE 1 END
WHERE exp_leases.heartbeat_at + exp_leases.ttl < excluded.heartbeat_at
    OR exp_leases.holder = excluded.holder OR exp_leases.holder = ''"""
_READ = "SELECT holder, acquired_at, heartbeat_at FROM exp_leases WHERE experiment_id = :experiment_id AND holder <> ''"
_CLAIM = "UPDATE exp_leases SET token = token + 1 WHERE experiment_id = :experiment_id AND holder = :holder"
_TOKEN = "SELECT token FROM exp_leases WHERE experiment_id = :experiment_id"
_BEAT = "UPDATE exp_leases SET heartbeat_at = :now WHERE experiment_id = :experiment_id AND holder = :holder"
# The row stays, nobody's, so that tokens only rise.
_RELEASE = "UPDATE exp_leases SET holder = '' WHERE experiment_id = :experiment_id AND holder = :holder"


@dataclass(frozen=True)
class Held:
    """Who holds an experiment; times are aware, in UTC."""

    holder: str
    since: datetime
    heartbeat: datetime


@dataclass(frozen=True)
class Lease:
    """The right to run one experiment, for one holder: a run's own name, never shared by two runs."""

    experiment_id: str
    holder: str
    environment: Environment
    ttl: float = DEFAULT_TTL

    def acquire(self) -> None:
        """Take the lease, or one whose last heartbeat is older than its holder's `ttl` in seconds, or of an ended process.

        Raises LeaseError, which names the holder and the remedy.
        """
        now = time.time()
        values = {
            "experiment_id": self.experiment_id,
            "holder": self.holder,
            "now": now,
            "ttl": self.ttl,
        }
        if _execute(self.environment, _ACQUIRE, values):
            return
        held = holder_of(self.environment, self.experiment_id)
        if held is not None and has_ended(held.holder):
            log.warning("taking the lease of %s from %s, which has ended", self.experiment_id, held.holder)
            replace(self, holder=held.holder).release()
            if _execute(self.environment, _ACQUIRE, values):
                return
        raise LeaseError(self.refusal())

    def heartbeat(self) -> None:
        """Say that the holder is alive. Raises LeaseError when the lease has been lost meanwhile."""
        values = {"experiment_id": self.experiment_id, "holder": self.holder, "now": time.time()}
        if _execute(self.environment, _BEAT, values) == 0:
            raise LeaseError(f"{self.holder} has lost the lease of {self.experiment_id}: {self.refusal()}")

    def claim(self) -> int:
        """A new token, which ends the right of all earlier ones to commit (`tables.fence`). Raises LeaseError as above."""
        from sqlalchemy import text

        values = {"experiment_id": self.experiment_id, "holder": self.holder}
        with state_engine(self.environment).begin() as connection:
            if connection.execute(text(_CLAIM), values).rowcount == 0:
                raise LeaseError(f"{self.holder} has lost the lease of {self.experiment_id}")
            return int(connection.execute(text(_TOKEN), values).scalar_one())

    def release(self) -> None:
        """Give the lease back; nothing happens where it is another's or nobody's."""
        _execute(self.environment, _RELEASE, {"experiment_id": self.experiment_id, "holder": self.holder})

    def refusal(self) -> str:
        """Who holds the lease instead, since when, and what to do about it."""
        held = holder_of(self.environment, self.experiment_id)
        if held is None:
            return f"nobody holds {self.experiment_id} now; try again"
        return (
            f"{self.experiment_id} is being run by {held.holder} since {held.since:%Y-%m-%d %H:%M:%S} UTC "
            f"(last heartbeat {held.heartbeat:%H:%M:%S}). Wait for it; if it is dead, run "
            f"`exp unlock {self.experiment_id}`"
        )


def holder_of(environment: Environment, experiment_id: str) -> Held | None:
    """Who holds the lease of an experiment, alive or dead; None for nobody."""
    from sqlalchemy import text

    with state_engine(environment).connect() as connection:
        row = connection.execute(text(_READ), {"experiment_id": experiment_id}).one_or_none()
    if row is None:
        return None
    return Held(
        row.holder,
        datetime.fromtimestamp(row.acquired_at, UTC),
        datetime.fromtimestamp(row.heartbeat_at, UTC),
    )


def release_dead(environment: Environment, experiment_id: str) -> str | None:
    """Take the lease from a holder that no longer beats or runs, and return its name; None for nobody.

    Raises LeaseError, with the risk, where the last heartbeat is so young that the holder may be alive.
    """
    held = holder_of(environment, experiment_id)
    if held is None:
        return None
    age = (datetime.now(UTC) - held.heartbeat).total_seconds()
    if age < FRESH and not has_ended(held.holder):
        raise LeaseError(
            f"{experiment_id} is held by {held.holder}, which gave a sign of life {age:.0f} seconds ago. Wait for it, or stop it "
            f"and try again in a minute. `exp unlock {experiment_id} --force` takes the lease all the same: what that run has not "
            "committed by then it will not commit, and it ends with an error"
        )
    return force_release(environment, experiment_id)


def force_release(environment: Environment, experiment_id: str) -> str | None:
    """Take the lease from whoever holds it, and return the holder's name; None for nobody."""
    held = holder_of(environment, experiment_id)
    if held is None:
        return None
    Lease(experiment_id, held.holder, environment).release()
    return held.holder


@contextmanager
def held_lease(environment: Environment, experiment_id: str, holder: str) -> Iterator[Lease]:
    """Hold an experiment's lease, beating, for the length of a `with` block in the main thread.

    Raises LeaseError at once where another run holds it, and from within the block when another has taken it.
    """
    lease = Lease(experiment_id, holder, environment)
    lease.acquire()
    if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # as a shell starts its background jobs
        signal.signal(signal.SIGINT, signal.default_int_handler)
    lost: list[str] = []

    def stop() -> None:
        lost.append("the lease was taken")
        os.kill(os.getpid(), signal.SIGINT)  # the one thing that ends a call into the JVM

    try:
        with beating(lease, stop):
            yield lease
    except KeyboardInterrupt:
        if lost:
            raise LeaseError(f"stopped: {lease.refusal()}") from None
        raise
    finally:
        try:
            lease.release()
        except Exception as error:  # a full disk: what ended the block matters more, and the lease of an ended process is free
            log.debug("the lease of %s could not be given back: %s", experiment_id, error)


@contextmanager
def beating(lease: Lease, lost: Callable[[], None], every: float = HEARTBEAT_EVERY) -> Iterator[None]:
    """Beat the lease every `every` seconds from a daemon thread for the length of a `with` block.

    `lost` is called, in that thread, once another run has taken the lease. A database that does not answer is only
    logged: the lease outlives some missed beats.
    """
    ended = threading.Event()

    def beat() -> None:
        while not ended.wait(every):
            try:
                lease.heartbeat()
            except LeaseError as error:
                log.error("%s", error)
                lost()
                return
            except Exception as error:
                log.warning(
                    "the lease of %s could not be renewed, trying again: %s", lease.experiment_id, error
                )

    thread = threading.Thread(target=beat, name=f"lease-{lease.experiment_id}", daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join(timeout=every)


def _execute(environment: Environment, statement: str, values: dict[str, Any]) -> int:
    from sqlalchemy import text

    with state_engine(environment).begin() as connection:
        return int(connection.execute(text(statement), values).rowcount)
