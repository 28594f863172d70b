"""Rows of a fact as they were found -> rows of `outcomes`: one of each series that a row is in, which is its event.

The fact's columns have our names: occurred_at, and where they exist event, event_id, `value.<name>` and `dimension.<name>`;
their types are as found. Users, members already, and event ids are canonical text.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.aggregates import LeftOut
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import DIMENSION, VALUE, EventsSource, Fact, Series
from exp_platform.config.where import Condition
from exp_platform.kernels.canonical_text import text
from exp_platform.kernels.conform import INSTANT, Conformed, instants, number
from exp_platform.kernels.local_days import instant
from exp_platform.kernels.local_days import instants as moments
from exp_platform.kernels.measured import Counts, Measured
from exp_platform.kernels.nobody import without_null_words
from exp_platform.kernels.sql import query
from exp_platform.kernels.unit_days import horizon

ROW = "row"  # a hash of the whole row, where duplicates are told by it

Mask = NDArray[np.bool_]


def outcomes_of(rows: pa.Table, fact: Fact, experiment: Experiment) -> tuple[pa.Table, Measured]:
    """The rows of `outcomes` that some rows of a fact give, and why the others give none; exact, whatever readers skipped.

    Rows without a readable time, or whose time no analysis reaches, are in no series. A value that is missing or cannot be
    read is null in its series' rows, and counted under `<fact>.<value>`, as is one that a filter compares.
    """
    source = experiment.source
    assert isinstance(source, EventsSource)
    read = [one for one in source.series if one.fact == fact.name]
    zone = fact.table.timezone or experiment.window.timezone
    times = instants(rows["occurred_at"], zone)
    kept, measured = _in_time(rows, times, fact.name, experiment)
    batch = _Batch(rows.filter(pa.array(kept)), times.values.filter(pa.array(kept)))
    masks = [batch.of_event(one) & batch.passes(one) for one in read]
    taken = np.logical_or.reduce(masks)
    of_event = np.logical_or.reduce([batch.of_event(one) for one in read])
    left_out = {
        LeftOut.NOT_READ.value: int((~of_event).sum()),
        LeftOut.FILTERED.value: int((of_event & ~taken).sum()),
    }
    newest = pc.max(batch.occurred_at.filter(pa.array(taken)).cast(INSTANT)).as_py()
    counted = Measured(
        in_series={fact.name: int(taken.sum())},
        left_out={fact.name: _some(left_out)},
        newest={fact.name: str(newest.astimezone(ZoneInfo(experiment.window.timezone)).date())}
        if newest
        else {},
    )
    whole = batch.whole_rows() if source.dedupe == "whole_row" else None
    parts = [_rows(batch, one, mask, whole) for one, mask in zip(read, masks, strict=True)]
    faults = _faults(batch, fact.name, read, masks)
    return pa.concat_tables(parts), measured.merge(counted).merge(faults)


def _in_time(rows: pa.Table, times: Conformed, name: str, experiment: Experiment) -> tuple[Mask, Measured]:
    """Which rows have a time that some analysis reaches, and what the others have."""
    there = times.values.is_valid().to_numpy()
    at = moments(times.values.fill_null(pa.scalar(0, times.values.type)))
    early = there & (at < horizon(experiment))
    late = there & (at >= instant(experiment.window.cutoff(experiment.last_as_of)))
    missing = int((~there).sum()) - times.malformed
    key = f"{name}.occurred_at"
    left_out = {
        LeftOut.MALFORMED.value: times.malformed,
        LeftOut.NULL.value: missing,
        LeftOut.TOO_OLD.value: int(early.sum()),
        LeftOut.TOO_LATE.value: int(late.sum()),
    }
    measured = Measured(
        nulls=_some({key: missing}),
        malformed=_some({key: times.malformed}),
        examples={key: list(times.examples)} if times.examples else {},
        left_out={name: _some(left_out)},
    )
    return there & ~early & ~late, measured


def _some(counts: Counts) -> Counts:
    return {key: n for key, n in counts.items() if n}


@dataclass(frozen=True, eq=False)
class _Batch:
    """Rows inside the time that counts; each column is conformed once, however many series read it."""

    rows: pa.Table
    occurred_at: Any  # pa.ChunkedArray of instants

    @cached_property
    def _numbers(self) -> dict[str, Conformed]:
        return {}

    @cached_property
    def _texts(self) -> dict[str, Any]:
        return {}

    def numbers(self, column: str) -> Conformed:
        """A column as doubles."""
        if column not in self._numbers:
            self._numbers[column] = number(self.rows[column])
        return self._numbers[column]

    def texts(self, column: str) -> Any:
        """A column as canonical text, null where there is nothing or a word for it."""
        if column not in self._texts:
            self._texts[column] = without_null_words(text(self.rows[column]), ids=False)[0]
        return self._texts[column]

    def of_event(self, one: Series) -> Mask:
        """Which rows are of a series' event."""
        if one.event is None:
            return np.ones(len(self.rows), dtype=np.bool_)
        return _mask(pc.equal(self.texts("event"), one.event))

    def passes(self, one: Series) -> Mask:
        """Which rows meet all conditions of a series."""
        found = np.ones(len(self.rows), dtype=np.bool_)
        for condition in one.where:
            found &= self._meets(condition)
        return found

    def _meets(self, condition: Condition) -> Mask:
        column, values = DIMENSION + condition.column, condition.values
        if condition.operator in ("missing", "present"):
            there = self.texts(column).is_valid().to_numpy()
            return np.asarray(there if condition.operator == "present" else ~there)
        if not isinstance(values[0], str):
            found = self.numbers(column).values
            wanted = pa.array([float(v) for v in values], pa.float64())
        else:
            found, wanted = self.texts(column), pa.array([str(v) for v in values], pa.string())
        if condition.operator == "min":
            return _mask(pc.greater_equal(found, wanted[0]))
        if condition.operator == "max":
            return _mask(pc.less_equal(found, wanted[0]))
        if condition.operator == "starts_with":
            return _mask(pc.starts_with(found, str(values[0])))
        inside = _mask(pc.is_in(found, value_set=wanted))
        return inside if condition.operator == "in" else ~inside & found.is_valid().to_numpy()

    def whole_rows(self) -> Any:
        """A hash of all that was read of each row: equal rows of one user are one."""
        columns = [text(self.rows[c]) for c in self.rows.column_names if c not in ("occurred_at", "user_id")]
        time = self.occurred_at.cast(pa.int64()).cast(pa.string())
        joined = pc.binary_join_element_wise(
            time, *columns, "\x1f", null_handling="replace", null_replacement="\x00"
        )
        return query("SELECT md5(x) AS row FROM found", pa.table({"x": joined}))["row"]


def _rows(batch: _Batch, one: Series, mask: Mask, whole: Any | None) -> pa.Table:
    """A series' rows as rows of `outcomes`."""
    taken, rows = pa.array(mask), batch.rows
    n = int(mask.sum())
    columns: dict[str, Any] = {
        "user_id": rows["user_id"].filter(taken),
        "event": pa.chunked_array([pa.repeat(pa.scalar(one.name), n)]),
        "occurred_at": batch.occurred_at.filter(taken),
        "value": pa.nulls(n, pa.float64()),
        "event_id": pa.nulls(n, pa.string()),
        "item": pa.nulls(n, pa.string()),
    }
    if one.value is not None:
        columns["value"] = batch.numbers(VALUE + one.value).values.filter(taken)
    if "event_id" in rows.column_names:
        columns["event_id"] = rows["event_id"].filter(taken)
    if one.item is not None:
        columns["item"] = batch.texts(DIMENSION + one.item).filter(taken)
    if whole is not None:
        columns[ROW] = whole.filter(taken)
    return pa.table(columns)


def _faults(batch: _Batch, name: str, read: list[Series], masks: list[Mask]) -> Measured:
    """Values that series need and that are missing or cannot be read, and those that cannot be compared."""
    nowhere = np.zeros(len(batch.rows), dtype=np.bool_)
    added: dict[str, Mask] = {}  # name of a value -> rows whose value is added up
    compared: dict[str, Mask] = {}  # name of a column -> rows of which it is compared with numbers
    for one, mask in zip(read, masks, strict=True):
        if one.value is not None:
            added[one.value] = added.get(one.value, nowhere) | mask
        for column in {c.column for c in one.where if c.of == "number"}:
            compared[column] = compared.get(column, nowhere) | batch.of_event(one)
    total = Measured()
    for column in sorted(added.keys() | compared.keys()):
        ours = VALUE + column if column in added else DIMENSION + column
        found, key = batch.numbers(ours), f"{name}.{column}"
        unreadable = _mask(found.bad) if found.malformed else nowhere
        missing = added.get(column, nowhere) & ~found.values.is_valid().to_numpy() & ~unreadable
        bad = unreadable & (added.get(column, nowhere) | compared.get(column, nowhere))
        shown = number(batch.rows[ours].filter(pa.array(bad))).examples if bad.any() else ()
        examples = {key: list(shown)} if shown else {}
        counts = _some({key: int(missing.sum())}), _some({key: int(bad.sum())})
        total = total.merge(Measured(nulls=counts[0], malformed=counts[1], examples=examples))
    return total


def _mask(found: Any) -> Mask:
    return np.asarray(
        found.fill_null(False).to_numpy(zero_copy_only=False)
        if isinstance(found, pa.Array)
        else found.fill_null(False).to_numpy()
    )
