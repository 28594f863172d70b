"""Statements under an assumption: posteriors where effects come from the prior, sets where trends are as bad as allowed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from scipy import special

from exp_platform.stats.arms import arm_mean
from exp_platform.stats.bayes import posterior
from exp_platform.stats.event_study import relative_magnitudes
from exp_platform.stats.intervals import t_critical
from exp_platform.stats.moments import Moments
from exp_platform.stats.welch import difference
from exp_validation.bands import UNIFORMITY, Check
from exp_validation.drawn import chunks, distance, random_numbers
from exp_validation.methods import LEVEL
from exp_validation.populations import Normal


@dataclass(frozen=True)
class Believed:
    """Effects drawn from the stated prior: where that is true, a posterior must mean what it says.

    `uniformity` is of the share of its posterior below each true effect; the chance to be better is held against how often
    the treatment is better, where it says 90 % or more.
    """

    prior_sd: float  # in standard deviations of a user
    users: tuple[int, int]

    @property
    def name(self) -> str:
        """The cell's name."""
        return f"Bayesian reading: prior sd {self.prior_sd:g}, {self.users[0]:,} and {self.users[1]:,}"

    def checks(self, replicates: int) -> list[Check]:
        """Coverage of the credible interval, uniformity, and how true a chance to be better is."""
        effects, covered, below, chances = [], [], [], []
        for effect, found in self._estimates(replicates):
            belief = posterior(found[0], found[1], self.prior_sd)
            low, high = belief.interval(1 - LEVEL)
            effects.append(effect)
            covered.append(low <= effect <= high)
            below.append(float(special.ndtr((effect - belief.mean) / belief.sd)))
            chances.append(belief.chance_above_zero)
        sure, better = np.array(chances) >= 0.9, np.array(effects) > 0
        promised = float(np.array(chances)[sure].mean())
        return [
            Check(self.name, "coverage", float(np.mean(covered)), len(covered), 1 - LEVEL, "both"),
            Check(self.name, UNIFORMITY, distance(np.array(below)), len(below), 0.0, "both"),
            Check(
                self.name,
                "better, where its chance is told to be 90 % or more",
                float(better[sure].mean()),
                int(sure.sum()),
                promised,
                "both",
            ),
        ]

    def _estimates(self, replicates: int) -> Iterator[tuple[float, tuple[float, float]]]:
        population = Normal.of(10.0, 1.0)
        for chunk, r in chunks(replicates, sum(self.users)):
            rng = random_numbers(self.name, chunk)
            effects = self.prior_sd * rng.standard_normal(r)
            arms = [population.draw(rng, n, r, 0.0) for n in self.users]
            for effect, control, treatment in zip(effects.tolist(), *arms, strict=True):
                d = difference(arm_mean(control), arm_mean(treatment))
                yield effect, (d.estimate + effect, d.standard_error)


@dataclass(frozen=True)
class Sensitivity:
    """Weeks whose trends part after exposure by `m_bar` times the largest step before it: the worst that a row allows.

    Judged: the interval at that m_bar holds the true effect, which is 0. Told: how often the one at m_bar 0 does.
    """

    # Of the gap from week to week before exposure, in standard deviations of a user's week
    steps: tuple[float, ...]
    m_bar: float
    users: tuple[int, int]
    after: int = 2

    @property
    def name(self) -> str:
        """The cell's name."""
        steps = " and ".join(f"{step:g}" for step in self.steps)
        users = f"{self.users[0]:,} and {self.users[1]:,}"
        return f"DiD sensitivity: steps {steps} before, {self.m_bar:g} times the largest after, {users}"

    def checks(self, replicates: int) -> list[Check]:
        """Coverage at the m_bar that is true, and of parallel trends."""
        before = len(self.steps) + 1
        allowed: list[bool] = []
        parallel: list[bool] = []
        critical = t_critical(1 - LEVEL, min(self.users) - 1)
        for control, treatment in self._arms(replicates):
            found = relative_magnitudes(control, treatment, before)
            for held, m_bar in ((allowed, self.m_bar), (parallel, 0.0)):
                low, high = found.interval(m_bar, critical)
                held.append(low <= 0 <= high)
        promise = "coverage", float(np.mean(allowed)), len(allowed), 1 - LEVEL
        told = "coverage if trends were parallel", float(np.mean(parallel)), len(parallel), 1 - LEVEL
        return [Check(self.name, *promise, "at least"), Check(self.name, *told, "none")]

    def _arms(self, replicates: int) -> Iterator[tuple[Moments, Moments]]:
        worst = self.m_bar * max(map(abs, self.steps))
        gap = np.cumsum([0.0, *self.steps, *(worst,) * self.after])
        weeks = len(gap)
        table = np.full((weeks, weeks), 4.0) + np.eye(weeks)
        covariance = tuple(map(tuple, table.tolist()))
        arms = [
            Normal(tuple((5.0 + moved).tolist()), covariance, (0.0,) * weeks)
            for moved in (np.zeros(weeks), gap)
        ]
        for chunk, r in chunks(replicates, sum(self.users)):
            rng = random_numbers(self.name, chunk)
            drawn = [arm.draw(rng, n, r, 0.0) for arm, n in zip(arms, self.users, strict=True)]
            yield from zip(*drawn, strict=True)
