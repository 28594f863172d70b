"""Ways in which the stored state is damaged, for tests of what becomes of it."""

from __future__ import annotations

import shutil
from pathlib import Path

from exp_platform.config.environment import Environment
from exp_platform.tables import catalog as catalogs
from exp_platform.tables import state_database


def forget_connections() -> None:
    """As a new process: it opens the catalog that is there now."""
    catalogs._open.cache_clear()
    catalogs._existing.cache_clear()
    state_database._engine.cache_clear()


def lose_the_catalog(environment: Environment) -> None:
    """Delete the database of catalog and leases, as `rm data/catalog.db*` does."""
    for path in Path(environment.catalog.uri).parent.glob("catalog.db*"):
        path.unlink()
    forget_connections()


def copy_the_catalog(environment: Environment, folder: Path) -> None:
    """Lay a copy of the database aside, as `cp data/catalog.db*` does while nothing runs."""
    forget_connections()
    folder.mkdir()
    for path in Path(environment.catalog.uri).parent.glob("catalog.db*"):
        shutil.copy(path, folder)


def bring_back_the_catalog(environment: Environment, folder: Path) -> None:
    """Put a copy in the place of the database."""
    lose_the_catalog(environment)
    for path in folder.glob("catalog.db*"):
        shutil.copy(path, Path(environment.catalog.uri).parent)


def metadata_files(environment: Environment, name: str) -> list[Path]:
    """The metadata files of a table, by version."""
    return sorted(Path(environment.warehouse.removeprefix("file://"), "exp", name, "metadata").glob("*.json"))
