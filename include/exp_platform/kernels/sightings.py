"""What quality says of published outcomes, kept by user, so that an increment need not read and judge them again.

Outcomes are judged by their users' first exposures. While those stay what they were, what is told of published outcomes stays
too: counts add up over rows, and what does not is kept by user. Rows of users with another first exposure are read again:
what they counted as is taken off, and what they count as now is added.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import date
from typing import Any

import numpy as np
import pyarrow as pa

from exp_platform.config.experiment import Experiment
from exp_platform.kernels.coded import Codes, Mask, positions_in_order
from exp_platform.kernels.local_days import NO_INSTANT, Ints, instant
from exp_platform.kernels.matching import marks
from exp_platform.kernels.measured import Measured, less
from exp_platform.kernels.users import Users

SEEN = "outcomes_seen"  # the table
# In the footer of its files
COUNTS, LAST, JUDGED_AS = "exp_platform.counts", "exp_platform.last", "exp_platform.judged_as"

_MOST_MARKS = 63  # an integer has no more bits that are not its sign


@dataclass(frozen=True, eq=False)
class Sightings:
    """Outcomes that were judged: what of that adds up over rows, and of each of their users the rows and the marks."""

    ids: Any  # pa.Array of strings, each once
    rows: Ints  # shape of ids
    marks: Ints  # `matching.marks` as bits, shape of ids
    counts: Measured = field(default_factory=Measured)  # outcomes, after, and of `around` the rows
    last: int = NO_INSTANT  # when the newest outcome was

    @staticmethod
    def none(ids: Any) -> Sightings:
        """Of no outcomes."""
        return Sightings(ids, np.zeros(len(ids), np.int64), np.zeros(len(ids), np.int64))

    def placed(self, ids: Any) -> Sightings:
        """The same by other ids, among which these are."""
        at = positions_in_order(self.ids, ids)  # new users stand behind those of before
        there = Sightings.none(ids)
        there.rows[at], there.marks[at] = self.rows, self.marks
        return replace(there, counts=self.counts, last=self.last)

    def marked(self, users: Users, experiment: Experiment) -> Mask:
        """What these outcomes mark users with, shape (marks, users); users' codes are positions in `ids`."""
        bits = self.marks[users.codes]
        return np.stack([(bits >> i) & 1 == 1 for i in range(len(marks(experiment)))])

    def without(self, users: Codes, counts: Measured) -> Sightings:
        """The same without users by their positions, whose rows counted as `counts` says."""
        rows, bits = self.rows.copy(), self.marks.copy()
        rows[users] = bits[users] = 0
        return replace(self, rows=rows, marks=bits, counts=less(self.counts, counts))

    def where(self, users: Mask) -> Sightings:
        """The same of some of the ids, beside whom none has rows."""
        ids = self.ids.filter(pa.array(users))
        return replace(self, ids=ids, rows=self.rows[users], marks=self.marks[users])

    def and_rows(self, user: Codes, at: Ints, counts: Measured, users: Users, marked: Mask) -> Sightings:
        """These and more rows: whose by position, when, and as what they count.

        `marked` are the marks that all users have by now, shape (marks, users).
        """
        bits = np.zeros(len(self.ids), dtype=np.int64)
        for i, has in enumerate(marked[:_MOST_MARKS]):
            bits[users.codes[has]] |= 1 << i
        rows = self.rows + np.bincount(user, minlength=len(self.ids))
        return Sightings(self.ids, rows, bits, self.counts.merge(counts), int(at.max(initial=self.last)))

    def table(self) -> pa.Table:
        """As rows of the table, without the constants experiment_id and bucket."""
        return pa.table({"user_id": self.ids, "outcomes": self.rows, "marks": self.marks})

    def footer(self, experiment: Experiment) -> dict[str, str]:
        """What a file says beside its rows; nothing where no later run can use it."""
        key = judged_as(experiment)
        if key is None:
            return {}
        counts = {name: value for name, value in asdict(self.counts).items() if value}
        return {JUDGED_AS: key, LAST: str(self.last), COUNTS: json.dumps(counts)}

    @staticmethod
    def stored(
        table: pa.Table, footer: Mapping[str, str], experiment: Experiment, latest: int
    ) -> Sightings | None:
        """The inverse of both; None where they would be judged otherwise now, or some lie after `latest`, in the future."""
        last = int(footer.get(LAST, latest + 1))
        if last > latest or not judged_alike(footer[JUDGED_AS], experiment, last):
            return None
        ids = table["user_id"].combine_chunks()
        rows, bits = (np.asarray(table[name].to_numpy()) for name in ("outcomes", "marks"))
        return Sightings(ids, rows, bits, Measured.from_json(json.loads(footer[COUNTS])), last)


def judged_as(experiment: Experiment) -> str | None:
    """What judgements of the same rows by the same exposures depend on and an edit of metrics may change; None: too much to keep."""
    names = marks(experiment)
    return None if len(names) > _MOST_MARKS else json.dumps([experiment.last_as_of.isoformat(), *names])


def judged_alike(said: str, experiment: Experiment, last: int) -> bool:
    """Whether outcomes, the newest at the instant `last`, that were judged as `said` would be judged alike now."""
    last_as_of, *names = json.loads(said)
    before, now = date.fromisoformat(last_as_of), experiment.last_as_of
    reached = before == now or last < instant(experiment.window.cutoff(min(before, now)))
    return reached and bool(names == marks(experiment))
