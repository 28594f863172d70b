"""Fences: who has lost an experiment's lease, or is an earlier try of a stage, commits nothing any more.

A stage that commits takes a new token of its run's lease when it begins. Each of its commits looks whether the lease still has
it: in the transaction that swaps the table's metadata, where catalog and leases share a database, so that nobody can take the
lease between the look and the swap; elsewhere (a REST catalog) just before the commit, which leaves the time of one request.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from exp_platform.config.environment import Environment
from exp_platform.errors import LeaseError
from exp_platform.tables.lease import Lease
from exp_platform.tables.state_database import state_engine

if TYPE_CHECKING:
    from pyiceberg.catalog import Catalog

_HOLDS = (
    "SELECT 1 FROM exp_leases WHERE experiment_id = :experiment_id AND holder = :holder AND token = :token"
)
_FENCE: ContextVar[Fence | None] = ContextVar("fence", default=None)


@dataclass(frozen=True)
class Fence:
    """A lease with the token that its commits must find."""

    lease: Lease
    token: int

    def verify(self, connection: Any) -> None:
        """Raise LeaseError where the lease is another's or has a newer token; on PostgreSQL it stays so until the commit."""
        from sqlalchemy import text

        lease = self.lease
        # SQLite has one writer at a time, which the committing connection is.
        shared = " FOR SHARE" if connection.dialect.name == "postgresql" else ""
        values = {"experiment_id": lease.experiment_id, "holder": lease.holder, "token": self.token}
        if connection.execute(text(_HOLDS + shared), values).first() is None:
            raise LeaseError(
                f"{lease.holder} may no longer write {lease.experiment_id}: another run, or another try of this stage, has "
                "begun meanwhile. Nothing of this try was committed from here on; look at the other one"
            )


@contextmanager
def fenced(lease: Lease) -> Iterator[None]:
    """Let nobody but the newest `with` block of this lease commit. Raises LeaseError where the lease is another's already."""
    token = _FENCE.set(Fence(lease, lease.claim()))
    try:
        yield
    finally:
        _FENCE.reset(token)


def verify() -> None:
    """Before a commit: raise LeaseError where the fence of this context, if there is one, does not hold."""
    fence = _FENCE.get()
    if fence is not None:
        with state_engine(fence.lease.environment).connect() as connection:
            fence.verify(connection)


def guard(catalog: Catalog, environment: Environment) -> None:
    """Verify once more inside each of the catalog's own transactions, where it shares its database with the leases."""
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy import event

    if not isinstance(catalog, SqlCatalog):
        return
    leases = environment.lease_database.sqlalchemy_uri
    if environment.catalog.sqlalchemy_uri != leases:
        return

    def before_commit(connection: Any) -> None:
        fence = _FENCE.get()
        if fence is None or fence.lease.environment.lease_database.sqlalchemy_uri != leases:
            return
        try:
            fence.verify(connection)
        except LeaseError:
            # An error out of this event ends SQLAlchemy's transaction and leaves that of the driver open.
            connection.connection.rollback()
            raise

    event.listen(catalog.engine, "commit", before_commit)
