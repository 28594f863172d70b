"""What experiments share, as people write it: files of sources and of metrics, and how a spec uses them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, Field, model_validator

from exp_platform.config.faults import NOTHING, Fault, Words, refuse
from exp_platform.config.spec_base import EffectSize, Id, Items, Owner, Spec, Text, Value
from exp_platform.config.spec_metrics import CovariateSpec, DayWindowSpec, MetricSpec, RoleName, Severity
from exp_platform.config.spec_sources import EventTables


class SourceFileSpec(EventTables):
    """A file of `configs/sources`: tables that experiments share, who answers for them, and what they are."""

    id: Id
    owner: Owner
    description: str = ""


class GroupMember(Spec):
    """A metric of a group by its id; with a margin it is a guardrail of every experiment that uses the group."""

    metric: Id
    margin: EffectSize | None = None
    severity: Severity | None = None  # absent: warning

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, found: Any) -> Any:
        return {"metric": found} if isinstance(found, str) else found

    @model_validator(mode="after")
    def _check(self) -> GroupMember:
        if self.severity is not None and self.margin is None:
            refuse(
                [
                    Fault(
                        ("margin",),
                        NOTHING,
                        "only a guardrail has a severity: say by how much it may get worse",
                    )
                ]
            )
        return self


def _once(members: tuple[GroupMember, ...]) -> tuple[GroupMember, ...]:
    refuse(_member_faults(members))
    return members


def _member_faults(members: tuple[GroupMember, ...]) -> Iterator[Fault]:
    if not members:
        yield Fault((), Words("an empty group"), "at least one metric is required")
    seen: set[str] = set()
    for position, member in enumerate(members):
        if member.metric in seen:
            yield Fault((position,), member.metric, "it is there already: each may occur once")
        seen.add(member.metric)


Group = Annotated[Items[GroupMember], AfterValidator(_once)]


class MetricFileSpec(Spec):
    """A file of `configs/metrics`: metrics and groups of them; `owner` and `description` are of the metrics that say none."""

    owner: Owner | None = None
    description: str = ""
    metrics: Items[MetricSpec] = ()
    groups: dict[Id, Group] = Field(default_factory=dict)


class UsedSource(Spec):
    """A source of the library: which, and what of it is the experiment's own."""

    use: Id
    key: Value | None = None  # absent: the experiment's id
    attributes: dict[str, Text] = Field(default_factory=dict)


class UsedMetric(Spec):
    """A metric of the library: which, and what belongs to the experiment; what is absent is as the definition says."""

    use: Id
    role: RoleName | None = None
    mde: EffectSize | None = None
    baseline: float | None = None
    min_practical_effect: EffectSize | None = None
    window: DayWindowSpec | None = None
    covariates: Items[CovariateSpec] | None = None


class UsedGroup(Spec):
    """A group of the library, which brings its metrics and their margins."""

    group: Id
