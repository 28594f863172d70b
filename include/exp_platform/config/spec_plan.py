"""When an experiment runs, and what is judged, analysed and decided: the parts of a spec about the plan."""

from __future__ import annotations

import re
from collections.abc import Iterable
from datetime import date, timedelta
from typing import Annotated, Any, Literal, get_type_hints

from pydantic import (
    AfterValidator,
    BeforeValidator,
    Field,
    WithJsonSchema,
    create_model,
    model_validator,
)

from exp_platform.config.analyses import ANALYSES, Analysis, Estimate
from exp_platform.config.asset import asset_fault
from exp_platform.config.cron import PRESETS, cron_fault
from exp_platform.config.experiment import Window
from exp_platform.config.faults import NOTHING, Fault, Words, refuse
from exp_platform.config.metrics import Effect
from exp_platform.config.plans import (
    AnalysisPlan,
    DecisionPlan,
    QualityThresholds,
    RelativeMethod,
    Schedule,
    Sequential,
)
from exp_platform.config.spec_base import (
    Day,
    EffectSize,
    Id,
    Items,
    Share,
    Spec,
    Text,
    TimeZone,
    Values,
    one_or_more,
)

LONGEST_WINDOW = 3660  # days: ten years; more is a typing error, and dates must not overflow
LONGEST_WAIT = 168  # hours: a week; a run that waits keeps the next one from starting

_QUALITY = QualityThresholds()
_ANALYSES = AnalysisPlan()
_DECISION = DecisionPlan()
_SCHEDULE = Schedule()


def _valid_cron(expression: str) -> str:
    fault = cron_fault(expression)
    if fault is not None:
        remedy = f"{fault}; allowed: five cron fields, such as `0 5 * * *`, or one of {', '.join(PRESETS)}"
        refuse([Fault((), expression, remedy)])
    return expression


def _valid_asset(asset: str) -> str:
    fault = asset_fault(asset)
    if fault is not None:
        remedy = f"{fault}; allowed: the name or the URI of an asset that another DAG updates, such as s3://lake/exports"
        refuse([Fault((), asset, remedy)])
    return asset


_VARIABLE = re.compile(r"\$\{[^{}]*\}")
_ON_S3 = re.compile(r"s3[an]?://[^/]+/.|\$\{")  # with a bucket and a key, or from a variable on


def _valid_wait(location: str) -> str:
    if not _ON_S3.match(location):
        refuse([Fault((), location, "allowed: a file, folder or glob on S3: s3://<bucket>/<path>")])
    braces = re.search(r"\{[^{}]*\}|[{}]", _VARIABLE.sub("", location).replace("{as_of}", ""))
    if braces:
        refuse([Fault((), braces[0], f"the only placeholder is {{as_of}}, the run's day: {location}")])
    return location


def _as_list(value: Any) -> Any:
    """One location stands for a list of one."""
    return [value] if isinstance(value, str) else value


Cron = Annotated[str, AfterValidator(_valid_cron)]
AssetName = Annotated[Text, AfterValidator(_valid_asset)]
Wait = Annotated[Text, AfterValidator(_valid_wait)]
_TEXT = {"type": "string", "minLength": 1}
Waits = Annotated[Items[Wait], BeforeValidator(_as_list), WithJsonSchema(one_or_more(_TEXT))]


class WindowSpec(Spec):
    """The planned window: local days start..end, both included; `days` may stand for `end`."""

    start: Day
    end: Day | None = None
    days: int | None = Field(default=None, ge=1, le=LONGEST_WINDOW)
    timezone: TimeZone = "UTC"

    @model_validator(mode="after")
    def _check(self) -> WindowSpec:
        if (self.end is None) == (self.days is None):
            refuse(
                [Fault((), NOTHING if self.end is None else Words("both"), "either end or days is required")]
            )
        if self.end is not None and self.end < self.start:
            refuse([Fault(("end",), self.end, f"allowed: the start ({self.start}) or a later day")])
        return self

    @property
    def last_day(self) -> date:
        """The last local day on which exposures count."""
        return self.end or self.start + timedelta(days=(self.days or 1) - 1)

    @property
    def length(self) -> int:
        """Days from start to end, both included."""
        return (self.last_day - self.start).days + 1

    def resolve(self) -> Window:
        """The same, resolved."""
        return Window(self.start, self.last_day, self.timezone)


class QualitySpec(Spec):
    """Shares beyond which a quality check fails."""

    max_duplicate_share: Share = _QUALITY.max_duplicate_share
    max_null_share: Share = _QUALITY.max_null_share
    max_unexposed_share: Share | None = None
    max_before_exposure_share: Share = _QUALITY.max_before_exposure_share
    max_just_before_share: Share = _QUALITY.max_just_before_share
    max_outside_share: Share = _QUALITY.max_outside_share
    max_crossover_share: Share = _QUALITY.max_crossover_share
    max_row_drop: Share = _QUALITY.max_row_drop
    max_stale_days: int = Field(default=_QUALITY.max_stale_days, ge=0)
    max_missing_days: int = Field(default=_QUALITY.max_missing_days, ge=0)

    def resolve(self) -> QualityThresholds:
        """The same, resolved."""
        return QualityThresholds(**self.model_dump())


def _switch(analysis: Analysis) -> Any:
    """What the spec may say under an analysis's name: yes or no, or its options, typed as AnalysisPlan has them."""
    if not analysis.options:
        return (bool | None, None)
    types = {name: _PLAN_TYPES[f"{analysis.name}_{name}"] for name in analysis.options}
    options: dict[str, Any] = {name: (_WRITTEN.get(of, of), ...) for name, of in types.items()}
    return (create_model(f"{analysis.name}_options", __base__=Spec, **options) | None, None)


_PLAN_TYPES = get_type_hints(AnalysisPlan)
_WRITTEN: dict[Any, Any] = {Effect | None: EffectSize}
_SWITCHES: dict[str, Any] = {analysis.name: _switch(analysis) for analysis in ANALYSES}


class AnalysesSpec(create_model("Switches", __base__=Spec, **_SWITCHES)):  # type: ignore[misc]
    """Which analyses run (absent: those with something to do), and their windows in days."""

    pre_period_days: int = Field(default=_ANALYSES.pre_period_days, ge=0, le=365)
    anchor: Literal["experiment_start", "first_exposure"] = _ANALYSES.anchor
    did_days: int | None = Field(default=None, ge=1, le=LONGEST_WINDOW)
    did_pre_days: int | None = Field(default=None, ge=1, le=LONGEST_WINDOW)
    crossovers: Literal["exclude", "first"] = _ANALYSES.crossovers
    slopes: Literal["pooled", "per_arm"] = _ANALYSES.slopes
    strata: Items[Text] = ()
    relative_interval: RelativeMethod = _ANALYSES.relative_interval

    def days_of_did(self, longest: int) -> int:
        """As written, else a week or as much of it as pre-period and window leave."""
        before = self.pre_period_days or _ANALYSES.did_days
        return self.did_days or max(1, min(_ANALYSES.did_days, before, longest))

    def resolve(self, idle: Iterable[str], window_days: int) -> AnalysisPlan:
        """`idle` analyses have nothing to do: they run only where the spec says so."""
        nothing_to_do = set(idle)
        said = {analysis: getattr(self, analysis.name) for analysis in ANALYSES}
        runs = {
            a: bool(word) if word is not None else not a.options and a.name not in nothing_to_do
            for a, word in said.items()
        }
        return AnalysisPlan(
            enabled=tuple(a.name for a in ANALYSES if runs[a]),
            pre_period_days=self.pre_period_days,
            anchor=self.anchor,
            did_days=self.days_of_did(window_days),
            did_pre_days=self.did_pre_days,
            crossovers=self.crossovers,
            slopes=self.slopes,
            strata=self.strata,
            relative_interval=self.relative_interval,
            **{
                f"{a.name}_{option}": getattr(said[a], option)
                for a in ANALYSES
                for option in a.options
                if runs[a]
            },
        )


class DecisionSpec(Spec):
    """How evidence becomes an action."""

    alpha: float = Field(default=_DECISION.alpha, gt=0, lt=1)
    sequential_share: float | None = Field(default=None, ge=0, lt=1)
    power: float = Field(default=_DECISION.power, gt=0, lt=1)
    estimate: Estimate = _DECISION.estimate
    family: Literal["all", "primary_first"] = _DECISION.family
    required_sample_size: int | None = Field(default=None, ge=1)  # users in all arms together
    daily_users: float | None = Field(default=None, gt=0)
    correction: Literal["bonferroni", "holm", "bh"] = _DECISION.correction
    sequential: Sequential = _DECISION.sequential
    looks: Items[Day] = ()
    spending: Literal["obrien_fleming", "pocock", "power"] | None = None
    spending_exponent: float | None = Field(default=None, gt=0, le=20)

    def resolve(self) -> DecisionPlan:
        """The same, resolved: a group-sequential test leaves nothing for always-valid evidence."""
        share = 0.0 if self.sequential == "group_sequential" else self.sequential_share
        written = {key: value for key, value in self.model_dump().items() if value is not None}
        return DecisionPlan(
            **{
                **written,
                "looks": tuple(sorted(self.looks)),
                "sequential_share": _DECISION.sequential_share if share is None else share,
            }
        )


class ScheduleSpec(Spec):
    """When the DAG runs; `cron: null` means only by hand, `active: true` that it starts unpaused."""

    after: AssetName | None = None
    cron: Cron | None = _SCHEDULE.cron
    grace_days: int = Field(default=_SCHEDULE.grace_days, ge=0, le=LONGEST_WINDOW)
    active: bool = _SCHEDULE.active
    retries: int = Field(default=_SCHEDULE.retries, ge=0, le=10)
    wait_for: Waits | None = None  # absent: the source's files
    wait_hours: float = Field(default=_SCHEDULE.wait_hours, gt=0, le=LONGEST_WAIT)

    @model_validator(mode="after")
    def _check(self) -> ScheduleSpec:
        if self.after is not None:
            remedy = (
                "a run begins as soon as the asset named by `after` is updated: leave this out, or `after`"
            )
            beside = ("cron", "wait_for", "wait_hours")
            others = [k for k in beside if k in self.model_fields_set and getattr(self, k) is not None]
            refuse([Fault((key,), Words(f"`{key}` beside `after`"), remedy) for key in others])
        return self

    def resolve(self) -> Schedule:
        """The same, resolved: of a run after an asset the default cron is none."""
        written = self.model_dump()
        return Schedule(**(written if self.after is None else written | {"cron": None}))


class VariantSpec(Spec):
    """An arm; exactly one says `control: true`. `value` is what the variant column holds for it, several mean the same arm."""

    id: Id
    share: float | None = Field(default=None, gt=0, lt=1)  # absent in all: equal shares
    control: bool = False
    value: Values = ()

    @property
    def values(self) -> tuple[str, ...]:
        """What the variant column holds for it."""
        return self.value or (self.id,)
