"""The two kinds of Spark task of ingest: read pieces and deal their rows out by user, then clean a bucket and write its files.

Between them rows travel as Arrow in bytes, never as Python rows. Only what a finished task returns counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime

import numpy as np
import pyarrow as pa

from exp_platform.aggregates import LeftOut
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Behaviour
from exp_platform.errors import DataError
from exp_platform.kernels.behaviour import distributions
from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.measured import Measured
from exp_platform.kernels.members import Identities, Spelled, hashes
from exp_platform.kernels.privacy import Privacy, with_pseudonyms, without_forgotten
from exp_platform.kernels.quantiles import Distribution
from exp_platform.stages.batches import AS_FOUND, Batch, Intake, UnreadablePieceError, batches
from exp_platform.stages.pieces import Piece
from exp_platform.tables.files import Writer

_COMPRESSION = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Shard:
    """Rows of one batch of one piece, all or those of one bucket, or why that piece could not be read."""

    piece: int
    batch: int
    table: str
    rows: bytes = b""  # an Arrow stream
    bad_rows: int = 0
    bad_example: str | None = None
    problem: str | None = None
    measured: Measured | None = None  # of rows that are left out already
    count: int = 0  # rows
    spelled: Spelled | None = None

    @property
    def arrow(self) -> pa.Table:
        """Its rows."""
        return pa.ipc.open_stream(self.rows).read_all()


@dataclass(frozen=True)
class Staged:
    """What one bucket gives: the files written, and what was measured."""

    files: dict[str, str]  # table -> path; a table without rows has none
    measured: Measured = field(default_factory=Measured)
    problems: tuple[str, ...] = ()
    distributions: dict[str, Distribution] = field(default_factory=dict)  # of behavioural segments to freeze


def read_and_split(
    pieces: Iterable[tuple[int, Piece]], buckets: int, show_ids: bool = True
) -> Iterator[tuple[int, Shard]]:
    """Read pieces and deal their rows out to buckets; a piece that is not readable becomes a problem.

    Without `show_ids` no problem quotes an id.
    """
    for found in _read(pieces, Intake(show_ids=show_ids)):
        yield from _dealt(found, buckets, None) if isinstance(found, Batch) else [(0, found)]


def read(pieces: Iterable[tuple[int, Piece]], intake: Intake = AS_FOUND) -> Iterator[Shard]:
    """Read pieces, each batch into a shard of all its rows that count; a piece that is not readable becomes a problem."""
    for found in _read(pieces, intake):
        yield _shard(found, found.rows) if isinstance(found, Batch) else found


def split(
    shards: Iterable[Shard], buckets: int, identities: Identities | None = None
) -> Iterator[tuple[int, Shard]]:
    """Deal the rows of whole shards out to buckets; ids of another space are replaced by those of their users."""
    for shard in shards:
        if shard.problem:
            yield 0, shard
            continue
        told = shard.measured or Measured()
        batch = Batch(
            shard.piece, shard.batch, shard.table, shard.arrow, shard.bad_rows, shard.bad_example, told
        )
        yield from _dealt(batch, buckets, identities)


def _read(pieces: Iterable[tuple[int, Piece]], intake: Intake) -> Iterator[Batch | Shard]:
    for number, piece in pieces:
        try:
            yield from batches(number, piece, intake)
        except DataError as error:
            yield Shard(number, 0, piece.table, problem=f"{piece.place}: {error}")
        except UnreadablePieceError as error:
            yield Shard(number, 0, piece.table, problem=str(error))


def clean_and_write(
    shards: Iterable[tuple[int, Shard]],
    experiment: Experiment,
    now: datetime,
    writers: dict[str, Writer],
    as_of: date,
    unfrozen: Sequence[Behaviour] = (),
    privacy: Privacy = Privacy(),  # noqa: B008  frozen
) -> Iterator[Staged]:
    """Clean one bucket and write its files: all shards must be of the same bucket.

    Of `unfrozen` segments the values of users exposed by `as_of` come with it, for their thresholds. By `privacy` rows of
    forgotten users are left out, and what is written and measured has pseudonyms for ids.
    """
    dealt = list(shards)
    if not dealt:
        return
    bucket = dealt[0][0]
    problems = tuple(f"{s.table}: {s.problem}" for _, s in dealt if s.problem)
    if problems:
        yield Staged({}, problems=problems)
        return
    raw: dict[str, list[pa.Table]] = defaultdict(list)
    bad: dict[str, int] = defaultdict(int)
    lines: dict[str, list[str]] = defaultdict(list)
    before = []
    for _, shard in sorted(dealt, key=lambda item: (item[1].piece, item[1].batch)):
        raw[shard.table].append(shard.arrow)
        bad[shard.table] += shard.bad_rows
        lines[_whole_row(shard.table)] += [shard.bad_example] if shard.bad_example else []
        before += [shard.measured] if shard.measured else []
    del dealt
    raw, forgotten = without_forgotten(raw, privacy)
    cleaned = clean_bucket(raw, experiment, now)
    if privacy.pseudonyms is not None:
        cleaned = with_pseudonyms(cleaned, privacy.pseudonyms)
    staged = {"exposures": cleaned.exposures, "outcomes": cleaned.outcomes}
    files = {name: writers[name].write(bucket, rows) for name, rows in staged.items() if len(rows)}
    skipped = {name: n for name, n in bad.items() if n}
    whole = Measured(
        rows_in=skipped,
        malformed={_whole_row(name): n for name, n in skipped.items()},
        examples={name: shown for name, shown in lines.items() if shown and privacy.shows_lines},
        left_out={name: {LeftOut.LINE.value: n} for name, n in skipped.items()},
    ).merge(
        Measured(
            rows_in=forgotten, left_out={name: {LeftOut.FORGOTTEN.value: n} for name, n in forgotten.items()}
        )
    )
    found = distributions(cleaned.exposures, cleaned.outcomes, experiment, as_of, unfrozen)
    measured = Measured.merge_all([*before, cleaned.measured, whole])
    yield Staged(files, measured, distributions=found)


def _whole_row(table: str) -> str:
    """What lines of a CSV with too many or too few fields are counted under, where others have a column."""
    return f"{table}.(whole row)"


def _dealt(batch: Batch, buckets: int, identities: Identities | None) -> Iterator[tuple[int, Shard]]:
    if identities is not None:
        batch = batch.owned(identities)
    if buckets == 1:
        yield 0, _shard(batch, batch.rows)
        return
    bucket = hashes(batch.rows["user_id"]) % np.uint64(buckets)
    order = np.argsort(bucket, kind="stable")
    dealt = batch.rows.take(pa.array(order))
    ends = np.cumsum(np.bincount(bucket.astype(np.int64), minlength=buckets))
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if end > start or number == 0:
            rows = dealt.slice(start, end - start)
            yield number, _shard(batch if number == 0 else batch.without_counts(), rows)


def _shard(batch: Batch, rows: pa.Table) -> Shard:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, rows.schema, options=_COMPRESSION) as stream:
        stream.write_table(rows)
    told = batch.bad_rows, batch.bad_example, None, batch.measured
    return Shard(
        batch.piece, batch.number, batch.becomes, bytes(sink.getvalue()), *told, len(rows), batch.spelled
    )
