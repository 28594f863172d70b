"""A table's history, of which PyIceberg copies every entry twice per commit: of 300 snapshots that was most of a commit's CPU."""

from __future__ import annotations

from typing import Any, TypeVar

from pyiceberg.table.metadata import TableMetadata

T = TypeVar("T")

# All of them lists of frozen entries; whoever adds or expires any makes another list.
_SHARED = ("snapshots", "snapshot_log", "schemas", "partition_specs", "sort_orders")


class _Entries(list[T]):
    """A list whose copy is another list of the same entries."""

    def __deepcopy__(self, _: dict[int, Any]) -> _Entries[T]:
        return _Entries(self)

    def __add__(self, more: list[T]) -> _Entries[T]:  # type: ignore[override]
        return _Entries([*self, *more])


def sharing_history(metadata: TableMetadata) -> TableMetadata:
    """The same metadata, whose copies share its history's entries."""
    return metadata.model_copy(update={name: _Entries(getattr(metadata, name)) for name in _SHARED})
