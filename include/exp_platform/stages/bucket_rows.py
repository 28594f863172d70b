"""One bucket's users and their unit days: from its rows, or from stored unit days and the rows of files that came since.

A file of unit days says in its footer which files it is made of. So what it may be added to follows from the files alone,
whoever wrote, compacted, erased or restored them in the meantime.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import date

import pyarrow as pa
import pyarrow.compute as pc
from pyiceberg.io import FileIO

from exp_platform.config.experiment import Experiment
from exp_platform.kernels.coded import Coded
from exp_platform.kernels.stored_days import (
    CODED,
    COLUMNS,
    Origin,
    brought_forward,
    can_be_stored,
    read_back,
    together,
    unsettled,
)
from exp_platform.kernels.trigger import triggered
from exp_platform.kernels.unit_days import UnitDays, Unread, unit_days
from exp_platform.kernels.users import Users, first_exposures
from exp_platform.tables.files import BucketFiles, read_own
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
    stored: str | None = None  # a file of unit days of this bucket


@dataclass(frozen=True, eq=False)
class BucketRows:
    """One bucket's users with their unit days, of all published rows; under a trigger `exposed` has both by first exposure instead."""

    users: Users
    days: UnitDays
    exposures: pa.Table
    exposed: tuple[Users, UnitDays] | None
    origin: Origin | None  # of these unit days; None where they are not stored with it
    unchanged: bool = False  # they are those of the stored file


@dataclass(frozen=True)
class Reading:
    """How buckets are read: of which experiment, up to which local date, and what stored unit days must be of."""

    experiment: Experiment
    until: date
    key: str
    io: FileIO
    columns: tuple[str, ...]  # of outcomes

    def rows(self, bucket: Bucket) -> BucketRows:
        """The bucket's users and unit days, from stored ones where they are a part of what is asked for."""
        origin = self._origin(bucket)
        stored = self._stored(bucket, origin)
        if stored is None:
            return self._anew(bucket, origin)
        rows, base = stored
        old, new = _parted(bucket.exposures, base.exposures)
        exposures = pa.concat_tables([part.read(_EXPOSURES) for part in (old, new) if part]).combine_chunks()
        users = first_exposures(exposures, self.experiment, self.experiment.window.end)
        if base.exposures == origin.exposures and base.outcomes == origin.outcomes:
            events = together([read_back(rows, users, self.experiment, _NOBODY)], users)
            return BucketRows(users, UnitDays(events, base.unread), exposures, None, base, unchanged=True)
        known = exposures.slice(0, old.rows if old else 0)
        days = self._brought_forward(bucket, rows, base, users, known, exposures.slice(len(known)))
        return BucketRows(users, days, exposures, None, origin.with_unread(days.unread))

    def _origin(self, bucket: Bucket) -> Origin:
        return Origin(self.key, bucket.exposures.names, bucket.outcomes.names if bucket.outcomes else ())

    def _stored(self, bucket: Bucket, origin: Origin) -> tuple[pa.Table, Origin] | None:
        """Stored unit days and their origin; None where there are none, or none that these rows may be added to."""
        if bucket.stored is None or not can_be_stored(self.experiment):
            return None
        try:
            rows, footer = read_own(self.io, bucket.stored, COLUMNS, CODED)
        except (OSError, pa.ArrowException, KeyError):
            return None  # gone or damaged, or of other columns: the rows have all that it had
        base = Origin.from_json(footer[ORIGIN]) if ORIGIN in footer else None
        return (rows, base) if base is not None and base.is_base_of(origin) else None

    def _anew(self, bucket: Bucket, origin: Origin) -> BucketRows:
        exposures = bucket.exposures.read(_EXPOSURES).combine_chunks()
        users = first_exposures(exposures, self.experiment, self.experiment.window.end)
        outcomes = self._together([bucket.outcomes.read(_OUTCOMES)] if bucket.outcomes else [])
        if self.experiment.trigger is None:
            days = unit_days(users, outcomes, self.experiment, self.until)
            kept = origin.with_unread(days.unread) if can_be_stored(self.experiment) else None
            return BucketRows(users, days, exposures, None, kept)
        exposed = users, unit_days(users, outcomes, self.experiment, self.until)
        users = triggered(users, outcomes, self.experiment, self.until)
        return BucketRows(
            users, unit_days(users, outcomes, self.experiment, self.until), exposures, exposed, None
        )

    def _brought_forward(
        self, bucket: Bucket, rows: pa.Table, base: Origin, users: Users, known: pa.Table, came: pa.Table
    ) -> UnitDays:
        """Stored unit days, those of new rows, and those of all rows of users whose days are not what they were."""
        old, new = _parted(bucket.outcomes, base.outcomes)
        ids = pc.unique(came["user_id"].cast(pa.string()))
        before = first_exposures(_of(known, ids), self.experiment, self.experiment.window.end)
        again = unsettled(ids, before, users, base)
        parts, unread = [new.read(_OUTCOMES)] if new else [], Unread()
        if len(again) and old:
            parts.append(_of(old.read(_OUTCOMES), again))
            unread = unit_days(before, parts[-1], self.experiment, self.until).unread
        added = unit_days(users, self._together(parts), self.experiment, self.until)
        settled = read_back(rows, users, self.experiment, again)
        return brought_forward(base.unread, unread, added, settled, users)

    def _together(self, parts: Sequence[pa.Table]) -> pa.Table:
        return (
            pa.concat_tables(parts) if parts else arrow_schema("outcomes").empty_table().select(self.columns)
        )


def _of(rows: pa.Table, users: pa.Array) -> pa.Table:
    return rows.filter(pa.array(Coded.of(rows["user_id"]).positions(users) >= 0))


def _parted(files: BucketFiles | None, base: Iterable[str]) -> tuple[BucketFiles | None, BucketFiles | None]:
    """Those files of a bucket that are of the base, and the others."""
    if files is None:
        return None, None
    known = {*base}
    return files.among(known), files.among({*files.names} - known)
