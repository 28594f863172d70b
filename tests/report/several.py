"""Reports of more than one treatment, with a breached guardrail, before their end, or with data that failed."""

from __future__ import annotations

from dataclasses import replace
from datetime import date, timedelta
from typing import Any

import numpy as np

from analyses.simulated import BEFORE_END, END, START, aggregates, block, experiment, metric
from decision.cases import before_any_run
from exp_platform.aggregates import DailyRow
from exp_platform.analyses.registry import analyse_all
from exp_platform.analyses.rows import ResultRow
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import SPLIT
from exp_platform.config.metrics import Effect, Guardrail, Role
from exp_platform.decision import decide
from exp_platform.report.content import Report
from exp_platform.results.stored import DecidedDay
from report.reports import PASSED, stored_of

USERS = 4000  # of each arm
BUYERS = {"control": 400, "t1": 560, "t2": 420}
LATENCY = {"control": 100.0, "t1": 100.5, "t2": 130.0}  # ms; less is better, and 10 % more is too much


def three_arms(
    as_of: date = END, checks: tuple[CheckResult, ...] = (PASSED,), users: int = USERS, days: int = 3
) -> Report:
    """A report of two treatments: t1 is better, t2 breaches the critical guardrail; some metrics have no users."""
    plan = experiment(
        metric("buys", "proportion", mde=Effect(0.2, "relative")),
        metric("spend", role=Role.SECONDARY, covariates=("before",)),
        metric("refunds", role=Role.SECONDARY),
        metric("reviews", role=Role.SECONDARY),
        metric("latency", role=Role.GUARDRAIL, direction=-1, guardrail=Guardrail(Effect(0.1, "relative"), "critical")),
        metric("clicks", role=Role.INFORMATIONAL),
        shares=(1 / 3, 1 / 3, 1 / 3),
        segments=("device",),
    )  # fmt: skip
    blocks = _blocks(users)
    ends = [as_of - timedelta(days=i) for i in reversed(range(days))]
    daily = _daily(as_of)
    made = {day: aggregates(blocks, as_of=day, daily=daily) for day in ends}
    rows = {day: analyse_all(plan, made[day]) for day in ends}
    decision = decide(plan, before_any_run(plan), rows[as_of], checks, ())
    stored = stored_of(decision, made[as_of], ())
    of_all = [r for day in ends for r in rows[day] if isinstance(r, ResultRow)]
    return Report(
        experiment=plan,
        stored=stored,
        decision=decision,
        rows=tuple(r for r in rows[as_of] if isinstance(r, ResultRow)),
        others=tuple(r for r in rows[as_of] if not isinstance(r, ResultRow)),
        checks=checks,
        series=tuple(r for r in of_all if r.method == "ab"),
        split=tuple(r for r in of_all if r.method == SPLIT),
        daily=daily,
        history=tuple(replace(DecidedDay.of(vars(stored)), as_of_date=day, final=day == END) for day in ends),
    )


def _blocks(users: int) -> list[Any]:
    rng = np.random.default_rng(8)
    blocks = []
    for variant, buyers in BUYERS.items():
        buys = np.repeat([1.0, 0.0], [round(users * buyers / USERS), users - round(users * buyers / USERS)])
        before = rng.gamma(2, 10, users)
        spend = before * 0.5 + rng.gamma(2, 5, users)
        blocks += [
            block("buys", variant, buys),
            block("buys", variant, buys[::2], segment="device", segment_value="phone"),
            block("buys", variant, buys[1::2], segment="device", segment_value="desktop"),
            block("spend", variant, np.column_stack([spend, before]), ("value", "before")),
            block("refunds", variant, np.ones(1)),
            block("reviews", variant, np.ones(1)),
            block("latency", variant, rng.normal(LATENCY[variant], 20, users)),
            block("clicks", variant, rng.poisson(5, users)),
        ]
    return blocks


def _daily(as_of: date) -> tuple[DailyRow, ...]:
    """A hundred new users a day in each arm, of whom each day ten buy."""
    days = [START + timedelta(days=i) for i in range((as_of - START).days + 1)]
    return tuple(
        DailyRow(day, v, m, 100, 10, 10.0) for day in days for v in BUYERS for m in ("buys", "spend")
    )


def early(**more: Any) -> Report:
    """The same on the day before the planned end."""
    return three_arms(as_of=BEFORE_END, **more)


def failed() -> Report:
    """The same with a check that failed."""
    fault = "control: 40 %: mend the assignment"
    return three_arms(checks=(CheckResult(END, "freshness", "warning", "failed", 3.0, 1.0, fault),))
