"""One bucket's published rows beside new ones: what new rows are measured against, and whether the published ones may stay.

What need not be read is not: of outcomes the keys alone, and what quality said of them by user (`kernels.sightings`). The rest of them is
read where a new row repeats one, or an exposure that came moves a user's first one.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import cached_property
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource, UnitsSource
from exp_platform.errors import NotExactError
from exp_platform.kernels.base import ASIDE, Base
from exp_platform.kernels.coded import CODED, Coded, Codes, among, coded_together, codes_in, plain
from exp_platform.kernels.conform import INSTANT
from exp_platform.kernels.dates import OF_EVENT, later, shifted, with_dates
from exp_platform.kernels.duplicates import pairs
from exp_platform.kernels.measure import assigned, counts_of, latest
from exp_platform.kernels.measured import Counts
from exp_platform.kernels.sightings import Sightings
from exp_platform.kernels.staged_rows import ROW_KEY, exposures_of, outcomes_of
from exp_platform.kernels.unit_days import horizon
from exp_platform.kernels.users import NEVER, Users

MOST_COUNTING = 2  # times as much as waits may lie aside, as rows that have come to count are read in vain

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
    """Rows of a base, and those that wait aside; without a base there are none."""

    base: Base | None
    ids: Any  # pa.Array of strings: users of these rows and of the new ones, which is the dictionary of all
    exposures: pa.Table
    waiting: pa.Table
    positions: Positions  # of the waiting rows among those that lie aside: others have come to count
    lying: int  # rows that lie aside
    came: NDArray[np.bool_]  # who of `ids` has new exposures

    @staticmethod
    def beside(
        base: Base | None, tables: Mapping[str, pa.Table], experiment: Experiment
    ) -> tuple[Published, dict[str, pa.Table]]:
        """What new tables are judged against, and those, with one dictionary of all their users."""
        exposures, aside = (
            (exposures_of(_NOTHING).select(_SEEN), outcomes_of(_NOTHING).select(_HAPPENED))
            if base is None
            else (base.read("exposures", _SEEN), base.read(ASIDE, _HAPPENED))
        )
        mine = {name: table for name, table in (("published", exposures), ("aside", aside)) if len(table)}
        every = {**mine, **tables}  # so that new users stand behind those of before
        users = coded_together({name: table["user_id"] for name, table in every.items()})
        every = {name: _with_users(table, users[name]) for name, table in every.items()}
        exposures, aside = every.pop("published", exposures), every.pop("aside", aside)
        exposed = pa.array(among(aside["user_id"], exposures["user_id"]))
        waits = pc.invert(counting(with_dates(exposures, aside, experiment).outcomes, exposed, experiment))
        positions = np.flatnonzero(waits.to_numpy())
        waiting = aside if len(positions) == len(aside) else aside.filter(waits)
        ids = Coded.of(next(iter(users.values()))).values
        came = np.zeros(len(ids), dtype=np.bool_)
        for name in tables.keys() - {"outcomes"}:
            came[Coded.of(every[name]["user_id"]).codes] = True
        return Published(base, ids, exposures, waiting, positions, len(aside), came), every

    @cached_property
    def outcomes(self) -> pa.Table:
        """Those that count, read when they are needed."""
        if self.base is None:
            return outcomes_of(_NOTHING).select(_HAPPENED)
        return self.base.read("outcomes", _HAPPENED)

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

    def judged(self, users: Users, experiment: Experiment, now: datetime) -> tuple[Sightings, pa.Table]:
        """What is known of outcomes that stay as they were judged, and the others; `users` are those of all exposures."""
        stored = self.base.sightings() if self.base else None
        known = None if stored is None else Sightings.stored(*stored, experiment, latest(now))
        if known is None:
            return Sightings.none(self.ids), self.outcomes
        known, moved = known.placed(self.ids), self._moved(users, experiment)
        moved = moved[known.rows[moved] > 0]
        if not len(moved):
            return known, outcomes_of(_NOTHING).select(_HAPPENED)
        rows = self._rows_of(moved, self.outcomes)
        then = self._users(moved, experiment)
        return known.without(moved, counts_of(rows, self.ids, then, experiment)), rows

    def and_new(self, again: pa.Table, outcomes: pa.Table) -> pa.Table:
        """Some of its outcomes, then `waiting_and` new ones."""
        return self._and(again, outcomes, _HAPPENED)

    def _users(self, who: Codes, experiment: Experiment) -> Users:
        """Who stands at some positions, by the first exposures by which their outcomes were judged."""
        return assigned(self._rows_of(who, self.exposures), experiment)

    def _rows_of(self, users: Codes, table: pa.Table) -> pa.Table:
        """Those of a table that users have, by their positions."""
        wanted = np.zeros(len(self.ids) + 1, dtype=np.bool_)
        wanted[users] = True
        user = codes_in(table["user_id"], self.ids)
        rows = np.flatnonzero(wanted[user])
        return _with_users(table.take(pa.array(rows)), Coded(user[rows], self.ids).column)

    def _moved(self, now: Users, experiment: Experiment) -> Codes:
        """Positions of the users whose first exposure is another one, or none any more, and of those who had none."""
        at, arm = np.full((2, len(self.ids)), NEVER), np.full((2, len(self.ids)), -1)
        then = self._users(np.flatnonzero(self.came), experiment)
        for i, users in enumerate((then, now)):
            at[i, users.codes], arm[i, users.codes] = users.exposed_at, users.variants
        return np.flatnonzero(self.came & ((at[0] != at[1]) | (arm[0] != arm[1])))

    def _and(self, rows: pa.Table, new: pa.Table, columns: tuple[str, ...]) -> pa.Table:
        if self.base is None:
            return new
        both = pa.concat_tables([rows, new.select(columns).cast(rows.schema)])
        return _with_users(both, Coded(codes_in(both["user_id"], self.ids), self.ids).column)

    def moved(self, rows: Any, occurred_at: Any) -> pa.Table | None:
        """Those of the waiting rows that count by now, complete, at instants that the caller knows; None without a base."""
        if self.base is None:
            return None
        positions = pa.array(self.positions[rows.to_numpy()])
        if not len(positions):
            return outcomes_of(_NOTHING)
        found = outcomes_of(self.base.read(ASIDE, _ALL).take(positions))
        found = _with_users(found, self.waiting["user_id"].filter(rows))
        return found.set_column(
            found.column_names.index("occurred_at"), "occurred_at", occurred_at.filter(rows)
        )

    def waiting_still(self, moved: Any) -> pa.Table | None:
        """Complete, those of the waiting rows that did not move, where most that lies aside counts by now; None where all may stay."""
        still = self.positions[~moved.to_numpy()]
        if self.base is None or self.lying <= MOST_COUNTING * len(still):
            return None
        return outcomes_of(self.base.read(ASIDE, _ALL).take(pa.array(still)))

    def without(
        self, exposures: pa.Table, outcomes: pa.Table, experiment: Experiment
    ) -> tuple[pa.Table, pa.Table, Counts]:
        """New rows without those that the base has, and how many those were by input table."""
        if self.base is None:
            return exposures, outcomes, {}
        seen = self._repeated("exposures", exposures, self.exposures.take, outcomes, experiment)
        kept = exposures.filter(pa.array(~seen)) if seen.any() else exposures
        if isinstance(experiment.source, UnitsSource):
            gone = among(outcomes["user_id"], exposures["user_id"].filter(pa.array(seen)))
            return kept, outcomes.filter(pa.array(~gone)), {"units": int(seen.sum())}
        happened = self._repeated("outcomes", outcomes, self._happened, outcomes, experiment)
        counts = {"exposures": int(seen.sum()), "outcomes": int(happened.sum())}
        return kept, outcomes.filter(pa.array(~happened)) if happened.any() else outcomes, counts

    def _keys(self, name: str) -> Any:
        """The keys of all published rows, those that wait after the others."""
        assert self.base is not None
        if name == "exposures":
            return self.exposures[ROW_KEY]
        keys = self.base.read("outcomes", (ROW_KEY,))[ROW_KEY]
        return pa.chunked_array([*keys.chunks, *self.waiting[ROW_KEY].chunks], pa.int64())

    def _happened(self, positions: Any) -> pa.Table:
        """Published outcomes by position, those that wait after the others."""
        return pa.concat_tables([self.outcomes, self.waiting]).take(positions)

    def _repeated(
        self,
        name: str,
        new: pa.Table,
        known: Callable[[Any], pa.Table],
        outcomes: pa.Table,
        experiment: Experiment,
    ) -> NDArray[np.bool_]:
        """Which new rows follow a row of the base. Raises NotExactError where one comes before it."""
        found = np.zeros(len(new), dtype=np.bool_)
        keys = self._keys(name)  # also where no row has one: so a lost file is noticed on the next day
        mine, theirs = pairs(new["user_id"], new[ROW_KEY], keys, lambda at: known(at)["user_id"])
        if not len(mine):
            return found
        assert self.base is not None
        grain = {n: c for n, c in self.base.counts.measured.grain.items() if n.partition(".")[0] == name}
        mine_rows, base_rows = new.take(pa.array(mine)), known(pa.array(theirs))
        then = self._users(codes_in(mine_rows["user_id"], self.ids), experiment)
        same, after = later(mine_rows, base_rows, then, grain, experiment)
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

    def require_unmoved(self, now: Users, experiment: Experiment) -> None:
        """Raises NotExactError where dates stand by a first exposure that another one comes before now."""
        if self.base is None or not isinstance(experiment.source, EventsSource):
            return
        grain = self.base.counts.measured.grain
        if not any(n["local"] or n["utc"] for name, n in grain.items() if name.startswith(OF_EVENT)):
            return
        moved = self._moved(now, experiment)
        then = self._users(moved, experiment)
        if len(moved) and shifted(self._rows_of(moved, self.outcomes), then, now, experiment):
            raise NotExactError("exposures came before those by which dates of outcomes were placed")


def counting(outcomes: pa.Table, exposed: Any, experiment: Experiment) -> Any:
    """Which outcomes count now: of exposed users, and such that an analysis can reach."""
    recent = pc.greater_equal(outcomes["occurred_at"].cast(pa.int64()), horizon(experiment))
    return pc.and_(exposed, recent)


def _with_users(table: pa.Table, users: Any) -> pa.Table:
    return table.set_column(table.column_names.index("user_id"), "user_id", users)
