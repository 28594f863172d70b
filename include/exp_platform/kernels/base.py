"""What was published of one bucket before, to which the rows of new files are added, and why they sometimes cannot be.

Added and read at once must give the same rows and the same `Measured`. What of `Measured` adds up over rows, and what does not:

- By each row itself, so a run counts its own and adds them (`RowCounts`): rows_in, nulls, null_words, malformed, and of left_out
  LINE, FORGOTTEN, MALFORMED and NULL. Of `nulls` the values are counted by event, as which events' values are missed depends
  on the metrics of the day. Which ids are placeholders depends on all rows of the bucket: `kernels.nobody` decides anew,
  and a decision that differs from the one by which rows were published makes the addition inexact.
- By a row and its user's equal rows, so they add up too: duplicates, DUPLICATE, and the grain of what is no duplicate.
  Where the row that came later is the one to keep, the addition is inexact.
- By a row and its user's exposures, so they hold while those do (`kernels.sightings`): outcomes, around, found, found_before,
  and with them newest, heaviest, users_out, squared_rows and rows_out of outcomes.
- Of all exposures and of all rows that lie aside, which are few, so they are counted anew: future, outside, unknown_variants, users,
  crossovers, strangers, NO_EXPOSURE, NOT_READ and TOO_OLD, and the sizes of exposures.
- `examples` are not kept: values of single rows have no place in the registry. After an addition they show new rows alone.
- in_series and identities are of sources that are always read as a whole.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa

from exp_platform.aggregates import LeftOut
from exp_platform.config.experiment import Experiment
from exp_platform.config.kinds import VALUED
from exp_platform.config.sources import EventsSource, UnitsSource
from exp_platform.errors import NotExactError
from exp_platform.kernels.coded import CODED, Coded
from exp_platform.kernels.conform import INSTANT, STRINGS
from exp_platform.kernels.dates import OF_EVENT
from exp_platform.kernels.measured import Counts, Measured
from exp_platform.kernels.nobody import PLACEHOLDERS, Earlier
from exp_platform.kernels.unit_days import events_read

ASIDE = "outcomes_aside"

VALUE = "outcomes.value"
NO_EVENT = ""  # among `RowCounts.missing`: no event's name is empty

MOST_EVENTS = 1_000  # of which counts are kept

_NEVER_JUDGED = (LeftOut.LINE.value, LeftOut.FORGOTTEN.value)  # whether they name somebody
_INCOMPLETE = (LeftOut.MALFORMED.value, LeftOut.NULL.value)
_NO_ROWS = {"rows": 0, "local": 0, "utc": 0, "hours": 0}


@dataclass(frozen=True)
class RowCounts:
    """What adds up over the raw rows of one bucket, whatever files they came in; kept with the publication."""

    measured: Measured = field(default_factory=Measured)  # the grain of all events, read or not
    missing: Counts = field(
        default_factory=dict
    )  # event -> rows without a value or with one that cannot be read
    # Table -> id that may be a placeholder, in lower case -> rows, whether they count as somebody's or not
    placeholders: dict[str, Counts] = field(default_factory=dict)
    complete: bool = True  # whether every event is there

    def merge(self, other: RowCounts) -> RowCounts:
        """Of these rows and of some more; where not every event was kept, only of those that were."""
        return RowCounts(
            self.measured.merge(other._only(self).measured),
            _added(self.missing, other._only(self).missing),
            {
                table: _added(self.placeholders.get(table, {}), other.placeholders.get(table, {}))
                for table in {*self.placeholders, *other.placeholders}
            },
            self.complete and other.complete,
        )

    def told(self, experiment: Experiment) -> Measured:
        """As quality reads it. Raises NotExactError where a metric reads an event that was not kept."""
        measured, events = self.measured, events_read(experiment)
        if not self.complete and (unknown := [e for e in events if OF_EVENT + e not in measured.grain]):
            raise NotExactError(f"the rows of event {unknown[0]!r} were not counted while it was not read")
        nulls = dict(measured.nulls)
        if self.missing:
            read = {m.event for metric in experiment.metrics for m in metric.measures if m.agg in VALUED}
            missing = sum(rows for event, rows in self.missing.items() if event in read)
            nulls[VALUE] = max(missing - measured.malformed.get(VALUE, 0), 0)
        grain = {name: n for name, n in measured.grain.items() if not name.startswith(OF_EVENT)}
        if grain:
            grain |= {OF_EVENT + e: measured.grain.get(OF_EVENT + e, _NO_ROWS) for e in events}
        return replace(measured, nulls=nulls, grain=grain)

    def kept(self, experiment: Experiment) -> RowCounts:
        """What is kept of it: no value of a row, and of very many events those that are read and the most frequent."""
        without = replace(self, measured=replace(self.measured, examples={}))
        rows = {
            n.removeprefix(OF_EVENT): c["rows"]
            for n, c in self.measured.grain.items()
            if n.startswith(OF_EVENT)
        }
        if len(rows) <= MOST_EVENTS:
            return without
        read = events_read(experiment)
        others = sorted(rows.keys() - {*read}, key=lambda event: (-rows[event], event))
        grain = {
            OF_EVENT + e: _NO_ROWS for e in read
        } | without.measured.grain  # none of them is unknown later
        return replace(without, measured=replace(without.measured, grain=grain))._of(
            [*read, *others][:MOST_EVENTS]
        )

    def to_json(self) -> dict[str, Any]:
        """A JSON object, without what is empty."""
        measured = {key: value for key, value in self.measured.to_json().items() if value}
        return asdict(self) | {"measured": measured}

    @staticmethod
    def from_json(data: Mapping[str, Any]) -> RowCounts:
        """The inverse of `to_json`."""
        return RowCounts(**{**data, "measured": Measured.from_json(data["measured"])})

    def _only(self, base: RowCounts) -> RowCounts:
        """The same, of the events alone that the base has counts of."""
        if base.complete:
            return self
        return self._of([n.removeprefix(OF_EVENT) for n in base.measured.grain if n.startswith(OF_EVENT)])

    def _of(self, events: Sequence[str]) -> RowCounts:
        names = {OF_EVENT + event for event in events}
        grain = {n: c for n, c in self.measured.grain.items() if n in names or not n.startswith(OF_EVENT)}
        missing: Counts = {}
        for event, rows in self.missing.items():
            event = event if OF_EVENT + event in names else NO_EVENT
            missing[event] = missing.get(event, 0) + rows
        return replace(self, measured=replace(self.measured, grain=grain), missing=missing, complete=False)


def _none() -> None:
    """Nothing is known by user."""


def _nothing() -> Mapping[str, str]:
    """Nothing is said of it."""
    return {}


def _yes() -> bool:
    """No file can be missing."""
    return True


@dataclass(frozen=True, eq=False)
class Base:
    """One bucket as it was published.

    `read` gives columns of `exposures`, `outcomes` or `outcomes_aside`, of all files of the bucket and always in the same order
    of rows. What lies aside stays there for a while when it counts later. `sightings` are those of the outcomes, None where there are none.
    """

    counts: RowCounts
    read: Callable[[str, Sequence[str]], pa.Table]
    sightings: Callable[[], tuple[pa.Table, Mapping[str, str]] | None] = _none  # rows and footer
    footer: Callable[[], Mapping[str, str]] = _nothing  # of the sightings alone
    is_there: Callable[[], bool] = _yes  # whether all its files are

    def earlier(self, tables: Iterable[str]) -> dict[str, Earlier]:
        """What its raw rows say of placeholders, by raw table."""
        return {name: self._earlier(name) for name in tables}

    def _earlier(self, table: str) -> Earlier:
        measured = self.counts.measured
        left_out, nulls = measured.left_out.get(table, {}), measured.nulls.get(f"{table}.user_id", 0)
        words = measured.null_words.get(f"{table}.user_id", {})
        nobody = frozenset(words.keys() & set(PLACEHOLDERS))
        judged = measured.rows_in.get(table, 0) - sum(left_out.get(why, 0) for why in _NEVER_JUDGED)
        # Nobody knows how many users there are in rows that were not complete
        incomplete = sum(left_out.get(why, 0) for why in _INCOMPLETE) - nulls
        return Earlier(
            rows=judged - nulls + sum(words[word] for word in nobody),
            users=partial(self._users, table, incomplete),
            placeholders=self.counts.placeholders.get(table, {}),
            nobody=nobody,
        )

    def _users(self, table: str, incomplete: int) -> tuple[int, int]:
        """How many users its raw rows have at least, and at most."""
        published = ("outcomes", ASIDE) if table == "outcomes" else ("exposures",)
        users = pa.concat_tables([self.read(name, ("user_id",)) for name in published])["user_id"]
        least = int(np.count_nonzero(Coded.distinct(users).rows))
        return least, least + incomplete


_TYPES = {
    "user_id": CODED,
    "variant_id": CODED,
    "event": CODED,
    "exposed_at": INSTANT,
    "occurred_at": INSTANT,
    "value": pa.float64(),
    "row_key": pa.int64(),
    "attributes": STRINGS,
}


def no_rows(table: str, columns: Sequence[str]) -> pa.Table:
    """Columns of a published table without rows: what a base reads that has none."""
    return pa.table({column: pa.array([], _TYPES.get(column, pa.string())) for column in columns})


def may_grow(experiment: Experiment) -> bool:
    """Whether rows of new files can be added to what was published of an experiment's source at all."""
    source = experiment.source
    if isinstance(source, EventsSource):
        return not (source.facts or source.key or source.identities)
    return isinstance(source, UnitsSource) and "user_id" in source.table.columns


def _added(one: Counts, other: Counts) -> Counts:
    return {key: one.get(key, 0) + other.get(key, 0) for key in {**one, **other}}
