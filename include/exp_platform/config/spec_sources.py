"""Where an experiment's data come from, as people write it: synthetic, events or units."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from exp_platform.config.faults import NOTHING, Fault, Words, refuse
from exp_platform.config.sources import (
    REPLICATE,
    EventsSource,
    Series,
    SyntheticSource,
    UnitsSource,
)
from exp_platform.config.spec_base import Id, Items, Share, Spec, Text, Value, one_or_more
from exp_platform.config.spec_tables import OTHER_ID, FactSpec, TableSpec

SYNTHETIC_EVENTS = ("pageview", "purchase")  # purchase's value is the order's, pageview's is 1
SYNTHETIC_ATTRIBUTES = ("device_type", "subscription_tier", "user_type")

SHARE_TOLERANCE = 1e-9

_EXPOSURE_COLUMNS = ("user_id", "variant_id", "exposed_at")
_OUTCOME_COLUMNS = ("user_id", "event", "occurred_at")
_IDENTITY_COLUMNS = ("user_id", "other_id")


class EventTables(Spec):
    """Exposures, and outcomes as one table with a row per event, or as facts: of one experiment or of many."""

    exposures: TableSpec
    outcomes: TableSpec | None = None
    facts: dict[Id, FactSpec] = Field(default_factory=dict)
    identities: TableSpec | None = None
    attributes: dict[str, Text] = Field(default_factory=dict)  # a segment's column, where its name is another
    dedupe: Literal["event_id", "whole_row", "none"] | None = None
    same_day: Literal["after", "before"] | None = None  # where one of both tables has dates

    @model_validator(mode="after")
    def _check(self) -> EventTables:
        if bool(self.facts) == (self.outcomes is not None):
            found = Words("both") if self.facts else NOTHING
            refuse([Fault(("facts",), found, "either facts or outcomes is required")])
        refuse([*self._column_faults(), *self._use_faults()])
        return self

    def _column_faults(self) -> Iterator[Fault]:
        for side, table, required, optional in (
            ("exposures", self.exposures, _EXPOSURE_COLUMNS, (OTHER_ID, "event_id", "experiment")),
            ("outcomes", self.outcomes, _OUTCOME_COLUMNS, (OTHER_ID, "value", "event_id")),
            ("identities", self.identities, _IDENTITY_COLUMNS, ()),
        ):
            for fault in table.column_faults(required, optional) if table else ():
                yield Fault((side, *fault.key), fault.found, fault.allowed)

    def _use_faults(self) -> Iterator[Fault]:
        others = [key for key, table in self._tables() if OTHER_ID in table.columns]
        if others and self.identities is None:
            remedy = f"{' and '.join(others)} have ids of another space: say here whose they are"
            yield Fault(("identities",), NOTHING, remedy)
        elif self.identities is not None and not others:
            remedy = f"no table names its column `{OTHER_ID}`: leave it out, or name it"
            yield Fault(("identities",), Words("an unused table"), remedy)
        if self.dedupe == "event_id" and not self._has_event_id:
            yield Fault(("dedupe",), self.dedupe, "name the event_id column under columns, or say whole_row")

    def _tables(self) -> Iterator[tuple[str, TableSpec]]:
        yield "exposures", self.exposures
        if self.outcomes:
            yield "outcomes", self.outcomes
        yield from self.facts.items()

    @property
    def _has_event_id(self) -> bool:
        return any("event_id" in table.columns for _, table in self._tables())


class EventsSpec(EventTables):
    """The tables of one experiment, or its rows of a log of many."""

    kind: Literal["events"]
    key: Value | None = None  # of a log of many experiments; absent: the spec's id

    @model_validator(mode="after")
    def _check_key(self) -> EventsSpec:
        if self.key is not None and "experiment" not in self.exposures.columns:
            remedy = "say which column of the exposures holds it: `experiment` under exposures.columns"
            refuse([Fault(("key",), self.key, remedy)])
        return self

    def resolve_events(
        self,
        experiment_id: str,
        segments: tuple[str, ...],
        variants: dict[str, str],
        series: tuple[Series, ...],
        *,
        sums_values: bool,
    ) -> EventsSource:
        """What metrics read, and no other fact; `value` where one sums it. Duplicates go by event_id where there is one, else stay."""
        outcomes = (*_OUTCOME_COLUMNS, "value") if sums_values else _OUTCOME_COLUMNS
        of_fact = {name: [one for one in series if one.fact == name] for name in self.facts}
        # Of the source's other facts nothing is read, and nothing follows
        columns = {c for name, t in self._tables() if of_fact.get(name, True) for c in t.columns}
        has_key = "experiment" in self.exposures.columns
        return EventsSource(
            exposures=self.exposures.resolve(_EXPOSURE_COLUMNS, ("event_id", "experiment")),
            outcomes=self.outcomes.resolve(outcomes, ("value", "event_id")) if self.outcomes else None,
            attributes={segment: self.attributes.get(segment, segment) for segment in segments},
            dedupe=self.dedupe or ("event_id" if "event_id" in columns else "none"),
            same_day=self.same_day,
            facts=tuple(
                self.facts[name].resolve_fact(name, read, whole=self.dedupe == "whole_row")
                for name, read in of_fact.items()
                if read
            ),
            series=series,
            key=(self.key or experiment_id) if has_key else None,
            variants=variants,
            identities=(
                self.identities.resolve(_IDENTITY_COLUMNS)
                if self.identities and OTHER_ID in columns
                else None
            ),
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


Lifts = Annotated[
    Items[float],
    BeforeValidator(_as_list),
    Field(min_length=1),
    WithJsonSchema(one_or_more({"type": "number"})),
]


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
