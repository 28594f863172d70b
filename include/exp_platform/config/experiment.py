"""What an experiment is once its spec has been resolved: the frozen types that every other room reads.

People write a spec (`config.spec`); `ExperimentSpec.resolve()` fills every default and yields the `Experiment`
below. Nothing here reads a file, a clock or the environment.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from enum import StrEnum
from typing import TYPE_CHECKING, Literal
from zoneinfo import ZoneInfo

from exp_platform.config.allocation import CROSS, Allocation
from exp_platform.config.analyses import ANALYSES, UNADJUSTED, Estimate, read_by
from exp_platform.config.kinds import KINDS, Agg, MetricKind, Test

if TYPE_CHECKING:
    from exp_platform.aggregates import Kind

REPLICATE = "replicate"  # the attribute of a synthetic source with `replicates`

# Days that data and windows may have. Beyond them are no users, but what stands for "never" (1970-01-01, year 1 or 9999).
FIRST_DAY, LAST_DAY = date(1990, 1, 1), date(2199, 12, 31)


class Role(StrEnum):
    """What a metric is for. Primary and secondary metrics form the family that is corrected."""

    PRIMARY = "primary"
    SECONDARY = "secondary"
    GUARDRAIL = "guardrail"
    INFORMATIONAL = "informational"


Sequential = Literal["always_valid", "group_sequential"]
RelativeMethod = Literal["fieller", "delta", "log"]


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
    """One number per user: `sum` of the event's values, `count` of its rows, or `any` (0 or 1)."""

    event: str
    agg: Agg


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
    def measures(self) -> tuple[Measure, ...]:
        """Its numerator and, where it has one, its denominator."""
        return (self.numerator,) if self.denominator is None else (self.numerator, self.denominator)


@dataclass(frozen=True)
class Variant:
    """An arm with its planned share of users, of a ramp that of the whole window (the shares of all arms add up to 1)."""

    id: str
    share: float
    worth: float | None = (
        None  # of a ramp: the constant share that would be as precise (`allocation.effective_shares`)
    )

    @property
    def effective_share(self) -> float:
        """The share that power is planned with."""
        return self.share if self.worth is None else self.worth


@dataclass(frozen=True)
class Window:
    """The planned window: exposures count on local dates start..end, both included."""

    start: date
    end: date
    timezone: str = "UTC"

    def starts_at(self) -> datetime:
        """First instant of the window (aware)."""
        return datetime.combine(self.start, time(), ZoneInfo(self.timezone))

    def cutoff(self, as_of: date) -> datetime:
        """First instant after local day `as_of` (aware): rows before it count at that as_of date."""
        return datetime.combine(as_of + timedelta(days=1), time(), ZoneInfo(self.timezone))

    def over(self, day: date, periods: int) -> date:
        """The first as_of date at whose end so many periods of 24 hours are over for whoever was exposed by the end of `day`.

        A local day of 23 hours in between, when clocks are set forward, makes it one day later than calendars say.
        """
        # In UTC: local days are not alike
        end = self.cutoff(day).astimezone(UTC) + timedelta(days=periods)
        found = day + timedelta(days=periods)
        while self.cutoff(found).astimezone(UTC) < end:
            found += timedelta(days=1)
        return found


@dataclass(frozen=True)
class CsvDialect:
    """How CSV files are written, as far as the spec says it; None: as is usual, see `stages/csv_files.py`."""

    delimiter: str | None = None
    encoding: str | None = None  # one of Python's names, such as utf-16 or cp1252
    escape: Literal["quote", "backslash"] | None = None  # of a quote within a value


@dataclass(frozen=True)
class TableSource:
    """One input table: files (`path`, a file, folder or glob) or an Iceberg `table`; `columns` maps ours to theirs.

    For exposures the keys are user_id, variant_id, exposed_at, event_id and `attributes` go by their own list;
    for outcomes user_id, event, occurred_at, value, event_id.
    """

    format: Literal["parquet", "csv", "iceberg"]
    location: str
    columns: dict[str, str]
    csv: CsvDialect | None = None  # None where nothing is said


@dataclass(frozen=True)
class SyntheticSource:
    """A complete synthetic spec (see `docs` on synthetic data); rows follow from (experiment_id, seed) alone."""

    n_users: int
    seed: int
    days: int
    pre_period_days: int
    exposure_rate: float
    base_conversion: float
    effect_lift_conversion: tuple[float, ...]  # absolute, one per treatment
    effect_lift_revenue: tuple[float, ...]  # relative change of order value, one per treatment
    revenue_mean: float
    revenue_sd: float
    revenue_tail: Literal["normal", "lognormal"] = "normal"
    # sd of the latent propensity on the logit scale; 0: pre-period and outcome independent; at 2.5 they correlate by
    # .3 to .5 for conversion and revenue, .75 for pageviews
    propensity_sd: float = 2.5
    duplicate_share: float = 0.0
    late_share: float = 0.0
    crossover_share: float = 0.0
    actual_shares: tuple[float, ...] | None = None  # a broken split: the shares really used
    pre_trend: float = 0.0  # relative drift per day of treated users' activity before exposure
    conversion_trend: float = (
        0.0  # change of all arms' conversion rates from the window's first users to its last
    )
    replicates: int = 1  # experiments in one: users have the attribute REPLICATE, their number modulo this
    arrival: Literal["evenly", "first_day"] = "evenly"  # when in the window users are exposed
    kind: Literal["synthetic"] = "synthetic"


@dataclass(frozen=True)
class EventsSource:
    """Exposures and outcomes as two tables of events."""

    exposures: TableSource
    outcomes: TableSource
    attributes: dict[str, str]  # attribute -> column of exposures
    dedupe: Literal["event_id", "whole_row", "none"]
    # Where one of both has dates: whether an outcome on the day of exposure is after it, or before; None: nobody said
    same_day: Literal["after", "before"] | None = None
    kind: Literal["events"] = "events"


@dataclass(frozen=True)
class UnitsSource:
    """One row per user. Outcome and covariate columns become events of the same name; null is missing."""

    table: TableSource  # columns: user_id (absent: the row number is the id), variant_id, exposed_at (absent: start)
    variants: dict[str, str]  # value found in the variant column -> variant id
    outcomes: tuple[str, ...]
    covariates: tuple[str, ...]
    attributes: dict[str, str]
    kind: Literal["units"] = "units"


Source = SyntheticSource | EventsSource | UnitsSource


@dataclass(frozen=True)
class QualityThresholds:
    """Shares in [0, 1] beyond which a check fails; see the stage `quality`."""

    max_duplicate_share: float = 0.01
    max_null_share: float = 0.0
    max_unexposed_share: float | None = None  # warning; None: a table may hold everybody's outcomes
    max_before_exposure_share: float = 1.0  # of outcomes inside the window; all of them: an error
    max_just_before_share: float = 0.2  # of outcomes around exposure, warning
    max_outside_share: float = 0.5  # of a units table's rows, warning
    max_crossover_share: float = 0.01  # warning
    max_row_drop: float = 0.2  # against the last published run, error
    max_stale_days: int = 1  # newest row against as_of, warning


@dataclass(frozen=True)
class AnalysisPlan:
    """Which analyses run, and their windows in days."""

    enabled: tuple[str, ...] = tuple(a.name for a in ANALYSES if not a.options)
    pre_period_days: int = 14
    anchor: Literal["experiment_start", "first_exposure"] = "experiment_start"
    did_days: int = 7  # whole days after first exposure that the daily analyses read
    did_pre_days: int | None = None  # and before it; None: as many
    crossovers: Literal["exclude", "first"] = "exclude"
    slopes: Literal["pooled", "per_arm"] = (
        "pooled"  # of covariates: one for all arms, or each arm's own (Lin 2013)
    )
    # Segments that post-stratification weighs by, crossed where they are several
    strata: tuple[str, ...] = ()
    relative_interval: RelativeMethod = "fieller"  # delta and log are approximate: shown, never decided by
    bayes_prior_sd: Effect | None = None  # of a normal prior around no effect; None: no Bayesian reading

    def read(self, kind: Kind) -> bool:
        """Whether any analysis that runs reads blocks of that kind."""
        return read_by(self.enabled, kind)

    @property
    def strata_segment(self) -> str:
        """The segment whose values are the strata, as the Moments name it; empty without strata."""
        return CROSS.join(self.strata)

    @property
    def days_before(self) -> int:
        """Whole days before first exposure that the daily analyses read."""
        return self.did_days if self.did_pre_days is None else self.did_pre_days


@dataclass(frozen=True)
class DecisionPlan:
    """How evidence becomes an action (docs: decision)."""

    alpha: float = 0.05
    sequential_share: float = 0.1  # of alpha, spent on always-valid evidence before the planned end
    power: float = 0.8
    estimate: Estimate = UNADJUSTED
    family: Literal["all", "primary_first"] = "all"
    required_sample_size: int | None = None  # users in all arms together
    daily_users: float | None = None
    correction: Literal["bonferroni", "holm", "bh"] = "bonferroni"  # of the fixed-horizon tests of a family
    sequential: Sequential = "always_valid"  # never both: there is one alpha
    looks: tuple[date, ...] = ()  # declared as_of dates of a group-sequential test before the planned end
    spending: Literal["obrien_fleming", "pocock", "power"] = "obrien_fleming"
    spending_exponent: float = 2.0  # of `power`

    @property
    def fixed_alpha(self) -> float:
        """The share of alpha left for the fixed-horizon test at the planned end."""
        return self.alpha * (1 - self.sequential_share)

    @property
    def sequential_alpha(self) -> float:
        """The share of alpha spent on always-valid evidence."""
        return self.alpha * self.sequential_share


@dataclass(frozen=True)
class Schedule:
    """When the DAG runs: by `cron`, or `after` an asset of Airflow; neither: only by hand. Not part of the config hash."""

    cron: str | None = "@daily"
    grace_days: int = 2
    active: bool = False
    retries: int = 2
    wait_for: tuple[str, ...] | None = None  # locations on S3; None: those of the source
    wait_hours: float = 6.0
    after: str | None = None  # name or URI of the asset whose updates start runs, which then do not wait


@dataclass(frozen=True)
class Experiment:
    """One resolved experiment: all that a run needs to know. Shares are fractions, times are aware or local dates."""

    id: str
    owner: str
    hypothesis: str
    variants: tuple[Variant, ...]  # control first
    window: Window
    source: Source
    metrics: tuple[Metric, ...]
    # Attributes recorded at or before first exposure, and behaviours before it
    segments: tuple[str, ...] = ()
    behaviours: tuple[Behaviour, ...] = ()  # what the latter are made of
    quality: QualityThresholds = QualityThresholds()
    analyses: AnalysisPlan = AnalysisPlan()
    decision: DecisionPlan = DecisionPlan()
    schedule: Schedule = Schedule()
    tags: tuple[str, ...] = ()
    description: str = ""
    # Dated allocations, the first from the window's start on; (): one for all of it
    ramp: tuple[Allocation, ...] = ()
    retention_days: int | None = (
        None  # rows of single users go so many days after `last_as_of`; None: as the environment says
    )
    spec_file: str = field(default="", compare=False)  # where it was written, for messages and memo

    @property
    def control(self) -> Variant:
        """The arm the others are compared with."""
        return self.variants[0]

    @property
    def treatments(self) -> tuple[Variant, ...]:
        """All arms but the control, in the spec's order."""
        return self.variants[1:]

    @property
    def allocations(self) -> tuple[Allocation, ...]:
        """The ramp, else the one allocation of the whole window."""
        return self.ramp or (Allocation(self.window.start, tuple(v.share for v in self.variants)),)

    @property
    def attributes(self) -> tuple[str, ...]:
        """The segments that are recorded with the exposure."""
        made = {b.segment for b in self.behaviours}
        return tuple(segment for segment in self.segments if segment not in made)

    @property
    def replicated_by(self) -> tuple[str, ...]:
        """The segment whose values are experiments of their own, where the source makes several; else none."""
        several = isinstance(self.source, SyntheticSource) and self.source.replicates > 1
        return tuple(s for s in self.segments if several and s == REPLICATE)

    def metric(self, metric_id: str) -> Metric:
        """The metric of that id. Raises KeyError."""
        return {m.id: m for m in self.metrics}[metric_id]

    @property
    def family(self) -> tuple[Metric, ...]:
        """Primary and secondary metrics: those whose tests are corrected together."""
        return tuple(m for m in self.metrics if m.role in (Role.PRIMARY, Role.SECONDARY))

    @property
    def longest_window(self) -> int:
        """Days until the windows of a user are over that close; 0 where none does."""
        return max((m.window.end or 0 for m in self.metrics), default=0)

    @property
    def undated(self) -> bool:
        """Whether the data do not say when users came, so that every as_of date counts all that is there."""
        return isinstance(self.source, UnitsSource) and "exposed_at" not in self.source.table.columns

    @property
    def numbers_users(self) -> bool:
        """Whether the data have no ids, so that users are called by the numbers of their rows."""
        return isinstance(self.source, UnitsSource) and "user_id" not in self.source.table.columns

    @property
    def last_as_of(self) -> date:
        """The last useful as_of date: every metric's window of whoever was exposed last is over."""
        return self.window.over(self.window.end, self.longest_window)

    @property
    def decision_date(self) -> date:
        """The planned decision date: the last user's window of every metric that decides or guards is over."""
        heard = (m for m in self.metrics if m.role != Role.INFORMATIONAL or m.guardrail is not None)
        return self.window.over(self.window.end, max((m.window.end or 0 for m in heard), default=0))

    def elapsed(self, day: date) -> float:
        """The share of the days up to the planned decision date that are over at the end of `day`."""
        start = self.window.start
        return ((day - start).days + 1) / ((self.decision_date - start).days + 1)

    def observed(self, metric: Metric, day: date) -> float:
        """The share of the planned users, coming in evenly, whose window of the metric is over at the end of `day`.

        Of a metric whose window never closes it is the share of the days, as everybody's value goes on changing.
        """
        if metric.window.end is None:
            return self.elapsed(day)
        start, end = self.window.start, self.window.end
        over = (day - start).days + 1 - metric.window.end
        return min(max(over, 0) / ((end - start).days + 1), 1.0)
