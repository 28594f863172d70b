"""The users of one bucket: who was assigned to which variant, when, and since when they are crossovers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.config.allocation import CROSS
from exp_platform.config.experiment import Experiment
from exp_platform.kernels.coded import Coded, Codes, sorting
from exp_platform.kernels.local_days import Dates, Ints, LocalDays, instant, instants

NEVER = np.iinfo(np.int64).max
UNKNOWN = "unknown"  # the value of an attribute that the first exposure does not have


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
    codes: Codes  # of each id, among the different ones of the exposures (`Coded.distinct`)
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
    window, unknown = experiment.window, len(experiment.variants)
    start, cutoff = instant(window.starts_at()), instant(window.cutoff(min(as_of, window.end)))
    named, at = Coded.distinct(exposures["user_id"]), instants(exposures["exposed_at"])
    ids, user, variant = named.values, named.codes, variant_ranks(exposures["variant_id"], experiment)
    inside = (at >= start) & (at < cutoff) & (user >= 0)
    rows = None if inside.all() else np.flatnonzero(inside)
    if rows is not None:
        user, variant, at = user[rows], variant[rows], at[rows]

    first_at = _smallest(user, at, len(ids))
    earliest = at == first_at[user]
    first_variant = _smallest(user[earliest], variant[earliest], len(ids))
    other = (variant != first_variant[user]) & (variant != unknown)
    crossed_at = _smallest(user[other], at[other], len(ids))

    kept = _sorted(ids, first_at, np.flatnonzero(first_variant < unknown))
    first = np.flatnonzero(earliest & (variant == first_variant[user]))
    return Users(
        ids=ids.take(pa.array(kept)),
        codes=kept,
        variants=first_variant[kept],
        exposed_at=first_at[kept],
        exposed_on=LocalDays.covering(window, start, min(as_of, window.end)).dates(first_at[kept]),
        crossed_at=crossed_at[kept],
        attributes=_attributes(
            exposures,
            experiment.attributes,
            first if rows is None else rows[first],
            user[first],
            kept,
            len(ids),
        ),
    )


def variant_ranks(column: Any, experiment: Experiment) -> Codes:
    """Positions of the variants, the number of variants for any other value; so an unknown one loses every tie."""
    rank = Coded.of(column).positions(pa.array([v.id for v in experiment.variants], pa.string()))
    return np.asarray(np.where(rank < 0, len(experiment.variants), rank))


def _smallest(user: Codes, value: Ints, users: int) -> Ints:
    smallest = np.full(users, NEVER)
    np.minimum.at(smallest, user, value)
    return smallest


def _sorted(ids: Any, exposed_at: Ints, known: Codes) -> Codes:
    """Users by first exposure, then id, which are only compared where instants tie."""
    at = exposed_at[known]
    order = known[sorting(at - at.min(initial=NEVER))]
    at = exposed_at[order]
    alike = np.flatnonzero(at[1:] == at[:-1])
    if not len(alike):
        return order
    tied = np.union1d(alike, alike + 1)
    by = pa.table({"at": at[tied], "id": ids.take(pa.array(order[tied]))})
    order[tied] = order[tied][pc.sort_indices(by, sort_keys=[("at", "ascending"), ("id", "ascending")])]
    return order


def _attributes(
    exposures: pa.Table, names: Sequence[str], rows: Codes, user: Codes, kept: Codes, users: int
) -> dict[str, Attribute]:
    """The attributes that the users' first exposures, these rows, have."""
    if not names:
        return {}
    maps = exposures["attributes"].combine_chunks()
    offsets = maps.offsets.to_numpy()
    length = np.diff(offsets)
    row_of = np.repeat(np.arange(len(maps)), length)
    keys, items = (
        Coded.distinct(side.slice(offsets[0], offsets[-1] - offsets[0])) for side in (maps.keys, maps.items)
    )
    whose = np.full(len(maps), -1)
    whose[rows] = user
    found = {}
    for name in names:
        entry = np.flatnonzero(keys.positions(pa.array([name])) == 0)
        entry = entry[whose[row_of[entry]] >= 0]
        found[name] = _attribute(items, entry, whose, row_of[entry], kept, users)
    return found


def _attribute(items: Coded, entry: Codes, whose: Codes, row: Codes, kept: Codes, users: int) -> Attribute:
    code = items.codes[entry]
    occurring = np.unique(code[code >= 0])
    values = items.values.take(pa.array(occurring)).to_pylist()
    names = tuple(sorted({*values, UNKNOWN}))
    position = {value: i for i, value in enumerate(names)}
    rank = np.full(len(items.values) + 1, position[UNKNOWN])  # the last one is of null
    rank[occurring] = [position[value] for value in values]
    code_of = np.full(users, position[UNKNOWN] + len(names))  # any value goes before a missing one
    np.minimum.at(code_of, whose[row], rank[code])
    return Attribute(code_of[kept] % len(names), names)
