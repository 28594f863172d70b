"""Shards in files of a scratch folder, on their way from one task to another on the same machine.

A file holds the rows of its shards, an Arrow stream each, as they lie in memory: whoever takes them maps the file and copies
nothing. It is private, and has no name any more once it is taken.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pyarrow as pa

from exp_platform.stages.shards import Shard
from exp_platform.tables.scratch import new_file


@dataclass
class Spilled:
    """A file of shards, and what they are beside their rows."""

    path: Path
    shards: list[Shard] = field(default_factory=list)

    def add(self, shard: Shard) -> None:
        """Write one more. Raises OSError."""
        if shard.rows.num_columns:
            if not self.path.exists():
                new_file(self.path)
            with (
                pa.OSFile(str(self.path), mode="a") as sink,
                pa.ipc.new_stream(sink, shard.rows.schema) as stream,
            ):
                stream.write_table(shard.rows)
        self.shards.append(replace(shard, rows=shard.rows.schema.empty_table()))

    def take(self) -> Iterator[Shard]:
        """All shards, once: the file is gone."""
        if not self.path.exists():
            yield from self.shards
            return
        with pa.memory_map(str(self.path)) as source:
            os.unlink(self.path)  # what is mapped stays
            for shard in self.shards:
                stands = shard.rows.num_columns > 0
                yield replace(shard, rows=pa.ipc.open_stream(source).read_all()) if stands else shard


def spilled(folder: Path, shards: Iterable[Shard]) -> Spilled:
    """All these shards in one file."""
    whole = Spilled(folder / secrets.token_hex(8))
    for shard in shards:
        whole.add(shard)
    return whole


def spilled_by_bucket(folder: Path, dealt: Iterable[tuple[int, Shard]]) -> list[tuple[int, Spilled]]:
    """A file for each bucket."""
    task = secrets.token_hex(8)
    files: dict[int, Spilled] = {}
    for bucket, shard in dealt:
        files.setdefault(bucket, Spilled(folder / f"{task}-{bucket}")).add(shard)
    return list(files.items())
