"""Iceberg tables: found in a catalog, their columns checked, and cut into their data files; no row is read."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from exp_platform.config.environment import Environment
from exp_platform.diagnosis import diagnosis
from exp_platform.errors import ExpPlatformError
from exp_platform.stages.column_faults import column_faults
from exp_platform.stages.pieces import IcebergPiece
from exp_platform.stages.reading import Problem, Reading, layout
from exp_platform.stages.unreadable import unreadable_table


def plan_iceberg(reading: Reading, environment: Environment) -> Iterator[IcebergPiece | Problem]:
    """Pieces or problems of an Iceberg table; whatever its library raises is a problem of the table."""
    from pyiceberg.exceptions import NoSuchTableError

    name = reading.source.location
    try:
        yield from _iceberg_pieces(reading, environment)
    except NoSuchTableError:
        yield Problem(
            "source", f"{reading.table}: the catalog has no table {name}: correct its name, or create it"
        )
    except Exception as error:  # PyIceberg raises ValueError, KeyError, OSError, ... for what it cannot read
        if diagnosis(error) or isinstance(error, ExpPlatformError):
            raise
        yield Problem("source", f"{reading.table}: {unreadable_table(name, error)}")


def _iceberg_pieces(reading: Reading, environment: Environment) -> Iterator[IcebergPiece | Problem]:
    from pyiceberg.io.pyarrow import schema_to_pyarrow

    from exp_platform.stages.iceberg_filter import iceberg_filter
    from exp_platform.tables.named import opened_table

    name = reading.source.location
    table = opened_table(name, environment)
    schema = schema_to_pyarrow(table.schema(), include_field_ids=False)
    where = layout(reading, schema, {})
    faults = list(column_faults(reading, name, schema, where))
    yield from faults
    if faults:
        return
    only = iceberg_filter(reading.wanted, where)
    scan = table.scan(only, selected_fields=tuple(sorted({path.leaf for path in where.paths.values()})))
    no_history: dict[str, Any] = {
        "snapshots": [],
        "snapshot_log": [],
        "metadata_log": [],
        "refs": {},
        "current_snapshot_id": None,
    }
    snapshot = scan.snapshot()
    if snapshot is None:  # nobody has ever written to it
        return
    metadata = table.metadata.model_copy(update=no_history)
    reads = metadata, table.io, scan.projection(), only, snapshot.snapshot_id
    first_row = 0
    for task in sorted(scan.plan_files(), key=lambda task: task.file.file_path):
        rows = task.file.record_count
        yield IcebergPiece(reading, where, name, rows, first_row, task, *reads)
        first_row += rows
