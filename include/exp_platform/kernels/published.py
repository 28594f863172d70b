"""One bucket's published rows beside new ones: what new rows are measured against, and whether the published ones may stay.

Columns that need not be read are not: users, times and keys of all rows, all else of those few that a new row repeats.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource, UnitsSource
from exp_platform.errors import NotExactError
from exp_platform.kernels.base import ASIDE, Base
from exp_platform.kernels.coded import CODED, among, coded_together, plain
from exp_platform.kernels.conform import INSTANT
from exp_platform.kernels.dates import OF_EVENT, later, shifted, with_dates
from exp_platform.kernels.duplicates import pairs
from exp_platform.kernels.measured import Counts
from exp_platform.kernels.staged_rows import ROW_KEY, exposures_of, outcomes_of
from exp_platform.kernels.unit_days import horizon
from exp_platform.kernels.users import Users, first_exposures

_SEEN = ("user_id", "variant_id", "exposed_at", ROW_KEY)
_HAPPENED = ("user_id", "event", "occurred_at", ROW_KEY)
_ALL = (*_HAPPENED, "value", "event_id")

_NOTHING = pa.table(
    {
        **{name: pa.array([], CODED) for name in ("user_id", "variant_id", "event")},
        **{name: pa.array([], INSTANT) for name in ("exposed_at", "occurred_at")},
    }
)

Positions = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Published:
    """Rows that count of a base, and those that wait aside; without a base there are none."""

    base: Base | None
    exposures: pa.Table
    outcomes: pa.Table
    waiting: pa.Table
    positions: Positions  # of the waiting rows in the stored table: those that have come to count stay in it

    @staticmethod
    def of(base: Base | None, experiment: Experiment) -> Published:
        """Read what new rows are judged against."""
        if base is None:
            seen, happened = exposures_of(_NOTHING).select(_SEEN), outcomes_of(_NOTHING).select(_HAPPENED)
            return Published(None, seen, happened, happened, np.zeros(0, dtype=np.int64))
        exposures, outcomes = base.read("exposures", _SEEN), base.read("outcomes", _HAPPENED)
        aside = base.read(ASIDE, _HAPPENED)
        dated = with_dates(exposures, aside, experiment)
        exposed = pa.array(among(aside["user_id"], exposures["user_id"]))
        waits = pc.invert(counting(dated.outcomes, exposed, experiment))
        positions = np.flatnonzero(waits.to_numpy())
        waiting = aside if len(positions) == len(aside) else aside.filter(waits)
        return Published(base, exposures, outcomes, waiting, positions)

    def beside(self, tables: Mapping[str, pa.Table]) -> tuple[Published, dict[str, pa.Table]]:
        """It and new tables, with one dictionary of all their users."""
        if self.base is None:
            return self, dict(tables)
        mine = {"exposures": self.exposures, "outcomes": self.outcomes, "waiting": self.waiting}
        every = {f"published {name}": table for name, table in mine.items()} | dict(tables)
        users = coded_together({name: table["user_id"] for name, table in every.items()})
        every = {
            name: table.set_column(table.column_names.index("user_id"), "user_id", users[name])
            for name, table in every.items()
        }
        new = {name: every[name] for name in tables}
        return replace(self, **{name: every[f"published {name}"] for name in mine}), new

    @property
    def counted(self) -> tuple[int, int]:
        """How many rows of `exposures_and` and `waiting_and` were counted before."""
        return len(self.exposures), len(self.waiting)

    def exposures_and(self, new: pa.Table) -> pa.Table:
        """Its exposures, then new ones."""
        return self._and(self.exposures, new, _SEEN)

    def waiting_and(self, new: pa.Table) -> pa.Table:
        """Its waiting outcomes, then new ones."""
        return self._and(self.waiting, new, _HAPPENED)

    def outcomes_and(self, others: pa.Table) -> pa.Table:
        """Its outcomes, then others."""
        return self._and(self.outcomes, others, _HAPPENED)

    def _and(self, rows: pa.Table, new: pa.Table, columns: tuple[str, ...]) -> pa.Table:
        return new if self.base is None else pa.concat_tables([rows, new.select(columns).cast(rows.schema)])

    def moved(self, rows: Any, occurred_at: Any) -> pa.Table | None:
        """Those of the waiting rows that count by now, complete, at instants that the caller knows; None without a base."""
        if self.base is None:
            return None
        positions = pa.array(self.positions[rows.to_numpy()])
        if not len(positions):
            return outcomes_of(_NOTHING)
        found = outcomes_of(self.base.read(ASIDE, _ALL).take(positions))
        return found.set_column(
            found.column_names.index("occurred_at"), "occurred_at", occurred_at.filter(rows)
        )

    def without(
        self, exposures: pa.Table, outcomes: pa.Table, experiment: Experiment
    ) -> tuple[pa.Table, pa.Table, Counts]:
        """New rows without those that the base has, and how many those were by input table."""
        if self.base is None:
            return exposures, outcomes, {}
        users = _users(self.exposures, experiment)
        seen = self._repeated("exposures", exposures, self.exposures, users, outcomes, experiment)
        kept = exposures.filter(pa.array(~seen)) if seen.any() else exposures
        if isinstance(experiment.source, UnitsSource):
            gone = among(outcomes["user_id"], exposures["user_id"].filter(pa.array(seen)))
            return kept, outcomes.filter(pa.array(~gone)), {"units": int(seen.sum())}
        known = pa.concat_tables([self.outcomes, self.waiting])
        happened = self._repeated("outcomes", outcomes, known, users, outcomes, experiment)
        counts = {"exposures": int(seen.sum()), "outcomes": int(happened.sum())}
        return kept, outcomes.filter(pa.array(~happened)) if happened.any() else outcomes, counts

    def _repeated(
        self,
        name: str,
        new: pa.Table,
        known: pa.Table,
        users: Users,
        outcomes: pa.Table,
        experiment: Experiment,
    ) -> NDArray[np.bool_]:
        """Which new rows follow a row of the base. Raises NotExactError where one comes before it."""
        found = np.zeros(len(new), dtype=np.bool_)
        mine, theirs = pairs(new["user_id"], new[ROW_KEY], known["user_id"], known[ROW_KEY])
        if not len(mine):
            return found
        assert self.base is not None
        grain = {n: c for n, c in self.base.counts.measured.grain.items() if n.partition(".")[0] == name}
        mine_rows, base_rows = new.take(pa.array(mine)), known.take(pa.array(theirs))
        same, after = later(mine_rows, base_rows, users, grain, experiment)
        if not (same | after).all():
            raise NotExactError(f"a row of {name} came that is earlier than a published one of the same key")
        if same.any() and getattr(experiment.source, "dedupe", None) != "whole_row":
            self._require_same(name, mine_rows.filter(pa.array(same)), theirs[same], outcomes, experiment)
        found[mine] = True
        return found

    def _require_same(
        self, name: str, rows: pa.Table, positions: Positions, outcomes: pa.Table, experiment: Experiment
    ) -> None:
        """Of rows of one key and instant the smallest counts: that it is the published one is known where all are equal."""
        assert self.base is not None
        read, at = self.base.read, pa.array(positions)
        if name == "exposures":
            columns = ("variant_id", "attributes")
            same = read(name, columns).take(at).to_pylist() == rows.select(columns).to_pylist()
            if same and isinstance(experiment.source, UnitsSource):
                same = self._of(rows["user_id"], outcomes) == self._of(rows["user_id"], None)
        else:
            columns = ("event", "value")
            waiting = read(ASIDE, columns).take(pa.array(self.positions))
            known = pa.concat_tables([read(name, columns), waiting]).take(at)
            same = known.to_pylist() == rows.select(columns).to_pylist()
        if not same:
            raise NotExactError(f"a row of {name} came again, of the same key and instant, with other values")

    def _of(self, users: Any, new: pa.Table | None) -> list[Any]:
        """New outcomes of some users, or the published ones, sorted."""
        columns = ("user_id", "event", "occurred_at", "value")
        if new is None:
            assert self.base is not None
            stored = [self.base.read("outcomes", columns), self.base.read(ASIDE, columns)]
            new = pa.concat_tables(stored)
        mine = new.select(columns).filter(pa.array(among(new["user_id"], users)))
        mine = pa.table({column: plain(mine[column]) for column in columns})
        return list(mine.sort_by([(column, "ascending") for column in columns]).to_pylist())

    def require_unmoved(self, exposures: pa.Table, experiment: Experiment) -> None:
        """Raises NotExactError where dates stand by a first exposure that another one comes before now."""
        if self.base is None or not isinstance(experiment.source, EventsSource):
            return
        grain = self.base.counts.measured.grain
        if not any(n["local"] or n["utc"] for name, n in grain.items() if name.startswith(OF_EVENT)):
            return
        before, now = _users(self.exposures, experiment), _users(exposures, experiment)
        moved = _moved(before, now)
        rows = self.outcomes.filter(pa.array(among(self.outcomes["user_id"], moved))) if len(moved) else None
        if rows is not None and shifted(rows, before, now, experiment):
            raise NotExactError("exposures came before those by which dates of outcomes were placed")


def counting(outcomes: pa.Table, exposed: Any, experiment: Experiment) -> Any:
    """Which outcomes count now: of exposed users, and such that an analysis can reach."""
    recent = pc.greater_equal(outcomes["occurred_at"].cast(pa.int64()), horizon(experiment))
    return pc.and_(exposed, recent)


def _users(exposures: pa.Table, experiment: Experiment) -> Users:
    return first_exposures(exposures, replace(experiment, segments=()), experiment.window.end)


def _moved(before: Users, now: Users) -> Any:
    """Ids of the users whose first exposure is another one, or none any more."""
    ids = now.ids.cast(before.ids.type)
    at = pc.index_in(before.ids, value_set=ids).fill_null(-1).to_numpy(zero_copy_only=False)
    stayed = np.zeros(len(before), dtype=np.bool_)
    there = at >= 0
    stayed[there] = now.exposed_at[at[there]] == before.exposed_at[there]
    came = pc.invert(pc.is_in(ids, value_set=before.ids))
    return pa.concat_arrays([before.ids.filter(pa.array(~stayed)), ids.filter(came)])
