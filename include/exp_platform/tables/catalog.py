"""The Iceberg catalog that Spark and PyIceberg share, with every table of the platform in it."""

from __future__ import annotations

import atexit
import hashlib
import os
import re
from collections.abc import Iterable
from functools import lru_cache
from itertools import count
from pathlib import Path
from urllib.parse import quote

import tenacity
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    TableAlreadyExistsError,
    ViewAlreadyExistsError,
)
from pyiceberg.table import Table, TableProperties
from sqlalchemy.exc import DatabaseError, IntegrityError, OperationalError, ProgrammingError

from exp_platform.config.environment import CATALOG, Environment, load_environment
from exp_platform.errors import ConfigError
from exp_platform.tables.damage import naming_damage
from exp_platform.tables.fence import guard
from exp_platform.tables.read_once import load_from_memory
from exp_platform.tables.schemas import (
    NAMESPACE,
    PROPERTIES,
    RETIRED,
    TABLES,
    iceberg_schema,
    iceberg_type,
    partition_spec,
    table_location,
)
from exp_platform.tables.views import VIEWS, ensure_views, query

_WRITES = "exp_platform.tables.durable_io.DurableFileIO"  # loaded only where a file is read or written
_DEFINITIONS = "exp-platform.definitions"  # namespace property: the definitions that all tables have
_RACES = (
    # What two processes that create the same catalog at once do to each other; the loser looks again.
    CommitFailedException,
    TableAlreadyExistsError,
    NamespaceAlreadyExistsError,
    ViewAlreadyExistsError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    ValueError,  # update_schema: the column has just been added
)
_STAYS = re.compile(r"readonly database|disk is full|disk I/O error|unable to open database|malformed")


def open_catalog(environment: Environment | None = None) -> Catalog:
    """The catalog of an environment, cached, with all tables in it.

    The first opener creates what is missing and adds columns that a table lacks; several may open it at once. Raises
    ConfigError where the files of a missing table lie already: then not the table is missing, but its entry.
    """
    environment = environment or load_environment()
    return _open(environment.model_dump_json(), os.getpid())


def existing_catalog(environment: Environment | None = None) -> Catalog | None:
    """The catalog as it is, for readers that must not write; None where nobody has opened it yet.

    Tables may be missing in it, or lack columns that a newer version of the platform knows. Raises ConfigError where
    nobody seems to have opened it and the files of tables lie there all the same.
    """
    environment = environment or load_environment()
    if environment.catalog.kind != "sqlite" or Path(environment.catalog.uri).is_file():
        catalog = _existing(environment.model_dump_json(), os.getpid(), _cannot_change(environment))
        if _is_initialised(catalog):
            return catalog
    refuse_lost(environment, TABLES.keys())
    return None


def connected_catalog(environment: Environment) -> Catalog:
    """The catalog as it is, its own database made where it is missing, and no table of the platform."""
    environment.prepare()
    # With `v1` a catalog of an older version gets the column that tells tables from views, as Spark would give it too.
    properties = {"py-io-impl": _WRITES, "schema_version": "v1", **environment.pyiceberg_properties()}
    catalog = load_catalog(CATALOG, **properties)
    atexit.register(catalog.close)
    load_from_memory(catalog)
    _require_whole(catalog)
    if environment.catalog.kind == "sqlite":
        _let_readers_and_a_writer_work_at_once(catalog)
    return catalog


def _is_initialised(catalog: Catalog) -> bool:
    """Whether the catalog's own tables are there: its database may so far hold a lease alone."""
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy import inspect

    return not isinstance(catalog, SqlCatalog) or inspect(catalog.engine).has_table("iceberg_tables")


def table(catalog: Catalog, name: str) -> Table:
    """The platform's table of that name at its newest commit. Raises DamagedTableError where its metadata are lost."""
    with naming_damage(catalog, name):
        return catalog.load_table((NAMESPACE, name))


@lru_cache(maxsize=8)
def _open(environment_json: str, _pid: int) -> Catalog:
    return _opened(Environment.model_validate_json(environment_json))


@lru_cache(maxsize=8)
def _existing(environment_json: str, _pid: int, cannot_change: bool) -> Catalog:
    environment = Environment.model_validate_json(environment_json)
    properties = environment.pyiceberg_properties()
    if cannot_change:
        properties["uri"] = f"sqlite:///file:{quote(environment.catalog.uri)}?mode=ro&immutable=1&uri=true"
    catalog = load_catalog(CATALOG, **properties, init_catalog_tables="false")
    atexit.register(catalog.close)
    load_from_memory(catalog)
    _require_whole(catalog)
    return catalog


def _cannot_change(environment: Environment) -> bool:
    """Whether the catalog is a file in a folder that nobody writes as far as this process can tell.

    SQLite reads a database in WAL mode only where it finds its two files beside it or can make them, or is told that the
    database is immutable (https://sqlite.org/wal.html#readonly). A log that is there holds commits, so it must be read.
    """
    if environment.catalog.kind != "sqlite":
        return False
    file = Path(environment.catalog.uri)
    return not os.access(file.parent, os.W_OK) and not Path(f"{file}-wal").exists()


def _require_whole(catalog: Catalog) -> None:
    """Raise DatabaseError where SQLite finds its file damaged: some damage looks to a query like a missing table."""
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy import text

    if isinstance(catalog, SqlCatalog) and catalog.engine.dialect.name == "sqlite":
        with catalog.engine.connect() as connection:
            found = connection.execute(text("PRAGMA quick_check(1)")).scalar()
        if found != "ok":
            raise DatabaseError(
                "PRAGMA quick_check", None, Exception(f"database disk image is malformed: {found}")
            )


def stays(error: BaseException) -> bool:
    """Whether a database fails in a way that no second try mends: its disk is full or read-only, its file damaged."""
    return isinstance(error, DatabaseError) and _STAYS.search(str(error)) is not None


@tenacity.retry(
    retry=tenacity.retry_if_exception(lambda error: isinstance(error, _RACES) and not stays(error)),
    wait=tenacity.wait_random_exponential(multiplier=0.05, max=1),
    stop=tenacity.stop_after_attempt(10),
    reraise=True,
)
def _opened(environment: Environment) -> Catalog:
    catalog = connected_catalog(environment)
    _ensure_tables(catalog, environment)
    guard(catalog, environment)
    return catalog


def _let_readers_and_a_writer_work_at_once(catalog: Catalog) -> None:
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy import event, text

    assert isinstance(catalog, SqlCatalog)
    # A commit is on the disk before anybody builds on it, whatever a distribution's SQLite thinks enough.
    event.listen(catalog.engine, "connect", lambda made, _: made.execute("PRAGMA synchronous=FULL"))
    with catalog.engine.connect() as connection:
        connection.execute(text("PRAGMA journal_mode=WAL"))  # stays with the file


def _ensure_tables(catalog: Catalog, environment: Environment) -> None:
    wanted = _definitions_hash()
    try:
        done = catalog.load_namespace_properties(NAMESPACE).get(_DEFINITIONS)
        present = {name for _, name in catalog.list_tables(NAMESPACE)}
    except NoSuchNamespaceError:
        catalog.create_namespace(NAMESPACE)
        done, present = None, set()
    missing = TABLES.keys() - present
    if missing:
        refuse_lost(environment, missing, catalog)
    for name in sorted(missing):
        _create_table(catalog, environment, name)
    if done == wanted:
        return
    _refuse_newer(catalog, present)
    for name in sorted(present & TABLES.keys()):
        _add_missing_columns(catalog, name)
    ensure_views(catalog, environment)
    catalog.update_namespace_properties(NAMESPACE, updates={_DEFINITIONS: wanted})


def refuse_newer(environment: Environment) -> None:
    """Raise ConfigError where a newer version has written the tables, before anything else is done in vain."""
    catalog = existing_catalog(environment)
    if catalog is None or not catalog.namespace_exists(NAMESPACE):
        return
    if catalog.load_namespace_properties(NAMESPACE).get(_DEFINITIONS) != _definitions_hash():
        _refuse_newer(catalog, {name for _, name in catalog.list_tables(NAMESPACE)})


def _refuse_newer(catalog: Catalog, present: Iterable[str]) -> None:
    """Of tables with columns that this version does not know: what it writes would leave them empty."""
    newer = []
    for name in sorted(TABLES.keys() & present):
        columns = {field.name for field in table(catalog, name).schema().fields}
        known = {column for column, _ in TABLES[name].columns} | RETIRED.get(name, frozenset())
        if unknown := sorted(columns - known):
            newer.append(f"{name} ({', '.join(unknown)})")
    if newer:
        raise ConfigError(
            f"a newer version of the platform wrote the stored state, with columns that this one does not know: "
            f"{'; '.join(newer)}. Nothing was changed, and results can be read; to run or maintain, use that version or a newer "
            "one, or restore a backup from before it"
        )


def refuse_lost(environment: Environment, missing: Iterable[str], catalog: Catalog | None = None) -> None:
    """Raise ConfigError where tables that the catalog does not know have files: a new table would orphan them all."""
    lost = [name for name in sorted(missing) if has_content(environment, name)]
    if catalog is not None:  # another process may have created them meanwhile: before a file comes the entry
        lost = [name for name in lost if not catalog.table_exists((NAMESPACE, name))]
    if lost:
        raise ConfigError(
            f"the catalog at {environment.catalog.uri} does not know {', '.join(lost)}, whose files lie in "
            f"{environment.warehouse}/{NAMESPACE}: it was lost, or `catalog` of the environment {environment.name} names "
            "another one. Nothing was made; `exp repair` registers what lies there, `exp restore FILE` brings a backup back"
        )


def has_content(environment: Environment, name: str) -> bool:
    """Whether a table has more than its first metadata file, which a killed creation may have left and names no data."""
    # What reads files imports more than a reader's start can bear
    from exp_platform.tables.folders import files_below

    files = (info.path for info in files_below(environment, table_location(environment, name)))
    return any("/metadata/00000-" not in path for path in files)


@lru_cache(maxsize=1)
def _definitions_hash() -> str:
    return hashlib.sha256(
        repr((TABLES, PROPERTIES, [query(m) for m in VIEWS.values()])).encode()
    ).hexdigest()[:16]


def _create_table(catalog: Catalog, environment: Environment, name: str) -> None:
    schema = iceberg_schema(name)
    catalog.create_table(
        (NAMESPACE, name),
        schema,
        location=table_location(environment, name),
        partition_spec=partition_spec(name),
        properties={
            **PROPERTIES,
            TableProperties.DEFAULT_NAME_MAPPING: schema.name_mapping.model_dump_json(),
        },
    )


def _add_missing_columns(catalog: Catalog, name: str) -> None:
    existing = table(catalog, name)
    have = set(existing.schema().column_names)
    missing = [(column, kind) for column, kind in TABLES[name].columns if column not in have]
    stale = {
        key: value
        for key, value in PROPERTIES.items()
        if key != TableProperties.FORMAT_VERSION
        and existing.properties.get(key) != value  # that one is no property
    }
    with existing.transaction() as change:
        if missing:
            with change.update_schema() as update:
                for column, kind in missing:
                    update.add_column(column, iceberg_type(kind, count(1)))  # the update assigns real ids
        if stale:
            change.set_properties(stale)
