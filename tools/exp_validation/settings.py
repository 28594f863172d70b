"""The platform as a whole: one synthetic experiment of many replicates from raw data to stored results, then judged.

Raw data are generated, ingested, checked, published and aggregated by the ordinary run, with the replicate as a
segment. Its stored aggregates are read back, and each replicate's part is analysed and decided by the same functions.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import date, timedelta
from io import StringIO
from typing import Literal

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.readings import remembering
from exp_platform.analyses.registry import analyse_all
from exp_platform.checks import CheckResult
from exp_platform.config.environment import load_environment, temporary_state
from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.metrics import Covariate, DayWindow, Effect, Guardrail, Measure, Metric, Role
from exp_platform.config.plans import AnalysisPlan, DecisionPlan
from exp_platform.config.readings import Memory
from exp_platform.config.sources import REPLICATE, SyntheticSource
from exp_platform.decision import decide
from exp_platform.pipelines.progress import PlainLines
from exp_platform.pipelines.runner import run_experiment
from exp_platform.results.reader import Results
from exp_validation.bands import Check
from exp_validation.drawn import SEED
from exp_validation.replicates import replicates_of
from exp_validation.verdicts import (
    DECIDED,
    Calls,
    Look,
    Replicate,
    at_the_end,
    calls_of,
    ever,
    over_all_looks,
)

START, DAYS = date(2026, 1, 5), 14
BASELINE = 0.3
PLANNED_FIRST = 10  # days of the window before it is extended
DECIDING = ("srm", "ab", "guardrails", "evidence")  # the analyses that a decision rests on


@dataclass(frozen=True)
class Setting:
    """One experiment of many replicates. `daily` looks at every day, else only at the last."""

    situation: str
    users: int = 600  # of a replicate, in both arms
    treatment_share: float = 0.5
    lift: float = 0.0  # absolute, of conversion
    arrival: Literal["evenly", "first_day"] = "evenly"
    actual_shares: tuple[float, float] | None = None
    pre_trend: float = 0.0
    daily: bool = False

    def experiment(self, replicates: int) -> Experiment:
        """Its resolved experiment: conversion decides and has all of alpha."""
        days = range(1, DAYS + 1)
        name = "".join(c if c.isalnum() else "_" for c in self.situation.lower())
        return Experiment(
            id=f"exp_validation_{name}",
            owner="validation",
            hypothesis=self.situation,
            variants=(Variant("control", 1 - self.treatment_share), Variant("treatment", self.treatment_share)),
            window=Window(START, START + timedelta(days=len(days) - 1)),
            source=SyntheticSource(
                n_users=self.users * replicates, seed=SEED, days=DAYS, pre_period_days=7, exposure_rate=1.0,
                base_conversion=BASELINE, effect_lift_conversion=(self.lift,), effect_lift_revenue=(0.0,),
                revenue_mean=12.5, revenue_sd=3.0, actual_shares=self.actual_shares, pre_trend=self.pre_trend,
                replicates=replicates, arrival=self.arrival,
            ),
            metrics=_METRICS,
            segments=(REPLICATE,),
            analyses=AnalysisPlan(
                enabled=("srm", "ab", "cuped", "did", "pretrends", "guardrails", "evidence"),
                pre_period_days=7,
                did_days=3,
            ),
            decision=DecisionPlan(),
        )  # fmt: skip

    @property
    def name(self) -> str:
        """Its name among all cells."""
        return f"pipeline: {self.situation}"

    @property
    def sound(self) -> bool:
        """Whether no fault is switched on."""
        return self.actual_shares is None and not self.pre_trend

    def checks(self, replicates: int) -> list[Check]:
        """Run it and judge it."""
        experiment = self.experiment(replicates)
        days = [START + timedelta(days=d) for d in range(DAYS)] if self.daily else [experiment.decision_date]
        with temporary_state():
            stored, judged = _run(experiment, days)
        final = _look(experiment, stored[-1], judged, experiment.analyses.enabled)
        found = at_the_end(self.name, experiment, final, sound=self.sound)
        if self.daily:
            looks = [calls_of(_look(experiment, day, judged)) for day in stored[:-1]]
            found += over_all_looks(self.name, [*looks, calls_of(final)])
            found.append(self._extended(experiment, stored, judged, looks))
        return found

    def _extended(
        self,
        experiment: Experiment,
        stored: Sequence[Aggregates],
        judged: Sequence[CheckResult],
        looks: Sequence[Calls],
    ) -> Check:
        """An end planned for day 10, after whose test every experiment goes on to day 14 on always-valid evidence."""
        end = START + timedelta(days=PLANNED_FIRST - 1)
        planned = replace(experiment, window=Window(START, end))
        taken = [
            *looks[: PLANNED_FIRST - 1],
            calls_of(_look(planned, stored[PLANNED_FIRST - 1], judged)),
            *looks[PLANNED_FIRST:],
            calls_of(_look(experiment, stored[-1], judged, moved=True)),
        ]
        return ever(self.name, DECIDED, f"{DECIDED}, end extended after the test", taken)


def settings() -> list[Setting]:
    """Every setting, in the order of the page."""
    return [
        Setting("A/A, 50/50, looked at daily", daily=True),
        Setting("A/A, all users on day one, looked at daily", arrival="first_day", daily=True),
        Setting("A/A, 90/10", users=1_000, treatment_share=0.1),
        Setting("small effect", lift=0.05),
        Setting("medium effect", lift=0.08),
        Setting("large effect", lift=0.12),
        Setting("broken split 50/50 as 56/44", actual_shares=(0.56, 0.44)),
        Setting("trend before exposure", pre_trend=0.1),
    ]


_ORDER, _VIEW = Measure("purchase", "any"), Measure("pageview", "count")
_REVENUE = Measure("purchase", "sum")
_METRICS = (
    Metric("conversion", "proportion", Role.PRIMARY, 1, _ORDER, baseline=BASELINE, mde=Effect(0.1, "absolute"),
           covariates=(Covariate("pre_conversion", _ORDER),)),
    Metric("conversion_3_days", "proportion", Role.INFORMATIONAL, 1, _ORDER, window=DayWindow(0, 3)),
    Metric("revenue", "mean", Role.INFORMATIONAL, 1, _REVENUE, covariates=(Covariate("pre_revenue", _REVENUE),)),
    Metric("pageviews", "count", Role.GUARDRAIL, 1, _VIEW, covariates=(Covariate("pre_pageviews", _VIEW),),
           guardrail=Guardrail(Effect(0.05, "relative"), "warning")),
)  # fmt: skip


def _run(experiment: Experiment, days: Sequence[date]) -> tuple[list[Aggregates], list[CheckResult]]:
    """Through the pipeline, and back from its tables."""
    environment = load_environment()
    environment.prepare()
    run_experiment(experiment, environment, PlainLines(StringIO()), as_of_dates=days)
    results = Results(environment)
    stored = [results.stored_aggregates(experiment.id, day) for day in days]
    # The split of all replicates together says nothing about that of each, which its own rows judge.
    return stored, [c for c in results.rows(CheckResult, experiment.id) if c.check != "srm"]


def _look(
    experiment: Experiment,
    day: Aggregates,
    judged: Sequence[CheckResult],
    analyses: Sequence[str] = DECIDING,
    moved: bool = False,
) -> Look:
    state = replace(remembering(experiment, Memory(), "", day.as_of_date), moved=moved)
    checks = [c for c in judged if c.as_of_date == day.as_of_date]
    found = []
    for part in replicates_of(day):
        rows = analyse_all(experiment, part, analyses, state)
        found.append(Replicate(rows, decide(experiment, state, rows, checks)))
    return found
