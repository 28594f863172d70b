"""The one way to write Iceberg tables: replace what a key selects, in one commit, beside other writers.

Every write names its experiment, so it can never touch another one's rows. A commit that meets another is planned
again on the table's newest state. Doing the same write twice gives the same table.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import Any

import pyarrow as pa
import tenacity
from pyiceberg.catalog import Catalog
from pyiceberg.exceptions import CommitFailedException, ValidationException
from pyiceberg.expressions import BooleanExpression
from pyiceberg.table import Table, Transaction
from pyiceberg.table.metadata import TableMetadata
from pyiceberg.table.update import TableUpdate, update_table_metadata
from sqlalchemy.exc import OperationalError

from exp_platform.errors import ExpPlatformError
from exp_platform.tables import fence
from exp_platform.tables.catalog import stays, table
from exp_platform.tables.damage import naming_damage
from exp_platform.tables.files import writer_of
from exp_platform.tables.read_once import remember
from exp_platform.tables.scans import planned
from exp_platform.tables.schemas import arrow_schema
from exp_platform.tables.selection import selection


class ChangedMeanwhileError(ExpPlatformError):
    """What was to be replaced is no longer what was read."""


def _may_pass(error: BaseException) -> bool:
    """Of others' commits, and of a database that stayed locked for longer than its busy timeout or starts again."""
    if isinstance(error, OperationalError):
        return not stays(error)
    return isinstance(error, (CommitFailedException, ValidationException))


again = tenacity.retry(
    retry=tenacity.retry_if_exception(_may_pass),
    wait=tenacity.wait_random_exponential(multiplier=0.05, max=2),
    stop=tenacity.stop_after_attempt(100),  # a minute or two
    reraise=True,
)


def replace_files(
    catalog: Catalog,
    table_name: str,
    experiment_id: str,
    paths: Sequence[str],
    run_id: str,
    instead_of: Collection[str] | None = None,
) -> int:
    """Make files that a Writer wrote the whole content of one experiment, and return the snapshot that says so.

    Among them may be files that are the experiment's already, or were: where no other is, the rest is added and nothing
    is written anew. `instead_of`: the files that they were made from. Raises ChangedMeanwhileError where these are not the experiment's any more.
    """
    where = selection({"experiment_id": experiment_id})
    return _replace(catalog, table_name, where, list(paths), run_id, instead_of)


def replace_rows(
    catalog: Catalog,
    table_name: str,
    where: Mapping[str, Any],
    rows: Sequence[Mapping[str, Any]],
    run_id: str,
) -> int:
    """Replace the rows that `where` selects by `rows`, and return the snapshot.

    `where` maps columns to a value or to a list of values, and must give one `experiment_id`. Columns with one value
    may be left out of the rows. Raises ValueError for a row outside `where` or a column that the table lacks.
    """
    experiment_id = where["experiment_id"]
    complete = [_within(where, row) for row in rows]
    schema = arrow_schema(table_name)
    if unknown := {key for row in complete for key in row} - set(schema.names):
        raise ValueError(f"{table_name} has no column {', '.join(sorted(unknown))}")
    paths = []
    if complete:
        writer = writer_of(table(catalog, table_name), experiment_id, run_id)
        paths.append(writer.write(0, pa.Table.from_pylist(complete, schema)))
    return _replace(catalog, table_name, selection(where), paths, run_id)


def rows_at(catalog: Catalog, table_name: str, experiment_id: str, snapshot_id: int) -> int:
    """The rows that one experiment's files hold at a snapshot, as its manifests say."""
    where = selection({"experiment_id": experiment_id})
    scan = table(catalog, table_name).scan(where, snapshot_id=snapshot_id)
    with naming_damage(catalog, table_name, where, snapshot_id):
        return sum(task.file.record_count for task in planned(scan))


def delete_rows(catalog: Catalog, table_name: str, where: BooleanExpression, run_id: str) -> None:
    """Delete the rows of a condition; commits nothing where no file can hold such a row."""

    @again
    def attempt() -> None:
        target = table(catalog, table_name)
        with naming_damage(catalog, table_name, where):
            if planned(target.scan(where)):
                with _Transaction(target) as change:
                    change.delete(where, snapshot_properties={"run_id": run_id})

    attempt()


def _within(where: Mapping[str, Any], row: Mapping[str, Any]) -> dict[str, Any]:
    constants = {column: value for column, value in where.items() if not isinstance(value, (list, tuple))}
    complete = {**constants, **row}
    for column, value in where.items():
        allowed = value if isinstance(value, (list, tuple)) else [value]
        if complete.get(column) not in allowed:
            raise ValueError(f"{column}: found {complete.get(column)!r}, the rows to replace have {value!r}")
    return complete


@again
def _replace(
    catalog: Catalog,
    table_name: str,
    where: BooleanExpression,
    paths: list[str],
    run_id: str,
    instead_of: Collection[str] | None = None,
) -> int:
    target = table(catalog, table_name)
    head, properties = target.current_snapshot(), {"run_id": run_id}
    with naming_damage(catalog, table_name, where):
        there = {task.file.file_path for task in planned(target.scan(where))}
    if instead_of is not None and there != set(instead_of):
        raise ChangedMeanwhileError(
            f"{table_name} has other files of the experiment than those that were read"
        )
    if head is not None and there == set(paths):
        return head.snapshot_id
    others = there - set(paths)
    new = paths if others else [path for path in paths if path not in there]
    with naming_damage(catalog, table_name, where), _Transaction(target) as change:
        if others:
            change.delete(where, snapshot_properties=properties)
        # Nothing to look for: names are unique
        change.add_files(new, snapshot_properties=properties, check_duplicate_files=False)
    snapshot = target.current_snapshot()  # the delete and the addition are two; the last one stands for both
    assert snapshot is not None
    return snapshot.snapshot_id


class _Transaction(Transaction):
    """A transaction that works out its metadata once a state.

    PyIceberg's own copies the table's whole history on each of some forty accesses a commit: at 200 snapshots a
    commit takes 0.43 s of CPU, with this 0.08 s.
    """

    def commit_transaction(self) -> Table:
        """Commit, unless the fence of this context no longer holds."""
        fence.verify()
        committed = super().commit_transaction()
        remember(committed)
        return committed

    _state: tuple[TableMetadata, tuple[TableUpdate, ...], TableMetadata] | None = None

    @property
    def table_metadata(self) -> TableMetadata:
        base, updates = self._table.metadata, self._updates
        if self._state is None or self._state[0] is not base or self._state[1] is not updates:
            self._state = (base, updates, update_table_metadata(base, updates) if updates else base)
        return self._state[2]
