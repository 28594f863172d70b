"""The views of `analysis_results`: made with the tables, met by nobody who looks for tables. Spark reads them in test_spark.py."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from pyiceberg.catalog.rest import RestCatalog
from pyiceberg.exceptions import ForbiddenError, NoSuchViewError, ServerError
from pyiceberg.view.metadata import ViewMetadata

from exp_platform.config.analyses import METHODS, RESULTS
from exp_platform.config.environment import Environment
from exp_platform.doctor.examine import examine
from exp_platform.tables.backup import backup, restore
from exp_platform.tables.catalog import _open, existing_catalog, open_catalog
from exp_platform.tables.folders import plain_path
from exp_platform.tables.repair import repair
from exp_platform.tables.schemas import NAMESPACE, TABLES
from exp_platform.tables.standing import entries
from exp_platform.tables.views import VIEWS, ensure_views


def views(environment: Environment) -> dict[str, str]:
    return {name: location for name, location in entries(environment).items() if name not in TABLES}


def test_every_method_of_the_table_has_a_view_and_pyiceberg_lists_tables_alone(
    environment: Environment,
) -> None:
    catalog = open_catalog(environment)
    assert {name for _, name in catalog.list_tables(NAMESPACE)} == set(TABLES)
    made = views(environment)
    assert set(made) == {f"{RESULTS}_{n}" for n, m in METHODS.items() if m.table == RESULTS}
    for name, location in made.items():
        metadata = ViewMetadata.model_validate_json(Path(plain_path(location)).read_text())
        (version,) = metadata.versions
        assert f"r.method = '{VIEWS[name]}'" in version.representations[0].root.sql
        assert [f.name for f in metadata.schemas[0].fields] == [c for c, _ in TABLES[RESULTS].columns]


def test_a_backup_brings_them_back_and_a_lost_catalog_gets_them_again(
    environment: Environment, tmp_path: Path
) -> None:
    open_catalog(environment)
    made = views(environment)
    backup(environment, tmp_path / "backup")
    _open.cache_clear()
    restore(environment, tmp_path / "backup")
    assert views(environment) == made
    for file in Path(environment.catalog.uri).parent.glob(f"{Path(environment.catalog.uri).name}*"):
        file.unlink()
    _open.cache_clear()
    repair(environment)
    _open.cache_clear()
    open_catalog(environment)
    assert views(environment) == made
    assert existing_catalog(environment) is not None


class Service(RestCatalog):
    """What a REST service answers about views, without one: it holds `held`, or says why not."""

    def __init__(self, held: set[str] | None, refusal: type[Exception] = NotImplementedError) -> None:
        self.held, self.refusal = held, refusal
        self.asked: list[str] = []

    def load_view(self, identifier: Any) -> Any:
        if self.held is None:
            raise self.refusal
        if identifier[1] not in self.held:
            raise NoSuchViewError

    def drop_view(self, identifier: Any) -> None:
        self.asked.append(f"drop {identifier[1]}")

    def create_view(self, identifier: Any, schema: Any, view_version: Any, *_: Any, **__: Any) -> Any:
        self.asked.append(f"create {identifier[1]}")
        assert f"'{VIEWS[identifier[1]]}'" in view_version.representations[0].root.sql


def test_a_rest_service_is_asked_for_each_and_for_none_that_it_does_not_hold_or_grant(
    environment: Environment,
) -> None:
    """That one really makes them: cluster/test_rest_catalog.py."""
    older = next(iter(VIEWS))
    service = Service({older})
    ensure_views(service, environment)
    assert service.asked == [f"drop {older}", *(f"create {name}" for name in VIEWS)]
    for refusal in (NotImplementedError, ForbiddenError):
        without = Service(None, refusal)
        ensure_views(without, environment)
        assert without.asked == []
    with pytest.raises(ServerError):  # is told, and tried again
        ensure_views(Service(None, ServerError), environment)


def test_the_doctor_finds_nothing_wrong_with_them(environment: Environment) -> None:
    open_catalog(environment)
    found = {finding.check: finding for finding in examine()}
    assert "analysis_results_" not in " ".join(map(str, found.values()))
    assert found["catalog"].found.endswith(f"knows {len(TABLES)} of {len(TABLES)} tables")
    assert (found["views"].state, found["views"].found) == (
        "ok",
        f"{len(VIEWS)} of analysis_results, one per method",
    )


def test_the_doctor_tells_of_views_that_are_not_there(environment: Environment) -> None:
    (before,) = [finding for finding in examine() if finding.check == "views"]
    assert (before.state, before.found) == ("ok", "made with the tables")
    open_catalog(environment)
    with closing(sqlite3.connect(environment.catalog.uri)) as database, database:
        database.execute("DELETE FROM iceberg_tables WHERE table_name = 'analysis_results_ab'")
    (told,) = [finding for finding in examine() if finding.check == "views"]
    assert (told.state, told.found) == ("warning", "not there: analysis_results_ab")


def test_a_catalog_of_an_older_version_gets_them_with_the_column_that_tells_them_from_tables(
    environment: Environment,
) -> None:
    open_catalog(environment)
    made = views(environment)
    with closing(sqlite3.connect(environment.catalog.uri)) as database, database:
        database.execute("DELETE FROM iceberg_tables WHERE iceberg_type = 'VIEW'")
        database.execute("ALTER TABLE iceberg_tables DROP COLUMN iceberg_type")
        database.execute(
            "UPDATE iceberg_namespace_properties SET property_value = 'older' WHERE property_key LIKE '%definitions'"
        )
    _open.cache_clear()
    catalog = open_catalog(environment)
    assert views(environment) == made
    assert {name for _, name in catalog.list_tables(NAMESPACE)} == set(TABLES)
