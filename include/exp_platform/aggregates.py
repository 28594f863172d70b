"""Aggregates: what the kernels hand to the analyses. One file per run, and the rows of `metric_aggregates_*`."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date
from enum import StrEnum
from pathlib import Path
from typing import Any, Literal

from exp_platform.json_file import write_whole
from exp_platform.stats.moments import Moments

Kind = Literal["total", "daily", "cohort", "exposed"]  # of a block

ALL = "all"  # the segment that holds everybody
COHORT = "exposure_cohort"  # the segment of `cohort` blocks: users by their first exposure


@dataclass(frozen=True)
class Block:
    """Moments of one metric in one variant and segment, with the columns named.

    kind `total`: columns are `value`, for a ratio `value`, `denominator`; then the covariates by their ids.
    kind `daily`: columns are `day-7` ... `day-1`, `day0` ... `day6` (as many as `did_pre_days` and `did_days`): the
    metric's value on that day since first exposure (24-hour periods; a proportion's is 0 or 1 a day), over users whose
    days are all observed; never by segment.
    kind `exposed`: columns as of `total` without covariates, of all exposed users from first exposure on, where a trigger
    keeps the other blocks to those who reached it; of segment `all` only.
    kind `cohort`: columns as of `total` without covariates, by exposure cohort (`segment_value`: its first date), over
    the same days since exposure for every user: the metric's window, or the first `did_days` where that never closes.
    """

    kind: Kind
    metric_id: str
    variant_id: str
    segment: str
    segment_value: str
    columns: tuple[str, ...]
    moments: Moments
    successes: int | None = None  # users with a value other than 0 (proportions: conversions)
    median: float | None = (
        None  # exact order statistics of the uncapped value; `total` blocks of segment `all` only
    )
    p95: float | None = None
    capped_share: float | None = None  # of users, where the metric is winsorised: both sides together
    capped_lower: float | None = None  # of users, those below the lower cap
    capped_upper: float | None = None  # of users, those above the upper cap
    quantile: float | None = None  # quantile metrics with enough users: the quantile, ...
    quantile_low: float | None = None  # ... its 95 % rank interval, ...
    quantile_high: float | None = None
    quantile_error: float | None = None  # ... and its standard error, 0 where the interval lies within a tie


@dataclass(frozen=True)
class DailyRow:
    """One metric on one local date in one variant: activity of the users exposed so far that day."""

    local_date: date
    variant_id: str
    metric_id: str
    new_users: int  # users whose first exposure is that date
    active_users: int  # users with at least one event
    value_sum: float  # sum of the metric's numerator; an `any` counts on the date that first makes it 1
    denominator_sum: float | None = None


@dataclass(frozen=True)
class Arrivals:
    """Users who came in one period of a ramp, by variant of first exposure."""

    assigned: dict[str, int]  # crossovers included
    crossovers: dict[str, int]  # seen in several variants


class Counted(StrEnum):
    """What a row that was read counts for, in the words that reports use."""

    FIRST = "a user's first exposure"
    METRIC = "for a metric"
    TRIGGER = "as the trigger"
    BEFORE = "before exposure, for covariates, trends or segments"
    DAILY = "for the daily analyses only"
    ANALYSED = "analysed"
    POPULATION = "in the metric"
    SERIES = "in what metrics measure"  # of a fact's rows: they are outcomes from there on


class LeftOut(StrEnum):
    """Why a row that was read does not count: the first of these that is true of it."""

    LINE = "in a line that cannot be read"
    OTHER_EXPERIMENT = "of other experiments"
    UNMAPPED = "of ids that the identity map does not have"
    SEVERAL_USERS = "of ids that stand for several users"
    FORGOTTEN = "of users who are to be forgotten"
    MALFORMED = "with a required value that cannot be read"
    NULL = "without a required value"
    DUPLICATE = "that stand twice"
    BEFORE_WINDOW = "from before the window"
    AFTER_WINDOW = "from after the window"
    OUTSIDE_WINDOW = "exposed outside the window only"
    NOT_READ = "of events that no metric reads"
    NO_EXPOSURE = "of users without exposure"
    TOO_OLD = "older than any analysis reaches"
    TOO_LATE = "later than any analysis reaches"
    FILTERED = "that no metric's filter lets through"
    LATER = "from after the as_of date"
    UNKNOWN_VARIANT = "of variants that the spec does not have"
    UNKNOWN_FIRST = "of users whose first variant the spec does not have"
    NOT_ASSIGNED = "of users whose exposure does not count"
    CROSSOVER = "of users seen in several variants"
    NOT_TRIGGERED = "of users who have not reached the trigger"
    REPEATED = "of users who had been exposed before"
    NOT_MATURE = "of users whose days are not over"
    NO_VALUE = "without a value"
    BEFORE_EXPOSURE = "from before the user's exposure"
    BEFORE_TRIGGER = "from after exposure and before the trigger"
    OTHER_DAYS = "on days that no metric reads"


@dataclass(frozen=True)
class RowAccount:
    """What became of all rows that were read of one table: `read` is the sum of `counted` and `left_out`.

    Keys are those of `Counted` and `LeftOut`; reasons without rows are left out. Of users the rows are users.
    """

    read: int
    counted: dict[str, int]
    left_out: dict[str, int]

    @property
    def counts(self) -> int:
        """Rows that count."""
        return sum(self.counted.values())

    def adds_up(self) -> bool:
        """Whether every row that was read is told of, once."""
        return self.read == self.counts + sum(self.left_out.values())


@dataclass(frozen=True)
class Threshold:
    """Where the top of a behavioural segment begins, as the first publication of its definition froze it."""

    definition: str  # what was measured, in words
    value: float  # users at or above it are the top ...
    share: float  # ... and so many they were
    users: int  # of these, all arms together, exposed by
    as_of_date: date
    run_id: str  # of the run that published it

    def to_json(self) -> dict[str, Any]:
        """The threshold as JSON has it."""
        return {**asdict(self), "as_of_date": self.as_of_date.isoformat()}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Threshold:
        """The inverse of `to_json`."""
        return Threshold(**{**data, "as_of_date": date.fromisoformat(data["as_of_date"])})


@dataclass(frozen=True)
class Pooled:
    """The rarer values of an attribute, which a segment, or the strata, have as one value: they were too many."""

    value: str  # that stands for them
    kept: int  # the most frequent values, which stand for themselves
    values: int  # so many are pooled, ...
    more: bool  # ... or more
    users: int  # assigned users of all arms who have them

    def told(self, attribute: str) -> str:
        """In words, with what can be done about it."""
        values = f"{'more than ' * self.more}{self.values:,} rarer ones of {self.users:,} users"
        return (
            f"of {attribute} the {self.kept} most frequent values stand for themselves, and {values} are pooled as "
            f"{self.value}; to choose, record fewer values, such as a region instead of a city"
        )


@dataclass(frozen=True)
class Aggregates:
    """Everything the analyses need of one as_of date. Arrivals are users after the first-exposure rule.

    Under a ramp every `total` and `daily` block is there for each period too (`config.allocation.in_period`), and `periods`
    holds each period's counts by its first day, in their order; without one it is empty.
    """

    as_of_date: date
    assigned: dict[str, int]  # variant -> users assigned by first exposure, crossovers included
    crossovers: dict[str, int]  # variant of first exposure -> users seen in several variants
    blocks: tuple[Block, ...] = ()
    daily: tuple[DailyRow, ...] = ()
    caps: dict[str, tuple[float | None, float | None]] = field(default_factory=dict)  # metric -> lower, upper
    periods: dict[str, Arrivals] = field(default_factory=dict)
    triggered: dict[str, Arrivals] = field(
        default_factory=dict
    )  # of them who reached the trigger, by an allocation's first day; {} without one
    thresholds: dict[str, Threshold] = field(default_factory=dict)  # of behavioural segments
    # segment (or crossed strata, as their blocks are named) -> attribute of too many values in it -> what was pooled
    pooled: dict[str, dict[str, Pooled]] = field(default_factory=dict)
    # kind of block -> metric -> its largest value, in words, where users have values beyond `stats.rounding.LARGEST`: such a
    # metric has no blocks of that kind
    too_large: dict[Kind, dict[str, str]] = field(default_factory=dict)
    # exposures and outcomes, or units; `users`; `users of <metric id>`: the analysed ones, by whether they are in it
    rows: dict[str, RowAccount] = field(default_factory=dict)

    def block(
        self,
        metric_id: str,
        variant_id: str,
        segment: str = ALL,
        segment_value: str = ALL,
        kind: str = "total",
    ) -> Block | None:
        """The block of that key, or None where no user falls into it."""
        key = (kind, metric_id, variant_id, segment, segment_value)
        return self._index().get(key)

    def _index(self) -> dict[tuple[str, str, str, str, str], Block]:
        cached: dict[tuple[str, str, str, str, str], Block] | None = self.__dict__.get("_by_key")
        if cached is None:
            cached = {(b.kind, b.metric_id, b.variant_id, b.segment, b.segment_value): b for b in self.blocks}
            self.__dict__["_by_key"] = cached
        return cached

    def segment_values(self, segment: str, kind: str = "total") -> list[str]:
        """The values a segment takes in blocks of a kind, sorted."""
        return sorted({b.segment_value for b in self.blocks if b.segment == segment and b.kind == kind})


def pooled_to_json(pooled: dict[str, dict[str, Pooled]]) -> dict[str, dict[str, Any]]:
    """`Aggregates.pooled` for JSON."""
    return {segment: {name: asdict(p) for name, p in of.items()} for segment, of in pooled.items()}


def pooled_from_json(data: dict[str, dict[str, Any]]) -> dict[str, dict[str, Pooled]]:
    """The inverse of `pooled_to_json`."""
    return {segment: {name: Pooled(**p) for name, p in of.items()} for segment, of in data.items()}


def write_aggregates(path: Path, days: list[Aggregates]) -> None:
    """Write one run's aggregates (one entry per as_of date) as JSON whose floats round-trip exactly."""

    def plain(value: Any) -> Any:
        if isinstance(value, Moments):
            return value.to_json()
        return value.isoformat()

    def shallow(day: Aggregates) -> dict[str, Any]:
        return {
            "as_of_date": day.as_of_date,
            "assigned": day.assigned,
            "crossovers": day.crossovers,
            "caps": day.caps,
            "pooled": pooled_to_json(day.pooled),
            "too_large": day.too_large,
            "periods": {start: asdict(counts) for start, counts in day.periods.items()},
            "triggered": {start: asdict(counts) for start, counts in day.triggered.items()},
            "thresholds": {segment: t.to_json() for segment, t in day.thresholds.items()},
            "rows": {table: asdict(account) for table, account in day.rows.items()},
            "blocks": [b.__dict__ for b in day.blocks],
            "daily": [asdict(r) for r in day.daily],
        }

    write_whole(path, json.dumps([shallow(d) for d in days], default=plain, allow_nan=False))


def read_aggregates(path: Path) -> list[Aggregates]:
    """Read what `write_aggregates` wrote."""
    return [
        Aggregates(
            as_of_date=date.fromisoformat(day["as_of_date"]),
            assigned=day["assigned"],
            crossovers=day["crossovers"],
            caps={k: (v[0], v[1]) for k, v in day["caps"].items()},
            pooled=pooled_from_json(day["pooled"]),
            too_large=day["too_large"],
            periods={start: Arrivals(**counts) for start, counts in day["periods"].items()},
            triggered={start: Arrivals(**counts) for start, counts in day["triggered"].items()},
            thresholds={segment: Threshold.from_json(t) for segment, t in day["thresholds"].items()},
            rows={table: RowAccount(**account) for table, account in day["rows"].items()},
            blocks=tuple(
                Block(**{**b, "columns": tuple(b["columns"]), "moments": Moments.from_json(b["moments"])})
                for b in day["blocks"]
            ),
            daily=tuple(
                DailyRow(**{**r, "local_date": date.fromisoformat(r["local_date"])}) for r in day["daily"]
            ),
        )
        for day in json.loads(path.read_text())
    ]
