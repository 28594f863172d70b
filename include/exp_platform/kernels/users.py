"""The users of one bucket: who was assigned to which variant, when, and since when they are crossovers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.config.allocation import CROSS
from exp_platform.config.experiment import Experiment
from exp_platform.kernels.local_days import Dates, Ints, LocalDays, instant, instants

NEVER = np.iinfo(np.int64).max
UNKNOWN = "unknown"  # the value of an attribute that the first exposure does not have

Codes = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Attribute:
    """One attribute of every user: `values[codes[i]]`; the values are sorted."""

    codes: Codes
    values: tuple[str, ...]


@dataclass(frozen=True, eq=False)
class Users:
    """Users by when their days begin, then id: those whose days began before any instant are a prefix. Arrays of shape (users,).

    Days begin with first exposure or, where the experiment has a trigger, with that; `NEVER` for who has not reached it.
    """

    ids: Any  # pa.Array of strings
    variants: Codes  # position in the experiment's variants
    exposed_at: Ints
    exposed_on: Dates
    crossed_at: Ints  # first exposure to another variant, or NEVER
    attributes: dict[str, Attribute]
    triggered_at: Ints | None = None
    triggered_on: Dates | None = None

    @property
    def began_at(self) -> Ints:
        """When each user's days begin."""
        return self.exposed_at if self.triggered_at is None else self.triggered_at

    @property
    def began_on(self) -> Dates:
        """The local dates of that; of who has not begun that of first exposure."""
        return self.exposed_on if self.triggered_on is None else self.triggered_on

    def __len__(self) -> int:
        return len(self.exposed_at)


def crossed(attributes: Sequence[Attribute]) -> Attribute:
    """Several attributes as one: its values are the combinations that occur, such as `mobile × DE`."""
    combined = np.ravel_multi_index(
        tuple(a.codes for a in attributes), tuple(len(a.values) for a in attributes)
    )
    found, codes = np.unique(combined, return_inverse=True)
    parts = np.unravel_index(found, tuple(len(a.values) for a in attributes))
    values = zip(
        *(np.array(a.values, dtype=object)[p] for a, p in zip(attributes, parts, strict=True)), strict=True
    )
    return Attribute(codes, tuple(CROSS.join(combination) for combination in values))


def first_exposures(exposures: pa.Table, experiment: Experiment, as_of: date) -> Users:
    """Assign the users of one bucket by their first exposure inside the window and up to `as_of`.

    `exposures` has user_id, variant_id, exposed_at (UTC) and, where it has any, attributes; rows in any order.
    Of exposures at the same instant the variant that the experiment lists first wins and, of equal rows with different
    attributes, the smallest value. Users whose first variant is unknown are left out.
    """
    window = experiment.window
    start, cutoff = instant(window.starts_at()), instant(window.cutoff(min(as_of, window.end)))
    rows = _between(exposures, start, cutoff)
    at, variant = instants(rows["exposed_at"]), _variant_ranks(rows["variant_id"], experiment)
    encoded = pc.dictionary_encode(rows["user_id"].combine_chunks())
    user, ids = encoded.indices.to_numpy().astype(np.int64), encoded.dictionary

    first_at = _smallest(user, at, len(ids))
    earliest = at == first_at[user]
    first_variant = _smallest(user[earliest], variant[earliest], len(ids))
    unknown = len(experiment.variants)
    other = (variant != first_variant[user]) & (variant != unknown)
    crossed_at = _smallest(user[other], at[other], len(ids))

    kept = _sorted(ids, first_at, first_variant < unknown)
    first = earliest & (variant == first_variant[user])
    firsts = rows if first.all() else rows.filter(pa.array(first))
    return Users(
        ids=ids.take(pa.array(kept)),
        variants=first_variant[kept],
        exposed_at=first_at[kept],
        exposed_on=LocalDays.covering(window, start, min(as_of, window.end)).dates(first_at[kept]),
        crossed_at=crossed_at[kept],
        attributes={s: _attribute(s, firsts, user[first], kept, len(ids)) for s in experiment.attributes},
    )


def _between(exposures: pa.Table, start: int, cutoff: int) -> pa.Table:
    complete = pc.and_(exposures["user_id"].is_valid(), exposures["exposed_at"].is_valid())
    if not pc.all(complete, min_count=0).as_py():
        exposures = exposures.filter(complete)
    at = instants(exposures["exposed_at"])
    inside = (at >= start) & (at < cutoff)
    return exposures if inside.all() else exposures.filter(pa.array(inside))


def _variant_ranks(column: Any, experiment: Experiment) -> Codes:
    """Positions of the variants, the number of variants for any other value; so an unknown one loses every tie."""
    rank = pc.index_in(column, value_set=pa.array([v.id for v in experiment.variants], column.type))
    return np.asarray(rank.fill_null(len(experiment.variants)).to_numpy(), dtype=np.int64)


def _smallest(user: Codes, value: Ints, users: int) -> Ints:
    smallest = np.full(users, NEVER)
    np.minimum.at(smallest, user, value)
    return smallest


def _sorted(ids: Any, exposed_at: Ints, known: NDArray[np.bool_]) -> Codes:
    by = pa.table({"exposed_at": exposed_at, "id": ids})
    order = pc.sort_indices(by, sort_keys=[("exposed_at", "ascending"), ("id", "ascending")]).to_numpy()
    return np.asarray(order[known[order]], dtype=np.int64)


def _attribute(name: str, firsts: pa.Table, user: Codes, kept: Codes, users: int) -> Attribute:
    maps = firsts["attributes"].combine_chunks()
    offsets = maps.offsets.to_numpy()
    entry = np.flatnonzero(pc.equal(maps.keys, name).to_numpy(zero_copy_only=False))
    row = np.searchsorted(offsets, entry, side="right") - 1
    there = (row >= 0) & (row < len(maps))  # a slice's children hold the whole
    entry, row = entry[there], row[there]
    found = maps.items.take(pa.array(entry)).fill_null(UNKNOWN).dictionary_encode()
    names = tuple(sorted({*found.dictionary.to_pylist(), UNKNOWN}))
    position = {value: i for i, value in enumerate(names)}
    rank = np.array([position[value] for value in found.dictionary.to_pylist()], dtype=np.int64)
    code = np.full(len(maps), position[UNKNOWN] + len(names))  # any value goes before a missing one
    code[row] = rank[found.indices.to_numpy()]
    return Attribute(_smallest(user, code, users)[kept] % len(names), names)
