"""Hand-made result rows, checks and aggregates for the tests of the decision."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from datetime import date
from typing import Any

import numpy as np

from analyses.simulated import BEFORE_END, END, aggregates, block, experiment, metric
from exp_platform.aggregates import Aggregates
from exp_platform.analyses import evidence
from exp_platform.analyses.readings import remembering
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.checks import CheckResult
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect, Guardrail, Metric, Role
from exp_platform.config.readings import Memory, RunState
from exp_platform.decision import Decision, decide

__all__ = ["BEFORE_END", "END", "experiment", "metric"]  # imported by the tests from here

ONE = experiment(metric("orders"))
PASSED = CheckResult(END, "schema", "error", "passed", 0.0, 0.0, "all columns are there")


def effect(
    treatment: str = "t1",
    estimate: float = 0.5,
    p: float = 1e-6,
    metric_id: str = "orders",
    method: str = "ab",
    error: float = 0.1,
    **more: Any,
) -> ResultRow:
    """A readable result: control's mean is 10, p is adjusted already; significant at the planned end below .045."""
    numbers: dict[str, Any] = {
        "n_control": 5000,
        "n_treatment": 5000,
        "mean_control": 10.0,
        "mean_treatment": 10.0 + estimate,
        "sd_control": 5.0,
        "estimate": estimate,
        "p_value": p,
        "p_adjusted": p,
        "ci_low": estimate - 2 * error,
        "ci_high": estimate + 2 * error,
        "relative": estimate / 10,
        "relative_low": (estimate - 2 * error) / 10,
        "relative_high": (estimate + 2 * error) / 10,
        "relative_kind": "BOUNDED",
        "significant": p < 0.045,
        "always_valid_significant": False,
        "always_valid_status": Status.OK,
        "status": Status.OK,
    }
    key = (END, method, metric_id, "mean", "primary", treatment, "control", "all", "all")
    return ResultRow(*key, **{**numbers, **more})


def nothing(treatment: str = "t1", estimate: float = 0.01, **more: Any) -> ResultRow:
    """A readable result that is not significant."""
    return effect(treatment, estimate, p=0.9, **more)


def unread(status: Status, treatment: str = "t1", method: str = "ab") -> ResultRow:
    """A result without numbers."""
    key = (END, method, "orders", "mean", "primary", treatment, "control", "all", "all")
    return ResultRow(*key, status, message="a reason of its own")


def early(row: ResultRow, always_valid: bool = False) -> ResultRow:
    """The same row before the planned end, where only always-valid evidence may be significant."""
    return replace(row, as_of_date=BEFORE_END, significant=False, always_valid_significant=always_valid)


def guarded(severity: str = "critical", metric_id: str = "latency", **more: Any) -> Metric:
    """A guardrail metric."""
    guard = Guardrail(Effect(1.0, "absolute"), severity)  # type: ignore[arg-type]
    return metric(metric_id, role=Role.GUARDRAIL, guardrail=guard, **more)


def guard_row(
    verdict: str | None, treatment: str = "t1", metric_id: str = "latency", **more: Any
) -> ResultRow:
    """What the analysis of guardrails says of one treatment."""
    return replace(
        effect(treatment, -1.5, metric_id=metric_id, method="guardrails"),
        verdict=verdict,
        margin=-1.0,
        **more,
    )


def split(verdict: str = "ok", as_of: date = END, users: str = "assigned") -> ResultRow:
    """What the analysis of the split says."""
    key = (as_of, "srm", "", "", "", "", "control", "users", users, Status.OK)
    return ResultRow(*key, message="control: 5,000; t1: 5,000", p_value=1e-9, e_value=1e6, verdict=verdict)


def users(
    arms: Sequence[str] = ("control", "t1"), n: int = 5000, mean: float = 10.0
) -> dict[str, np.ndarray]:
    """n values per arm around control's mean, the same in every arm."""
    values = mean + 5.0 * np.linspace(-1.7, 1.7, n)
    return dict.fromkeys(arms, values)


@dataclass
class Given:
    """All that a decision is made from; what a test does not say is in order."""

    rows: Sequence[Row]
    spec: Experiment = ONE
    checks: Sequence[CheckResult] = (PASSED,)
    skipped: Sequence[str] = ()
    as_of: date = END
    split: Iterable[Row] | None = None
    blocks: dict[str, np.ndarray] | None = None
    day: Aggregates | None = None

    def decide(self) -> Decision:
        """The decision."""
        arms = [v.id for v in self.spec.variants]
        values = users(arms) if self.blocks is None else self.blocks
        primary = next(m.id for m in self.spec.metrics if m.role is Role.PRIMARY)
        day = self.day or aggregates((block(primary, v, x) for v, x in values.items()), self.as_of)
        srm = [split(as_of=self.as_of)] if self.split is None else self.split
        state = before_any_run(self.spec)
        rows = [*self.rows, *evidence.analyse(self.spec, day, state, self.rows)]
        return decide(self.spec, state, [*srm, *rows], self.checks, self.skipped)


def before_any_run(spec: Experiment) -> RunState:
    """The state of a first run."""
    return remembering(spec, Memory(), "", spec.decision_date)


def codes(decision: Decision) -> list[str]:
    """The codes of the reasons, in their order."""
    return [r.code for r in decision.reasons]


def outcome(d: Decision) -> tuple[str, str, str | None]:
    """Winner, action and the winning variant."""
    return d.winner, d.action, d.winning_variant


TWO = experiment(metric("orders"), shares=(0.4, 0.3, 0.3))
GUARDED = experiment(metric("orders"), guarded())
TWO_GUARDED = experiment(metric("orders"), guarded(), shares=(0.4, 0.3, 0.3))
