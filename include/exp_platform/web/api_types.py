"""What the API answers with: version 1. A field may be added; none is taken away, renamed or given another meaning."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated, Any, Generic, Literal, NamedTuple, TypeVar

from fastapi import Depends, Query
from pydantic import BaseModel, Field

from exp_platform.config.experiment import Experiment
from exp_platform.decision.model import Decision
from exp_platform.results.newest import Newest
from exp_platform.results.stored import StoredDecision
from exp_platform.web.listing import Line

ItemT = TypeVar("ItemT")


class PageOf(BaseModel, Generic[ItemT]):
    """A part of a list, in an order that stays."""

    total: int = Field(description="items of the whole list")
    limit: int
    offset: int = Field(description="items before the first of this part")
    items: list[ItemT]


class Part(NamedTuple):
    """Which part of a list is asked for."""

    limit: int
    offset: int


def asked_part(
    limit: Annotated[int, Query(ge=1, le=1000, description="items of a part, at most")] = 100,
    offset: Annotated[int, Query(ge=0, le=10_000_000, description="items to pass over")] = 0,
) -> Part:
    """The part that a request asks for."""
    return Part(limit, offset)


AskedPart = Annotated[Part, Depends(asked_part)]


def page_of(items: list[ItemT], part: Part) -> dict[str, Any]:
    """That part of the items, as `PageOf` has it."""
    chosen = items[part.offset : part.offset + part.limit]
    return {"total": len(items), "limit": part.limit, "offset": part.offset, "items": chosen}


class NewestResult(BaseModel):
    """What was decided on the newest day, and the effect that the decision reports."""

    as_of_date: date
    computed_at: datetime
    run_id: str
    winner: str
    action: Literal["ship", "stop", "extend", "investigate"]
    final: bool = Field(description="the planned decision date has come")
    trust: str = Field(
        description="ok, failed, unknown: whether quality and split of the data can be trusted"
    )
    users: int = Field(description="assigned users of all arms")
    metric_id: str = Field(description="the metric that decides")
    treatment_id: str | None = Field(description="whom the effect is of")
    relative: float | None = Field(description="the effect as a fraction of control's mean")
    relative_low: float | None
    relative_high: float | None
    ci_level: float | None = Field(
        description="coverage of the interval, corrected for the other comparisons"
    )


class ExperimentSummary(BaseModel):
    """An experiment as lists show it."""

    id: str
    dag_id: str
    hypothesis: str
    owner: str
    tags: list[str]
    state: str = Field(description="not started, running, ended, decided, without a spec")
    state_told: str = Field(description="the same in words, such as: running, day 9 of 14")
    newest: NewestResult | None
    last_run_id: str | None = Field(description="of its DAG; null also where you may not see runs")
    last_run_state: str | None


class VariantOf(BaseModel):
    """An arm."""

    id: str
    share: float
    control: bool


class MetricOf(BaseModel):
    """A metric and what it is for."""

    id: str
    kind: str
    role: str
    definition: str
    unit: str | None = Field(
        description="of its levels and absolute effects, where the definition declares one; of shares they are fractions"
    )


class ExperimentDetail(ExperimentSummary):
    """An experiment with its plan and the days that are stored. Plan and arms are null where its spec is gone."""

    description: str
    start: date | None
    end: date | None
    timezone: str | None
    planned_decision_date: date | None
    variants: list[VariantOf]
    metrics: list[MetricOf]
    days: list[date] = Field(description="as_of dates with stored results")


class ReasonOf(BaseModel):
    """A reason: a code for programs, a sentence for people, and its numbers."""

    code: str
    text: str
    data: dict[str, Any]


class DecisionOf(BaseModel):
    """The decision of one as_of date."""

    as_of_date: date
    computed_at: datetime
    run_id: str
    winner: str
    action: str
    winning_variant: str | None
    reported_variant: str | None
    metric_id: str
    confidence: float = Field(
        description="1 - adjusted p where significant, else 0: no chance of being better"
    )
    lift: float | None
    effect: float | None
    final: bool
    trust: str
    reasons: list[ReasonOf]
    users: dict[str, int]
    days_remaining: int | None
    config_hash: str
    code_version: str


def summary(line: Line, dag_id: str) -> dict[str, Any]:
    """The fields of `ExperimentSummary`."""
    run = line.last_run
    return {
        "id": line.id,
        "dag_id": dag_id,
        "hypothesis": line.hypothesis,
        "owner": line.owner,
        "tags": list(line.tags),
        "state": line.state.value,
        "state_told": line.told,
        "newest": line.newest and newest_result(line.newest),
        "last_run_id": run and run.run_id,
        "last_run_state": run and run.state,
    }


def newest_result(newest: Newest) -> NewestResult:
    """What the API says of a newest decision; where it is not trusted its effect is told all the same, beside `trust`."""
    effect = newest.effect
    same = ("as_of_date", "computed_at", "run_id", "winner", "action", "final", "trust", "users", "metric_id")
    sides = ("relative", "relative_low", "relative_high", "ci_level")
    return NewestResult(
        **{name: getattr(newest, name) for name in same},
        treatment_id=newest.reported_variant,
        **{name: getattr(effect, name) if effect else None for name in sides},
    )


def plan(experiment: Experiment | None) -> dict[str, Any]:
    """The fields of `ExperimentDetail` that the spec says."""
    if experiment is None:
        nothing = dict.fromkeys(("start", "end", "timezone", "planned_decision_date"))
        return {**nothing, "description": "", "variants": [], "metrics": []}
    window, control = experiment.window, experiment.control.id
    return {
        "description": experiment.description,
        "start": window.start,
        "end": window.end,
        "timezone": window.timezone,
        "planned_decision_date": experiment.decision_date,
        "variants": [VariantOf(id=v.id, share=v.share, control=v.id == control) for v in experiment.variants],
        "metrics": [
            MetricOf(
                id=m.id,
                kind=m.kind,
                role=m.role.value,
                definition=m.definition,
                unit=experiment.units.get(m.id),
            )
            for m in experiment.metrics
        ],
    }


def decision_of(stored: StoredDecision) -> DecisionOf:
    """What the API says of a stored decision."""
    decision: Decision = stored.decision
    of_decision = ("winner", "action", "winning_variant", "reported_variant", "confidence", "lift", "effect")
    of_stored = ("as_of_date", "computed_at", "run_id", "users", "config_hash", "code_version")
    return DecisionOf(
        **{name: getattr(decision, name) for name in (*of_decision, "final", "trust")},
        **{name: getattr(stored, name) for name in of_stored},
        metric_id=decision.decisive_metric,
        reasons=[ReasonOf(code=r.code, text=r.text, data=r.data) for r in decision.reasons],
        days_remaining=decision.adequacy.days_remaining,
    )
