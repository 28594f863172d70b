"""Counts the users that experiments share, from what is published: bucket by bucket, by hashes that never leave this process.

Each experiment's exposures are read once, whatever the number of pairs and of its buckets: of each user a hash of 64 bits is held.
Of one with more users than have room only hashes below a bound are, the same users in every experiment, so that what two have
in common below the lower bound of both tells how many they have in all.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from functools import cached_property
from itertools import combinations
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Window
from exp_platform.errors import ExpPlatformError
from exp_platform.kernels.hashing import Hashes, hashes
from exp_platform.tables.files import BucketFiles, plan_buckets
from exp_platform.tables.overlaps import Counted, Overlap, Overlaps, counted_overlaps, note_overlaps

RECENT = timedelta(days=30)  # so long after its window an experiment is still compared
HELD = 16_000_000  # hashes of all experiments together, which take 128 MB
FEWEST_HELD = 50_000  # hashes of one experiment at least: a share of users is then known to half a point

_GENERATED = "its users are generated"
_NUMBERED = "its data have no ids: its users are numbers of rows"
_DELETED = "its rows of single users were deleted by the rule of retention"
_KEYED = "its ids are pseudonyms by a key that no other experiment has"
_OLDER = "an older version published it: it is compared from its next run on"
_UNREADABLE = "its exposures cannot be read: `exp doctor` says why"


@dataclass(frozen=True)
class _Candidate:
    """A published experiment that can be compared, and what would be read of it."""

    id: str
    window: Window
    same_ids: str
    buckets: Mapping[int, BucketFiles]

    @cached_property
    def files(self) -> str:
        """A hash of all that its users follow from: files and window."""
        names = [name for number in sorted(self.buckets) for name in self.buckets[number].names]
        return hashlib.sha256("\0".join([repr(self.window), *names]).encode()).hexdigest()

    @cached_property
    def times(self) -> tuple[datetime, datetime]:
        """Of its window the first instant, and the first after it."""
        return self.window.starts_at(), self.window.cutoff(self.window.end)

    def comparable(self, other: _Candidate) -> bool:
        """Whether both call users alike, as far as is known, and there is a moment that lies in both windows."""
        (start, end), (other_start, other_end) = self.times, other.times
        return self.same_ids == other.same_ids and start < other_end and other_start < end


class Held(NamedTuple):
    """An experiment's users: how many, and the sorted hashes below 2 ** (64 - halved)."""

    users: int
    hashes: Hashes
    halved: int


def count_overlaps(
    environment: Environment, registered: Iterable[Mapping[str, Any]], now: datetime, held: int = HELD
) -> Overlaps:
    """Count what pairs of running and recently ended experiments share whose windows overlap, and remember it.

    Pairs of which no file has changed keep their count, and nothing is read of them. `registered`: rows of the registry.
    """
    candidates, left_out = _candidates(environment, registered, now)
    before = counted_overlaps(environment) or Overlaps(now)
    wanted = {
        (a, b) for a, b in combinations(sorted(candidates), 2) if candidates[a].comparable(candidates[b])
    }
    files = {id: candidates[id].files for pair in wanted for id in pair}
    stands = {id for id in files if id in before.experiments and before.experiments[id].files == files[id]}
    kept = {key: pair for key, pair in before.by_pair.items() if key in wanted and stands.issuperset(key)}
    counting = [pair for pair in wanted if pair not in kept]
    read = sorted({id for pair in counting for id in pair})
    users: dict[str, Held] = {}
    for id in read:
        try:
            users[id] = held_users(candidates[id], max(held // len(read), FEWEST_HELD))
        except (ExpPlatformError, OSError):
            left_out[id] = _UNREADABLE
    kept |= {(a, b): _shared(a, b, users[a], users[b]) for a, b in counting if a in users and b in users}
    counts = {id: before.experiments[id].users for pair in kept for id in pair if id in stands}
    counts |= {id: one.users for id, one in users.items()}
    found = Overlaps(
        now,
        {id: Counted(n, files[id], candidates[id].same_ids) for id, n in sorted(counts.items())},
        tuple(kept[pair] for pair in sorted(kept)),
        dict(sorted(left_out.items())),
    )
    note_overlaps(environment, found)
    return found


def _candidates(
    environment: Environment, registered: Iterable[Mapping[str, Any]], now: datetime
) -> tuple[dict[str, _Candidate], dict[str, str]]:
    """The experiments that may be compared, and why others may not be; those that ended long ago are neither."""
    found, left_out = {}, {}
    for row in registered:
        id = row["experiment_id"]
        try:
            spec = json.loads(row["spec"])
            window = _window(spec["window"])
            if window.cutoff(window.end) < now - RECENT:
                continue
            if (why := _incomparable(row, spec["source"])) is not None:
                left_out[id] = why
                continue
            columns = ("user_id", "exposed_at")
            buckets = plan_buckets(environment, "exposures", id, row["exposures_snapshot"], columns)
            found[id] = _Candidate(id, window, row["pseudonym_key"] or "", buckets)
        except (KeyError, TypeError, ValueError):
            left_out[id] = _OLDER
        except (ExpPlatformError, OSError):
            left_out[id] = _UNREADABLE
    keys = Counter(one.same_ids for one in found.values())
    alone = {id for id, one in found.items() if one.same_ids and keys[one.same_ids] == 1}
    left_out |= dict.fromkeys(alone, _KEYED)
    return {id: one for id, one in found.items() if id not in alone}, left_out


def _window(written: Mapping[str, str]) -> Window:
    start, end = (date.fromisoformat(written[key]) for key in ("start", "end"))
    return Window(start, end, written["timezone"])


def _incomparable(row: Mapping[str, Any], source: Mapping[str, Any]) -> str | None:
    if source["kind"] == "synthetic":
        return _GENERATED
    if source["kind"] == "units" and "user_id" not in source["table"]["columns"]:
        return _NUMBERED
    return _DELETED if row["user_level_deleted_on"] is not None else None


def held_users(of: _Candidate, most: int) -> Held:
    """The users of an experiment within its window, of which at most so many are held. A bucket is in memory at a time."""
    users, halved, parts = 0, 0, list[Hashes]()
    for bucket in of.buckets.values():
        found = _of_bucket(bucket, of.window)
        users += len(found)  # a user is in one bucket, so none counts twice
        parts.append(_below(found, halved))
        while sum(map(len, parts)) > most:
            halved += 1
            parts = [_below(part, halved) for part in parts]
    return Held(users, np.sort(np.concatenate([np.empty(0, np.uint64), *parts])), halved)


def _of_bucket(bucket: BucketFiles, window: Window) -> Hashes:
    """A hash of each user of a bucket who was exposed within the window, or of whom nobody knows when."""
    rows = bucket.read()
    kind = rows["exposed_at"].type
    start, end = (
        pa.scalar(moment.astimezone(UTC), kind) for moment in (window.starts_at(), window.cutoff(window.end))
    )
    at = rows["exposed_at"]
    within = pc.and_(pc.greater_equal(at, start), pc.less(at, end)).fill_null(True)
    ids = pc.unique(rows["user_id"].filter(within)).drop_null()
    return np.unique(hashes(ids)) if len(ids) else np.empty(0, np.uint64)


def _below(found: Hashes, halved: int) -> Hashes:
    return found if halved == 0 else found[found < np.uint64(1 << (64 - halved))]


def _shared(first: str, second: str, a: Held, b: Held) -> Overlap:
    """What two have in common, scaled up where users below a bound stand for all."""
    halved = max(a.halved, b.halved)
    few, many = sorted((_below(one.hashes, halved) for one in (a, b)), key=len)
    at = np.searchsorted(many, few)
    common = int(np.count_nonzero(many[np.minimum(at, len(many) - 1)] == few)) if len(many) else 0
    users = min(common << halved, a.users, b.users)
    return Overlap(first, second, users, estimated=halved > 0)
