"""What runs tasks of ingest and aggregates, whatever it is: what it is asked, and the form of what it runs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Protocol, TypeVar

if TYPE_CHECKING:  # tasks of aggregates have no use for what ingest's need
    from exp_platform.stages.shards import Numbered, Shard, Staged

T = TypeVar("T")
R = TypeVar("R")

Read = Callable[[Iterable["Numbered"]], Iterator["Shard"]]
Deal = Callable[[Iterable[Any]], Iterator[tuple[int, "Shard"]]]  # pieces or whole shards -> buckets' shards
Clean = Callable[[int, Sequence["Shard"]], "Staged"]  # a bucket and all its shards


class Workers(Protocol):
    """What runs tasks. What they are given and give must pickle, and so must they."""

    def each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """What `work` gives of each item, in their order."""

    def read(self, pieces: Sequence[Numbered], read: Read, look: Callable[[Shard], R]) -> tuple[Any, list[R]]:
        """The shards of pieces, which stay where they were read, and what `look` says of each."""

    def exchange(self, parts: Sequence[Any], deal: Deal, clean: Clean, buckets: int) -> list[Staged]:
        """Deal out the rows of all parts, pieces or what `read` gave, and clean each bucket once all its rows are there."""
