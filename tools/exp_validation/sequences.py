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
from exp_validation.bands import Check, Side
from exp_validation.drawn import chunks, random_numbers
from exp_validation.methods import LEVEL
from exp_validation.populations import Discrete, Draws, Mask, Population

SRM_LEVEL = 0.001

# Half width of the interval at a look: users of control and treatment, and their variances, shape (replicates,).
HalfWidth = Callable[[tuple[int, int], tuple[Array, Array]], Array]


def confidence_sequence(level: float, *, one_sided: bool = False) -> HalfWidth:
    """The platform's, tuned for the size that it takes without a plan; one-sided as a guardrail's claim is."""
    tuned = rho(level, TUNED_USERS, one_sided=one_sided)

    def half(users: tuple[int, int], variances: tuple[Array, Array]) -> Array:
        n, (v0, v1) = sum(users), variances
        careful = np.maximum(_of_difference(users, (v0, v1)), _of_difference(users, (v1, v0)))
        return np.asarray(half_width(n, 1.0, tuned, level, one_sided=one_sided) * np.sqrt(n * careful))

    return half


def fixed_horizon(users: tuple[int, int], variances: tuple[Array, Array]) -> Array:
    """Known to be wrong: the interval of a single look, at every look."""
    return np.asarray(normal_critical(1 - LEVEL) * np.sqrt(_of_difference(users, variances)))


def group_sequential(spending: Spending, daily: tuple[int, int], looks: int) -> HalfWidth:
    """The bounds of so many declared looks at equal information."""
    fractions = np.arange(1, looks + 1) / looks
    critical = bounds(tuple(fractions.tolist()), tuple(spent(spending, t, LEVEL) for t in fractions.tolist()))

    def half(users: tuple[int, int], variances: tuple[Array, Array]) -> Array:
        look = sum(users) // sum(daily) - 1
        return np.asarray(critical[look] * np.sqrt(_of_difference(users, variances)))

    return half


def _of_difference(users: tuple[int, int], variances: tuple[Array, Array]) -> Array:
    return np.asarray(variances[0] / users[0] + variances[1] / users[1])


@dataclass(frozen=True)
class Bound:
    """An interval at every look, and the chance it may have to miss the truth at any of them."""

    measure: str
    half_width: HalfWidth
    level: float = LEVEL
    upper_only: bool = False  # whether only a truth above the interval is an error


def at_levels_spent() -> tuple[Bound, ...]:
    """Confidence sequences at the levels that are spent: one primary metric's, one of five, one side of a guardrail."""
    return (
        *(Bound(f"errors at {level:g}", confidence_sequence(level), level) for level in (0.005, 0.001)),
        Bound("one-sided at 0.005", confidence_sequence(0.005, one_sided=True), 0.005, upper_only=True),
    )


@dataclass(frozen=True)
class Sequence:
    """Daily looks at users who arrive evenly; an error is an interval that misses the truth at any look."""

    method: str
    population_name: str
    bounds: tuple[Bound, ...]
    population: Population
    daily: tuple[int, int]  # users of control and treatment
    looks: int = 28
    side: Side = "at most"
    most: int = 1_000_000  # replicates: fewer where users are drawn one by one

    @property
    def name(self) -> str:
        """The cell's name."""
        daily = f"{self.daily[0]:,} and {self.daily[1]:,} a day"
        return f"{self.method}: {self.population_name}, {daily}, {self.looks} looks"

    def checks(self, replicates: int) -> list[Check]:
        """The error over all looks, without an effect."""
        missed = []
        for chunk, r in chunks(min(replicates, self.most), sum(self.daily)):
            rng = random_numbers(self.name, chunk)
            ever = np.zeros((len(self.bounds), r), dtype=np.bool_)
            arms: list[Draws] | None = None
            for _ in range(self.looks):
                new = [self.population.draw(rng, n, r, 0.0) for n in self.daily]
                arms = new if arms is None else [a.merge(b) for a, b in zip(arms, new, strict=True)]
                ever |= self._misses(*arms)
            missed.append(ever)
        errors = np.concatenate(missed, axis=1)
        return [
            Check(self.name, bound.measure, float(wrong.mean()), len(wrong), bound.level, self.side)
            for bound, wrong in zip(self.bounds, errors, strict=True)
        ]

    def _misses(self, control: Draws, treatment: Draws) -> Mask:
        """Shape (bounds, replicates)."""
        (m0, v0), (m1, v1) = (_mean_and_variance(arm) for arm in (control, treatment))
        users, above = (control.n, treatment.n), m0 - m1
        missed = [
            (above if bound.upper_only else np.abs(above)) > bound.half_width(users, (v0, v1))
            for bound in self.bounds
        ]
        return np.asarray(missed & self._started(control) & self._started(treatment))

    def _started(self, arm: Draws) -> Mask:
        """The platform's rule."""
        nonzero = np.full(len(arm.mean), arm.n) if arm.nonzero is None else arm.nonzero
        if isinstance(self.population, Discrete) and not self.population.ratio:
            enough = np.minimum(nonzero, arm.n - nonzero) >= START_OUTCOMES
        else:
            enough = nonzero >= START_NONZERO
        return np.asarray(enough & (arm.n >= START_USERS_ARM))


def _mean_and_variance(arm: Draws) -> tuple[Array, Array]:
    """The metric's estimate and a user's variance in each replicate; of two columns, their ratio's by the delta method."""
    variance = arm.m2 / (arm.n - 1)
    if arm.mean.shape[1] == 1:
        return arm.mean[:, 0], variance[:, 0, 0]
    with np.errstate(divide="ignore", invalid="ignore"):  # a denominator of zero: not started yet
        ratio = arm.mean[:, 0] / arm.mean[:, 1]
        residual = variance[:, 0, 0] - 2 * ratio * variance[:, 0, 1] + ratio**2 * variance[:, 1, 1]
        return ratio, residual / arm.mean[:, 1] ** 2


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
