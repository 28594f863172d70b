"""Views of `analysis_results`, one per method: `analysis_results_ab` and so on hold the rows that count, for whoever reads SQL.

They follow from the declaration of the analyses. In a SQL catalog a view is an entry beside the tables' (its schema version V1) and one
metadata file, as Iceberg's view specification has it (https://iceberg.apache.org/view-spec). PyIceberg makes none there, so this does. A
REST service makes them itself, where it holds views.
"""

from __future__ import annotations

import hashlib
import uuid
from contextlib import suppress

from pyiceberg.catalog import Catalog
from pyiceberg.catalog.sql import IcebergTables, SqlCatalog
from pyiceberg.exceptions import ForbiddenError, NoSuchViewError
from pyiceberg.view.metadata import (
    SQLViewRepresentation,
    ViewHistoryEntry,
    ViewMetadata,
    ViewRepresentation,
    ViewVersion,
)
from sqlalchemy import delete, insert
from sqlalchemy.orm import Session

from exp_platform.config.analyses import METHODS, RESULTS
from exp_platform.config.environment import CATALOG, Environment
from exp_platform.tables.schemas import NAMESPACE, TABLES, iceberg_schema, table_location

VIEWS: dict[str, str] = {
    f"{RESULTS}_{name}": name for name, method in METHODS.items() if method.table == RESULTS
}
_VIEW = "VIEW"
_MADE = 1_704_067_200_000  # ms; the same in every file, so that two openers at once write the same one


def query(method: str) -> str:
    """The SQL of a method's view: its rows of the runs that `decisions` names for their days."""
    columns = ", ".join(f"r.{column}" for column, _ in TABLES[RESULTS].columns)
    place = f"{CATALOG}.{NAMESPACE}"
    same = " AND ".join(f"r.{key} = d.{key}" for key in ("experiment_id", "as_of_date", "run_id"))
    return (
        f"SELECT {columns} FROM {place}.{RESULTS} r LEFT SEMI JOIN {place}.decisions d ON {same} "
        f"WHERE r.method = '{method}'"
    )


def ensure_views(catalog: Catalog, environment: Environment) -> None:
    """Make the views, in the place of those that are there. A service that holds or grants none gets none."""
    if isinstance(catalog, SqlCatalog):
        for name in VIEWS:
            _enter(catalog, environment, name)
        return
    with suppress(NotImplementedError, ForbiddenError):
        for name in VIEWS:
            _ask_for(catalog, environment, name)


def _enter(catalog: SqlCatalog, environment: Environment, name: str) -> None:
    location = _written(environment, name)
    of_view = (
        IcebergTables.catalog_name == catalog.name,
        IcebergTables.table_namespace == NAMESPACE,
        IcebergTables.table_name == name,
        IcebergTables.iceberg_type == _VIEW,
    )
    entry = {
        "catalog_name": catalog.name,
        "table_namespace": NAMESPACE,
        "table_name": name,
        "metadata_location": location,
        "iceberg_type": _VIEW,
    }
    with Session(catalog.engine) as session:
        session.execute(delete(IcebergTables).where(*of_view))
        session.execute(insert(IcebergTables).values(**entry))
        session.commit()


def _ask_for(catalog: Catalog, environment: Environment, name: str) -> None:
    """Raises NotImplementedError where the service says that it holds no views, ForbiddenError where it grants none."""
    identifier, metadata = (NAMESPACE, name), _metadata(environment, name)
    with suppress(NoSuchViewError):
        catalog.load_view(identifier)
        catalog.drop_view(identifier)
    catalog.create_view(identifier, iceberg_schema(RESULTS), metadata.versions[0], metadata.location)


def _written(environment: Environment, name: str) -> str:
    """Write the view's metadata file, whose name follows from what is in it, and return where it is."""
    # What writes files imports more than a reader's start can bear
    from exp_platform.tables.folders import write_file

    metadata = _metadata(environment, name)
    content = metadata.model_dump_json()
    location = f"{metadata.location}/metadata/00000-{_uuid(content)}.metadata.json"
    write_file(environment, location, content.encode())
    return location


def _metadata(environment: Environment, name: str) -> ViewMetadata:
    schema, location = iceberg_schema(RESULTS), table_location(environment, name)
    sql = SQLViewRepresentation(type="sql", sql=query(VIEWS[name]), dialect="spark")
    version = ViewVersion(
        schema_id=schema.schema_id,
        timestamp_ms=_MADE,
        summary={"engine-name": "exp_platform"},
        representations=[ViewRepresentation(sql)],
        default_catalog=CATALOG,
        default_namespace=(NAMESPACE,),
    )
    return ViewMetadata(
        view_uuid=_uuid(location),
        format_version=1,
        location=location,
        schemas=[schema],
        current_version_id=version.version_id,
        versions=[version],
        version_log=[ViewHistoryEntry(timestamp_ms=_MADE, version_id=version.version_id)],
    )


def _uuid(text: str) -> str:
    return str(uuid.UUID(hashlib.sha256(text.encode()).hexdigest()[:32]))
