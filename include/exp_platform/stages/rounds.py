"""The rounds of ingest's tasks, wherever those run: read, deal out by user, clean.

A source with facts is read in two rounds: first whose rows count, then of everything else the rows of those users alone.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource
from exp_platform.kernels.duplicates import told_apart_by
from exp_platform.kernels.hashing import Hashes, hashes
from exp_platform.kernels.matching import plain
from exp_platform.kernels.measured import MAX_EXAMPLES, SPELLED, Measured
from exp_platform.kernels.members import Identities, Members, Spelled
from exp_platform.kernels.nobody import without_null_words
from exp_platform.kernels.privacy import Privacy, without_forgotten
from exp_platform.stages.batches import OTHER_ID, Intake
from exp_platform.stages.exchange import Clean, Workers
from exp_platform.stages.jdbc_pieces import JdbcPiece
from exp_platform.stages.keys import no_such_key
from exp_platform.stages.reading import Problem
from exp_platform.stages.refresh import Base
from exp_platform.stages.shards import Shard, Staged, read, read_and_split, split
from exp_platform.stages.sources import Plan
from exp_platform.stages.workers import Here, workers

BUCKET_USERS = 300_000  # a bucket must fit a core's memory
BUCKET_OUTCOMES = 5_000_000
OF_PUBLISHED = 10  # of so many published rows is as much read as of a new one

Ingested = tuple[
    int, list[Problem], list[Staged]
]  # number of buckets, what keeps all from being read, results


def bucket_count(exposures: int, outcomes: int) -> int:
    """Into how many buckets the users are split: from the rows that count alone, never from cores or memory found."""
    return max(1, math.ceil(exposures / BUCKET_USERS), math.ceil(outcomes / BUCKET_OUTCOMES))


def buckets_of(plan: Plan) -> int:
    """How many buckets the rows of a plan need, where all of them may count."""
    return bucket_count(plan.rows("exposures", "units"), plan.rows("outcomes"))


def ingested(
    experiment: Experiment,
    environment: Environment,
    plan: Plan,
    clean: Clean,
    privacy: Privacy,
    *,
    here: bool = False,
    base: Base | None = None,
) -> Ingested:
    """All rounds of one source; `here`: in this process and one bucket, however many rows there are.

    `base`: what is published and the rows are added to; each of its buckets is cleaned, also where nothing came.
    """
    source = experiment.source
    shared = isinstance(source, EventsSource) and (
        source.facts or source.key is not None or source.identities
    )
    rounds = _in_two_rounds if shared else partial(_in_one_round, base=base)
    rows = sum(piece.rows for piece in plan.pieces) + (base.rows // OF_PUBLISHED if base else 0)
    by_spark = any(isinstance(piece, JdbcPiece) for piece in plan.pieces)
    with (
        nullcontext(Here())
        if here
        else workers(f"ingest {experiment.id}", environment, rows, by_spark=by_spark)
    ) as tasks:
        return rounds(experiment, environment, plan, clean, privacy, tasks, here)


def _in_one_round(
    experiment: Experiment,
    environment: Environment,
    plan: Plan,
    clean: Clean,
    privacy: Privacy,
    tasks: Workers,
    here: bool,
    base: Base | None,
) -> Ingested:
    """Pieces are read and split by user, then each bucket is cleaned and written."""
    buckets = 1 if here else base.buckets if base else buckets_of(plan)
    deal = partial(read_and_split, buckets=buckets, show_ids=privacy.shows_lines, by=told_apart_by())
    done = tasks.exchange([list(enumerate(plan.pieces))], deal, clean, buckets)
    if base and all(part.counts for part in done):
        cleaned = {bucket for part in done for bucket in part.counts}
        rest = [bucket for bucket in range(buckets) if bucket not in cleaned]
        done = [*done, *tasks.each(partial(_nothing_new, clean=clean), rest)]
    return buckets, [], done


def _nothing_new(bucket: int, clean: Clean) -> Staged:
    return clean(bucket, ())


def _in_two_rounds(
    experiment: Experiment,
    environment: Environment,
    plan: Plan,
    clean: Clean,
    privacy: Privacy,
    tasks: Workers,
    here: bool,
) -> Ingested:
    """Exposures are read, and whose ids are; then all else, of which other people's rows of facts reach no bucket."""
    numbered = list(enumerate(plan.pieces))
    first = {name: [one for one in numbered if one[1].table == name] for name in ("exposures", "identities")}
    others = [one for one in numbered if one[1].table not in first]
    intake = Intake(experiment, show_ids=privacy.shows_lines)
    hashed = getattr(experiment.source, "identities", None) is None
    exposures, found = tasks.read(
        first["exposures"], partial(read, intake=intake), partial(_ids, privacy=privacy, hashed=hashed)
    )
    _, pairs = tasks.read(first["identities"], partial(read, intake=intake), _pairs)
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
    intake = replace(intake, members=members, plainly=plainly, identities=identities)
    rest, looked = tasks.read(others, partial(read, intake=intake), _spelled)
    told = told.merge(_spellings([one for _, one in looked], privacy))
    buckets = 1 if here else bucket_count(sum(one.rows for one in found), sum(n for n, _ in looked))
    deal = partial(split, buckets=buckets, identities=identities, by=told_apart_by())
    return buckets, [], [Staged({}, measured=told), *tasks.exchange([exposures, rest], deal, clean, buckets)]


def _spelled(shard: Shard) -> tuple[int, Spelled | None]:
    return len(shard.rows), shard.spelled


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
    rows = shard.rows
    name = OTHER_ID if OTHER_ID in rows.column_names else "user_id"
    ids = pa.table({name: without_null_words(rows[name], ids=True)[0].unique().drop_null()})
    if not hashed:
        return _Found(None, len(shard.rows), ids=ids)
    return _Found(None, len(shard.rows), _hashed(_remembered(ids, privacy)["user_id"]))


def _hashed(users: Any) -> tuple[Hashes, ...]:
    return hashes(users), hashes(plain(users).drop_null())


def _pairs(shard: Shard) -> _Found:
    """Whose which ids are."""
    if shard.problem:
        return _Found(f"{shard.table}: {shard.problem}", 0)
    names = (OTHER_ID, "user_id")
    pairs = pa.table({name: without_null_words(shard.rows[name], ids=True)[0] for name in names})
    whole = pairs.drop_null()
    missing = len(pairs) - len(whole) + shard.measured.rows_in.get(shard.table, 0)
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
