"""What `decisions` holds of one run and day, as readers get it."""

from __future__ import annotations

import json
from dataclasses import dataclass
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any

from exp_platform.aggregates import Arrivals, Kind, Pooled, RowAccount, Threshold, pooled_from_json

if TYPE_CHECKING:
    from exp_platform.decision.model import Decision


@dataclass(frozen=True)
class StoredDecision:
    """A committed decision: its own fields, and what any of its numbers can be traced by. `computed_at` is UTC."""

    experiment_id: str
    as_of_date: date
    run_id: str
    computed_at: datetime
    winner: str
    action: str
    winning_variant: str | None
    confidence: float
    lift: float | None
    effect: float | None
    final: bool
    skipped: tuple[str, ...]  # stages whose stored results were used
    users: dict[str, int]  # variant -> assigned users, crossovers included
    crossovers: dict[str, int]  # variant of first exposure -> users seen in several variants
    caps: dict[str, tuple[float | None, float | None]]  # winsorised metric -> lower, upper
    periods: dict[str, Arrivals]  # of a ramp: first day -> users who came in it; {} without one
    thresholds: dict[str, Threshold]  # behavioural segment -> where its top begins
    pooled: dict[
        str, dict[str, Pooled]
    ]  # segment or crossed strata -> attribute -> which rarer values are one
    too_large: dict[Kind, dict[str, str]]  # kind of block -> metric without any -> its largest value
    rows: dict[str, RowAccount]  # table read -> what became of its rows; {} of a run by an older version
    result_rows: dict[str, int]  # result table -> rows of the day; {} of a run by an older version
    config_hash: str
    input_fingerprint: str
    code_version: str
    exposures_snapshot: int
    outcomes_snapshot: int
    document: str  # the whole decision as JSON

    @cached_property
    def decision(self) -> Decision:
        """The decision itself."""
        from exp_platform.decision.model import Decision

        return Decision.from_json(json.loads(self.document))

    @staticmethod
    def of(row: dict[str, Any]) -> StoredDecision:
        """From a row of the table `decisions`."""
        same = {name: row[name] for name in StoredDecision.__dataclass_fields__ if name in row}
        return StoredDecision(
            **{
                **same,
                "skipped": tuple(json.loads(row["skipped"])),
                "users": json.loads(row["assigned"]),
                "crossovers": json.loads(row["crossovers"]),
                "periods": {day: Arrivals(**n) for day, n in json.loads(row["periods"] or "{}").items()},
                "caps": {metric: (low, high) for metric, (low, high) in json.loads(row["caps"]).items()},
                "thresholds": {
                    segment: Threshold.from_json(found)
                    for segment, found in json.loads(
                        row["thresholds"] or "{}"
                    ).items()  # older rows have none
                },
                "pooled": pooled_from_json(json.loads(row["pooled"] or "{}")),  # older rows have none
                "too_large": json.loads(row["too_large"] or "{}"),
                "result_rows": json.loads(row["result_rows"] or "{}"),
                "rows": {
                    table: RowAccount(**told)
                    for table, told in json.loads(row["rows"] or "{}").items()  # older rows have none
                },
                "document": row["decision"],
            }
        )
