"""Where an experiment's data come from, as people write it: synthetic, events or units."""

from __future__ import annotations

import codecs
import re
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, model_validator

from exp_platform.config.faults import Fault, Words, refuse
from exp_platform.config.sources import (
    REPLICATE,
    CsvDialect,
    EventsSource,
    SyntheticSource,
    TableSource,
    UnitsSource,
)
from exp_platform.config.spec_base import Items, Share, Spec, Text

SYNTHETIC_EVENTS = ("pageview", "purchase")  # purchase's value is the order's, pageview's is 1
SYNTHETIC_ATTRIBUTES = ("device_type", "subscription_tier", "user_type")

SHARE_TOLERANCE = 1e-9

_EXPOSURE_COLUMNS = ("user_id", "variant_id", "exposed_at")
_OUTCOME_COLUMNS = ("user_id", "event", "occurred_at")
_CSV = re.compile(r"\.(csv|tsv)(\.(gz|bz2|zst|lz4))?/*$", re.IGNORECASE)
# Python's codecs of other things than files
_NO_ENCODING = ("idna", "punycode", "undefined", "unicode_escape", "raw_unicode_escape")


def _known_encoding(name: str) -> str:
    try:
        found = codecs.lookup(name)
        plain = "a".encode(name).decode(name) == "a" and found.name not in _NO_ENCODING
    except (LookupError, UnicodeError, ValueError, TypeError):
        plain = False
    if not plain:
        refuse([Fault((), name, "allowed: a text encoding, such as utf-8, utf-16, cp1252 or latin-1")])
    return name


def _known_delimiter(mark: str) -> str:
    if len(mark) != 1 or not mark.isascii() or mark.isalnum() or mark in '"\\\r\n\0':
        refuse([Fault((), mark, 'allowed: one mark, such as ";", "|" or "\\t"')])
    return mark


Encoding = Annotated[str, AfterValidator(_known_encoding)]
Delimiter = Annotated[str, AfterValidator(_known_delimiter)]


class TableSpec(Spec):
    """One table: files (`path`: a file, folder or glob) or an Iceberg `table`; `columns` maps our names to theirs."""

    path: Text | None = None
    table: Text | None = None
    format: Literal["parquet", "csv"] | None = (
        None  # absent: csv for *.csv and *.tsv, compressed or not, else parquet
    )
    columns: dict[str, Text] = Field(default_factory=dict)
    # How CSV files are written, where it is not as usual.
    delimiter: Delimiter | None = None
    encoding: Encoding | None = None
    escape: Literal["quote", "backslash"] | None = None

    @model_validator(mode="after")
    def _check_place(self) -> TableSpec:
        if (self.path is None) == (self.table is None):
            found = "nothing" if self.path is None else "both"
            refuse([Fault((), Words(found), "either path (files) or table (Iceberg) is required")])
        if self.table is not None and self.format is not None:
            refuse([Fault(("format",), self.format, "an Iceberg table has no format: leave it out")])
        if self._files_format != "csv":
            said = [key for key in ("delimiter", "encoding", "escape") if getattr(self, key) is not None]
            remedy = "it is of CSV files: say `format: csv`, or leave it out"
            refuse(Fault((key,), getattr(self, key), remedy) for key in said)
        return self

    @property
    def _files_format(self) -> Literal["parquet", "csv"] | None:
        if self.path is None:
            return None
        return self.format or ("csv" if _CSV.search(self.path) else "parquet")

    @property
    def _dialect(self) -> CsvDialect | None:
        dialect = CsvDialect(self.delimiter, self.encoding, self.escape)
        return None if dialect == CsvDialect() else dialect

    def column_faults(self, required: tuple[str, ...], optional: tuple[str, ...]) -> Iterator[Fault]:
        """Columns that the table's use does not know, and two names for one column."""
        known = (*required, *optional)
        for name in self.columns:
            if name not in known:
                yield Fault(("columns", name), Words("an unknown column"), f"allowed: {', '.join(known)}")
        if len(set(self.columns.values())) < len(self.columns):
            yield Fault(
                ("columns",), sorted(self.columns.values()), "each of our names needs a column of its own"
            )

    def resolve(self, required: tuple[str, ...], optional: tuple[str, ...] = ()) -> TableSource:
        """Required columns have our names unless mapped; optional ones are there only if mapped."""
        columns = {name: self.columns.get(name, name) for name in required}
        columns |= {name: self.columns[name] for name in optional if name in self.columns}
        if self.table is not None:
            return TableSource("iceberg", self.table, columns)
        return TableSource(self._files_format or "parquet", self.path or "", columns, self._dialect)


class EventsSpec(Spec):
    """Exposures and outcomes as two tables with a row per event."""

    kind: Literal["events"]
    exposures: TableSpec
    outcomes: TableSpec
    attributes: dict[str, Text] = Field(default_factory=dict)  # a segment's column, where its name is another
    dedupe: Literal["event_id", "whole_row", "none"] | None = None
    same_day: Literal["after", "before"] | None = None  # where one of both tables has dates

    @model_validator(mode="after")
    def _check(self) -> EventsSpec:
        faults = [
            Fault((side, *fault.key), fault.found, fault.allowed)
            for side, table, required, optional in (
                ("exposures", self.exposures, _EXPOSURE_COLUMNS, ("event_id",)),
                ("outcomes", self.outcomes, _OUTCOME_COLUMNS, ("value", "event_id")),
            )
            for fault in table.column_faults(required, optional)
        ]
        if self.dedupe == "event_id" and not self._has_event_id:
            faults.append(
                Fault(("dedupe",), self.dedupe, "name the event_id column under columns, or say whole_row")
            )
        refuse(faults)
        return self

    @property
    def _has_event_id(self) -> bool:
        return "event_id" in self.exposures.columns or "event_id" in self.outcomes.columns

    def resolve(self, segments: tuple[str, ...], sums_values: bool) -> EventsSource:
        """With `value` where a metric sums it; duplicates go by event_id where there is one, else stay."""
        outcomes = (*_OUTCOME_COLUMNS, "value") if sums_values else _OUTCOME_COLUMNS
        return EventsSource(
            exposures=self.exposures.resolve(_EXPOSURE_COLUMNS, ("event_id",)),
            outcomes=self.outcomes.resolve(outcomes, ("value", "event_id")),
            attributes={segment: self.attributes.get(segment, segment) for segment in segments},
            dedupe=self.dedupe or ("event_id" if self._has_event_id else "none"),
            same_day=self.same_day,
        )


class UnitsSpec(TableSpec):
    """One table with a row per user: its variant, outcomes, covariates and attributes."""

    kind: Literal["units"]
    attributes: dict[str, Text] = Field(default_factory=dict)  # a segment's column, where its name is another

    @model_validator(mode="after")
    def _check_columns(self) -> UnitsSpec:
        refuse(self.column_faults(("variant_id",), ("user_id", "exposed_at")))
        return self

    def resolve_units(
        self,
        variants: dict[str, str],
        outcomes: tuple[str, ...],
        covariates: tuple[str, ...],
        segments: tuple[str, ...],
    ) -> UnitsSource:
        """The columns are those that metrics, covariates and segments name."""
        return UnitsSource(
            table=self.resolve(("variant_id",), ("user_id", "exposed_at")),
            variants=variants,
            outcomes=outcomes,
            covariates=covariates,
            attributes={segment: self.attributes.get(segment, segment) for segment in segments},
        )


def _as_list(value: Any) -> Any:
    """One number stands for every treatment."""
    return [value] if isinstance(value, (int, float)) else value


Lifts = Annotated[Items[float], BeforeValidator(_as_list), Field(min_length=1)]


class SyntheticSettings(Spec):
    """What generated data are like, whether written flat or under `source`."""

    n_users: int = Field(ge=1)
    seed: int = 42
    exposure_rate: float = Field(default=0.85, gt=0, le=1)
    base_conversion: float = Field(default=0.10, gt=0, lt=1)
    revenue_mean: float = Field(default=12.5, gt=0)
    revenue_sd: float = Field(default=3.0, ge=0)
    revenue_tail: Literal["normal", "lognormal"] = "normal"
    propensity_sd: float = Field(default=2.5, ge=0)
    duplicate_share: Share = 0.0
    late_share: Share = 0.0
    crossover_share: Share = 0.0
    pre_trend: float = 0.0  # relative drift per day of treated users' activity before exposure
    conversion_trend: float = (
        0.0  # change of all arms' conversion rates from the window's first users to its last
    )


class SyntheticSpec(SyntheticSettings):
    """Generated data; days, shares and pre-period are those of window, variants and analyses."""

    kind: Literal["synthetic"]
    effect_lift_conversion: Lifts = (0.0,)  # absolute; one number, or one per treatment
    effect_lift_revenue: Lifts = (0.0,)  # relative, of the order's value; one number, or one per treatment
    actual_shares: Items[float] | None = None  # a broken split: one share a variant, in the spec's order
    replicates: int = Field(default=1, ge=1)  # experiments in one, told apart by the attribute REPLICATE
    arrival: Literal["evenly", "first_day"] = "evenly"  # when in the window users are exposed

    @property
    def attributes(self) -> tuple[str, ...]:
        """What its users are recorded with."""
        return (*SYNTHETIC_ATTRIBUTES, *((REPLICATE,) if self.replicates > 1 else ()))

    def faults(self, variants: int) -> Iterator[Fault]:
        """What does not fit the number of variants, or leaves a treatment without a possible conversion rate."""
        for key in ("effect_lift_conversion", "effect_lift_revenue"):
            lifts = getattr(self, key)
            if len(lifts) not in (1, variants - 1):
                yield Fault(
                    (key,),
                    list(lifts),
                    f"allowed: one number, or one for each of the {variants - 1} treatments",
                )
        for lift in self.effect_lift_conversion:
            if not 0 <= self.base_conversion + lift <= 1:
                remedy = f"base_conversion ({self.base_conversion}) plus the lift must stay between 0 and 1"
                yield Fault(("effect_lift_conversion",), lift, remedy)
        rates = [self.base_conversion + lift for lift in (0.0, *self.effect_lift_conversion)]
        drift = abs(self.conversion_trend) / 2
        if drift and not (drift <= min(rates) and max(rates) + drift < 1):
            remedy = "half of it is taken off and put on every arm's conversion rate, which must stay between 0 and 1"
            yield Fault(("conversion_trend",), self.conversion_trend, remedy)
        for lift in self.effect_lift_revenue:
            if lift <= -1:
                yield Fault(
                    ("effect_lift_revenue",), lift, "allowed: more than -1 (it is relative: 0.05 is 5 %)"
                )
        if self.actual_shares is not None and (
            len(self.actual_shares) != variants
            or min(self.actual_shares) < 0
            or abs(sum(self.actual_shares) - 1) > SHARE_TOLERANCE
        ):
            yield Fault(
                ("actual_shares",),
                list(self.actual_shares),
                f"allowed: {variants} shares, one per variant, that add up to 1",
            )

    def resolve(self, days: int, pre_period_days: int, order: tuple[int, ...]) -> SyntheticSource:
        """`order` is the resolved variants' positions in the spec (control first)."""
        treatments = len(order) - 1
        settings = self.model_dump(exclude={"kind", "actual_shares"})
        for key in ("effect_lift_conversion", "effect_lift_revenue"):
            lifts = settings[key]
            settings[key] = lifts * treatments if len(lifts) == 1 else lifts
        actual = self.actual_shares and tuple(self.actual_shares[position] for position in order)
        return SyntheticSource(**settings, days=days, pre_period_days=pre_period_days, actual_shares=actual)


SourceSpec = Annotated[SyntheticSpec | EventsSpec | UnitsSpec, Field(discriminator="kind")]
