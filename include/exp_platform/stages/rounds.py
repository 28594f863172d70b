"""The rounds of ingest's tasks, in Spark or, where the data are few, in the driver: read, deal out by user, clean.

A source with facts is read in two rounds: first whose rows count, then of everything else the rows of those users alone.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from itertools import chain
from typing import Any, TypeVar

import numpy as np
import pyarrow as pa

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource
from exp_platform.kernels.matching import plain
from exp_platform.kernels.measured import MAX_EXAMPLES, SPELLED, Measured
from exp_platform.kernels.members import Hashes, Identities, Members, Spelled, hashes
from exp_platform.kernels.nobody import without_null_words
from exp_platform.kernels.privacy import Privacy, without_forgotten
from exp_platform.stages.batches import OTHER_ID, Intake
from exp_platform.stages.jdbc_pieces import JdbcPiece
from exp_platform.stages.keys import no_such_key
from exp_platform.stages.pieces import Piece
from exp_platform.stages.reading import Problem
from exp_platform.stages.shards import Shard, Staged, read, read_and_split, split
from exp_platform.stages.sources import Plan

BUCKET_USERS = 300_000  # a bucket must fit a core's memory
BUCKET_OUTCOMES = 5_000_000

R = TypeVar("R")

Cleaning = Callable[[Iterable[tuple[int, Shard]]], Iterator[Staged]]
Ingested = tuple[
    int, list[Problem], list[Staged]
]  # number of buckets, what keeps all from being read, results
Numbered = Sequence[tuple[int, Piece]]


def bucket_count(exposures: int, outcomes: int) -> int:
    """Into how many buckets the users are split: from the rows that count alone, never from cores or memory found."""
    return max(1, math.ceil(exposures / BUCKET_USERS), math.ceil(outcomes / BUCKET_OUTCOMES))


def ingested(
    experiment: Experiment,
    environment: Environment,
    plan: Plan,
    cleaned: Cleaning,
    privacy: Privacy,
    *,
    here: bool = False,
) -> Ingested:
    """All rounds of one source; `here`: in this process and one bucket, however many rows there are."""
    source = experiment.source
    shared = isinstance(source, EventsSource) and (
        source.facts or source.key is not None or source.identities
    )
    rounds = _in_two_rounds if shared else _in_one_round
    return rounds(experiment, environment, plan, cleaned, privacy, here)


def _in_one_round(
    experiment: Experiment,
    environment: Environment,
    plan: Plan,
    cleaned: Cleaning,
    privacy: Privacy,
    here: bool,
) -> Ingested:
    """Pieces are read and split by user, then each bucket is cleaned and written."""
    buckets = 1 if here else bucket_count(plan.rows("exposures", "units"), plan.rows("outcomes"))
    numbered, show_ids = list(enumerate(plan.pieces)), privacy.shows_lines
    if not numbered:
        return buckets, [], []
    # Where it is one core's work, a session would take longer to start
    if here or (buckets == 1 and _without_spark(environment, numbered)):
        return buckets, [], list(cleaned(read_and_split(numbered, buckets, show_ids)))
    work = partial(read_and_split, buckets=buckets, show_ids=show_ids)
    shards = _shards(_context(experiment, environment), numbered, work)
    return buckets, [], shards.partitionBy(buckets, int).mapPartitions(cleaned).collect()


def _in_two_rounds(
    experiment: Experiment,
    environment: Environment,
    plan: Plan,
    cleaned: Cleaning,
    privacy: Privacy,
    here: bool,
) -> Ingested:
    """Exposures are read, and whose ids are; then all else, of which other people's rows of facts reach no bucket."""
    numbered = list(enumerate(plan.pieces))
    others = [one for one in numbered if one[1].table not in ("exposures", "identities")]
    few = bucket_count(plan.rows("exposures", "identities"), sum(piece.rows for _, piece in others)) == 1
    tasks: _InDriver | _InSpark = (
        _InDriver()
        if here or (few and _without_spark(environment, numbered))
        else _InSpark(_context(experiment, environment))
    )
    intake = Intake(experiment, show_ids=privacy.shows_lines)
    exposures = tasks.read([one for one in numbered if one[1].table == "exposures"], intake)
    hashed = getattr(experiment.source, "identities", None) is None
    found = tasks.each(exposures, partial(_ids, privacy=privacy, hashed=hashed))
    pairs = tasks.each(tasks.read([one for one in numbered if one[1].table == "identities"], intake), _pairs)
    problems = [
        *_problems([*found, *pairs]),
        *no_such_key(experiment, environment, sum(one.rows for one in found)),
    ]
    if problems:
        return 1, problems, []
    whose, identities, told = found, None, Measured()
    if not hashed:
        mapped, identities, told = _mapped(found, pairs, privacy)
        whose = [mapped]
    members, plainly = _members(whose)
    rest = tasks.read(others, replace(intake, members=members, plainly=plainly, identities=identities))
    looked = tasks.each(rest, lambda shard: (shard.count, shard.spelled))
    told = told.merge(_spellings([one for _, one in looked], privacy))
    buckets = 1 if here else bucket_count(sum(one.rows for one in found), sum(n for n, _ in looked))
    return buckets, [], [Staged({}, told), *tasks.finished([exposures, rest], buckets, identities, cleaned)]


class _InDriver:
    """Tasks that are few are done one after another, where a session would take longer to start."""

    def read(self, pieces: Numbered, intake: Intake) -> list[Shard]:
        """The shards of pieces."""
        return list(read(pieces, intake))

    def each(self, shards: list[Shard], work: Callable[[Shard], R]) -> list[R]:
        """What `work` gives of each shard."""
        return [work(shard) for shard in shards]

    def finished(
        self, parts: Sequence[list[Shard]], buckets: int, identities: Identities | None, cleaned: Cleaning
    ) -> list[Staged]:
        """The shards' rows dealt out to buckets and cleaned."""
        dealt: dict[int, list[tuple[int, Shard]]] = defaultdict(list)
        for number, shard in split(chain(*parts), buckets, identities):
            dealt[number].append((number, shard))
        return [staged for number in sorted(dealt) for staged in cleaned(dealt[number])]


class _InSpark:
    """The same by Spark's workers: shards stay on their disks until they are dealt out, and are made anew where one is lost."""

    def __init__(self, context: Any) -> None:
        self._context = context

    def read(self, pieces: Numbered, intake: Intake) -> Any:
        """The shards of pieces."""
        from pyspark import StorageLevel

        if not pieces:
            return self._context.emptyRDD()
        shards = _shards(self._context, pieces, partial(read, intake=intake))
        return shards.persist(StorageLevel.DISK_ONLY)

    def each(self, shards: Any, work: Callable[[Shard], R]) -> list[R]:
        """What `work` gives of each shard."""
        found: list[R] = shards.map(work).collect()
        return found

    def finished(
        self, parts: Sequence[Any], buckets: int, identities: Identities | None, cleaned: Cleaning
    ) -> list[Staged]:
        """The shards' rows dealt out to buckets and cleaned."""
        whole = self._context.union(list(parts))
        dealt = whole.mapPartitions(partial(split, buckets=buckets, identities=identities))
        staged: list[Staged] = dealt.partitionBy(buckets, int).mapPartitions(cleaned).collect()
        for part in parts:
            part.unpersist()
        return staged


def _context(experiment: Experiment, environment: Environment) -> Any:
    from exp_platform.spark.session import workers

    return workers(f"ingest {experiment.id}", environment)


def _without_spark(environment: Environment, pieces: Numbered) -> bool:
    """Whether the driver may read all pieces itself."""
    return environment.spark.local and not any(isinstance(piece, JdbcPiece) for _, piece in pieces)


def _shards(
    context: Any, pieces: Numbered, work: Callable[[Iterable[tuple[int, Piece]]], Iterator[Any]]
) -> Any:
    """What `work` makes of pieces, each in a task; of those that a JDBC driver reads in the task that it gives them to."""
    by_driver = [(number, piece) for number, piece in pieces if isinstance(piece, JdbcPiece)]
    others = [one for one in pieces if not isinstance(one[1], JdbcPiece)]
    made = [_spread(context, others).mapPartitions(work)] if others else []
    if by_driver:
        from exp_platform.stages import plan_jdbc

        made += [plan_jdbc.shards(context, number, piece, work) for number, piece in by_driver]
    return made[0] if len(made) == 1 else context.union(made)


def _spread(context: Any, pieces: Numbered) -> Any:
    """Pieces dealt out to tasks, large and small tables alike."""
    tasks = min(len(pieces), 4 * context.defaultParallelism)
    return context.parallelize([piece for task in range(tasks) for piece in pieces[task::tasks]], tasks)


@dataclass(frozen=True)
class _Found:
    """What one shard of exposures or identities says of members."""

    problem: str | None
    rows: int
    members: tuple[
        Hashes, ...
    ] = ()  # where no id is of another space: of user ids, as they are and plainly spelled
    ids: pa.Table | None = None  # else the different ids, or pairs of ids
    incomplete: int = 0  # pairs without one of both


def _ids(shard: Shard, privacy: Privacy, hashed: bool) -> _Found:
    """Who was exposed; forgotten users are nobody."""
    if shard.problem:
        return _Found(f"{shard.table}: {shard.problem}", 0)
    rows = shard.arrow
    name = OTHER_ID if OTHER_ID in rows.column_names else "user_id"
    ids = pa.table({name: without_null_words(rows[name], ids=True)[0].unique().drop_null()})
    if not hashed:
        return _Found(None, shard.count, ids=ids)
    return _Found(None, shard.count, _hashed(_remembered(ids, privacy)["user_id"]))


def _hashed(users: Any) -> tuple[Hashes, ...]:
    return hashes(users), hashes(plain(users).drop_null())


def _pairs(shard: Shard) -> _Found:
    """Whose which ids are."""
    if shard.problem:
        return _Found(f"{shard.table}: {shard.problem}", 0)
    names = (OTHER_ID, "user_id")
    pairs = pa.table({name: without_null_words(shard.arrow[name], ids=True)[0] for name in names})
    whole = pairs.drop_null()
    missing = len(pairs) - len(whole) + shard.bad_rows
    return _Found(None, len(pairs), ids=whole.group_by(list(names)).aggregate([]), incomplete=missing)


def _problems(found: Iterable[_Found]) -> list[Problem]:
    return [Problem("source", one.problem) for one in found if one.problem]


def _remembered(ids: pa.Table, privacy: Privacy) -> pa.Table:
    kept, _ = without_forgotten({"exposures": [ids]}, privacy)
    return kept["exposures"][0]


def _members(found: Sequence[_Found]) -> tuple[Members, Members]:
    """Whose rows count, by their ids as they are and plainly spelled."""
    both = [one.members for one in found if one.members]
    as_they_are, plainly = zip(*both, strict=True) if both else ((), ())
    return Members.of(as_they_are), Members.of(plainly)


def _mapped(
    found: Sequence[_Found], pairs: Sequence[_Found], privacy: Privacy
) -> tuple[_Found, Identities, Measured]:
    """Whose rows count where ids are of two spaces, whose the ids of the other one are, and what the identity map is like."""
    names = (OTHER_ID, "user_id")
    nothing = pa.table({name: pa.array([], pa.string()) for name in names})
    tables = [one.ids for one in found if one.ids is not None]
    exposed = {
        name: pa.concat_arrays(
            [c for t in (nothing, *tables) if name in t.column_names for c in t[name].chunks]
        )
        for name in names
    }
    every = pa.concat_tables([nothing, *(one.ids for one in pairs if one.ids is not None)])
    identities = Identities.of(every.group_by(list(names)).aggregate([]), exposed)
    users = pa.table({"user_id": pa.chunked_array([identities.users, exposed["user_id"]]).unique()})
    told = {
        "ids": len(identities.hashes),
        "several": identities.of_several,
        "incomplete": sum(one.incomplete for one in pairs),
    }
    members = _Found(None, 0, _hashed(_remembered(users, privacy)["user_id"]))
    return members, identities, Measured(identities=told)


def _spellings(looked: Sequence[Spelled | None], privacy: Privacy) -> Measured:
    """Members of whom a fact has rows under another spelling of their id alone."""
    every = [one for one in looked if one is not None]
    members, strangers = (
        Members.of(getattr(one, name) for one in every).hashes for name in ("members", "strangers")
    )
    otherwise = len(np.setdiff1d(strangers, members, assume_unique=True))
    if not otherwise:
        return Measured()
    examples = (
        sorted({shown for one in every for shown in one.examples})[:MAX_EXAMPLES]
        if privacy.shows_lines
        else []
    )
    return Measured(strangers={"spelled": otherwise}, examples={SPELLED: examples} if examples else {})
