"""A bucket to which nothing came: what was measured of it when it was published holds, and no row of it need be looked at.

What `RowCounts` keeps is told anew, as it depends on the metrics of the day. So is of which events outcomes lie aside.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from exp_platform.aggregates import LeftOut
from exp_platform.config.experiment import Experiment
from exp_platform.kernels.base import MOST_EVENTS, Base
from exp_platform.kernels.coded import Coded
from exp_platform.kernels.local_days import NO_INSTANT, instant
from exp_platform.kernels.measure import latest
from exp_platform.kernels.measured import Counts, Measured
from exp_platform.kernels.sightings import JUDGED_AS, judged_alike
from exp_platform.kernels.unit_days import events_read

MEASURED = "exp_platform.measured"  # in the footer of a file of `outcomes_seen`


@dataclass(frozen=True)
class Judged:
    """What quality judges of a bucket's rows besides what adds up over them, and why outcomes do not count, by event."""

    measured: Measured
    strange: Counts  # event -> outcomes of users without exposure
    old: Counts  # event -> outcomes of other users, from before what is read

    @staticmethod
    def of(measured: Measured, outcomes: pa.Table, exposed: Any, counting: Any) -> Judged:
        """With the outcomes of which `counting` is not true; `exposed`: whose users have an exposure. Booleans, a row each."""
        events, aside = Coded.of(outcomes["event"]), ~np.asarray(counting)
        known = np.asarray(exposed)
        strange, old = (_by_event(events.where(rows)) for rows in (aside & ~known, aside & known))
        return Judged(measured, strange, old)

    def told(self, experiment: Experiment) -> Measured:
        """As quality reads it."""
        read = {*events_read(experiment)}
        counted = {
            LeftOut.NOT_READ: _rows(self.strange, read, False) + _rows(self.old, read, False),
            LeftOut.NO_EXPOSURE: _rows(self.strange, read, True),
            LeftOut.TOO_OLD: _rows(self.old, read, True),
        }
        left_out = {reason.value: rows for reason, rows in counted.items() if rows}
        return self.measured.merge(Measured(left_out={"outcomes": left_out} if left_out else {}))

    def footer(self, now: datetime) -> dict[str, str]:
        """What a file keeps of it, judged `now`; nothing where that is too much. Values of single rows are not kept."""
        if len(self.strange) + len(self.old) > MOST_EVENTS:
            return {}
        measured = {k: value for k, value in replace(self.measured, examples={}).to_json().items() if value}
        kept = {"measured": measured, "strange": self.strange, "old": self.old, "latest": latest(now)}
        return {MEASURED: json.dumps(kept)}


def as_published(base: Base, experiment: Experiment, now: datetime) -> Measured | None:
    """What quality reads of a bucket that nothing came to; None where its rows must be judged anew.

    They must where metrics look for something else, where a row lies in the future, or did, and where a file is gone.
    Raises NotExactError where a metric reads an event that was not counted.
    """
    footer = base.footer()
    if MEASURED not in footer:
        return None
    kept = json.loads(footer[MEASURED])
    judged = Judged(Measured.from_json(kept["measured"]), kept["strange"], kept["old"])
    if any(judged.measured.future.values()) or latest(now) < kept["latest"]:
        return None
    newest = judged.measured.newest.get("outcomes")
    last = instant(experiment.window.cutoff(date.fromisoformat(newest))) - 1 if newest else NO_INSTANT
    if not judged_alike(footer[JUDGED_AS], experiment, last) or not base.is_there():
        return None
    return base.counts.told(experiment).merge(judged.told(experiment))


def _by_event(events: Coded) -> Counts:
    found: Counts = {}
    for event, rows in zip(events.values.to_pylist(), events.rows.tolist(), strict=True):
        if rows:
            found[event] = found.get(event, 0) + rows
    return found


def _rows(by_event: Mapping[str, int], read: set[str], are_read: bool) -> int:
    return sum(rows for event, rows in by_event.items() if (event in read) is are_read)
