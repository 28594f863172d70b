"""What is measured: a resolved metric, its parts and its role."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date
from enum import StrEnum
from typing import Literal, NamedTuple

from exp_platform.config.kinds import KINDS, Agg, MetricKind, Test


class Role(StrEnum):
    """What a metric is for. Primary and secondary metrics form the family that is corrected."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    GUARDRAIL = "guardrail"
    INFORMATIONAL = "informational"


@dataclass(frozen=True)
class Effect:
    """A size of effect: `value` on the metric's own scale, or relative to control's mean (0.02 = 2 %)."""

    value: float
    scale: Literal["absolute", "relative"]


@dataclass(frozen=True)
class DayWindow:
    """Days since a user's first exposure, [start, end), in periods of 24 hours; end None: to the experiment's end."""

    start: int = 0
    end: int | None = None

    @property
    def opens(self) -> int:
        """Days until a user is in the metric's population, where the window never closes; 0 where it does."""
        return self.start if self.end is None else 0


@dataclass(frozen=True)
class Measure:
    """One number per user of an event's rows; of a fact's rows `event` is the name of their `Series`.

    `sum` is of the values, `count` is of the rows, `any` is 0 or 1; `distinct` counts the rows' different items, `days` the
    local days that have rows; `first`, `last`, `max` and `min` are the value of one row. With `at_least` the number is 1
    where a sum or count reaches it, else 0.
    """

    event: str
    agg: Agg
    at_least: float | None = None

    @property
    def told(self) -> str:
        """The measure as a definition prints it, such as `sum of purchase`."""
        reached = "" if self.at_least is None else f", at least {self.at_least:.15g}"
        return f"{self.agg} of {self.event}{reached}"


@dataclass(frozen=True)
class Winsorise:
    """Caps at exact quantiles of the per-user values pooled over arms; None: that side is not capped."""

    lower: float | None = None
    upper: float | None = None


@dataclass(frozen=True)
class Guardrail:
    """A non-inferiority margin, in the harmful direction, as a positive size."""

    margin: Effect
    severity: Literal["warning", "critical"]


@dataclass(frozen=True)
class Covariate:
    """A pre-experiment measure of the user that CUPED regresses on (`id` is its column's name in the Moments).

    `until` is the last local day that a units table's column tells of, None where the spec does not say; the pre-period
    of events ends before exposure by itself.
    """

    id: str
    measure: Measure
    until: date | None = None


@dataclass(frozen=True)
class Behaviour:
    """A segment made of what users did in the pre-period: `top` is the share of them with the largest values of `measure`.

    The pre-period is that of covariates; of a units table the measure is a column, and `until` the last day it tells of.
    Users at or above `threshold` are the top. No spec says it: the first publication freezes it.
    """

    segment: str
    measure: Measure
    top: float
    until: date | None = None
    threshold: float | None = None


@dataclass(frozen=True)
class Provenance:
    """Whose definition a metric is: who answers for it, what it is for, and the library's file that holds it."""

    owner: str = ""
    description: str = ""
    file: str = ""  # empty: the spec's own


class MetricScale(NamedTuple):
    """What a metric's numbers are written on: its kind, and the unit that its definition declares."""

    kind: str = ""
    unit: str = ""


@dataclass(frozen=True)
class Metric:
    """One metric. `direction` is +1 where an increase is good and -1 where a decrease is."""

    id: str
    kind: str  # its name in `KINDS`
    role: Role
    direction: Literal[1, -1]
    numerator: Measure
    denominator: Measure | None = None
    window: DayWindow = DayWindow()
    winsorise: Winsorise | None = None
    missing: Literal["error", "zero", "exclude"] = "zero"
    covariates: tuple[Covariate, ...] = ()
    min_practical_effect: Effect | None = None
    mde: Effect | None = None
    baseline: float | None = None
    guardrail: Guardrail | None = None
    q: float | None = None  # of a quantile: the share of users at or below it
    test: Test = "welch"  # score: shares only; exact where outcomes are few

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise ValueError(f"{self.kind!r} is no kind of metric: {', '.join(KINDS)}")

    @property
    def traits(self) -> MetricKind:
        """What follows from the metric's kind."""
        return KINDS[self.kind]

    @property
    def definition(self) -> str:
        """What it measures, in words that are equal where the definitions are: `mean of orders.revenue where category is shoes`."""
        if self.denominator is None:
            days = "days of " if self.numerator.agg == "days" else ""
            told = f"{self.kind} of {days}{self.numerator.event}"
        else:
            told = f"{self.kind} of {self.numerator.told} to {self.denominator.told}"
        return ", ".join(part for part in (told, *self._details()) if part)

    def _details(self) -> Iterator[str]:
        if self.numerator.at_least is not None:
            yield f"at least {self.numerator.at_least:.15g}"
        if self.q is not None:
            yield f"q {self.q:.15g}"
        if self.window != DayWindow():
            yield f"days {self.window.start} to {'the end' if self.window.end is None else self.window.end}"
        for side in ("lower", "upper") if self.winsorise else ():
            if (cap := getattr(self.winsorise, side)) is not None:
                yield f"capped at the {side} quantile {cap:.15g}"
        if self.missing == "exclude":
            yield "users without a value left out"

    @property
    def not_daily(self) -> str:
        """Why it has no series by day since exposure; empty where it has one."""
        if self.numerator.at_least is not None:
            return "what reaches a threshold over its window reaches it on no day alone"
        return self.traits.not_daily

    @property
    def measures(self) -> tuple[Measure, ...]:
        """Its numerator and, where it has one, its denominator."""
        return (self.numerator,) if self.denominator is None else (self.numerator, self.denominator)
