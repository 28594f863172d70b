"""A whole report from simulated users: the analyses and the decision as they are, only the storage left out."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np

from analyses.simulated import END, aggregates, block, experiment, metric
from decision.cases import before_any_run
from exp_platform.analyses.registry import analyse_all
from exp_platform.analyses.rows import (
    ResultRow,
)
from exp_platform.checks import CheckResult
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect, Guardrail, Role
from exp_platform.config.plans import RelativeMethod
from exp_platform.decision import decide
from exp_platform.report.content import Report
from exp_platform.results.stored import StoredDecision

PASSED = CheckResult(END, "schema", "error", "passed", 0.0, 0.0, "all columns are there")


def spec(**more: Any) -> Experiment:
    """A proportion that decides, a mean with a covariate, a guardrail and a segment."""
    return experiment(
        metric("buys", "proportion", mde=Effect(0.2, "relative")),
        metric("spend", role=Role.SECONDARY, covariates=("before",)),
        metric("visits", role=Role.GUARDRAIL, guardrail=Guardrail(Effect(0.1, "relative"), "warning")),
        segments=("device",),
        **more,
    )


def report(
    lift: float = 0.05,
    checks: tuple[CheckResult, ...] = (PASSED,),
    skipped: tuple[str, ...] = (),
    days: int = 1,
    relative_interval: RelativeMethod = "fieller",
) -> Report:
    """A report on 4,000 users per arm of which a tenth buys in control and `lift` more in treatment."""
    plan = spec()
    plan = replace(plan, analyses=replace(plan.analyses, relative_interval=relative_interval))
    rng = np.random.default_rng(5)
    blocks = []
    for variant, extra in (("control", 0.0), ("t1", lift)):
        buys = np.repeat([1.0, 0.0], [round(4000 * (0.1 + extra)), 4000 - round(4000 * (0.1 + extra))])
        before = rng.gamma(2, 10, 4000)
        spend = before * 0.5 + rng.gamma(2, 5, 4000)
        blocks += [
            block("buys", variant, buys, median=0.0, p95=1.0),
            block("buys", variant, buys[::2], segment="device", segment_value="phone | tablet"),
            block("spend", variant, np.column_stack([spend, before]), ("value", "before")),
            block("visits", variant, rng.poisson(5, 4000)),
        ]
    ends = [END - timedelta(days=i) for i in reversed(range(days))]
    rows = {day: _rows(plan, blocks, day) for day in ends}
    last = aggregates(blocks, as_of=END)
    decision = decide(plan, before_any_run(plan), rows[END], checks, skipped)
    found = rows[END]
    return Report(
        experiment=plan,
        stored=stored_of(decision, last, skipped),
        decision=decision,
        rows=tuple(r for r in found if isinstance(r, ResultRow)),
        others=tuple(r for r in found if not isinstance(r, ResultRow)),
        checks=checks,
        series=tuple(r for day in ends for r in rows[day] if isinstance(r, ResultRow) and r.method == "ab"),
    )


def _rows(plan: Experiment, blocks: list[Any], day: date) -> list[Any]:
    made = aggregates(blocks, as_of=day)
    return analyse_all(plan, made)


def stored_of(decision: Any, made: Any, skipped: tuple[str, ...]) -> StoredDecision:
    """What is stored of a decision on these aggregates."""
    return StoredDecision(
        experiment_id=decision.experiment_id,
        as_of_date=decision.as_of_date,
        run_id="a-run",
        computed_at=datetime(2025, 3, 15, tzinfo=UTC),
        winner=decision.winner,
        action=decision.action,
        winning_variant=decision.winning_variant,
        confidence=decision.confidence,
        lift=decision.lift,
        effect=decision.effect,
        final=decision.final,
        skipped=skipped,
        users=made.assigned,
        crossovers=made.crossovers,
        caps={},
        periods={},
        triggered={},
        thresholds={},
        pooled={},
        too_large={},
        definitions={},
        result_rows={},
        refresh={"kind": "incremental", "why": "2 new files, 70 rows; 27 files of before stand"},
        rows={},
        config_hash="c" * 64,
        input_fingerprint="f" * 64,
        code_version="0.0.0+abc",
        exposures_snapshot=1,
        outcomes_snapshot=2,
        document="{}",
    )
