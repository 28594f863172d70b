"""One bucket's raw rows -> the rows to stage, and what quality judges.

A bucket holds all rows of its users. Raw tables have our column names, `attribute.<name>` for attributes and, in
units, `outcome.<name>` and `covariate.<name>`; their types are as found, and may differ from table to table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.aggregates import LeftOut
from exp_platform.config.experiment import Experiment
from exp_platform.config.kinds import VALUED
from exp_platform.config.sources import EventsSource, UnitsSource
from exp_platform.kernels.canonical_text import text
from exp_platform.kernels.conform import instants, number, string_map
from exp_platform.kernels.dates import with_dates
from exp_platform.kernels.facts import ROW
from exp_platform.kernels.local_days import DAY, instant
from exp_platform.kernels.measure import measure, sizes
from exp_platform.kernels.measured import Counts, Measured
from exp_platform.kernels.nobody import without_null_words, without_placeholders
from exp_platform.kernels.unit_days import events_read, horizon

Kind = Literal["text", "time", "number"]

ATTRIBUTE, OUTCOME, COVARIATE = "attribute.", "outcome.", "covariate."

IDS = ("user_id", "other_id", "event_id")

_REQUIRED = ("user_id", "variant_id", "exposed_at", "event", "occurred_at")
_UNREADABLE = "(unreadable)"  # whether a required column held a value that could not be read

_KIND: dict[str, Kind] = {"exposed_at": "time", "occurred_at": "time", "value": "number"}


@dataclass(frozen=True)
class Cleaned:
    """Staged rows of a bucket, in the order of the raw rows, without the constants experiment_id and bucket."""

    exposures: pa.Table
    outcomes: pa.Table
    measured: Measured


@dataclass
class _Tally:
    rows_in: Counts = field(default_factory=dict)
    nulls: Counts = field(default_factory=dict)
    null_words: dict[str, Counts] = field(default_factory=dict)
    malformed: Counts = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    duplicates: Counts = field(default_factory=dict)
    left_out: dict[str, Counts] = field(default_factory=dict)

    def leave_out(self, name: str, reason: LeftOut, rows: int) -> None:
        """Count rows of a table that are not staged."""
        if rows:
            reasons = self.left_out.setdefault(name, {})
            reasons[reason.value] = reasons.get(reason.value, 0) + rows


def kind_of(column: str) -> Kind:
    """What the values of a column of raw tables become."""
    return "number" if column.startswith((OUTCOME, COVARIATE)) else _KIND.get(column, "text")


def clean_bucket(raw: Mapping[str, Sequence[pa.Table]], experiment: Experiment, now: datetime) -> Cleaned:
    """Cast, deduplicate and measure one bucket; a pure function.

    `raw` maps exposures and outcomes, or units, to their parts in a fixed order. Rows without a user, a time, a
    variant or an event are dropped and counted; so are duplicates, and outcomes of users without any exposure or
    from before the history that an analysis can reach. `now` is when the run began.
    """
    tally = _Tally()
    if isinstance(experiment.source, UnitsSource):
        tables = {"units": _conformed("units", raw.get("units", ()), experiment, tally)}
        exposures, outcomes = _units(_of_somebody(tables, tally)["units"], experiment, tally)
    else:
        exposures, outcomes = _events(raw, experiment, tally)
    dated = with_dates(exposures, outcomes, experiment)
    exposures, outcomes = dated.exposures, dated.outcomes
    exposed = pc.is_in(outcomes["user_id"], value_set=pc.unique(exposures["user_id"]))
    judged = measure(exposures, outcomes, exposed, experiment, now)
    outcomes = _readable(outcomes, exposed, experiment, tally)
    counted = Measured(**tally.__dict__, grain=dated.grain)
    staged = sizes({"exposures": exposures, "outcomes": outcomes})
    return Cleaned(exposures, outcomes, judged.merge(counted).merge(staged))


def _readable(outcomes: pa.Table, exposed: Any, experiment: Experiment, tally: _Tally) -> pa.Table:
    """Outcomes of exposed users that an analysis can reach; of the others is counted why they are left out."""
    recent = pc.greater_equal(outcomes["occurred_at"].cast(pa.int64()), horizon(experiment))
    kept = pc.and_(exposed, recent)
    if pc.all(kept, min_count=0).as_py():
        return outcomes
    dropped = pc.invert(kept)
    read = pc.is_in(outcomes["event"], value_set=pa.array(events_read(experiment), pa.string()))
    strange = pc.and_(pc.and_(dropped, read), pc.invert(exposed))
    for reason, rows in (
        (LeftOut.NOT_READ, pc.and_not(dropped, read)),
        (LeftOut.NO_EXPOSURE, strange),
        (LeftOut.TOO_OLD, pc.and_not(pc.and_(dropped, read), strange)),
    ):
        tally.leave_out("outcomes", reason, pc.sum(rows).as_py() or 0)
    return outcomes.filter(kept)


def _events(
    raw: Mapping[str, Sequence[pa.Table]], experiment: Experiment, tally: _Tally
) -> tuple[pa.Table, pa.Table]:
    source = experiment.source
    by = source.dedupe if isinstance(source, EventsSource) else "event_id"  # synthetic rows have event ids
    needs = {
        "exposures": ("user_id", "variant_id", "exposed_at"),
        "outcomes": ("user_id", "event", "occurred_at"),
    }
    found = {name: _conformed(name, raw.get(name, ()), experiment, tally, needs[name]) for name in needs}
    tables = _of_somebody(found, tally)
    for name, required in needs.items():
        table = tables[name]
        of_facts = name == "outcomes" and isinstance(source, EventsSource) and bool(source.facts)
        if not of_facts:  # whose values were counted while they were read
            _count_missing_values(name, table, experiment, tally)
        table = _complete(name, table, required, tally)
        if name == "exposures" and isinstance(source, EventsSource):
            table = _in_reach(_with_variants(table, source.variants), experiment, tally)
        tables[name] = _deduplicated(
            name, table, _series_key(table, by) if of_facts else _key(table, by), tally
        )
    return _exposures(tables["exposures"]), _outcomes(tables["outcomes"])


def _with_variants(table: pa.Table, variants: Mapping[str, str]) -> pa.Table:
    """The same rows with variants' ids for the values that stand for them; other values stay."""
    if not variants:
        return table
    variant = table["variant_id"].combine_chunks()
    known = pc.index_in(variant, value_set=pa.array(list(variants), pa.string()))
    mapped = pc.coalesce(pa.array(list(variants.values()), pa.string()).take(known), variant)
    return table.set_column(table.column_names.index("variant_id"), "variant_id", pa.chunked_array([mapped]))


def _in_reach(table: pa.Table, experiment: Experiment, tally: _Tally) -> pa.Table:
    """Of a log of many experiments the rows that readers may not skip: what lies outside may have been skipped or not."""
    source = experiment.source
    if not isinstance(source, EventsSource) or source.key is None:
        return table
    at = table["exposed_at"].cast(pa.int64())
    early = pc.less(at, horizon(experiment))
    late = pc.greater_equal(at, instant(experiment.window.cutoff(experiment.last_as_of)))
    tally.leave_out("exposures", LeftOut.BEFORE_WINDOW, pc.sum(early).as_py() or 0)
    tally.leave_out("exposures", LeftOut.AFTER_WINDOW, pc.sum(late).as_py() or 0)
    return table.filter(pc.invert(pc.or_(early, late)))


def _units(table: pa.Table, experiment: Experiment, tally: _Tally) -> tuple[pa.Table, pa.Table]:
    source = experiment.source
    assert isinstance(source, UnitsSource)
    if "exposed_at" not in table.column_names:
        start = pa.scalar(experiment.window.starts_at(), pa.timestamp("us", "UTC"))
        table = table.append_column("exposed_at", pa.chunked_array([pa.repeat(start, len(table))]))
    table = _complete(
        "units", _with_variants(table, source.variants), ("user_id", "variant_id", "exposed_at"), tally
    )
    table = _deduplicated("units", table, table["user_id"], tally)
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


def _conformed(
    name: str,
    parts: Sequence[pa.Table],
    experiment: Experiment,
    tally: _Tally,
    required: tuple[str, ...] = ("user_id", "variant_id"),
) -> pa.Table:
    """All parts in their staged types, counting what is missing or cannot be read."""
    alike: dict[Any, list[pa.Table]] = {}
    for part in parts:
        alike.setdefault(tuple(zip(part.schema.names, part.schema.types, strict=True)), []).append(part)
    done = [_conform(name, pa.concat_tables(group), experiment, tally) for group in alike.values()]
    table = pa.concat_tables(done) if done else _empty(name, required, experiment)
    tally.rows_in[name] = len(table)
    for column in table.column_names:
        if column in (*required, "exposed_at") or column.startswith(OUTCOME):
            key = f"{name}.{_plain(column)}"
            tally.nulls[key] = table[column].null_count - tally.malformed.get(key, 0)
    return table


def _conform(name: str, table: pa.Table, experiment: Experiment, tally: _Tally) -> pa.Table:
    columns: dict[str, Any] = {}
    unreadable = np.zeros(len(table), dtype=bool)
    for column in table.column_names:
        found, key = table[column], f"{name}.{_plain(column)}"
        kind = kind_of(column)
        if kind == "text":
            ids = column in IDS
            columns[column], words = without_null_words(text(found, ids=ids), ids=ids)
            _count_words(key, words, tally)
            continue
        conformed = instants(found, _zone(name, experiment)) if kind == "time" else number(found)
        columns[column] = conformed.values
        if conformed.malformed:
            tally.malformed[key] = tally.malformed.get(key, 0) + conformed.malformed
            tally.examples.setdefault(key, []).extend(conformed.examples)
            if column in _REQUIRED:
                unreadable |= _bools(conformed.bad)
    return pa.table({**columns, _UNREADABLE: pa.chunked_array([unreadable])})


def _zone(name: str, experiment: Experiment) -> str:
    """The zone of a table's times that say none."""
    source = experiment.source
    table = source.table if isinstance(source, UnitsSource) else getattr(source, name, None)
    return (table.timezone if table else None) or experiment.window.timezone


def _of_somebody(tables: dict[str, pa.Table], tally: _Tally) -> dict[str, pa.Table]:
    """The tables without the placeholders among their users, which count as nulls."""
    users = without_placeholders({name: table["user_id"] for name, table in tables.items()})
    for name, (_, words) in users.items():
        key = f"{name}.user_id"
        tally.nulls[key] += sum(words.values())
        _count_words(key, words, tally)
    return {
        name: table.set_column(table.column_names.index("user_id"), "user_id", users[name][0])
        for name, table in tables.items()
    }


def _count_words(key: str, words: Counts, tally: _Tally) -> None:
    counted = tally.null_words.setdefault(key, {}) if words else {}
    for word, rows in words.items():
        counted[word] = counted.get(word, 0) + rows


def _plain(column: str) -> str:
    for prefix in (ATTRIBUTE, OUTCOME, COVARIATE):
        column = column.removeprefix(prefix)
    return column


def _empty(name: str, required: tuple[str, ...], experiment: Experiment) -> pa.Table:
    columns: dict[str, Any] = {column: pa.array([], pa.string()) for column in required}
    columns |= {c: pa.array([], pa.timestamp("us", "UTC")) for c in required if _KIND.get(c) == "time"}
    source = experiment.source
    if isinstance(source, UnitsSource):
        columns |= {OUTCOME + c: pa.array([], pa.float64()) for c in source.outcomes}
        columns |= {COVARIATE + c: pa.array([], pa.float64()) for c in source.covariates}
    columns[_UNREADABLE] = pa.array([], pa.bool_())
    return pa.table({column: pa.chunked_array([values]) for column, values in columns.items()})


def _count_missing_values(name: str, table: pa.Table, experiment: Experiment, tally: _Tally) -> None:
    """A null `value` is a fault only where a metric reads that event's values."""
    if name != "outcomes" or "value" not in table.column_names or not table["value"].null_count:
        return
    measures = [m for metric in experiment.metrics for m in metric.measures]
    summed = pa.array(sorted({m.event for m in measures if m.agg in VALUED}), pa.string())
    missing = pc.and_(table["value"].is_null(), pc.is_in(table["event"], value_set=summed))
    malformed = tally.malformed.get("outcomes.value", 0)
    tally.nulls["outcomes.value"] = max(pc.sum(missing).as_py() - malformed, 0)


def _complete(name: str, table: pa.Table, required: tuple[str, ...], tally: _Tally) -> pa.Table:
    """The rows with a value in every required column; of the others is counted whether one could not be read."""
    table, unreadable = table.drop_columns([_UNREADABLE]), _bools(table[_UNREADABLE])
    if not any(table[column].null_count for column in required):
        return table
    complete = np.logical_and.reduce([_bools(table[column].is_valid()) for column in required])
    tally.leave_out(name, LeftOut.MALFORMED, int((~complete & unreadable).sum()))
    tally.leave_out(name, LeftOut.NULL, int((~complete & ~unreadable).sum()))
    return table.filter(pa.array(complete))


def _key(table: pa.Table, by: str) -> Any | None:
    """What equal rows of one user have in common; None: nothing is a duplicate."""
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


def _deduplicated(name: str, table: pa.Table, key: Any | None, tally: _Tally) -> pa.Table:
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
    tally.duplicates[name] = int(dropped.sum())
    tally.leave_out(name, LeftOut.DUPLICATE, int(dropped.sum()))
    return table.filter(pa.array(~dropped)) if dropped.any() else table


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
    attributes = string_map({_plain(c): table[c] for c in names}, len(table))
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


def _bools(column: Any) -> NDArray[np.bool_]:
    return np.asarray(column.to_numpy())
