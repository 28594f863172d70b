"""Complete rows as rows of the tables `exposures` and `outcomes`, without the constants experiment_id and bucket."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from exp_platform.config.experiment import Experiment
from exp_platform.config.sources import UnitsSource
from exp_platform.kernels.coded import CODED, coded
from exp_platform.kernels.complete_rows import ATTRIBUTE, COVARIATE, OUTCOME, plain
from exp_platform.kernels.conform import INSTANT, string_map
from exp_platform.kernels.local_days import DAY

ROW_KEY = "row_key"  # of complete rows too, where they have one: what makes a row another one's duplicate, see `kernels.duplicates`


def staged_rows(tables: Mapping[str, pa.Table], experiment: Experiment) -> tuple[pa.Table, pa.Table]:
    """Exposures and outcomes of complete rows, whichever tables these are of."""
    source = experiment.source
    if not isinstance(source, UnitsSource):
        return exposures_of(tables["exposures"]), outcomes_of(tables["outcomes"])
    table = tables["units"]
    before = pc.subtract(table["exposed_at"], pa.scalar(DAY, pa.duration("us")))
    parts = [
        _unit_events(table, prefix + name, name, time)
        for prefix, names, time in (
            (OUTCOME, source.outcomes, table["exposed_at"]),
            (COVARIATE, source.covariates, before),
        )
        for name in names
    ]
    events = pa.concat_tables(parts) if parts else table.slice(0, 0).drop_columns([ROW_KEY])
    return exposures_of(table), outcomes_of(events)


def exposures_of(table: pa.Table) -> pa.Table:
    """Exposures, with one map of all attributes."""
    names = [c for c in table.column_names if c.startswith(ATTRIBUTE)]
    attributes = string_map({plain(c): table[c] for c in names}, len(table))
    return pa.table(
        {
            "user_id": table["user_id"],
            "variant_id": table["variant_id"],
            "exposed_at": table["exposed_at"],
            "event_id": _optional(table, "event_id", pa.string()),
            "attributes": attributes,
            ROW_KEY: _optional(table, ROW_KEY, pa.int64()),
        }
    )


def outcomes_of(table: pa.Table) -> pa.Table:
    """Outcomes; a column that the table does not have is null."""
    return pa.table(
        {
            "user_id": table["user_id"],
            "event": _optional(table, "event", CODED),
            "occurred_at": _optional(table, "occurred_at", INSTANT),
            "value": _optional(table, "value", pa.float64()),
            "event_id": _optional(table, "event_id", pa.string()),
            "properties": string_map({}, len(table)),
            "item": _optional(table, "item", CODED),
            ROW_KEY: _optional(table, ROW_KEY, pa.int64()),
        }
    )


def _unit_events(table: pa.Table, column: str, event: str, time: Any) -> pa.Table:
    """The values of one column as events of its name; a missing value makes none."""
    rows = pa.table(
        {
            "user_id": table["user_id"],
            "event": coded(pa.repeat(pa.scalar(event), len(table))),
            "occurred_at": time,
            "value": table[column],
        }
    )
    return rows.filter(table[column].is_valid()) if table[column].null_count else rows


def _optional(table: pa.Table, column: str, kind: pa.DataType) -> Any:
    return table[column] if column in table.column_names else pa.nulls(len(table), kind)
