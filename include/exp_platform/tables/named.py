"""Iceberg tables by the names that specs give them: of the platform's own catalog, or of another one of the environment."""

from __future__ import annotations

import atexit
import os
from functools import lru_cache

from pyiceberg.catalog import Catalog, load_catalog
from pyiceberg.table import Table

from exp_platform.config.environment import CATALOG, Environment
from exp_platform.tables.catalog import existing_catalog, open_catalog


def opened_table(name: str, environment: Environment) -> Table:
    """The table; the platform's own catalog is made where it is missing. Raises what PyIceberg raises."""
    return _other(name, environment) or open_catalog(environment).load_table(name.removeprefix(f"{CATALOG}."))


def existing_table(name: str, environment: Environment) -> Table | None:
    """The table, for those who must not write; None where nobody has opened the platform's catalog yet."""
    if (table := _other(name, environment)) is not None:
        return table
    catalog = existing_catalog(environment)
    return None if catalog is None else catalog.load_table(name.removeprefix(f"{CATALOG}."))


def _other(name: str, environment: Environment) -> Table | None:
    """The table `catalog.namespace.table` of a catalog that the environment names under `catalogs`."""
    catalog, _, rest = name.partition(".")
    if catalog not in environment.catalogs:
        return None
    return _opened(environment.model_dump_json(), catalog, os.getpid()).load_table(rest)


@lru_cache(maxsize=8)
def _opened(environment_json: str, name: str, _pid: int) -> Catalog:
    environment = Environment.model_validate_json(environment_json)
    catalog = load_catalog(name, **environment.pyiceberg_properties(name), init_catalog_tables="false")
    atexit.register(catalog.close)
    return catalog
