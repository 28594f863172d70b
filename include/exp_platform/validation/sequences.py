"""Looking again and again: confidence sequences and the split of users, judged over all their looks."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from exp_platform.analyses.planned import TUNED_USERS
from exp_platform.analyses.sizes import START_NONZERO, START_OUTCOMES, START_USERS_ARM
from exp_platform.stats.group_sequential import Spending, bounds, spent
from exp_platform.stats.intervals import normal_critical
from exp_platform.stats.moments import Array
from exp_platform.stats.sequential import half_width, rho
from exp_platform.stats.srm import mismatch, sequential_e_value
from exp_platform.validation.bands import Check, Side
from exp_platform.validation.drawn import chunks, random_numbers
from exp_platform.validation.methods import LEVEL
from exp_platform.validation.populations import Discrete, Draws, Mask, Population

SRM_LEVEL = 0.001

# Half width of the interval at a look: users of both arms, variance n (v1 / n1 + v0 / n0), shape (replicates,).
HalfWidth = Callable[[int, Array], Array]


def confidence_sequence(n: int, variance: Array) -> Array:
    """The platform's, tuned for the size that it takes without a plan."""
    return half_width(n, 1.0, rho(LEVEL, TUNED_USERS), LEVEL) * np.sqrt(variance)


def one_sided_sequence(n: int, variance: Array) -> Array:
    """The same of a claim that rests on one side, as a guardrail's."""
    tuned = rho(LEVEL, TUNED_USERS, one_sided=True)
    return half_width(n, 1.0, tuned, LEVEL, one_sided=True) * np.sqrt(variance)


def fixed_horizon(n: int, variance: Array) -> Array:
    """Known to be wrong: the interval of a single look, at every look."""
    return normal_critical(1 - LEVEL) * np.sqrt(variance / n)


def group_sequential(spending: Spending, daily: tuple[int, int], looks: int) -> HalfWidth:
    """The bounds of so many declared looks at equal information."""
    fractions = np.arange(1, looks + 1) / looks
    critical = bounds(tuple(fractions.tolist()), tuple(spent(spending, t, LEVEL) for t in fractions.tolist()))

    def half(n: int, variance: Array) -> Array:
        return np.asarray(critical[n // sum(daily) - 1] * np.sqrt(variance / n))

    return half


@dataclass(frozen=True)
class Sequence:
    """Daily looks at users who arrive evenly; an error is an interval that misses the truth at any look."""

    method: str
    population_name: str
    half_width: HalfWidth
    population: Population
    daily: tuple[int, int]  # users of control and treatment
    looks: int = 28
    side: Side = "at most"
    upper_only: bool = False  # whether only a truth above the interval is an error

    @property
    def name(self) -> str:
        """The cell's name."""
        daily = f"{self.daily[0]:,} and {self.daily[1]:,} a day"
        return f"{self.method}: {self.population_name}, {daily}, {self.looks} looks"

    def checks(self, replicates: int) -> list[Check]:
        """The error over all looks, without an effect."""
        missed = []
        for chunk, r in chunks(replicates, sum(self.daily)):
            rng = random_numbers(self.name, chunk)
            ever = np.zeros(r, dtype=np.bool_)
            arms: list[Draws] | None = None
            for _ in range(self.looks):
                new = [self.population.draw(rng, n, r, 0.0) for n in self.daily]
                arms = new if arms is None else [a.merge(b) for a, b in zip(arms, new, strict=True)]
                ever |= self._misses(*arms)
            missed.append(ever)
        errors = np.concatenate(missed)
        return [
            Check(self.name, "errors over all looks", float(errors.mean()), len(errors), LEVEL, self.side)
        ]

    def _misses(self, control: Draws, treatment: Draws) -> Mask:
        n = control.n + treatment.n
        variance = n * sum(arm.m2[:, 0, 0] / (arm.n - 1) / arm.n for arm in (control, treatment))
        difference = treatment.mean[:, 0] - control.mean[:, 0]
        away = -difference if self.upper_only else np.abs(difference)
        missed = away > self.half_width(n, np.asarray(variance))
        return np.asarray(missed & self._started(control) & self._started(treatment))

    def _started(self, arm: Draws) -> Mask:
        """The platform's rule."""
        nonzero = np.full(len(arm.mean), arm.n) if arm.nonzero is None else arm.nonzero
        if isinstance(self.population, Discrete):
            enough = np.minimum(nonzero, arm.n - nonzero) >= START_OUTCOMES
        else:
            enough = nonzero >= START_NONZERO
        return np.asarray(enough & (arm.n >= START_USERS_ARM))


@dataclass(frozen=True)
class Split:
    """Users split as planned: how often the mismatch tests say otherwise. `looks` 1 is the test at the end."""

    shares: tuple[float, ...]
    users: int
    looks: int = 1

    @property
    def name(self) -> str:
        """The cell's name."""
        test = "chi-square" if self.looks == 1 else f"sequential, {self.looks} looks"
        if self.looks == 1 and self.users * min(self.shares) < 5:
            test = "exact"
        return f"SRM {test}: {' / '.join(f'{share:g}' for share in self.shares)}, {self.users:,} users"

    def checks(self, replicates: int) -> list[Check]:
        """The share of mismatches where there is none."""
        rng, seen = random_numbers(self.name), dict[tuple[int, ...], bool]()
        wrong = np.zeros(replicates, dtype=np.bool_)
        counts = np.zeros((replicates, len(self.shares)), dtype=np.int64)
        for _ in range(self.looks):
            counts += rng.multinomial(self.users // self.looks, self.shares, replicates)
            for i in np.flatnonzero(~wrong):
                key = tuple(counts[i].tolist())
                if key not in seen:
                    seen[key] = self._rejects(key)
                wrong[i] = seen[key]
        side: Side = "both" if self.looks == 1 and "exact" not in self.name else "at most"
        return [Check(self.name, "false alarms", float(wrong.mean()), replicates, SRM_LEVEL, side)]

    def _rejects(self, counts: tuple[int, ...]) -> bool:
        if self.looks > 1:
            return sequential_e_value(counts, self.shares).e_value >= 1 / SRM_LEVEL
        return mismatch(counts, self.shares).p < SRM_LEVEL
