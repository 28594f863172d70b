"""The metrics and guardrails of a spec."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field, PlainValidator, WithJsonSchema, model_validator

from exp_platform.config.faults import NOTHING, Fault, Words, one_of, refuse
from exp_platform.config.kinds import KINDS, REFUSED, Agg, MetricKind, Test
from exp_platform.config.metrics import Covariate, DayWindow, Guardrail, Measure, Metric, Role, Winsorise
from exp_platform.config.sources import DAY, Series
from exp_platform.config.spec_base import Day, EffectSize, Id, Items, Owner, Spec, Text, Unit
from exp_platform.config.where import FORM, Condition, conditions

Missing = Literal["error", "zero", "exclude"]
RoleName = Literal["primary", "secondary", "guardrail", "informational"]
Severity = Literal["warning", "critical"]
Quantile = Annotated[float, Field(gt=0, lt=1)]

RESERVED_EVENT = "exposure"  # `unit_days` counts each user's exposure under this name


def _known_kind(found: Any) -> str:
    if not isinstance(found, str) or found not in KINDS:
        refuse([Fault((), found, f"allowed: {one_of(repr(name) for name in KINDS)}")])
    return str(found)


Kind = Annotated[str, PlainValidator(_known_kind), WithJsonSchema({"enum": list(KINDS)})]
Where = Annotated[tuple[Condition, ...], PlainValidator(conditions), WithJsonSchema(FORM)]
_RATIO_TYPES: dict[str, Agg] = {"sum": "sum", "count": "count", "any": "any", "count_distinct": "distinct"}


class OfFact(Spec):
    """What is measured of a fact: its rows (of one `event` where it has several) that pass `where`, and which `value` of them."""

    of: Id | None = None
    value: Text | None = None
    where: Where = ()
    distinct: Text | None = None  # the dimension whose different values are counted, or `day`

    @model_validator(mode="after")
    def _check_fact(self) -> OfFact:
        if self.of is None:
            said = [key for key in ("value", "where", "distinct") if getattr(self, key)]
            remedy = "it is of a fact: say which one under `of`"
            refuse(
                Fault((key,), Words(f"{key} without of"), remedy)
                for key in said
                if key != "distinct" or self.distinct != DAY
            )
        return self

    def series_of(self, event: str | None) -> Series | None:
        """The rows that are measured; None where no fact is named."""
        if self.of is None:
            return None
        item = None if self.distinct == DAY else self.distinct
        return Series(self._told(event, item), self.of, event, self.value, self.where, item)

    def _told(self, event: str | None, item: str | None) -> str:
        """The definition as people read it, which is the name of its rows."""
        rows = self.of if event is None else f"{self.of}.{event}"
        what = f"{rows}.{self.value}" if self.value else f"{item} of {rows}" if item else rows
        return " and ".join(
            [f"{what} where {c.told}" if not n else c.told for n, c in enumerate(self.where)] or [f"{what}"]
        )


class MeasureSpec(OfFact):
    """One side of a ratio: `{sum: purchase}`, `{count: purchase}`, `{any: purchase}`; of a fact `{of: orders, value: revenue}`.

    Of a fact its values are added up, its different values of `distinct` or else its rows counted, or what `type` says.
    """

    sum: Text | None = None
    count: Text | None = None
    any: Text | None = None
    event: Text | None = None
    type: Literal["sum", "count", "any", "count_distinct"] | None = None

    @model_validator(mode="after")
    def _check(self) -> MeasureSpec:
        named = [key for key in ("sum", "count", "any", "of") if getattr(self, key) is not None]
        if len(named) != 1:
            refuse(
                [
                    Fault(
                        (),
                        self.model_dump(exclude_defaults=True),
                        "one of sum, count, any and of is required",
                    )
                ]
            )
        if self.of is None:
            said = [key for key in ("event", "type", "distinct") if getattr(self, key) is not None]
            refuse(
                Fault((key,), getattr(self, key), "it is of a fact: say which one under `of`") for key in said
            )
        elif (self._type == "sum") != (self.value is not None):
            remedy = (
                "a sum is of a value: name it"
                if self.value is None
                else f"a {self._type} has none: leave it out"
            )
            refuse([Fault(("value",), self.value or NOTHING, remedy)])
        elif (self._type == "count_distinct") != (self.distinct is not None):
            remedy = "only a count_distinct counts different values" if self.distinct else "what is counted"
            refuse([Fault(("distinct",), self.distinct or NOTHING, remedy)])
        return self

    @property
    def _type(self) -> str:
        return self.type or ("sum" if self.value else "count_distinct" if self.distinct else "count")

    @property
    def series(self) -> Series | None:
        """The rows of the fact; None for today's events."""
        return self.series_of(self.event)

    def resolve(self) -> Measure:
        """The one measure that is written."""
        if (series := self.series) is not None:
            return Measure(series.name, "days" if self.distinct == DAY else _RATIO_TYPES[self._type])
        if self.sum is not None:
            return Measure(self.sum, "sum")
        return Measure(self.count, "count") if self.count is not None else Measure(self.any or "", "any")


class DayWindowSpec(Spec):
    """24-hour days since a user's first exposure, from_day included, to_day not: {from_day: 0, to_day: 7} is a week."""

    from_day: int = 0
    to_day: int | None = None  # absent: to the end of the experiment

    @model_validator(mode="after")
    def _check(self) -> DayWindowSpec:
        if self.from_day < 0:
            remedy = "allowed: 0 or more; earlier days overlap the pre-period, which covariates are made of"
            refuse([Fault(("from_day",), self.from_day, remedy)])
        if self.to_day is not None and self.to_day <= self.from_day:
            refuse(
                [
                    Fault(
                        ("to_day",),
                        self.to_day,
                        f"allowed: more than from_day ({self.from_day}): to_day is excluded",
                    )
                ]
            )
        return self

    def resolve(self) -> DayWindow:
        """The same, resolved."""
        return DayWindow(self.from_day, self.to_day)


class WinsoriseSpec(Spec):
    """Caps at quantiles of the per-user values, such as {upper: 0.99}."""

    lower: Quantile | None = None
    upper: Quantile | None = None

    @model_validator(mode="after")
    def _check(self) -> WinsoriseSpec:
        if self.lower is None and self.upper is None:
            refuse([Fault((), NOTHING, "a quantile is required: lower, upper or both")])
        if self.lower is not None and self.upper is not None and self.lower >= self.upper:
            refuse([Fault(("lower",), self.lower, f"allowed: less than upper ({self.upper})")])
        return self

    def resolve(self) -> Winsorise:
        """The same, resolved."""
        return Winsorise(self.lower, self.upper)


class CovariateSpec(Spec):
    """A covariate by its name; of a units table also `until`, the last local day that its column tells of."""

    name: Text
    until: Day | None = None

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, found: Any) -> Any:
        return {"name": found} if isinstance(found, str) else found


class MetricSpec(OfFact):
    """One metric: what is measured (`of` a fact, an `event`, or a `column` of a `units` source), and what it is for."""

    id: Id
    type: Kind
    event: Text | None = None
    column: Text | None = None
    numerator: MeasureSpec | None = None
    denominator: MeasureSpec | None = None
    role: RoleName = "secondary"
    direction: Literal["increase", "decrease"] = "increase"  # which of them is good
    unit: Unit | None = None  # of its numbers, for people: a currency, min, orders
    q: Quantile | None = None  # which quantile; `quantile` only
    window: DayWindowSpec | None = None
    winsorise: WinsoriseSpec | None = None
    at_least: Annotated[float, Field(gt=0)] | None = None  # rows, or of their sum; `proportion` only
    missing: Missing | None = None  # absent: error of `units`, zero of events
    covariates: Items[CovariateSpec] | None = None  # absent: an events metric's own pre-period value
    mde: EffectSize | None = None
    min_practical_effect: EffectSize | None = None
    baseline: float | None = None
    test: Test = "welch"
    owner: Owner | None = None  # who answers for the definition
    description: str = ""

    @model_validator(mode="after")
    def _check(self) -> MetricSpec:
        refuse([*self._key_faults(), *self._size_faults()])
        return self

    @property
    def traits(self) -> MetricKind:
        """What follows from the metric's kind."""
        return KINDS[self.type]

    def _key_faults(self) -> Iterator[Fault]:
        """Keys that the kind requires and that are not there, and those that it does not take."""
        kind = self.traits
        if "event" in kind.keys and self.event is not None and self.column is not None:
            yield Fault(("column",), self.column, "allowed: event or column, not both")
        for key in dict.fromkeys((*kind.requires, *REFUSED)):
            written = getattr(self, key)
            if written is None and key in kind.requires:
                yield Fault((key,), NOTHING, f"a {kind.name} requires {kind.requires[key]}")
            elif written and key not in kind.keys and not (key == "value" and self.at_least):
                found, why = REFUSED[key]
                yield Fault((key,), Words(found) if found else written, why.format(kind=kind.name))
        if self.test not in kind.tests:
            takers = one_of(f"a {other.name}" for other in KINDS.values() if self.test in other.tests)
            remedy = f"only {takers} takes the {self.test} test: a {kind.name} takes {one_of(kind.tests)}"
            yield Fault(("test",), self.test, remedy)

    def _size_faults(self) -> Iterator[Fault]:
        """Sizes that a share cannot have."""
        if not self.traits.share:
            return
        if self.baseline is not None and not 0 < self.baseline < 1:
            yield Fault(("baseline",), self.baseline, "allowed: a share between 0 and 1")
        for key in ("mde", "min_practical_effect"):
            size = getattr(self, key)
            if size is not None and size.scale == "absolute" and size.value >= 1:
                remedy = f"allowed: less than 1, as a {self.type} is a share (0.01 is 1 point)"
                yield Fault((key,), size.value, remedy)

    @property
    def measure_keys(self) -> tuple[str, ...]:
        """The keys that `measures` are written under."""
        if self.traits.agg is None:
            return ("numerator", "denominator")
        if self.of is not None:
            return ("of",)
        return tuple(key for key in ("event", "column") if getattr(self, key) is not None)

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Numerator and, for a ratio, denominator; empty where the metric names neither event nor column."""
        agg = self.traits.agg
        if agg is None:
            return tuple(side.resolve() for side in self._sides)
        series = self.series_of(self.event)
        name = series.name if series else self.event or self.column
        if self.at_least is not None:
            agg = "sum" if self.value or self.column else "count"
        elif self.distinct == DAY:
            agg = "days"
        return (Measure(name, agg, self.at_least),) if name else ()

    @property
    def _sides(self) -> tuple[MeasureSpec, ...]:
        return tuple(side for side in (self.numerator, self.denominator) if side is not None)

    @property
    def series(self) -> tuple[Series, ...]:
        """What it reads of facts."""
        found = (
            [side.series for side in self._sides] if self.traits.agg is None else [self.series_of(self.event)]
        )
        return tuple(one for one in found if one is not None)

    def resolve(
        self,
        covariates: tuple[Covariate, ...],
        missing: Missing,
        guardrail: Guardrail | None,
    ) -> Metric:
        """The metric with what its source and the guardrails say of it."""
        measures = self.measures
        return Metric(
            id=self.id,
            kind=self.type,
            role=Role(self.role),
            direction=1 if self.direction == "increase" else -1,
            numerator=measures[0],
            denominator=measures[1] if len(measures) > 1 else None,
            window=self.window.resolve() if self.window else DayWindow(),
            winsorise=self.winsorise.resolve() if self.winsorise else None,
            missing=missing,
            covariates=covariates,
            min_practical_effect=self.min_practical_effect,
            mde=self.mde,
            baseline=self.baseline,
            guardrail=guardrail,
            q=self.q,
            test=self.test,
        )


class GuardrailSpec(Spec):
    """A metric that must not get worse by more than `margin` in its harmful direction."""

    metric: Id
    margin: EffectSize
    severity: Severity = "warning"  # critical: a proven breach stops the treatment

    def resolve(self) -> Guardrail:
        """The same, resolved."""
        return Guardrail(self.margin, self.severity)
