"""The two kinds of task of ingest: read pieces and deal their rows out by user, then clean a bucket and write its files.

Between them rows travel as Arrow, never as Python rows. Only what a finished task returns counts.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import pyarrow as pa

from exp_platform.aggregates import LeftOut
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Behaviour
from exp_platform.errors import DataError, NotExactError
from exp_platform.kernels.base import ASIDE, Base, RowCounts, may_grow, no_rows
from exp_platform.kernels.behaviour import distributions
from exp_platform.kernels.clean import clean_bucket
from exp_platform.kernels.duplicates import told_apart_by
from exp_platform.kernels.hashing import hashes
from exp_platform.kernels.measured import Measured
from exp_platform.kernels.members import Identities, Spelled
from exp_platform.kernels.nothing_new import as_published
from exp_platform.kernels.privacy import Privacy, with_pseudonyms, without_forgotten
from exp_platform.kernels.quantiles import Distribution
from exp_platform.kernels.sightings import SEEN
from exp_platform.stages.batches import AS_FOUND, Batch, Intake, UnreadablePieceError, batches
from exp_platform.stages.pieces import PIECE_ROWS, Piece
from exp_platform.tables.damage import PUBLISHED_DAMAGED, DamagedTableError
from exp_platform.tables.files import Writer

Numbered = tuple[int, Piece]

ASIDE_ROWS, MOST_ASIDE = 1_000_000, 4  # of a bucket, and for each outcome that counts

_NOTHING = Base(RowCounts(), no_rows)
_PICKLED = pa.ipc.IpcWriteOptions(compression="lz4")


@dataclass(frozen=True)
class Shard:
    """Rows of one batch of one piece, all or those of one bucket, or why that piece could not be read.

    In order of (piece, batch) the shards of a table have its rows in the order of its files.
    """

    piece: int
    batch: int
    table: str
    rows: pa.Table = field(default_factory=lambda: pa.table({}))  # nothing at all of what cannot be read
    problem: str | None = None
    measured: Measured = field(default_factory=Measured)  # of rows that are left out already
    spelled: Spelled | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Its rows as an Arrow stream: as a part of a larger table they would be pickled with all of it."""
        sink = pa.BufferOutputStream()
        with pa.ipc.new_stream(sink, self.rows.schema, options=_PICKLED) as stream:
            stream.write_table(self.rows)
        return self.__dict__ | {"rows": sink.getvalue().to_pybytes()}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """The inverse."""
        self.__dict__.update(state, rows=pa.ipc.open_stream(state["rows"]).read_all())


@dataclass(frozen=True)
class Staged:
    """What one bucket gives: the files written, and what was measured."""

    files: dict[str, str]  # table -> path; a table without rows has none
    anew: frozenset[str] = (
        frozenset()
    )  # tables of which the file, or none, stands for all of the bucket's before
    measured: Measured = field(default_factory=Measured)
    problems: tuple[str, ...] = ()
    counts: dict[int, RowCounts] = field(default_factory=dict)  # by bucket what a later run adds to
    not_exact: str | None = (
        None  # why new rows cannot be added to those of before, in a clause: nothing is written then
    )
    no_base: str | None = None  # why no later run can add to these rows, in a clause
    distributions: dict[str, Distribution] = field(default_factory=dict)  # of behavioural segments to freeze


def read_and_split(
    pieces: Iterable[Numbered], buckets: int, show_ids: bool = True, by: str = ""
) -> Iterator[tuple[int, Shard]]:
    """Read pieces and deal their rows out to buckets; a piece that is not readable becomes a problem.

    Without `show_ids` no problem quotes an id; `by`: see `split`.
    """
    return split(read(pieces, Intake(show_ids=show_ids)), buckets, by=by)


def read(pieces: Iterable[Numbered], intake: Intake = AS_FOUND) -> Iterator[Shard]:
    """Read pieces, each batch into a shard of all its rows that count; a piece that is not readable becomes a problem."""
    for number, piece in pieces:
        try:
            yield from map(_shard, batches(number, piece, intake))
        except DataError as error:
            yield Shard(number, 0, piece.table, problem=f"{piece.place}: {error}")
        except UnreadablePieceError as error:
            yield Shard(number, 0, piece.table, problem=str(error))


def split(
    shards: Iterable[Shard], buckets: int, identities: Identities | None = None, by: str = ""
) -> Iterator[tuple[int, Shard]]:
    """Deal the rows of whole shards out to buckets; ids of another space are replaced by those of their users.

    `by` is what tells users and rows apart where the run began (`told_apart_by`): raises DataError in a process that has something else.
    """
    if by and by != told_apart_by():
        raise DataError(
            f"a worker has another version of DuckDB ({version('duckdb')}) or PyArrow ({pa.__version__}) than the process that began the run, "
            "and would deal users out to other buckets: install the same packages on all workers"
        )
    for shard in _gathered(_owned(shard, identities) for shard in shards):
        if shard.problem or buckets == 1:
            yield 0, shard
        else:
            yield from _dealt(shard, buckets)


def clean_and_write(
    bucket: int,
    shards: Sequence[Shard],
    *,
    experiment: Experiment,
    now: datetime,
    writers: dict[str, Writer],
    as_of: date,
    unfrozen: Sequence[Behaviour] = (),
    privacy: Privacy = Privacy(),  # noqa: B008  frozen
    bases: Mapping[int, Base] | None = None,
) -> Staged:
    """Clean one bucket, of which these are all shards, and write its files.

    With `bases`, of every bucket what was published before, the shards are what is new, if anything; what is written is what is
    new, and what is measured is the whole.

    Of `unfrozen` segments the values of users exposed by `as_of` come with it, for their thresholds. By `privacy` rows of
    forgotten users are left out, and what is written and measured has pseudonyms for ids.
    """
    if problems := tuple(f"{s.table}: {s.problem}" for s in shards if s.problem):
        return Staged({}, problems=problems)
    raw: dict[str, list[pa.Table]] = defaultdict(list)
    ordered = sorted(shards, key=lambda shard: (shard.piece, shard.batch))
    before = [shard.measured for shard in ordered]
    while ordered:
        raw[ordered[0].table].append(ordered.pop(0).rows)
    del shards
    raw, forgotten = without_forgotten(raw, privacy)
    base = None if bases is None else bases.get(bucket, _NOTHING)
    try:
        if base is not None and privacy.pseudonyms is not None:
            raise NotExactError("published ids are pseudonyms")
        if base is not None and not raw and not before:
            stands = as_published(base, experiment, now)
            if stands is not None:
                return Staged({}, measured=stands, counts={bucket: base.counts})
        cleaned = clean_bucket(raw, experiment, now, base, privacy.pseudonyms)
    except NotExactError as error:
        return Staged({}, not_exact=str(error))
    except DamagedTableError:
        return Staged({}, not_exact=PUBLISHED_DAMAGED)
    if privacy.pseudonyms is not None:
        cleaned = with_pseudonyms(cleaned, privacy.pseudonyms)
    no_base = _too_many_aside(cleaned.measured) if may_grow(experiment) else "the source is read as a whole"
    aside = cleaned.aside.slice(0, 0) if no_base else cleaned.aside
    staged = {"exposures": cleaned.exposures, "outcomes": cleaned.outcomes, ASIDE: aside}
    footers = {SEEN: {} if no_base else cleaned.seen.footer(experiment)}
    if footers[SEEN]:
        footers[SEEN] |= cleaned.judged.footer(now)
        staged[SEEN] = cleaned.seen.table()
    files = {
        name: writers[name].write(bucket, rows, footers.get(name, {}))
        for name, rows in staged.items()
        if len(rows) and name in writers
    }
    unwanted = Measured(
        rows_in=forgotten, left_out={name: {LeftOut.FORGOTTEN.value: n} for name, n in forgotten.items()}
    )
    found = distributions(cleaned.exposures, cleaned.outcomes, experiment, as_of, unfrozen)
    told = Measured.merge_all([*before, unwanted])
    counts = cleaned.counts.merge(RowCounts(told)).kept(experiment)
    measured = cleaned.measured.merge(told)
    anew = frozenset({SEEN, ASIDE} if cleaned.aside_anew else {SEEN})
    return Staged(files, anew, measured, counts={bucket: counts}, no_base=no_base, distributions=found)


def _too_many_aside(measured: Measured) -> str | None:
    """Why outcomes that do not count are not kept for later runs: to carry them would cost more than to read them again."""
    reasons = measured.left_out.get("outcomes", {})
    aside = sum(reasons.get(why.value, 0) for why in (LeftOut.NOT_READ, LeftOut.NO_EXPOSURE, LeftOut.TOO_OLD))
    rows = measured.rows_out["outcomes"]
    if aside <= max(ASIDE_ROWS, MOST_ASIDE * rows):
        return None
    return f"more than {MOST_ASIDE} outcomes of other users come with each that counts"


def _shard(batch: Batch) -> Shard:
    return Shard(batch.piece, batch.number, batch.becomes, batch.rows, None, batch.measured, batch.spelled)


def _owned(shard: Shard, identities: Identities | None) -> Shard:
    """The same with users for ids of another space."""
    if identities is None or shard.problem:
        return shard
    batch = Batch(shard.piece, shard.batch, shard.table, shard.rows, shard.measured)
    return _shard(batch.owned(identities))


def _gathered(shards: Iterable[Shard]) -> Iterator[Shard]:
    """The same rows in fewer shards: those that follow one another, up to the rows that a task may hold."""
    last: list[Shard] = []
    for shard in shards:
        if last and not _follows(last, shard):
            yield _together(last)
            last = []
        last.append(shard)
    if last:
        yield _together(last)


def _follows(last: Sequence[Shard], shard: Shard) -> bool:
    before = last[-1]
    next_one = (before.piece, before.batch + 1), (before.piece + 1, 0)
    return (
        not (before.problem or shard.problem)
        and (shard.piece, shard.batch) in next_one
        and shard.table == before.table
        and shard.rows.schema.equals(before.rows.schema)
        and sum(len(one.rows) for one in last) + len(shard.rows) <= PIECE_ROWS
    )


def _together(shards: Sequence[Shard]) -> Shard:
    if len(shards) == 1:
        return shards[0]
    rows = pa.concat_tables([shard.rows for shard in shards])
    return replace(shards[0], rows=rows, measured=Measured.merge_all(shard.measured for shard in shards))


def _dealt(shard: Shard, buckets: int) -> Iterator[tuple[int, Shard]]:
    """One copy of the rows, by bucket and in their order, of which each bucket gets a part; the first one gets the counts."""
    rows = shard.rows.combine_chunks()
    bucket = hashes(rows["user_id"]) % np.uint64(buckets)
    small = bucket.astype(np.min_scalar_type(buckets - 1))  # NumPy sorts these by their digits
    rows = rows.take(pa.array(np.argsort(small, kind="stable")))
    ends = np.cumsum(np.bincount(small, minlength=buckets)).tolist()
    for number, (start, end) in enumerate(zip([0, *ends], ends, strict=False)):
        if number == 0:
            yield 0, replace(shard, rows=rows.slice(0, end))
        elif end > start:
            yield number, replace(shard, rows=rows.slice(start, end - start), measured=Measured())
