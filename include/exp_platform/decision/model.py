"""What a decision is: the frozen types that `decide` returns and the reports read."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date
from typing import Any, Literal

from exp_platform.config.analyses import Estimate
from exp_platform.config.plans import Sequential
from exp_platform.config.readings import Memory

Winner = Literal["treatment", "control", "inconclusive", "guardrail-violated"]
Action = Literal["ship", "stop", "extend", "investigate"]
Trust = Literal["ok", "failed", "unknown"]
Outcome = Literal[
    "better",
    "worse",
    "below_practical",
    "not_significant",
    "breach",
    "observed_breach",
    "unread",
    "no_estimate",
]


@dataclass(frozen=True)
class Reason:
    """One reason: a code for programs, a sentence for people, and the numbers it rests on."""

    code: str
    text: str
    data: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Adequacy:
    """Whether there are as many users as planned, for the primary metric that is furthest from it.

    Users are of all arms together and only those whose outcome is observed in full. With no size planned,
    `required_users` is None and `planned_size_reached` says whether the planned window is over.
    """

    metric_id: str
    basis: Literal["mde", "required_sample_size", "none"]
    required_users: int | None
    current_users: int
    planned_size_reached: bool
    daily_users: float | None  # new users per day, lately
    # Until the planned size, else until the planned decision date; None: not known
    days_remaining: int | None
    mde: float | None = None  # on the metric's own scale
    baseline: float | None = None  # planned, else control's mean
    power: float | None = None  # with which so many users as now find the mde, at the fixed-horizon level


@dataclass(frozen=True)
class TreatmentVerdict:
    """What is known of one treatment, and the primary metric and numbers that say so.

    `effect` is treatment minus control in the metric's unit. `lift` is its share of the size of control's
    mean, with the same sign; None where control's mean is 0.
    """

    treatment_id: str
    outcome: Outcome
    metric_id: str
    effect: float | None
    lift: float | None
    confidence: float


@dataclass(frozen=True)
class Decision:
    """The decision of one experiment at one as_of date.

    `lift`, `effect` and `confidence` are those of `reported_variant` on `decisive_metric`: the winning treatment, or
    without one the treatment that the verdict is about or that leads. `confidence` is 1 - adjusted p where significant
    and 0 elsewhere; it is no chance of being better.
    """

    experiment_id: str
    as_of_date: date
    winner: Winner
    action: Action
    winning_variant: str | None  # a treatment, or the control where it wins
    reported_variant: str | None
    decisive_metric: str
    estimate: Estimate  # the method that decides
    confidence: float
    lift: float | None
    effect: float | None
    final: bool  # the planned decision date has come: fixed-horizon tests count
    trust: Trust
    reasons: tuple[Reason, ...]
    adequacy: Adequacy
    treatments: tuple[TreatmentVerdict, ...]
    look: int | None = None  # of a group-sequential test, from 1
    sequential: Sequential | None = None  # how alpha is spent over looks; None: stored before this was kept
    skipped: tuple[str, ...] = ()  # stages whose stored results were used
    # What was read of the experiment, this included; empty: stored before it was kept.
    memory: Memory = field(default_factory=Memory)

    def to_json(self) -> dict[str, Any]:
        """A JSON object that `from_json` reads."""
        memory = json.loads(json.dumps(self.memory.to_json(), default=str))
        return {**asdict(self), "as_of_date": self.as_of_date.isoformat(), "memory": memory}

    @staticmethod
    def from_json(data: dict[str, Any]) -> Decision:
        """The inverse of `to_json`."""
        return Decision(
            **{
                **data,
                "as_of_date": date.fromisoformat(data["as_of_date"]),
                "reasons": tuple(Reason(**r) for r in data["reasons"]),
                "adequacy": Adequacy(**data["adequacy"]),
                "treatments": tuple(TreatmentVerdict(**t) for t in data["treatments"]),
                "skipped": tuple(data["skipped"]),
                "memory": Memory.from_json(data["memory"]) if "memory" in data else Memory(),
            }
        )
