"""One bucket's users and their unit days: from its rows, or from stored unit days and the rows of files that came since.

A file of unit days says in its footer which files it is made of. So what it may be added to follows from the files alone,
whoever wrote, compacted, erased or restored them in the meantime.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import date

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray
from pyiceberg.io import FileIO

from exp_platform.config.experiment import Experiment
from exp_platform.kernels.coded import Coded
from exp_platform.kernels.stored_days import (
    CODED,
    COLUMNS,
    Origin,
    Roster,
    added_to,
    arranged,
    can_be_stored,
    read_back,
    together,
    unread_now,
    unsettled,
)
from exp_platform.kernels.trigger import triggered
from exp_platform.kernels.unit_days import (
    EXPOSURE,
    EventDays,
    UnitDays,
    Unread,
    rows_of,
    unit_days,
    with_exposures,
)
from exp_platform.kernels.users import Users, first_exposures
from exp_platform.tables.files import BucketFiles, Writer, read_own
from exp_platform.tables.schemas import arrow_schema

ORIGIN = "exp_platform.origin"  # in the footer of a file of unit days

_EXPOSURES = ("user_id", "variant_id")
_OUTCOMES = ("user_id", "event")
_NOBODY = pa.array([], pa.string())


@dataclass(frozen=True)
class Bucket:
    """What one task reads; pickles to a few kilobytes."""

    number: int
    exposures: BucketFiles
    outcomes: BucketFiles | None
    stored: tuple[str, ...] = ()  # the files of unit days of this bucket


@dataclass(frozen=True, eq=False)
class BucketRows:
    """One bucket's users with their unit days, of all published rows; under a trigger `exposed` has both by first exposure instead."""

    users: Users
    days: UnitDays
    exposures: pa.Table
    exposed: tuple[Users, UnitDays] | None
    origin: Origin | None  # of these unit days; None where they are not stored with it
    standing: tuple[str, ...] = ()  # stored files that need not be written anew
    new: Sequence[
        Mapping[str, EventDays]
    ] = ()  # what stands in none of them, as the table has it, a file each

    def store(self, bucket: int, experiment: Experiment, writer: Writer) -> tuple[str, ...]:
        """Write what is new; the files of all unit days, of which the newest says what they are made of."""
        paths = self.standing
        for left, part in zip(reversed(range(len(self.new))), self.new, strict=True):
            said = {}
            if self.origin is not None and not left:
                said[ORIGIN] = replace(self.origin, beside=paths).to_json()
            paths += (writer.write(bucket, rows_of(part, self.users, experiment), said),)
        return paths


@dataclass(frozen=True, eq=False)
class _Stored:
    """Files of stored unit days and what they are made of."""

    names: tuple[str, ...]
    files: list[pa.Table]
    base: Origin


@dataclass(frozen=True)
class Reading:
    """How buckets are read: of which experiment, up to which local date, and what stored unit days must be of."""

    experiment: Experiment
    until: date
    key: str
    events: tuple[str, ...]  # of all metrics, whichever of them `experiment` has
    io: FileIO
    columns: tuple[str, ...]  # of outcomes

    def rows(self, bucket: Bucket) -> BucketRows:
        """The bucket's users and unit days, from stored ones where they are a part of what is asked for."""
        origin = self._origin(bucket)
        stored = self._stored(bucket, origin)
        if stored is None:
            return self._anew(bucket, origin)
        base = stored.base
        old, new = _parted(bucket.exposures, base.exposures)
        exposures = _joined([part.read(_EXPOSURES) for part in (old, new) if part])
        ids = Coded.of(exposures["user_id"]).values
        if not base.roster.begins(ids):
            return self._anew(bucket, origin)
        origin = replace(origin, roster=Roster.of(ids))
        users = first_exposures(exposures, self.experiment, self.experiment.window.end)
        if (base.events, base.exposures, base.outcomes) == (origin.events, origin.exposures, origin.outcomes):
            events = _days(read_back(stored.files, users, self.experiment, _NOBODY), users)
            return BucketRows(users, UnitDays(events, base.unread), exposures, None, base, stored.names)
        known = exposures.slice(0, old.rows if old else 0)
        came = pc.unique(exposures["user_id"].slice(len(known)).cast(pa.string()))
        days, standing, more = self._brought_forward(bucket, stored, users, known, came)
        return BucketRows(users, days, exposures, None, origin.with_unread(days.unread), standing, more)

    def _origin(self, bucket: Bucket) -> Origin:
        outcomes = bucket.outcomes.names if bucket.outcomes else ()
        return Origin(self.key, self.events, bucket.exposures.names, outcomes)

    def _stored(self, bucket: Bucket, origin: Origin) -> _Stored | None:
        """Stored unit days; None where there are none, or none that these rows may be added to."""
        if not bucket.stored or not can_be_stored(self.experiment):
            return None
        try:
            found = {name: read_own(self.io, name, COLUMNS, CODED) for name in bucket.stored}
        except (OSError, pa.ArrowException, KeyError):
            return None  # gone or damaged, or of other columns: the rows have all that it had
        for name, (_, footer) in found.items():
            base = Origin.from_json(footer[ORIGIN]) if ORIGIN in footer else None
            # The newest names all others, and no file names a newer one
            if base is not None and {name, *base.beside} == {*found}:
                files = [rows for rows, _ in found.values()]
                return _Stored(bucket.stored, files, base) if base.is_base_of(origin) else None
        return None

    def _anew(self, bucket: Bucket, origin: Origin) -> BucketRows:
        exposures = _joined([bucket.exposures.read(_EXPOSURES)])
        users = first_exposures(exposures, self.experiment, self.experiment.window.end)
        outcomes = self._together([bucket.outcomes.read(_OUTCOMES)] if bucket.outcomes else [])
        days, exposed = unit_days(users, outcomes, self.experiment, self.until), None
        if self.experiment.trigger is not None:
            exposed = users, days
            users = triggered(users, outcomes, self.experiment, self.until)
            days = unit_days(users, outcomes, self.experiment, self.until)
        kept = None
        if can_be_stored(self.experiment):
            roster = Roster.of(Coded.of(exposures["user_id"]).values)
            kept = replace(origin.with_unread(days.unread), roster=roster)
        return BucketRows(users, days, exposures, exposed, kept, new=[with_exposures(users, days)])

    def _brought_forward(
        self, bucket: Bucket, stored: _Stored, users: Users, known: pa.Table, came: pa.Array
    ) -> tuple[UnitDays, tuple[str, ...], Sequence[Mapping[str, EventDays]]]:
        """Stored unit days and those of new rows, the stored files that stand, and the days that stand in none of them.

        Of users whose days are not what they were all rows are read again, and of events that were not read all rows for the
        first time; `came` are the ids that have new exposures.
        """
        base = stored.base
        old, new = _parted(bucket.outcomes, base.outcomes)
        before = first_exposures(_of(known, came), self.experiment, self.experiment.window.end)
        again = unsettled(came, before, users, base)
        unread_events = {*self.events} - {*base.events}
        parts, unread = [new.read(_OUTCOMES)] if new else [], Unread()
        if old and (len(again) or unread_events):
            rows = old.read(_OUTCOMES)
            were_read = ~_is_of(rows["event"], pa.array(sorted(unread_events), pa.string()))
            of_again = rows.filter(pa.array(were_read & _is_of(rows["user_id"], again)))
            parts += [of_again, rows.filter(pa.array(~were_read))]
            unread = unit_days(before, of_again, self.experiment, self.until).unread
            unread = replace(unread, not_read=unread.not_read + len(parts[-1]))
        added = unit_days(users, self._together(parts), self.experiment, self.until)
        settled = read_back(stored.files, users, self.experiment, again)
        stand, more = arranged(stored.files, settled, added_to(settled, added, users), users)
        days = UnitDays(
            _days([*(settled[number] for number in stand), *more], users),
            unread_now(base.unread, unread, added.unread),
        )
        return days, tuple(stored.names[number] for number in stand), more

    def _together(self, parts: Sequence[pa.Table]) -> pa.Table:
        return (
            pa.concat_tables(parts) if parts else arrow_schema("outcomes").empty_table().select(self.columns)
        )


def _joined(parts: Sequence[pa.Table]) -> pa.Table:
    """Rows of several files, each column in one chunk."""
    whole = pa.concat_tables(parts)
    at = whole.column_names.index("user_id")
    return whole.set_column(at, "user_id", Coded.distinct(whole["user_id"]).column).combine_chunks()


def _days(parts: Sequence[Mapping[str, EventDays]], users: Users) -> dict[str, EventDays]:
    """Parts of unit days as one, without the exposures that their table has beside them."""
    return together([{event: part[event] for event in part if event != EXPOSURE} for part in parts], users)


def _of(rows: pa.Table, users: pa.Array) -> pa.Table:
    return rows.filter(pa.array(_is_of(rows["user_id"], users)))


def _is_of(column: pa.ChunkedArray, wanted: pa.Array) -> NDArray[np.bool_]:
    if not len(wanted):
        return np.zeros(len(column), dtype=np.bool_)
    return np.asarray(Coded.of(column).positions(wanted) >= 0)


def _parted(files: BucketFiles | None, base: Iterable[str]) -> tuple[BucketFiles | None, BucketFiles | None]:
    """Those files of a bucket that are of the base, and the others."""
    if files is None:
        return None, None
    known = {*base}
    return files.among(known), files.among({*files.names} - known)
