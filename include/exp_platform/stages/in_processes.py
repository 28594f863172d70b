"""Tasks of ingest and aggregates in processes of our own beside this one, which exchange rows by files in a scratch folder."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Any, TypeVar

from exp_platform.config.environment import Environment
from exp_platform.stages.exchange import Clean, Deal, Read
from exp_platform.stages.pieces import PIECE_ROWS
from exp_platform.stages.pool import Pool
from exp_platform.stages.shards import Numbered, Shard, Staged
from exp_platform.stages.spilled import Spilled, spilled, spilled_by_bucket
from exp_platform.tables.scratch import scratch

T = TypeVar("T")
R = TypeVar("R")


@contextmanager
def in_processes(environment: Environment) -> Iterator[InProcesses]:
    """As many processes as a local master has cores; they and their files end with the block, however it ends."""
    with scratch(environment) as folder:
        pool = Pool(environment.spark.cores)
        try:
            yield InProcesses(pool, folder)
        finally:
            pool.close()


class InProcesses:
    """Tasks of a pool: each holds a piece or a bucket, and no more."""

    def __init__(self, pool: Pool, folder: Path) -> None:
        self._pool, self._folder = pool, folder

    def each(self, work: Callable[[T], R], items: Sequence[T]) -> list[R]:
        """What `work` gives of each item, in their order."""
        return self._pool.map(work, items)

    def read(
        self, pieces: Sequence[Numbered], read: Read, look: Callable[[Shard], R]
    ) -> tuple[list[Spilled], list[R]]:
        """A file of shards for each task, and what `look` says of each shard."""
        work = partial(_read, read=read, look=look, folder=self._folder)
        done = self._pool.map(work, list(_tasks(pieces)))
        return [files for files, _ in done], [one for _, looked in done for one in looked]

    def exchange(
        self, parts: Sequence[Sequence[Any]], deal: Deal, clean: Clean, buckets: int
    ) -> list[Staged]:
        """A file for each task and bucket; then each bucket's files, which are gone as soon as they are read."""
        tasks = [task for part in parts for task in _tasks(part)]
        dealt: dict[int, list[Spilled]] = defaultdict(list)
        for files in self._pool.map(partial(_deal, deal=deal, folder=self._folder), tasks):
            for bucket, file in files:
                dealt[bucket].append(file)
        return self._pool.map(partial(_clean, clean=clean), sorted(dealt.items()))


def _tasks(part: Sequence[Any]) -> Iterator[list[Any]]:
    """What is read by one task: a file of shards, or pieces that follow one another, up to the rows of a large one."""
    task: list[Any] = []
    for one in part:
        if task and (
            isinstance(one, Spilled) or sum(piece.rows for _, piece in task) + one[1].rows > PIECE_ROWS
        ):
            yield task
            task = []
        task.append(one)
    if task:
        yield task


def _read(
    pieces: Sequence[Numbered], read: Read, look: Callable[[Shard], R], folder: Path
) -> tuple[Spilled, list[R]]:
    looked: list[R] = []

    def seen() -> Iterator[Shard]:
        for shard in read(pieces):
            looked.append(look(shard))
            yield shard

    return spilled(folder, seen()), looked


def _deal(task: Sequence[Any], deal: Deal, folder: Path) -> list[tuple[int, Spilled]]:
    whole = chain.from_iterable(one.take() if isinstance(one, Spilled) else [one] for one in task)
    return spilled_by_bucket(folder, deal(whole))


def _clean(dealt: tuple[int, Sequence[Spilled]], clean: Clean) -> Staged:
    bucket, files = dealt
    return clean(bucket, [shard for one in files for shard in one.take()])
