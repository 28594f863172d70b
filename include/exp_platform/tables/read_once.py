"""What a table's files hold is read once per command: metadata files hold the whole history, and no file is written again.

Which metadata file is the newest the catalog says at each load; only what that state holds is remembered. Beyond a
command nothing is, so that a process which lives long tells that a file was lost.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

if TYPE_CHECKING:
    import pyarrow as pa
    from pyiceberg.catalog import Catalog
    from pyiceberg.table import Table
    from pyiceberg.table.metadata import TableMetadata

FoundT = TypeVar("FoundT")


@dataclass
class _State:
    """A table as one metadata file has it, and what was read of its rows."""

    location: str
    metadata: TableMetadata
    rows: dict[Hashable, pa.Table] = field(default_factory=dict)


_STATES: dict[str, _State] | None = None  # folder of metadata files -> the newest that was met
_FOUND: dict[Hashable, Any] | None = None  # what never changes


@contextmanager
def read_once() -> Iterator[None]:
    """Remember for the length of a `with` block, of each table its newest state, and what is found of any snapshot."""
    global _STATES, _FOUND
    before, _STATES, _FOUND = (_STATES, _FOUND), {}, {}
    try:
        yield
    finally:
        _STATES, _FOUND = before


def once(which: Hashable, find: Callable[[], FoundT]) -> FoundT:
    """What `find` gives, which is the same whenever it is asked; `which` tells it from anything else."""
    if _FOUND is None:
        return find()
    if which not in _FOUND:
        _FOUND[which] = find()
    found: FoundT = _FOUND[which]
    return found


def load_from_memory(catalog: Catalog) -> None:
    """Let a SQL catalog take metadata that are remembered; a REST catalog sends them with its answer."""
    from pyiceberg.catalog.sql import SqlCatalog
    from pyiceberg.table import Table

    from exp_platform.tables.history import sharing_history

    if not isinstance(catalog, SqlCatalog):
        return
    unfold = catalog._convert_orm_to_iceberg

    def opened(entry: Any) -> Table:
        state = _known(entry.metadata_location or "")
        if state is None:
            table = unfold(entry)
            table.metadata = sharing_history(table.metadata)
            remember(table)
            return table
        return Table(
            identifier=(*catalog.identifier_to_tuple(entry.table_namespace), entry.table_name),
            metadata=state.metadata,
            metadata_location=state.location,
            io=catalog._load_file_io(state.metadata.properties, state.location),
            catalog=catalog,
        )

    catalog._convert_orm_to_iceberg = opened  # type: ignore[method-assign, assignment]


def remember(table: Table) -> None:
    """Keep a table's newest state, which was just read or committed, instead of the one before it."""
    if _STATES is not None:
        _STATES[_folder(table.metadata_location)] = _State(table.metadata_location, table.metadata)


def rows_once(
    table: Table, which: Hashable, read: Callable[[], pa.Table], among: Hashable = None
) -> pa.Table:
    """The rows that `read` gives of a table as it was opened; `which` tells them from any others of the same state.

    Instead of them `among` may be given, rows with these among them, or with more of their columns, if they were read.
    """
    if _STATES is None:
        return read()
    if _known(table.metadata_location) is None:
        remember(table)
    rows = _STATES[_folder(table.metadata_location)].rows
    if among in rows:
        return rows[among]
    if which not in rows:
        rows[which] = read()
    return rows[which]


def _known(location: str) -> _State | None:
    state = (_STATES or {}).get(_folder(location))
    return state if state is not None and state.location == location else None


def _folder(location: str) -> str:
    return location.rpartition("/")[0]
