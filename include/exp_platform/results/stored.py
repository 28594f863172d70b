"""What `decisions` holds of one run and day, as readers get it."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, fields
from datetime import date, datetime
from functools import cached_property
from typing import TYPE_CHECKING, Any, ClassVar

from exp_platform.aggregates import Arrivals, Kind, Pooled, RowAccount, Threshold, pooled_from_json
from exp_platform.errors import DataError

if TYPE_CHECKING:
    from exp_platform.decision.model import Decision


@dataclass(frozen=True)
class NewestDecision:
    """What a list of all experiments shows of each one's newest day: no more is read of `decisions`."""

    COLUMNS: ClassVar[tuple[str, ...]] = ("experiment_id", "as_of_date", "run_id", "winner", "action")

    as_of_date: date
    run_id: str
    winner: str
    action: str

    @staticmethod
    def of(row: dict[str, Any]) -> NewestDecision:
        """From a row of the table `decisions`."""
        return NewestDecision(row["as_of_date"], row["run_id"], row["winner"], row["action"])


@dataclass(frozen=True)
class DecidedDay:
    """What was decided as of one day, without what it rests on: a line of an experiment's history."""

    as_of_date: date
    run_id: str
    computed_at: datetime
    winner: str
    action: str
    winning_variant: str | None
    confidence: float
    lift: float | None
    final: bool
    config_hash: str
    code_version: str

    @staticmethod
    def of(row: dict[str, Any]) -> DecidedDay:
        """From a row of the table `decisions`."""
        return DecidedDay(**{name: row[name] for name in DecidedDay.columns()})

    @staticmethod
    def columns() -> tuple[str, ...]:
        """What is read of the table."""
        return tuple(field.name for field in fields(DecidedDay))


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
    # Segment or crossed strata -> attribute -> which rarer values are one
    pooled: dict[str, dict[str, Pooled]]
    too_large: dict[Kind, dict[str, str]]  # kind of block -> metric without any -> its largest value
    triggered: dict[
        str, Arrivals
    ]  # first day of an allocation -> its users who reached the trigger; {} without one
    rows: dict[str, RowAccount]  # table read -> what became of its rows; {} of a run by an older version
    refresh: dict[str, str]  # kind (full or incremental) and why; {} of a run by an older version
    definitions: dict[str, str]  # metric -> what it measured, in words; {} of a run by an older version
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

        with _of_a_known_version(vars(self)):
            return Decision.from_json(json.loads(self.document))

    @property
    def sequential(self) -> str | None:
        """How alpha is spent over looks, without unfolding the decision; None: stored before this was kept."""
        found: str | None = json.loads(self.document).get("sequential")
        return found

    @staticmethod
    def of(row: dict[str, Any]) -> StoredDecision:
        """From a row of the table `decisions`. Raises DataError for one of a newer version that says what this one cannot."""
        with _of_a_known_version(row):
            return StoredDecision._of(row)

    @staticmethod
    def _of(row: dict[str, Any]) -> StoredDecision:
        same = {name: row[name] for name in StoredDecision.__dataclass_fields__ if name in row}
        return StoredDecision(
            **{
                **same,
                "skipped": tuple(json.loads(row["skipped"])),
                "users": json.loads(row["assigned"]),
                "crossovers": json.loads(row["crossovers"]),
                "triggered": {
                    # Older rows have none
                    day: Arrivals(**n)
                    for day, n in json.loads(row["triggered"] or "{}").items()
                },
                "periods": {day: Arrivals(**n) for day, n in json.loads(row["periods"] or "{}").items()},
                "caps": {metric: (low, high) for metric, (low, high) in json.loads(row["caps"]).items()},
                "thresholds": {
                    segment: Threshold.from_json(found)
                    # Older rows have none
                    for segment, found in json.loads(row["thresholds"] or "{}").items()
                },
                "pooled": pooled_from_json(json.loads(row["pooled"] or "{}")),  # older rows have none
                "too_large": json.loads(row["too_large"] or "{}"),
                "definitions": json.loads(row["definitions"] or "{}"),
                "result_rows": json.loads(row["result_rows"] or "{}"),
                "rows": {
                    table: RowAccount(**told)
                    for table, told in json.loads(row["rows"] or "{}").items()  # older rows have none
                },
                "refresh": json.loads(row["refresh"] or "null") or {},
                "document": row["decision"],
            }
        )


@contextmanager
def _of_a_known_version(row: Mapping[str, Any]) -> Iterator[None]:
    try:
        yield
    except (TypeError, KeyError, ValueError) as error:
        raise DataError(
            f"{row['experiment_id']}: what was decided as of {row['as_of_date']} cannot be read by this version of the platform "
            f"({type(error).__name__}: {error}): version {row['code_version']} wrote it; use that one or a newer one"
        ) from error
