"""The two kinds of Spark task of ingest: read a piece and split it by user, then clean a bucket and write its files.

Between them rows travel as Arrow in bytes, never as Python rows. Only what a finished task returns counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from exp_platform.aggregates import LeftOut
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Behaviour
from exp_platform.diagnosis import diagnosis
from exp_platform.errors import DataError, ExpPlatformError
from exp_platform.kernels.behaviour import distributions
from exp_platform.kernels.canonical_text import InexactIdError, require_utf8, text
from exp_platform.kernels.clean import IDS, clean_bucket, kind_of
from exp_platform.kernels.measured import Measured
from exp_platform.kernels.privacy import Privacy, with_pseudonyms, without_forgotten
from exp_platform.kernels.quantiles import Distribution
from exp_platform.kernels.sql import query
from exp_platform.stages.pieces import IcebergPiece, Part, Piece
from exp_platform.stages.unreadable import unreadable, unreadable_table
from exp_platform.tables.files import Writer

_COMPRESSION = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Shard:
    """Rows of one bucket from one batch of one piece, or why that piece could not be read."""

    piece: int
    batch: int
    table: str
    rows: bytes = b""  # an Arrow stream
    bad_rows: int = 0
    bad_example: str | None = None
    problem: str | None = None


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
    for number, piece in pieces:
        first_row = piece.first_row
        try:
            for batch, part in enumerate(_parts(piece)):
                table = _with_texts(part.rows, piece, first_row, show_ids)
                first_row += len(table)
                yield from _split(table, buckets, number, batch, piece.table, part)
        except DataError as error:
            yield 0, Shard(number, 0, piece.table, problem=f"{piece.place}: {error}")
        except _UnreadableError as error:
            yield 0, Shard(number, 0, piece.table, problem=str(error))


class _UnreadableError(Exception):
    """A piece cannot be read, in words for people."""


def _parts(piece: Piece) -> Iterator[Part]:
    try:
        yield from piece.parts()
    except Exception as error:  # whatever pyarrow or PyIceberg raise for a file that they cannot read
        if diagnosis(error) or isinstance(error, ExpPlatformError):
            raise  # the store is at fault, not the file: the next try may find it well
        told = unreadable_table if isinstance(piece, IcebergPiece) else unreadable
        raise _UnreadableError(told(piece.place, error)) from error


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
    for _, shard in sorted(dealt, key=lambda item: (item[1].piece, item[1].batch)):
        raw[shard.table].append(pa.ipc.open_stream(shard.rows).read_all())
        bad[shard.table] += shard.bad_rows
        lines[_whole_row(shard.table)] += [shard.bad_example] if shard.bad_example else []
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
    yield Staged(files, cleaned.measured.merge(whole), distributions=found)


def _whole_row(table: str) -> str:
    """What lines of a CSV with too many or too few fields are counted under, where others have a column."""
    return f"{table}.(whole row)"


def _with_texts(rows: pa.Table, piece: Piece, first_row: int, show_ids: bool) -> pa.Table:
    """Ids, variants, events and attributes as text, users' ids among them; without any the row's number from 1.

    The bucket is made of the user's text, so it must be the same in all files: `clean_bucket` finds nothing to change.
    """
    names = dict(piece.columns)
    for position, column in enumerate(rows.column_names):
        try:
            require_utf8(rows[column])
            if kind_of(column) == "text":
                rows = rows.set_column(position, column, text(rows[column], ids=column in IDS))
        except DataError as error:
            said = error.without_id if isinstance(error, InexactIdError) and not show_ids else error
            raise DataError(f"column {names[column]} (for {column}) {said}") from error
    if "user_id" in rows.column_names:
        return rows
    numbers = np.arange(first_row + 1, first_row + len(rows) + 1)
    return rows.append_column("user_id", pa.array(numbers).cast(pa.string()))


def _split(
    table: pa.Table, buckets: int, piece: int, batch: int, name: str, part: Part
) -> Iterator[tuple[int, Shard]]:
    if buckets == 1:
        yield 0, Shard(piece, batch, name, _bytes(table), part.bad_rows, part.bad_example)
        return
    bucket = _bucket_of(table["user_id"], buckets)
    order = np.argsort(bucket, kind="stable")
    dealt = table.take(pa.array(order))
    ends = np.cumsum(np.bincount(bucket, minlength=buckets))
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if end > start or number == 0:
            rows = dealt.slice(start, end - start)
            bad = (part.bad_rows, part.bad_example) if number == 0 else (0, None)
            yield number, Shard(piece, batch, name, _bytes(rows), *bad)


def _bucket_of(user_ids: Any, buckets: int) -> Any:
    """The buckets of users, by a hash that a run computes nowhere else; rows without a user go to the first."""
    sql = f"SELECT coalesce(hash(id) % {buckets}, 0)::USMALLINT AS bucket FROM found"
    return query(sql, pa.table({"id": user_ids}))["bucket"].to_numpy()


def _bytes(table: pa.Table) -> bytes:
    sink = pa.BufferOutputStream()
    with pa.ipc.new_stream(sink, table.schema, options=_COMPRESSION) as stream:
        stream.write_table(table)
    return bytes(sink.getvalue())
