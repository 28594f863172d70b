"""What an experiment is once its spec has been resolved: the frozen types that every other room reads.

People write a spec (`config.spec`); `ExperimentSpec.resolve()` fills every default and yields the `Experiment`
below. Nothing here reads a file, a clock or the environment.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from exp_platform.config.allocation import Allocation
from exp_platform.config.metrics import (
    Behaviour,
    Metric,
    MetricScale,
    Provenance,
    Role,
)
from exp_platform.config.notify import Notify
from exp_platform.config.plans import (
    AnalysisPlan,
    DecisionPlan,
    QualityThresholds,
    Schedule,
)
from exp_platform.config.sources import (
    REPLICATE,
    Source,
    SyntheticSource,
    UnitsSource,
)
from exp_platform.config.trigger import Trigger

# Days that data and windows may have. Beyond them are no users, but what stands for "never" (1970-01-01, year 1 or 9999).
FIRST_DAY, LAST_DAY = date(1990, 1, 1), date(2199, 12, 31)


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
    quality: QualityThresholds = field(default_factory=QualityThresholds)
    analyses: AnalysisPlan = field(default_factory=AnalysisPlan)
    decision: DecisionPlan = field(default_factory=DecisionPlan)
    schedule: Schedule = field(default_factory=Schedule)
    tags: tuple[str, ...] = ()
    description: str = ""
    # Dated allocations, the first from the window's start on; (): one for all of it
    ramp: tuple[Allocation, ...] = ()
    retention_days: int | None = (
        None  # rows of single users go so many days after `last_as_of`; None: as the environment says
    )
    trigger: Trigger | None = None  # None: users count from first exposure on
    provenance: dict[str, Provenance] = field(default_factory=dict)  # of metrics that say it, by their ids
    units: dict[str, str] = field(
        default_factory=dict
    )  # of metrics that declare one, by their ids; for people
    notify: tuple[Notify, ...] | None = (
        None  # who is told when something changes; None: whom the environment tells
    )
    source_file: str = field(
        default="", compare=False
    )  # the library's file of its source; empty: the spec's own
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

    def scale(self, metric_id: str, kind: str = "") -> MetricScale:
        """On what numbers of a metric of that kind are written; also of one that the spec no longer has."""
        return MetricScale(kind, self.units.get(metric_id, ""))

    @property
    def family(self) -> tuple[Metric, ...]:
        """Primary and secondary metrics: those whose tests are corrected together."""
        return tuple(m for m in self.metrics if m.role in (Role.PRIMARY, Role.SECONDARY))

    @property
    def longest_window(self) -> int:
        """Days after first exposure until the windows of a user are over that close; 0 where none does."""
        return self._until_over(self.metrics)

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
        return self.window.over(self.window.end, self._until_over(heard))

    def _until_over(self, metrics: Iterable[Metric]) -> int:
        longest = max((m.window.end or 0 for m in metrics), default=0)
        return longest + (self.trigger.within if self.trigger and longest else 0)

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
        over = (day - start).days + 1 - self._until_over((metric,))
        return min(max(over, 0) / ((end - start).days + 1), 1.0)
