"""One bucket's raw rows -> the rows to stage, and what quality judges. A bucket holds all rows of its users."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.aggregates import LeftOut
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource, UnitsSource
from exp_platform.kernels.complete_rows import (
    ATTRIBUTE,
    COVARIATE,
    OUTCOME,
    CompleteRows,
    complete_rows,
    of_facts,
    plain,
)
from exp_platform.kernels.conform import string_map
from exp_platform.kernels.dates import with_dates
from exp_platform.kernels.facts import ROW
from exp_platform.kernels.local_days import DAY
from exp_platform.kernels.measure import measure, sizes
from exp_platform.kernels.measured import Counts, Measured
from exp_platform.kernels.unit_days import events_read, horizon


@dataclass(frozen=True)
class Cleaned:
    """Staged rows of a bucket, in the order of the raw rows, without the constants experiment_id and bucket."""

    exposures: pa.Table
    outcomes: pa.Table
    measured: Measured


def clean_bucket(raw: Mapping[str, Sequence[pa.Table]], experiment: Experiment, now: datetime) -> Cleaned:
    """Cast, deduplicate and measure one bucket; a pure function.

    `raw` maps exposures and outcomes, or units, to their parts in a fixed order. Rows without a user, a time, a
    variant or an event are dropped and counted; so are duplicates, and outcomes of users without any exposure or
    from before the history that an analysis can reach. `now` is when the run began.
    """
    rows = complete_rows(raw, experiment)
    cleaned = in_context(rows, experiment, now)
    return Cleaned(cleaned.exposures, cleaned.outcomes, cleaned.measured.merge(rows.measured))


def in_context(rows: CompleteRows, experiment: Experiment, now: datetime) -> Cleaned:
    """Complete rows of one bucket -> its staged rows, by what else their users have; measured is what that tells."""
    tables, repeated = {}, Measured()
    for name, table in rows.tables.items():
        tables[name], duplicates = _deduplicated(name, table, _key(name, table, experiment))
        repeated = repeated.merge(duplicates)
    split = _units if isinstance(experiment.source, UnitsSource) else _events
    dated = with_dates(*split(tables, experiment), experiment)
    exposures, outcomes = dated.exposures, dated.outcomes
    exposed = pc.is_in(outcomes["user_id"], value_set=pc.unique(exposures["user_id"]))
    judged = measure(exposures, outcomes, exposed, experiment, now)
    outcomes, left_out = _readable(outcomes, exposed, experiment)
    counted = Measured(left_out={"outcomes": left_out} if left_out else {}, grain=dated.grain)
    staged = sizes({"exposures": exposures, "outcomes": outcomes})
    return Cleaned(exposures, outcomes, Measured.merge_all([judged, repeated, counted, staged]))


def _readable(outcomes: pa.Table, exposed: Any, experiment: Experiment) -> tuple[pa.Table, Counts]:
    """Outcomes of exposed users that an analysis can reach, and by reason how many others are left out."""
    recent = pc.greater_equal(outcomes["occurred_at"].cast(pa.int64()), horizon(experiment))
    kept = pc.and_(exposed, recent)
    if pc.all(kept, min_count=0).as_py():
        return outcomes, {}
    dropped = pc.invert(kept)
    read = pc.is_in(outcomes["event"], value_set=pa.array(events_read(experiment), pa.string()))
    strange = pc.and_(pc.and_(dropped, read), pc.invert(exposed))
    reasons = {
        LeftOut.NOT_READ: pc.and_not(dropped, read),
        LeftOut.NO_EXPOSURE: strange,
        LeftOut.TOO_OLD: pc.and_not(pc.and_(dropped, read), strange),
    }
    counted = {reason.value: pc.sum(rows).as_py() or 0 for reason, rows in reasons.items()}
    return outcomes.filter(kept), {reason: rows for reason, rows in counted.items() if rows}


def _events(tables: Mapping[str, pa.Table], experiment: Experiment) -> tuple[pa.Table, pa.Table]:
    return _exposures(tables["exposures"]), _outcomes(tables["outcomes"])


def _units(tables: Mapping[str, pa.Table], experiment: Experiment) -> tuple[pa.Table, pa.Table]:
    source, table = experiment.source, tables["units"]
    assert isinstance(source, UnitsSource)
    before = pc.subtract(table["exposed_at"], pa.scalar(DAY, pa.duration("us")))
    parts = [
        _unit_events(table, prefix + name, name, time)
        for prefix, names, time in (
            (OUTCOME, source.outcomes, table["exposed_at"]),
            (COVARIATE, source.covariates, before),
        )
        for name in names
    ]
    return _exposures(table), _outcomes(pa.concat_tables(parts) if parts else table.slice(0, 0))


def _unit_events(table: pa.Table, column: str, event: str, time: Any) -> pa.Table:
    """The values of one column as events of its name; a missing value makes none."""
    rows = pa.table(
        {
            "user_id": table["user_id"],
            "event": pa.repeat(pa.scalar(event), len(table)),
            "occurred_at": time,
            "value": table[column],
        }
    )
    return rows.filter(table[column].is_valid()) if table[column].null_count else rows


def _key(name: str, table: pa.Table, experiment: Experiment) -> Any | None:
    """What equal rows of one user have in common; None: nothing is a duplicate."""
    source = experiment.source
    if isinstance(source, UnitsSource):
        return table["user_id"]
    by = source.dedupe if isinstance(source, EventsSource) else "event_id"  # synthetic rows have event ids
    if of_facts(name, experiment):
        return _series_key(table, by)
    if by == "event_id":
        return table["event_id"] if "event_id" in table.column_names else None
    if by == "whole_row":
        columns = [_plain_text(table[column]) for column in table.column_names]
        return pc.binary_join_element_wise(*columns, "\x1f", null_handling="replace", null_replacement="\x00")
    return None


def _series_key(table: pa.Table, by: str) -> Any | None:
    """The same of rows that facts gave: a row of a fact counts once in each series, and may be in several."""
    column = {"event_id": "event_id", "whole_row": ROW}.get(by)
    if column is None or column not in table.column_names:
        return None
    return pc.binary_join_element_wise(table["event"], table[column], "\x1f")


def _plain_text(column: Any) -> Any:
    return (column.cast(pa.int64()) if pa.types.is_timestamp(column.type) else column).cast(pa.string())


def _deduplicated(name: str, table: pa.Table, key: Any | None) -> tuple[pa.Table, Measured]:
    """One row of each (user, key): the earliest. Rows without a key stay.

    Only within a user, who is always in one bucket: so the number of buckets cannot matter.
    """
    dropped = np.zeros(len(table), dtype=bool)
    if key is not None and len(table):
        codes = key.combine_chunks().dictionary_encode().indices
        code = codes.fill_null(-1).to_numpy()
        repeated = np.bincount(code[code >= 0], minlength=1) > 1
        suspects = np.flatnonzero((code >= 0) & repeated[code])  # few, so what follows costs little
        if len(suspects):
            dropped[suspects[_later(table.take(pa.array(suspects)), code[suspects])]] = True
    n = int(dropped.sum())
    measured = Measured(duplicates={name: n}, left_out={name: {LeftOut.DUPLICATE.value: n}} if n else {})
    return table.filter(pa.array(~dropped)) if n else table, measured


def _later(rows: pa.Table, code: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions of the rows that follow another one of the same user and key."""
    time = "exposed_at" if "exposed_at" in rows.column_names else "occurred_at"
    rest = [column for column in rows.column_names if column not in ("user_id", time)]
    keys = [(column, "ascending") for column in ("code", "user_id", time, *rest)]
    order = pc.sort_indices(rows.append_column("code", pa.array(code)), sort_keys=keys).to_numpy()
    user = rows["user_id"].combine_chunks().dictionary_encode().indices.to_numpy()[order]
    same = (user[1:] == user[:-1]) & (code[order][1:] == code[order][:-1])
    return np.asarray(order[1:][same], dtype=np.int64)


def _exposures(table: pa.Table) -> pa.Table:
    names = [c for c in table.column_names if c.startswith(ATTRIBUTE)]
    attributes = string_map({plain(c): table[c] for c in names}, len(table))
    return pa.table(
        {
            "user_id": table["user_id"],
            "variant_id": table["variant_id"],
            "exposed_at": table["exposed_at"],
            "event_id": _optional(table, "event_id", pa.string()),
            "attributes": attributes,
        }
    )


def _outcomes(table: pa.Table) -> pa.Table:
    return pa.table(
        {
            "user_id": table["user_id"],
            "event": _optional(table, "event", pa.string()),
            "occurred_at": _optional(table, "occurred_at", pa.timestamp("us", "UTC")),
            "value": _optional(table, "value", pa.float64()),
            "event_id": _optional(table, "event_id", pa.string()),
            "properties": string_map({}, len(table)),
            "item": _optional(table, "item", pa.string()),
        }
    )


def _optional(table: pa.Table, column: str, kind: pa.DataType) -> Any:
    return table[column] if column in table.column_names else pa.nulls(len(table), kind)
