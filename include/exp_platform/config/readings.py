"""What was read of an experiment before, and by which plan: what a run remembers of the runs before it.

No spec says any of this. A run's start finds it in the stored decisions, and each decision hands it on.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any

from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect, Guardrail, Metric
from exp_platform.config.plans import DecisionPlan

Plan = dict[str, Any]  # what `analyses.readings.plan_of` makes of a spec, as plain JSON
Claim = tuple[str, str, str, int]  # method, metric, treatment, and +1 or -1 as the effect is above or below 0
DECIDING = (
    "decision"  # the method of a claim that the estimate which decides makes; else a method of an analysis
)


@dataclass(frozen=True)
class FirstLook:
    """The first decision that showed a number, and the statistical plan it was made by."""

    as_of_date: date
    read_on: date
    plan: Plan


@dataclass(frozen=True)
class Verdict:
    """What a decision came to: the fields of that name of `decision.Decision`."""

    winner: str
    action: str
    winning_variant: str | None
    reported_variant: str | None
    decisive_metric: str
    confidence: float
    lift: float | None
    effect: float | None


@dataclass(frozen=True)
class Reading:
    """A test that was taken: the fixed-horizon test (`final`), or a look of a group-sequential one before the end.

    `found` is what counted by this test; `data` the fingerprint of the input it was taken on; `verdict` what was decided
    (None: by a version that did not keep it), when the spec had been changed `edits` times.
    """

    final: bool
    as_of_date: date
    read_on: date
    data: str
    found: tuple[Claim, ...] = ()
    verdict: Verdict | None = None
    edits: int = 0


@dataclass(frozen=True)
class Refused:
    """The first reading at the planned end that failed trust, and the quality thresholds that it failed by."""

    as_of_date: date
    read_on: date
    quality: dict[str, Any]


@dataclass(frozen=True)
class Memory:
    """What the decisions so far leave behind; empty before the first look."""

    first: FirstLook | None = None
    readings: tuple[Reading, ...] = ()
    refused: Refused | None = None

    @property
    def final(self) -> Reading | None:
        """The reading of the fixed-horizon test, or of the last look."""
        return next((r for r in self.readings if r.final), None)

    def look(self, as_of_date: date) -> Reading | None:
        """The reading of an interim look."""
        return next((r for r in self.readings if not r.final and r.as_of_date == as_of_date), None)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads."""
        return asdict(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> Memory:
        """The inverse of `to_json`, once dates have become text."""
        first, refused = data["first"], data["refused"]
        return Memory(
            first and FirstLook(**{**first, **_dates(first)}),
            tuple(
                Reading(
                    **{
                        **r,
                        **_dates(r),
                        "found": tuple(_claim(c) for c in r["found"]),
                        "verdict": Verdict(**r["verdict"]) if r.get("verdict") else None,
                    }
                )
                for r in data["readings"]
            ),
            refused and Refused(**{**refused, **_dates(refused)}),
        )


def _dates(data: dict[str, Any]) -> dict[str, date]:
    return {name: date.fromisoformat(data[name]) for name in ("as_of_date", "read_on")}


def _claim(data: Any) -> Claim:
    method, metric_id, treatment_id, sign = data
    return method, metric_id, treatment_id, sign


@dataclass(frozen=True)
class Change:
    """One key of the spec or the plan that is not what it was; None: it was not there, or no longer is."""

    key: str
    before: Any
    now: Any


@dataclass(frozen=True)
class Edit:
    """What one edit of the spec changed, and the UTC day of the first run that had it.

    `upgraded`: the platform's code was another one too, so the defaults of a new version may be what differs.
    """

    on: date
    changes: tuple[Change, ...]
    upgraded: bool = False

    @staticmethod
    def from_json(data: dict[str, Any]) -> Edit:
        """The inverse of `asdict`, once the date has become text."""
        changes = tuple(Change(**change) for change in data["changes"])
        return Edit(date.fromisoformat(data["on"]), changes, data.get("upgraded", False))


def together(edits: Sequence[Edit]) -> tuple[Change, ...]:
    """What edits come to: a key that was changed and set back is not changed."""
    first: dict[str, Any] = {}
    last: dict[str, Any] = {}
    for change in (change for edit in edits for change in edit.changes):
        first.setdefault(change.key, change.before)
        last[change.key] = change.now
    return tuple(Change(key, first[key], last[key]) for key in first if first[key] != last[key])


@dataclass(frozen=True)
class RunState:
    """What a run finds of its experiment: the memory that it begins with, and what follows for the spec as it is now.

    It is handed on beside the spec, of which it is no part. Without a memory nothing does. `moved`: no fixed-horizon test, and no look of a group-sequential one, is left to take.
    `incomparable`: what is compared is another thing, so nothing counts. Otherwise the stricter of both plans does.
    """

    memory: Memory = field(default_factory=Memory)
    plan: Plan = field(default_factory=dict)  # the present one
    data: str = ""  # fingerprint of what this run reads
    read_on: date | None = None
    edits: tuple[Edit, ...] = ()  # of the spec since its first run
    changes: tuple[Change, ...] = ()  # of the plan since the first look
    moved: bool = False
    incomparable: bool = False
    lenient: bool = False  # a reading failed trust, and the thresholds that it failed by were changed
    fixed_alpha: float | None = None  # of the first plan, where its levels were others; None: as now
    sequential_alpha: float | None = None
    sizes: dict[str, int] = field(default_factory=dict)  # metric -> comparisons its family had
    names: dict[str, str] = field(default_factory=dict)  # metric -> its id at the first look
    unplanned: tuple[str, ...] = ()  # metrics that had no share of alpha
    new_treatments: tuple[str, ...] = ()
    # Metric -> min_practical_effect
    practical: dict[str, dict[str, Any] | None] = field(default_factory=dict)
    guardrails: dict[str, dict[str, Any] | None] = field(default_factory=dict)  # metric -> its guardrail
    unguarded: tuple[str, ...] = ()  # critical guardrails whose metrics the spec no longer has
    tuned: dict[str, dict[str, float]] = field(default_factory=dict)  # metric -> treatment -> users
    looks: tuple[date, ...] | None = None  # of the first plan; None: not known

    def name(self, metric_id: str) -> str:
        """The metric's id at the first look."""
        return self.names.get(metric_id, metric_id)

    def fixed_alpha_of(self, plan: DecisionPlan) -> float:
        """What the fixed-horizon test may spend: the spec's share of alpha, at most the first look's."""
        return plan.fixed_alpha if self.fixed_alpha is None else min(self.fixed_alpha, plan.fixed_alpha)

    def sequential_alpha_of(self, plan: DecisionPlan) -> float:
        """What always-valid evidence may spend, likewise."""
        first = self.sequential_alpha
        return plan.sequential_alpha if first is None else min(first, plan.sequential_alpha)

    def look_dates(self, experiment: Experiment) -> tuple[date, ...]:
        """The as_of dates of a group-sequential test that spend alpha, the planned decision date last.

        Those that were declared at the first look, whether or not they still are, and those that were taken.
        """
        declared = experiment.decision.looks if self.looks is None else self.looks
        interim = {*declared, *(r.as_of_date for r in self.memory.readings)}
        end = experiment.decision_date
        return (*sorted(day for day in interim if day < end), end)

    def is_final(self, experiment: Experiment, as_of_date: date) -> bool:
        """Whether the planned decision date has come, of a plan whose fixed-horizon test the looks so far left to be taken."""
        return as_of_date >= experiment.decision_date and not (self.moved or self.incomparable)

    def look_number(self, experiment: Experiment, as_of_date: date) -> int | None:
        """Which look of a group-sequential test this day is, from 1; None where it is none.

        From the planned decision date on every day is the last look. A look is one that was declared before the first look
        and still is: an added one never counts, and one struck from the spec keeps the alpha that it spends.
        """
        plan = experiment.decision
        if plan.sequential != "group_sequential" or self.moved or self.incomparable:
            return None
        dates = self.look_dates(experiment)
        day = min(as_of_date, dates[-1])
        return dates.index(day) + 1 if day == dates[-1] or day in set(dates) & set(plan.looks) else None

    def earlier_reading(self, experiment: Experiment, as_of_date: date) -> Reading | None:
        """The reading of this day's test that was taken before, on other data; None where this is the first.

        On the same data it is the same test. Where a table does not say when its users came, the day makes no difference.
        """
        end = as_of_date >= experiment.decision_date
        before = self.memory.final if end else self.memory.look(as_of_date)
        if before is None:
            return None
        same_day = before.as_of_date == as_of_date or experiment.undated
        return None if same_day and before.data == self.data else before

    def may_find(
        self,
        experiment: Experiment,
        as_of_date: date,
        metric_id: str,
        treatment_id: str,
        method: str = DECIDING,
    ) -> bool:
        """Whether this day's test may find something in a comparison, given what was read before.

        It needs a share of alpha in the plan of the first look. A test that was taken on other data is not taken again: what
        it found may be taken back, and nothing is added.
        """
        if metric_id in self.unplanned or treatment_id in self.new_treatments:
            return False
        before = self.earlier_reading(experiment, as_of_date)
        key = (method, self.name(metric_id), treatment_id)
        return before is None or any(claim[:3] == key for claim in before.found)

    def guardrail_of(self, metric: Metric) -> Guardrail | None:
        """The metric's guardrail, by the stricter of the present plan and that of the first look; None where neither has one.

        Of two margins on one scale the smaller counts, of two scales that of the first look, and a severity stays critical.
        """
        now, first = metric.guardrail, self.guardrails.get(metric.id)
        if first is None:
            return now
        then = Guardrail(Effect(**first["margin"]), first["severity"])
        if now is None:
            return then
        same_scale = now.margin.scale == then.margin.scale
        margin = min(now.margin, then.margin, key=lambda m: m.value) if same_scale else then.margin
        return Guardrail(margin, "critical" if "critical" in (now.severity, then.severity) else now.severity)


NOTHING_READ = RunState()  # that of a first run, and of a plan
