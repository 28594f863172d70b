"""Complete rows of one bucket among all that their users have: which stand twice, which count now, and what quality judges.

Rows of new files are judged together with those that were published of the bucket before, so that both together are what
reading all files at once gives.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.aggregates import LeftOut
from exp_platform.config.experiment import Experiment
from exp_platform.config.privacy import Key
from exp_platform.kernels.base import Base, RowCounts, may_grow
from exp_platform.kernels.coded import among
from exp_platform.kernels.complete_rows import CompleteRows
from exp_platform.kernels.dates import with_dates
from exp_platform.kernels.duplicates import repeated, row_keys
from exp_platform.kernels.measure import assigned, measure
from exp_platform.kernels.measured import Counts, Measured
from exp_platform.kernels.nothing_new import Judged
from exp_platform.kernels.published import Published, counting
from exp_platform.kernels.sightings import Sightings
from exp_platform.kernels.staged_rows import ROW_KEY, staged_rows


@dataclass(frozen=True)
class Cleaned:
    """Rows of a bucket to stage, in the order of the raw rows, without the constants experiment_id and bucket.

    Beside a base they are the rows that it does not have, while `counts` and `measured` are of both together.
    """

    exposures: pa.Table
    outcomes: pa.Table
    aside: pa.Table  # outcomes that do not count now and may yet, their dates as they came
    aside_anew: bool  # what lies aside has all that waits, and what lay there before goes
    counts: RowCounts
    measured: Measured  # as quality reads it, with what `counts` has
    seen: Sightings  # of all outcomes that count now
    judged: Judged  # of `measured` what depends on users and their exposures


def in_context(
    rows: CompleteRows,
    experiment: Experiment,
    now: datetime,
    base: Base | None = None,
    secret: Key | None = None,
) -> Cleaned:
    """Judge complete rows of one bucket among all that their users have; `now` is when the run began.

    `secret` keys the hashes by which duplicates are known later. Raises NotExactError where rows of the base would have to go
    or to change.
    """
    before, found = Published.beside(base, rows.tables, experiment)
    tables, twice = _unrepeated(found, experiment, secret)
    exposures, outcomes, known = before.without(*staged_rows(tables, experiment), experiment)
    dated = with_dates(
        before.exposures_and(exposures), before.waiting_and(outcomes), experiment, before.counted
    )
    users = assigned(dated.exposures, experiment)
    before.require_unmoved(users, experiment)

    judged, again = before.judged(users, experiment, now)
    every = before.and_new(again, dated.outcomes)
    exposed = pa.array(among(every["user_id"], dated.exposures["user_id"]))
    counts_now = counting(every, exposed, experiment)
    measured, seen = measure(dated.exposures, users, every, exposed, counts_now, experiment, now, judged)
    judgement = Judged.of(measured, every, exposed, counts_now)

    n, waiting = len(again), len(before.waiting)
    moved, new = counts_now.slice(n, waiting), counts_now.slice(n + waiting)
    at = dated.outcomes["occurred_at"]
    came = before.moved(moved, at.slice(0, waiting))
    staged = _where(_with(outcomes, "occurred_at", at.slice(waiting)), new)
    aside = _where(outcomes, pc.invert(new)) if may_grow(experiment) else outcomes.slice(0, 0)
    still = before.waiting_still(moved)
    aside = aside if still is None else pa.concat_tables([still, aside])
    exposures = _with(exposures, "exposed_at", dated.exposures["exposed_at"].slice(len(before.exposures)))
    staged = staged if came is None else pa.concat_tables([came, staged])

    counts = rows.counts.merge(RowCounts(_duplicates(rows, twice, known).merge(Measured(grain=dated.grain))))
    counts = counts if base is None else base.counts.merge(counts)
    told = counts.told(experiment).merge(judgement.told(experiment))
    return Cleaned(exposures, staged, aside, still is not None, counts, told, seen, judgement)


def _unrepeated(
    tables: Mapping[str, pa.Table], experiment: Experiment, secret: Key | None
) -> tuple[dict[str, pa.Table], Counts]:
    """The tables with their row keys and without rows that follow another one of the same, and how many those were."""
    kept, twice = {}, {}
    for name, table in tables.items():
        keys = row_keys(name, table, experiment, secret)
        dropped = repeated(table, keys)
        twice[name] = int(dropped.sum())
        table = table.append_column(ROW_KEY, keys)
        kept[name] = table.filter(pa.array(~dropped)) if twice[name] else table
    return kept, twice


def _duplicates(rows: CompleteRows, twice: Counts, known: Counts) -> Measured:
    found = {name: twice[name] + known.get(name, 0) for name in rows.tables}
    left_out = {name: {LeftOut.DUPLICATE.value: n} for name, n in found.items() if n}
    return Measured(duplicates=found, left_out=left_out)


def _where(table: pa.Table, mask: Any) -> pa.Table:
    return table if pc.all(mask, min_count=0).as_py() else table.filter(mask)


def _with(table: pa.Table, column: str, values: Any) -> pa.Table:
    return table.set_column(table.column_names.index(column), column, values)
