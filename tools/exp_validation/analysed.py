"""Whole analyses on drawn aggregates: what a guardrail claims over all its looks, what all segments find together."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import date, timedelta
from itertools import product

import numpy as np

from exp_platform import numbers
from exp_platform.aggregates import ALL, Aggregates, Block
from exp_platform.analyses import guardrails, segments
from exp_platform.analyses.interaction import TEST as INTERACTION
from exp_platform.analyses.rows import ResultRow
from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.metrics import Effect, Guardrail, Measure, Metric, Role
from exp_platform.config.plans import DecisionPlan
from exp_platform.config.sources import EventsSource, TableSource
from exp_platform.stats.multiplicity import Correction
from exp_validation.bands import Check
from exp_validation.drawn import COSTLY, chunks, random_numbers
from exp_validation.methods import LEVEL
from exp_validation.populations import Discrete, Draws, Normal, Population

START, LOOKS = date(2026, 1, 5), 14
ARMS = ("control", "treatment")
_NOWHERE = TableSource("parquet", "nowhere", {})


def _experiment(decision: DecisionPlan, *metrics: Metric, segments: tuple[str, ...] = ()) -> Experiment:
    return Experiment(
        id="exp_validation",
        owner="validation",
        hypothesis="drawn",
        variants=tuple(Variant(arm, 0.5) for arm in ARMS),
        window=Window(START, START + timedelta(days=LOOKS - 1)),
        source=EventsSource(_NOWHERE, _NOWHERE, {}, "none"),
        metrics=metrics,
        segments=segments,
        decision=decision,
    )


def _metric(id: str, population: Population, role: Role, guardrail: Guardrail | None = None) -> Metric:
    kind = "proportion" if isinstance(population, Discrete) else "mean"
    return Metric(id, kind, role, 1, Measure(id, "any"), guardrail=guardrail)


def _blocks(metric_id: str, arm: str, draws: Draws, segment: str = ALL, value: str = ALL) -> Iterator[Block]:
    """One block a replicate."""
    nonzero = [draws.n] * len(draws.mean) if draws.nonzero is None else draws.nonzero.astype(int).tolist()
    for moments, successes in zip(draws, nonzero, strict=True):
        yield Block("total", metric_id, arm, segment, value, ("value",), moments, successes=successes)


@dataclass(frozen=True)
class Guarded:
    """A guardrail looked at daily whose truth is `harm` times its margin: exactly there every claim is false.

    Before the last look only always-valid evidence claims; on it the fixed-horizon test does too.
    """

    population_name: str
    population: Population
    margin: Effect
    daily: tuple[int, int]
    harm: float = 1.0

    @property
    def name(self) -> str:
        """The cell's name."""
        margin = (
            f"{self.margin.value:g}"
            if self.margin.scale == "absolute"
            else numbers.share(self.margin.value, 0)
        )
        daily = f"{self.daily[0]:,} and {self.daily[1]:,} a day"
        return f"guardrail at its margin: {self.population_name}, margin {margin}, {daily}, {LOOKS} looks"

    def checks(self, replicates: int) -> list[Check]:
        """Either claim, before the planned date and in all."""
        replicates = min(replicates, COSTLY // 4)
        metric = _metric("guarded", self.population, Role.PRIMARY, Guardrail(self.margin, "critical"))
        experiment = _experiment(DecisionPlan(), metric)
        decision = experiment.decision
        claimed: dict[tuple[str, bool], list[bool]] = defaultdict(list)
        for looks in self._looks(replicates):
            verdicts = [_verdict(experiment, day) for day in looks]
            for claim in ("proven_breach", "non_inferior"):
                claimed[claim, False].append(claim in verdicts[:-1])
                claimed[claim, True].append(claim in verdicts)
        promised = {
            False: decision.sequential_alpha,
            True: decision.sequential_alpha + decision.fixed_alpha / 2,
        }
        words = {False: "before the planned date", True: "in all"}
        return [
            Check(
                self.name, f"{claim} {words[end]}", float(np.mean(ever)), len(ever), promised[end], "at most"
            )
            for (claim, end), ever in claimed.items()
        ]

    def _looks(self, replicates: int) -> Iterator[list[Aggregates]]:
        """The aggregates of every look, a replicate at a time."""
        relative = self.margin.scale == "relative"
        harm = -self.harm * self.margin.value / (1 if relative else self.population.mean)
        for chunk, r in chunks(replicates, sum(self.daily)):
            rng = random_numbers(self.name, chunk)
            arms: list[Draws] = []
            looks: list[list[tuple[Block, ...]]] = []
            for _ in range(LOOKS):
                new = [
                    self.population.draw(rng, n, r, lift)
                    for n, lift in zip(self.daily, (0.0, harm), strict=True)
                ]
                arms = [a.merge(b) for a, b in zip(arms, new, strict=True)] if arms else new
                sides = [_blocks("guarded", arm, draws) for arm, draws in zip(ARMS, arms, strict=True)]
                looks.append(list(zip(*sides, strict=True)))
            for days in zip(*looks, strict=True):
                yield [_aggregates(START + timedelta(days=i), blocks) for i, blocks in enumerate(days)]


def _verdict(experiment: Experiment, day: Aggregates) -> str | None:
    (row,) = guardrails.analyse(experiment, day)
    return row.verdict if isinstance(row, ResultRow) else None


def _aggregates(as_of: date, blocks: tuple[Block, ...]) -> Aggregates:
    return Aggregates(as_of, {b.variant_id: b.moments.n for b in blocks if b.segment == ALL}, {}, blocks)


@dataclass(frozen=True)
class Segmented:
    """Two metrics in two segments of the same users without any effect: what all segment rows find together."""

    correction: Correction
    users: tuple[int, int]  # of an arm in each cell of the cross

    COUNTRIES = ("a", "b", "c", "d")
    DEVICES = ("desktop", "phone")

    @property
    def name(self) -> str:
        """The cell's name."""
        users = f"{self.users[0]:,} and {self.users[1]:,} in each of 4 countries and 2 devices"
        return f"segments: {self.correction}, normal and binary 10 %, {users}"

    def checks(self, replicates: int) -> list[Check]:
        """Any significant value, and any segment found to have unequal effects, where nothing has an effect."""
        populations: dict[str, Population] = {"spend": Normal.of(10.0, 3.0), "orders": Discrete.binary(0.1)}
        metrics = [_metric(id, population, Role.PRIMARY) for id, population in populations.items()]
        plan = DecisionPlan(correction=self.correction, sequential_share=0.0)
        experiment = _experiment(plan, *metrics, segments=("country", "device"))
        values, joint = [], []
        for day in self._days(populations, min(replicates, COSTLY // 2)):
            rows = [row for row in segments.analyse(experiment, day) if isinstance(row, ResultRow)]
            values.append(any(row.significant for row in rows if row.test != INTERACTION))
            joint.append(any(row.significant for row in rows if row.test == INTERACTION))
        return [
            Check(self.name, f"any false {what}", float(np.mean(found)), len(found), LEVEL, "at most")
            for what, found in (("positive", values), ("interaction", joint))
        ]

    def _days(self, populations: dict[str, Population], replicates: int) -> Iterator[Aggregates]:
        cells = list(product(self.COUNTRIES, self.DEVICES))
        for chunk, r in chunks(replicates, sum(self.users) * len(cells)):
            rng = random_numbers(self.name, chunk)
            blocks: list[Iterator[Block]] = []
            for (metric_id, population), (arm, n) in product(
                populations.items(), zip(ARMS, self.users, strict=True)
            ):
                drawn = {cell: population.draw(rng, n, r, 0.0) for cell in cells}
                of_values = [("country", v, [c for c in cells if c[0] == v]) for v in self.COUNTRIES]
                of_values += [("device", v, [c for c in cells if c[1] == v]) for v in self.DEVICES]
                for segment, value, inside in [(ALL, ALL, cells), *of_values]:
                    merged = drawn[inside[0]]
                    for cell in inside[1:]:
                        merged = merged.merge(drawn[cell])
                    blocks.append(_blocks(metric_id, arm, merged, segment, value))
            end = START + timedelta(days=LOOKS - 1)
            yield from (_aggregates(end, day) for day in zip(*blocks, strict=True))
