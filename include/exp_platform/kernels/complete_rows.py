"""Raw rows of a bucket -> complete rows in their staged types, each judged by itself: what is counted adds up over rows.

Raw tables have our column names, `attribute.<name>` for attributes and, in units, `outcome.<name>` and
`covariate.<name>`; their types are as found, and may differ from table to table.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from exp_platform.aggregates import LeftOut
from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import EventsSource, UnitsSource
from exp_platform.kernels.base import NO_EVENT, Base, RowCounts
from exp_platform.kernels.canonical_text import text
from exp_platform.kernels.coded import CODED, Coded, by_value, coded, coded_together
from exp_platform.kernels.conform import instants, number
from exp_platform.kernels.local_days import instant
from exp_platform.kernels.measured import Counts, Measured
from exp_platform.kernels.nobody import placeholders, without_null_words, without_placeholders
from exp_platform.kernels.unit_days import horizon

Kind = Literal["text", "time", "number"]

ATTRIBUTE, OUTCOME, COVARIATE = "attribute.", "outcome.", "covariate."

IDS = ("user_id", "other_id", "event_id")
NAMES = ("variant_id", "event", "item")  # columns of few values, beside attributes

_REQUIRED = ("user_id", "variant_id", "exposed_at", "event", "occurred_at")
_UNREADABLE = "(unreadable)"  # whether a required column held a value that could not be read

_NEEDS = {
    "exposures": ("user_id", "variant_id", "exposed_at"),
    "outcomes": ("user_id", "event", "occurred_at"),
}

_KIND: dict[str, Kind] = {"exposed_at": "time", "occurred_at": "time", "value": "number"}


@dataclass(frozen=True)
class CompleteRows:
    """Rows with a value in every required column, of exposures and outcomes or of units, in the order of the raw rows."""

    tables: dict[str, pa.Table]
    counts: RowCounts  # of all raw rows


@dataclass
class _Tally:
    rows_in: Counts = field(default_factory=dict)
    nulls: Counts = field(default_factory=dict)
    null_words: dict[str, Counts] = field(default_factory=dict)
    malformed: Counts = field(default_factory=dict)
    examples: dict[str, list[str]] = field(default_factory=dict)
    left_out: dict[str, Counts] = field(default_factory=dict)
    missing: Counts = field(default_factory=dict)
    placeholders: dict[str, Counts] = field(default_factory=dict)

    @property
    def counts(self) -> RowCounts:
        """The same as it is kept."""
        told = dict(self.__dict__)
        kept = {key: told.pop(key) for key in ("missing", "placeholders")}
        return RowCounts(Measured(**told), **kept)

    def leave_out(self, name: str, reason: LeftOut, rows: int) -> None:
        """Count rows of a table that are not staged."""
        if rows:
            reasons = self.left_out.setdefault(name, {})
            reasons[reason.value] = reasons.get(reason.value, 0) + rows


def kind_of(column: str) -> Kind:
    """What the values of a column of raw tables become."""
    return "number" if column.startswith((OUTCOME, COVARIATE)) else _KIND.get(column, "text")


def complete_rows(
    raw: Mapping[str, Sequence[pa.Table]], experiment: Experiment, base: Base | None = None
) -> CompleteRows:
    """Cast the rows of one bucket and leave out those without a user, a time, a variant or an event.

    `raw` maps exposures and outcomes, or units, to their parts in a fixed order. The one thing that rows are told together
    is which ids are placeholders: it takes all rows of the bucket, those of the base among them, see `kernels.nobody`.
    Raises NotExactError where that is another id than it was.
    """
    tally = _Tally()
    if isinstance(experiment.source, UnitsSource):
        found = {"units": _conformed("units", raw.get("units", ()), experiment, tally)}
        tables = {"units": _units(_of_somebody(found, tally, base)["units"], experiment, tally)}
    else:
        found = {
            name: _conformed(name, raw.get(name, ()), experiment, tally, required)
            for name, required in _NEEDS.items()
        }
        tables = {
            name: _events(name, table, experiment, tally)
            for name, table in _of_somebody(found, tally, base).items()
        }
    return CompleteRows(tables, tally.counts)


def is_name(column: str) -> bool:
    """Whether the values of a column of raw tables are few and stand in many rows, which makes it a dictionary."""
    return column in NAMES or column.startswith(ATTRIBUTE)


def plain(column: str) -> str:
    """A column's own name, as the spec has it."""
    for prefix in (ATTRIBUTE, OUTCOME, COVARIATE):
        column = column.removeprefix(prefix)
    return column


def of_facts(name: str, experiment: Experiment) -> bool:
    """Whether a table's rows are those that facts gave."""
    source = experiment.source
    return name == "outcomes" and isinstance(source, EventsSource) and bool(source.facts)


def _events(name: str, table: pa.Table, experiment: Experiment, tally: _Tally) -> pa.Table:
    source = experiment.source
    if not of_facts(name, experiment):  # whose values were counted while they were read
        _count_missing_values(name, table, tally)
    table = _complete(name, table, _NEEDS[name], tally)
    if name == "exposures" and isinstance(source, EventsSource):
        return _in_reach(_with_variants(table, source.variants), experiment, tally)
    return table


def _with_variants(table: pa.Table, variants: Mapping[str, str]) -> pa.Table:
    """The same rows with variants' ids for the values that stand for them; other values stay."""
    if not variants:
        return table
    theirs, ours = (pa.array(names, pa.string()) for names in (variants.keys(), variants.values()))

    def mapped(values: Any) -> Any:
        return pc.coalesce(ours.take(pc.index_in(values, value_set=theirs)), values)

    column = by_value(table["variant_id"], mapped)
    return table.set_column(table.column_names.index("variant_id"), "variant_id", column)


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


def _units(table: pa.Table, experiment: Experiment, tally: _Tally) -> pa.Table:
    source = experiment.source
    assert isinstance(source, UnitsSource)
    if "exposed_at" not in table.column_names:
        start = pa.scalar(experiment.window.starts_at(), pa.timestamp("us", "UTC"))
        table = table.append_column("exposed_at", pa.chunked_array([pa.repeat(start, len(table))]))
    table = _with_variants(table, source.variants)
    return _complete("units", table, ("user_id", "variant_id", "exposed_at"), tally)


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
            key = f"{name}.{plain(column)}"
            tally.nulls[key] = table[column].null_count - tally.malformed.get(key, 0)
    return table


def _conform(name: str, table: pa.Table, experiment: Experiment, tally: _Tally) -> pa.Table:
    columns: dict[str, Any] = {}
    unreadable = np.zeros(len(table), dtype=bool)
    for column in table.column_names:
        found, key = table[column], f"{name}.{plain(column)}"
        kind = kind_of(column)
        if kind == "text":
            ids = column in IDS
            texts = text(found, ids=ids)
            if column == "user_id":
                columns[column] = texts  # see `_of_somebody`
                continue
            columns[column], words = without_null_words(coded(texts) if is_name(column) else texts, ids=ids)
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


def _of_somebody(tables: dict[str, pa.Table], tally: _Tally, base: Base | None) -> dict[str, pa.Table]:
    """The tables without words for null and placeholders among their users. Ids are dictionaries from here on."""
    ids = coded_together({name: table["user_id"] for name, table in tables.items()})
    named = {name: without_null_words(found, ids=True) for name, found in ids.items()}
    ids = {name: found for name, (found, _) in named.items()}
    tally.placeholders = {name: placeholders(found) for name, found in ids.items()}
    users = without_placeholders(ids, tally.placeholders, {} if base is None else base.earlier(tables))
    for name, words in [(name, words) for both in (named, users) for name, (_, words) in both.items()]:
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


def _empty(name: str, required: tuple[str, ...], experiment: Experiment) -> pa.Table:
    columns: dict[str, Any] = {c: pa.array([], CODED if is_name(c) else pa.string()) for c in required}
    columns |= {c: pa.array([], pa.timestamp("us", "UTC")) for c in required if _KIND.get(c) == "time"}
    source = experiment.source
    if isinstance(source, UnitsSource):
        columns |= {OUTCOME + c: pa.array([], pa.float64()) for c in source.outcomes}
        columns |= {COVARIATE + c: pa.array([], pa.float64()) for c in source.covariates}
    columns[_UNREADABLE] = pa.array([], pa.bool_())
    return pa.table({column: pa.chunked_array([values]) for column, values in columns.items()})


def _count_missing_values(name: str, table: pa.Table, tally: _Tally) -> None:
    """By event, as a null `value` is a fault only where a metric reads that event's values."""
    if name != "outcomes" or "value" not in table.column_names or not table["value"].null_count:
        return
    events = Coded.distinct(table["event"].filter(table["value"].is_null()))
    counted = dict(zip(events.values.to_pylist(), events.rows.tolist(), strict=True))
    counted[NO_EVENT] = int((events.codes < 0).sum())
    tally.missing = {event: rows for event, rows in counted.items() if rows}


def _complete(name: str, table: pa.Table, required: tuple[str, ...], tally: _Tally) -> pa.Table:
    """The rows with a value in every required column; of the others is counted whether one could not be read."""
    table, unreadable = table.drop_columns([_UNREADABLE]), _bools(table[_UNREADABLE])
    if not any(table[column].null_count for column in required):
        return table
    complete = np.logical_and.reduce([_bools(table[column].is_valid()) for column in required])
    tally.leave_out(name, LeftOut.MALFORMED, int((~complete & unreadable).sum()))
    tally.leave_out(name, LeftOut.NULL, int((~complete & ~unreadable).sum()))
    return table.filter(pa.array(complete))


def _bools(column: Any) -> NDArray[np.bool_]:
    return np.asarray(column.to_numpy())
