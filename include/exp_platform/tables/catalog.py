"""The Iceberg catalog that Spark and PyIceberg share, with every table of the platform in it."""

from __future__ import annotations

import atexit
import hashlib
import os
from functools import lru_cache
from itertools import count
from pathlib import Path

import tenacity
from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.exceptions import (
    CommitFailedException,
    NamespaceAlreadyExistsError,
    NoSuchNamespaceError,
    TableAlreadyExistsError,
)
from pyiceberg.table import Table, TableProperties
from sqlalchemy.exc import IntegrityError, OperationalError, ProgrammingError

from exp_platform.config.environment import CATALOG, Environment, load_environment
from exp_platform.tables.fence import guard
from exp_platform.tables.schemas import (
    NAMESPACE,
    PROPERTIES,
    TABLES,
    iceberg_schema,
    iceberg_type,
    partition_spec,
)

_DEFINITIONS = "exp-platform.definitions"  # namespace property: the definitions that all tables have
_RACES = (
    # What two processes that create the same catalog at once do to each other; the loser looks again.
    CommitFailedException,
    TableAlreadyExistsError,
    NamespaceAlreadyExistsError,
    IntegrityError,
    OperationalError,
    ProgrammingError,
    ValueError,  # update_schema: the column has just been added
)


def open_catalog(environment: Environment | None = None) -> Catalog:
    """The catalog of an environment, cached, with all tables in it.

    The first opener creates what is missing and adds columns that a table lacks; several may open it at once.
    """
    environment = environment or load_environment()
    return _open(environment.model_dump_json(), os.getpid())


def existing_catalog(environment: Environment | None = None) -> Catalog | None:
    """The catalog as it is, for readers that must not write; None where nobody has opened it yet.

    Tables may be missing in it, or lack columns that a newer version of the platform knows.
    """
    environment = environment or load_environment()
    if environment.catalog.kind == "sqlite" and not Path(environment.catalog.uri).is_file():
        return None
    catalog = _existing(environment.model_dump_json(), os.getpid())
    return catalog if _is_initialised(catalog) else None


def _is_initialised(catalog: Catalog) -> bool:
    """Whether the catalog's own tables are there: its database may so far hold a lease alone."""
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy import inspect

    return not isinstance(catalog, SqlCatalog) or inspect(catalog.engine).has_table("iceberg_tables")


def table(catalog: Catalog, name: str) -> Table:
    """The platform's table of that name at its newest commit."""
    return catalog.load_table((NAMESPACE, name))


@lru_cache(maxsize=8)
def _open(environment_json: str, _pid: int) -> Catalog:
    return _opened(Environment.model_validate_json(environment_json))


@lru_cache(maxsize=8)
def _existing(environment_json: str, _pid: int) -> Catalog:
    environment = Environment.model_validate_json(environment_json)
    catalog = load_catalog(CATALOG, **environment.pyiceberg_properties(), init_catalog_tables="false")
    atexit.register(catalog.close)
    return catalog


@tenacity.retry(
    retry=tenacity.retry_if_exception_type(_RACES),
    wait=tenacity.wait_random_exponential(multiplier=0.05, max=1),
    stop=tenacity.stop_after_attempt(10),
    reraise=True,
)
def _opened(environment: Environment) -> Catalog:
    environment.prepare()
    catalog = load_catalog(CATALOG, **environment.pyiceberg_properties())
    atexit.register(catalog.close)
    if environment.catalog.kind == "sqlite":
        _let_readers_and_a_writer_work_at_once(catalog)
    _ensure_tables(catalog, environment)
    guard(catalog, environment)
    return catalog


def _let_readers_and_a_writer_work_at_once(catalog: Catalog) -> None:
    from pyiceberg.catalog.sql import SqlCatalog
    from sqlalchemy import text

    assert isinstance(catalog, SqlCatalog)
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
    for name in sorted(missing):
        _create_table(catalog, environment, name)
    if done == wanted:
        return
    for name in sorted(present & TABLES.keys()):
        _add_missing_columns(catalog, name)
    catalog.update_namespace_properties(NAMESPACE, updates={_DEFINITIONS: wanted})


@lru_cache(maxsize=1)
def _definitions_hash() -> str:
    return hashlib.sha256(repr((TABLES, PROPERTIES)).encode()).hexdigest()[:16]


def _create_table(catalog: Catalog, environment: Environment, name: str) -> None:
    schema = iceberg_schema(name)
    catalog.create_table(
        (NAMESPACE, name),
        schema,
        location=f"{environment.warehouse}/{NAMESPACE}/{name}",
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
