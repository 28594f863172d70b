"""Whose rows count: the users of an experiment as hashes, by which rows of others are dropped while a table is read.

A hash that two ids share lets a stranger's row through, and never drops a row that counts: `clean_bucket` compares ids.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.kernels.hashing import Hashes, hashes
from exp_platform.kernels.matching import plain
from exp_platform.kernels.measured import MAX_EXAMPLES

_BITS_PER_USER = 16  # of the filter before the search: one stranger in 16 is searched for
_MOST_BITS = 26
_TELLING = 10_000  # ids whose spelling is looked at

_STRANGER, _SEVERAL, _UNMAPPED = -1, -2, -3


@dataclass(frozen=True, eq=False)
class Members:
    """The hashes of all users of an experiment, different and ascending. It pickles to 8 bytes a user."""

    hashes: Hashes

    @staticmethod
    def of(parts: Iterable[Hashes]) -> Members:
        """The members that several tables have together."""
        found = [np.zeros(0, dtype=np.uint64), *parts]
        return Members(np.unique(np.concatenate(found)))

    def __len__(self) -> int:
        return len(self.hashes)

    def __getstate__(self) -> dict[str, Any]:
        return {"hashes": self.hashes}

    def have(self, ids: Any) -> NDArray[np.bool_]:
        """Which ids are of members, shape (rows,); null is nobody's."""
        hashed = hashes(ids)
        found = np.zeros(len(hashed), dtype=np.bool_)
        if not len(self.hashes):
            return found
        bits, table = self._filter
        # As signed numbers, which a leading zero leaves as they are: NumPy would copy others before it takes by them.
        maybe = np.flatnonzero(table.take((hashed >> np.uint64(64 - bits)).view(np.int64)))
        at = np.searchsorted(self.hashes, hashed[maybe])
        found[maybe] = self.hashes[np.minimum(at, len(self.hashes) - 1)] == hashed[maybe]
        return np.asarray(found & ids.is_valid().to_numpy())

    @cached_property
    def _filter(self) -> tuple[int, NDArray[np.bool_]]:
        """How many leading bits of a hash tell, and for which of their values some member has them."""
        bits = min(max(10, int(len(self.hashes) * _BITS_PER_USER).bit_length()), _MOST_BITS)
        table = np.zeros(1 << bits, dtype=np.bool_)
        table[self.hashes >> np.uint64(64 - bits)] = True
        return bits, table


@dataclass(frozen=True, eq=False)
class Spelled:
    """Of some rows of a fact the hashes of plainly spelled ids: members', and strangers' who are members but for the spelling."""

    members: Hashes
    strangers: Hashes
    examples: tuple[str, ...]  # of the latter


def spelled(ids: Any, mine: NDArray[np.bool_], plainly: Members) -> Spelled:
    """How ids of a fact are spelled; of very many rows the first ones tell. `plainly` are members by their plain ids."""
    members = pa.chunked_array([ids.filter(pa.array(mine)).slice(0, _TELLING).unique()])
    others = pa.chunked_array([ids.filter(pa.array(~mine)).slice(0, _TELLING).unique().drop_null()])
    here, there = hashes(plain(members).drop_null()), plain(others)
    otherwise = plainly.have(there) & ~np.isin(hashes(there), here)
    shown = others.filter(pa.array(otherwise))[:MAX_EXAMPLES].to_pylist()
    told = tuple(f"{other[:40]!r} there" for other in shown)
    return Spelled(here, hashes(there.filter(pa.array(otherwise))), told)


@dataclass(frozen=True, eq=False)
class Owners:
    """Whose ids are, shape (rows,) each: `user_id` is null for ids that are no member's, and three masks say of which kind they are."""

    user_id: Any  # pa.ChunkedArray of strings
    strangers: NDArray[np.bool_]  # of users who are not in the experiment
    unmapped: NDArray[np.bool_]  # which the map does not have
    several: NDArray[np.bool_]  # which stand for several users


@dataclass(frozen=True, eq=False)
class Identities:
    """Whose the ids of another space are: of all of them the hashes, ascending, and of members' ids the texts as well.

    `code` (shape of `hashes`) is the position in `others` and `users`, or says that an id is a stranger's or several users'.
    """

    hashes: Hashes
    code: NDArray[np.int32]
    others: Any  # pa.Array of members' ids of the other space
    users: Any  # ... and whose they are

    @staticmethod
    def of(pairs: pa.Table, exposed: Mapping[str, Any]) -> Identities:
        """From all different pairs of other_id and user_id without nulls, and the ids that were exposed, by the same two names."""
        counted = pairs["other_id"].value_counts()
        several = counted.field(0).filter(pc.greater(counted.field(1), 1))
        pairs = pairs.filter(pc.invert(pc.is_in(pairs["other_id"], value_set=several)))
        owners = pairs["user_id"].filter(pc.is_in(pairs["other_id"], value_set=exposed["other_id"]))
        members = pa.concat_arrays([*owners.chunks, exposed["user_id"]])
        counts = pc.is_in(pairs["user_id"], value_set=pc.unique(members))
        mine, strangers = pairs.filter(counts), pairs.filter(pc.invert(counts))["other_id"]
        hashed = [hashes(mine["other_id"]), hashes(strangers), hashes(several)]
        kinds = np.repeat([0, _STRANGER, _SEVERAL], [len(part) for part in hashed]).astype(np.int32)
        kinds[: len(mine)] = np.arange(len(mine))
        order = np.argsort(np.concatenate(hashed), kind="stable")
        texts = (_one_array(mine[name]) for name in ("other_id", "user_id"))
        return Identities(np.concatenate(hashed)[order], kinds[order], *texts)

    @property
    def of_several(self) -> int:
        """How many ids stand for several users."""
        return int((self.code == _SEVERAL).sum())

    def owners(self, ids: Any) -> Owners:
        """Whose these ids of the other space are; null is nobody's and of no kind."""
        code, there = np.full(len(ids), _UNMAPPED, dtype=np.int64), ids.is_valid().to_numpy()
        if len(self.hashes):
            hashed = hashes(ids)
            at = np.minimum(np.searchsorted(self.hashes, hashed), len(self.hashes) - 1)
            code = np.where(self.hashes[at] == hashed, self.code[at], code)
        position = pa.array(np.maximum(code, 0), mask=code < 0)
        same = (
            pc.equal(self.others.take(position), _one_array(ids))
            .fill_null(False)
            .to_numpy(zero_copy_only=False)
        )
        code[(code >= 0) & ~same] = _UNMAPPED  # another id with the same hash
        users = self.users.take(pa.array(np.maximum(code, 0), mask=(code < 0) | ~there))
        kinds = (there & (code == kind) for kind in (_STRANGER, _UNMAPPED, _SEVERAL))
        return Owners(pa.chunked_array([users]), *kinds)


def _one_array(column: Any) -> Any:
    return pa.concat_arrays([*column.chunks, pa.array([], pa.string())])
