"""Tasks of ingest and aggregates on Spark's workers: shards stay on their disks until they are dealt out, and are made anew where one is lost."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cached_property, partial
from typing import Any, TypeVar

from exp_platform.config.environment import Environment
from exp_platform.stages.exchange import Clean, Deal, Read
from exp_platform.stages.jdbc_pieces import JdbcPiece
from exp_platform.stages.shards import Numbered, Shard, Staged

T = TypeVar("T")
R = TypeVar("R")


class OnSpark:
    """Spark's workers, asked for when there is work."""

    def __init__(self, name: str, environment: Environment) -> None:
        self._name, self._environment = name, environment

    def each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """What `work` gives of each item, in their order, each in a task."""
        found: list[R] = self._context.parallelize(items, len(items)).map(work).collect() if items else []
        return found

    def read(self, pieces: Sequence[Numbered], read: Read, look: Callable[[Shard], R]) -> tuple[Any, list[R]]:
        """The shards of pieces, and what `look` says of each."""
        from pyspark import StorageLevel

        shards = self._of_pieces(pieces, read).persist(StorageLevel.DISK_ONLY)
        return shards, shards.map(look).collect()

    def exchange(self, parts: Sequence[Any], deal: Deal, clean: Clean, buckets: int) -> list[Staged]:
        """Deal out by a shuffle, then clean each bucket in a task."""
        made = [
            self._of_pieces(part, deal) if isinstance(part, list) else part.mapPartitions(deal)
            for part in parts
        ]
        dealt = self._together(made).partitionBy(buckets, int)
        staged: list[Staged] = dealt.mapPartitions(partial(_cleaned, clean=clean)).collect()
        for part in parts:
            if not isinstance(part, list):
                part.unpersist()
        return staged

    @cached_property
    def _context(self) -> Any:
        from exp_platform.spark.session import workers

        return workers(self._name, self._environment)

    def _of_pieces(
        self, pieces: Sequence[Numbered], work: Callable[[Iterable[Numbered]], Iterator[Any]]
    ) -> Any:
        """What `work` makes of pieces, each in a task; of those that a JDBC driver reads in the task that it gives them to."""
        by_driver = [(number, piece) for number, piece in pieces if isinstance(piece, JdbcPiece)]
        others = [one for one in pieces if not isinstance(one[1], JdbcPiece)]
        made = [self._spread(others).mapPartitions(work)] if others else []
        if by_driver:
            from exp_platform.stages import plan_jdbc

            made += [plan_jdbc.shards(self._context, number, piece, work) for number, piece in by_driver]
        return self._together(made)

    def _spread(self, pieces: Sequence[Numbered]) -> Any:
        """Pieces dealt out to tasks, large and small tables alike."""
        tasks = min(len(pieces), 4 * self._context.defaultParallelism)
        return self._context.parallelize(
            [piece for task in range(tasks) for piece in pieces[task::tasks]], tasks
        )

    def _together(self, made: Sequence[Any]) -> Any:
        if not made:
            return self._context.emptyRDD()
        return made[0] if len(made) == 1 else self._context.union(list(made))


def _cleaned(dealt: Iterable[tuple[int, Shard]], clean: Clean) -> Iterator[Staged]:
    """Clean the one bucket of a partition."""
    by_bucket: dict[int, list[Shard]] = defaultdict(list)
    for bucket, shard in dealt:
        by_bucket[bucket].append(shard)
    for bucket, shards in by_bucket.items():
        yield clean(bucket, shards)
