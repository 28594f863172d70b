"""Where the tasks of ingest and aggregates run: in this process, in processes beside it, or on Spark's workers.

The first two on one machine, which needs no JVM for them. Which of the two follows from the rows alone; what is computed is the
same in all three, and so are the buckets.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Any, TypeVar

from exp_platform.config.environment import Environment
from exp_platform.stages.exchange import Clean, Deal, Read, Workers

if TYPE_CHECKING:  # tasks of aggregates have no use for what ingest's need
    from exp_platform.stages.shards import Numbered, Shard, Staged

# A second process costs some seconds of CPU: of 8.6 million rows a third of a run's, for a tenth less of wall time.
FEW_ROWS = 10_000_000

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def workers(name: str, environment: Environment, rows: int, *, by_spark: bool = False) -> Iterator[Workers]:
    """What runs tasks over so many rows, for the length of a `with` block; `by_spark` where Spark alone can read them."""
    if by_spark or not environment.spark.local:
        from exp_platform.stages.on_spark import OnSpark

        yield OnSpark(name, environment)
    elif rows <= FEW_ROWS:
        yield Here()
    else:
        from exp_platform.stages.in_processes import in_processes

        with in_processes(environment) as beside:
            yield beside


class Here:
    """One task after another in this process, where all rows fit into memory."""

    def each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """What `work` gives of each item."""
        return [work(item) for item in items]

    def read(
        self, pieces: Sequence[Numbered], read: Read, look: Callable[[Shard], R]
    ) -> tuple[list[Shard], list[R]]:
        """All shards, and what `look` says of each."""
        shards = list(read(pieces))
        return shards, [look(shard) for shard in shards]

    def exchange(
        self, parts: Sequence[Sequence[Any]], deal: Deal, clean: Clean, buckets: int
    ) -> list[Staged]:
        """Deal out, then clean bucket by bucket."""
        dealt: dict[int, list[Shard]] = defaultdict(list)
        for bucket, shard in deal(chain(*parts)):
            dealt[bucket].append(shard)
        return [clean(bucket, dealt.pop(bucket)) for bucket in sorted(dealt)]
