"""Forgetting one user: his rows in every table and file, his raw data if generated, the messages that name him.

What to do follows from what is found, so a killed command is completed by the same command. Of an experiment nothing is
touched without its lease. He is put on the list of forgotten users first, so no run that begins later brings him back.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

import pyarrow as pa
from pyiceberg.catalog import Catalog

from exp_platform.config.environment import Environment
from exp_platform.errors import ConfigError, ExpPlatformError, LeaseError
from exp_platform.kernels.canonical_text import text
from exp_platform.kernels.nobody import without_null_words
from exp_platform.tables.audit import record
from exp_platform.tables.catalog import open_catalog
from exp_platform.tables.erasure import USER_LEVEL, drop_history
from exp_platform.tables.fence import fenced
from exp_platform.tables.forgotten import enter, key_of_the_list
from exp_platform.tables.held import Held, Search, erase, held, known_experiments, registry
from exp_platform.tables.holders import this_process
from exp_platform.tables.lease import Lease, held_lease
from exp_platform.tables.maintenance import follow_the_head
from exp_platform.tables.schemas import EVERY_EXPERIMENT, RESULT_TABLES
from exp_platform.tables.standing import leases

COPIES = (
    "copies of the warehouse, of raw data or of Airflow's logs and XComs that were made before still hold the user: delete them "
    "there, and after bringing one back run this command again. `exp backup` files hold no rows of users"
)
_AGAIN_AFTER = 5.0  # seconds between two looks at an experiment that is being run


@dataclass(frozen=True)
class Forgotten:
    """What was found (or would be erased), done, and is still to be done; the command is complete without the latter."""

    found: tuple[Held, ...]
    told: tuple[str, ...] = ()
    remaining: tuple[str, ...] = ()


@dataclass
class _Progress:
    user_hash: str
    found: list[Held] = field(default_factory=list)
    remaining: list[str] = field(default_factory=list)


def canonical(user_id: str) -> str:
    """The id as ingest knows it. Raises ConfigError for what names nobody."""
    found = without_null_words(text(pa.chunked_array([[user_id]], pa.string()), ids=True), ids=True)[0][
        0
    ].as_py()
    if found is None:
        raise ConfigError(
            f"--user-id: found {user_id!r}, which is nobody's id: such rows are not read at all"
        )
    return str(found)


def search_for(environment: Environment, user_id: str) -> Search:
    """All that stands for the user in what is stored: the id itself and, where there is a key, its pseudonym."""
    plain = canonical(user_id)
    source = environment.pseudonyms
    return Search((plain, *(source.read("pseudonyms").hashes([plain]) if source else ())))


def find(environment: Environment, user_id: str, experiment_id: str | None = None) -> list[Held]:
    """What every experiment, or one, holds of a user. Writes nothing."""
    search, catalog = search_for(environment, user_id), open_catalog(environment)
    return [
        one for one in held(environment, catalog, search, _scope(environment, experiment_id)) if one.anything
    ]


def forget(
    environment: Environment, user_id: str, experiment_id: str | None = None, wait: float = 60.0
) -> Forgotten:
    """Forget a user in all experiments, or in one; waits so many seconds for experiments that are being run.

    Raises ConfigError for an id that is nobody's, an unknown experiment, or a key that is not the list's.
    """
    search, catalog = search_for(environment, user_id), open_catalog(environment)
    scope = _scope(environment, experiment_id)
    key, began = key_of_the_list(environment), datetime.now(UTC)
    listed = experiment_id or EVERY_EXPERIMENT
    user_hash = key.hashes([search.forms[0]])[0]
    enter(catalog, key, user_hash, listed, requested_at=began, remaining=["everything"], note=COPIES)
    record(environment, "forgotten", experiment_id=experiment_id or "", details={"requested": user_hash})
    progress = _Progress(user_hash)
    _erase_all(environment, search, scope, wait, progress)
    told = _history_dropped(environment, progress)
    if not progress.remaining:
        left = [one for one in held(environment, catalog, search, scope) if one.anything]
        progress.remaining += [f"{one.experiment_id} still holds: {one.told}" for one in left]
    enter(
        catalog,
        key,
        user_hash,
        listed,
        requested_at=began,
        finished_at=None if progress.remaining else datetime.now(UTC),
        remaining=progress.remaining,
        note=COPIES,
    )
    return Forgotten(tuple(progress.found), tuple(told), tuple(progress.remaining))


def _scope(environment: Environment, experiment_id: str | None) -> list[str]:
    known = known_experiments(environment, open_catalog(environment))
    if experiment_id is None:
        return known
    if experiment_id not in known:
        raise ConfigError(
            f"--experiment: found {experiment_id!r}, of which nothing is stored; there are: {', '.join(known) or 'none'}"
        )
    return [experiment_id]


def _erase_all(
    environment: Environment, search: Search, scope: Sequence[str], wait: float, progress: _Progress
) -> None:
    """Erase in one experiment after the other; those that are being run come last, and are left when the time is over."""
    until = time.monotonic() + wait
    # Whoever has begun before this look may have read him before he was on the list, so that comes first.
    running = {lease.experiment_id for lease in leases(environment) if lease.fresh}
    found = held(environment, open_catalog(environment), search, scope)
    waiting = [one.experiment_id for one in found if one.anything or one.experiment_id in running]
    while waiting:
        busy: dict[str, str] = {}
        for experiment_id in waiting:
            if said := _erase_one(environment, search, experiment_id, progress):
                busy[experiment_id] = said
        waiting = list(busy)
        if waiting and time.monotonic() >= until:
            progress.remaining += busy.values()
            break
        if waiting:
            time.sleep(min(_AGAIN_AFTER, max(until - time.monotonic(), 0.1)))


def _erase_one(
    environment: Environment, search: Search, experiment_id: str, progress: _Progress
) -> str | None:
    """Erase in one experiment; returns who is running it, if that keeps us from it."""
    catalog, holder = open_catalog(environment), f"exp forget on {this_process()}"
    try:
        with held_lease(environment, experiment_id, holder) as lease, fenced(lease):
            for one in held(environment, catalog, search, [experiment_id]):
                if one.anything:
                    erase(environment, catalog, search, experiment_id)
                    progress.found.append(one)
                    told = {"user": progress.user_hash, "rows": one.rows}
                    record(environment, "forgotten", experiment_id=experiment_id, details=told)
    except LeaseError as error:
        return str(error)
    except ExpPlatformError as error:  # a damaged file, say: the other experiments forget him all the same
        progress.remaining.append(f"{experiment_id}: {error}")
    return None


def _history_dropped(environment: Environment, progress: _Progress) -> list[str]:
    """The snapshots of before go, with their manifests; those that others' runs read are told."""
    catalog = open_catalog(environment)
    _follow_the_heads(environment, catalog)
    done = drop_history(environment, catalog, (*USER_LEVEL, "decisions", *RESULT_TABLES))
    told = []
    if done.expired or done.manifests:
        told.append(
            f"{done.expired} snapshots of before were expired, and {done.manifests} manifests deleted"
        )
    if done.kept:
        told.append(
            f"{done.kept} snapshots that runs under way may read still name the deleted files, which are gone; maintenance "
            "expires them"
        )
    return told


def _follow_the_heads(environment: Environment, catalog: Catalog) -> None:
    """Let no experiment's row of the registry keep a snapshot of before, but where a run is under way."""
    for row in registry(catalog):
        lease = Lease(row["experiment_id"], f"exp forget on {this_process()}", environment)
        try:
            lease.acquire()
        except LeaseError:
            continue
        try:
            with fenced(lease):
                follow_the_head(catalog, row["experiment_id"])
        finally:
            lease.release()
