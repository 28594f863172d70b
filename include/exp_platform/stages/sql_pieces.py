"""Pieces of tables in databases: what one Spark task reads, as a stream of Arrow."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pyarrow as pa

from exp_platform.stages.pieces import BATCH_ROWS, Among, Part, Piece
from exp_platform.stages.sql_database import Database, DatabaseError


@dataclass(frozen=True)
class SqlPiece(Piece):
    """The rows of one select; `rows` were counted when the reading was planned.

    Its database's password is in it, as a task needs it; its repr has none.
    """

    database: Database
    select: str

    def parts(self, among: Among | None = None) -> Iterator[Part]:
        """Read it. Raises QueryError, and DatabaseError also where fewer rows come than were counted."""
        read = 0
        try:
            for batch in self.database.batches(self.select):
                read += len(batch)
                for start in range(0, len(batch), BATCH_ROWS):
                    yield self.part(pa.Table.from_batches([batch.slice(start, BATCH_ROWS)]), among)
        except DatabaseError as error:
            raise DatabaseError(f"{self.place}: {error}") from error
        if read < self.rows:
            raise DatabaseError(
                f"{self.place}: {read:,} rows came of {self.rows:,} that were there when this run began: the database broke off, "
                "or rows were deleted meanwhile; run again"
            )
