"""Whose rows ingest leaves out, because they were forgotten, and what it stores in place of the others' ids."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.config.privacy import Key
from exp_platform.kernels.coded import by_value, coded, with_used_values
from exp_platform.kernels.in_context import Cleaned
from exp_platform.kernels.measured import SPELLED, Counts
from exp_platform.kernels.sightings import Sightings

LINES = "(whole row)"  # how the examples are named that are lines of a file


@dataclass(frozen=True)
class Privacy:
    """What a run does with ids. It pickles to the tasks with their plan, so it is never written or shown."""

    pseudonyms: Key | None = None  # None: ids are stored as they come
    forgotten_by: Key | None = None  # the key of `forgotten`
    forgotten: frozenset[str] = frozenset()  # keyed hashes of ids

    @property
    def shows_lines(self) -> bool:
        """Whether messages may quote ids and lines of files: a line that cannot be read may be a forgotten user's."""
        return self.pseudonyms is None and not self.forgotten


def hashed(key: Key, ids: Any) -> Any:
    """A column of ids as a dictionary of their keyed hashes; null stays null. Each different id is hashed once."""
    return by_value(
        with_used_values(coded(ids)), lambda found: pa.array(key.hashes(found.to_pylist()), pa.string())
    )


def without_forgotten(
    raw: Mapping[str, Sequence[pa.Table]], privacy: Privacy
) -> tuple[dict[str, list[pa.Table]], Counts]:
    """One bucket's raw tables without the rows of forgotten users, and how many rows each table lost."""
    kept = {name: list(parts) for name, parts in raw.items()}
    if privacy.forgotten_by is None or not privacy.forgotten:
        return kept, {}
    users = [pc.unique(part["user_id"]) for parts in kept.values() for part in parts]
    if not users:
        return kept, {}
    different = pc.unique(pa.chunked_array(users, pa.string())).drop_null()
    hashes = privacy.forgotten_by.hashes(different.to_pylist())
    gone = different.filter(pa.array([one in privacy.forgotten for one in hashes], pa.bool_()))
    if not len(gone):
        return kept, {}
    lost: Counts = {}
    for name, parts in kept.items():
        rows = sum(map(len, parts))
        kept[name] = [part.filter(pc.invert(pc.is_in(part["user_id"], value_set=gone))) for part in parts]
        if rows > (left := sum(map(len, kept[name]))):
            lost[name] = rows - left
    return kept, lost


def with_pseudonyms(cleaned: Cleaned, key: Key) -> Cleaned:
    """The same rows with keyed hashes for user ids, in the same order.

    Event ids, which often contain the user's, have done their work and are left out. Nothing that is measured names an id:
    of the examples lines of files and ids spelled otherwise go. Nothing is kept by user: no later run adds to pseudonyms.
    """
    measured = cleaned.measured
    shown = {
        name: values
        for name, values in measured.examples.items()
        if name != SPELLED and not name.endswith(LINES)
    }
    heaviest = {
        table: dict(zip(key.hashes(list(users)), users.values(), strict=True))
        for table, users in measured.heaviest.items()
    }
    rows = {name: _renamed(getattr(cleaned, name), key) for name in ("exposures", "outcomes", "aside")}
    told = replace(measured, examples=shown, heaviest=heaviest)
    return replace(cleaned, **rows, measured=told, seen=Sightings.none(pa.array([], pa.string())))


def _renamed(rows: pa.Table, key: Key) -> pa.Table:
    names = rows.column_names
    rows = rows.set_column(names.index("user_id"), "user_id", hashed(key, rows["user_id"]))
    return rows.set_column(names.index("event_id"), "event_id", pa.nulls(len(rows), pa.string()))
