"""One cell: a method on replicates of a population, without an effect and with one."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from exp_platform.analyses.caution import caution_of
from exp_platform.stats.moments import Array, Moments
from exp_platform.stats.power import Design, WelchDesign, mde, of_scores
from exp_validation.bands import UNIFORMITY, Check, Side
from exp_validation.methods import LEVEL, Answer, Method, ratio
from exp_validation.populations import Discrete, Draws, Mask, Population

SEED = 2026
POWER = 0.8
USERS_AT_ONCE = 4_000_000  # in all replicates of a chunk
REPLICATES_AT_ONCE = 5_000
WARNED = 10_000  # replicates that tell how often a row is cautioned
COSTLY = 10_000  # the most replicates of a cell whose replicates take a millisecond or more


# Users of both arms, each of shape (replicates, n), to their Moments.
Reduce = Callable[[Array, Array], tuple[Draws, Draws]]


@dataclass(frozen=True)
class Cell:
    """A method at one population and size, without an effect and, where it is `planned`, with one.

    That effect is the one which the plan finds with POWER. `side` is what breaks the promise of the level: `at most`
    for methods that are conservative by design.
    """

    method: str
    population_name: str
    judged: Method
    population: Population
    users: tuple[int, int]  # of control and treatment
    planned: bool = True
    variance_reduction: float = 0.0  # of which the plan knows
    scored: bool = False  # planned by the score test's power, not Welch's
    side: Side = "both"
    treated: Population | None = None  # where the treatment's users differ in more than the effect
    warned: bool = True  # whether rows of this method have cautions
    reduce: Reduce | None = None  # None: the arms' Moments are drawn, each by itself
    most: int = 1_000_000  # replicates: fewer where each takes long

    @property
    def name(self) -> str:
        """The cell's name on the page, which also keys its random numbers."""
        return f"{self.method}: {self.population_name}, {self.users[0]:,} and {self.users[1]:,}"

    def lift(self) -> float:
        """The planned effect, relative to control's mean; 0 where none is planned."""
        mean, left = self.population.mean, 1 - self.variance_reduction

        def variances(effect: float) -> tuple[float, float]:
            lift = effect / mean
            return self.population.sd_at(0.0) ** 2 * left, self.population.sd_at(lift) ** 2 * left

        if not self.planned:
            return 0.0
        design: Design = of_scores(mean) if self.scored else WelchDesign(variances)
        return mde(design, *self.users, alpha=LEVEL, power=POWER) / mean

    def checks(self, replicates: int) -> list[Check]:
        """Level and uniformity without an effect; coverage and power with the planned one."""
        replicates = min(replicates, self.most)
        null = list(_answers(self, replicates, 0.0))
        p = np.array([answer.p for answer in null])
        uniform: Side = "both" if self.population.continuous and self.side == "both" else "none"
        checks = [
            _check(self, "false positives", p < LEVEL, LEVEL, self.side),
            Check(self.name, UNIFORMITY, distance(p), len(p), 0.0, uniform),
        ]
        if self.warned:
            warned, unwarned = np.array(list(_warned(self, min(replicates, WARNED)))).T
            checks.append(_check(self, "warned", warned, 0.0, "none"))
            checks.append(_check(self, "false positives without a caution", unwarned, LEVEL, "at most"))
        lift = self.lift()
        with_effect = list(_answers(self, replicates, lift)) if lift else null
        if with_effect[0].low is None:
            return checks
        effect = lift * self.population.mean
        covered = np.array([answer.covers(effect) for answer in with_effect])
        checks.append(_check(self, "coverage", covered, 1 - LEVEL, _opposite(self.side)))
        if with_effect[0].relative is not None:
            covered = np.array([answer.covers_relative(lift) for answer in with_effect])
            checks.append(_check(self, "relative coverage", covered, 1 - LEVEL, _opposite(self.side)))
        if lift:
            found = np.array([answer.p < LEVEL for answer in with_effect])
            checks.append(_check(self, "power", found, POWER, "both"))
        return checks


def _answers(cell: Cell, replicates: int, lift: float) -> Iterator[Answer]:
    """The method's answers; a replicate that it cannot answer gives none."""
    for control, treatment in _chunks(cell, replicates, lift):
        for pair in zip(control, treatment, strict=True):
            try:
                yield cell.judged(*pair)
            except ValueError:  # neither arm varies: the platform says DEGENERATE
                continue


def _warned(cell: Cell, replicates: int) -> Iterator[tuple[bool, bool]]:
    """Whether the platform cautions, and whether it finds an effect without a caution, replicate by replicate."""
    of_ratio = cell.judged is ratio
    proportion = isinstance(cell.population, Discrete) and not of_ratio
    for control, treatment in _chunks(cell, replicates, 0.0):
        spreads = zip(control.spreads(ratio=of_ratio), treatment.spreads(ratio=of_ratio), strict=True)
        for pair, arms in zip(zip(control, treatment, strict=True), spreads, strict=True):
            warned = caution_of(*arms, proportion=proportion) is not None
            yield warned, not warned and _finds(cell, *pair)


def _finds(cell: Cell, control: Moments, treatment: Moments) -> bool:
    try:
        return cell.judged(control, treatment).p < LEVEL
    except ValueError:  # as in `_answers`
        return False


def _chunks(cell: Cell, replicates: int, lift: float) -> Iterator[tuple[Draws, Draws]]:
    treated = cell.treated or cell.population
    sizes = cell.users
    for chunk, r in chunks(replicates, sum(sizes)):
        rng = random_numbers(cell.name, "effect" if lift else "null", chunk)
        if cell.reduce is not None:
            yield cell.reduce(
                cell.population.users(rng, sizes[0], r, 0.0), treated.users(rng, sizes[1], r, lift)
            )
        else:
            yield cell.population.draw(rng, sizes[0], r, 0.0), treated.draw(rng, sizes[1], r, lift)


def chunks(replicates: int, users: int) -> Iterator[tuple[int, int]]:
    """The number of each chunk and its replicates, so that a chunk of so many users fits in memory."""
    at_once = max(1, min(REPLICATES_AT_ONCE, USERS_AT_ONCE // users))
    for chunk, first in enumerate(range(0, replicates, at_once)):
        yield chunk, min(at_once, replicates - first)


def random_numbers(*purpose: str | int) -> np.random.Generator:
    """A random stream of its own for each purpose: the order in which cells are carried out cannot matter."""
    key = hashlib.sha256("\x1f".join(map(str, (SEED, *purpose))).encode()).digest()[:16]
    return np.random.Generator(np.random.Philox(key=np.frombuffer(key, dtype="<u8")))


def _check(cell: Cell, measure: str, happened: Mask, promised: float, side: Side) -> Check:
    return Check(cell.name, measure, float(np.mean(happened)), len(happened), promised, side)


def _opposite(side: Side) -> Side:
    return {"at most": "at least", "at least": "at most"}.get(side, side)  # type: ignore[return-value]


def distance(p: Array) -> float:
    """Kolmogorov's distance between the p-values and the uniform law."""
    ordered, n = np.sort(p), len(p)
    return float(max((np.arange(1, n + 1) / n - ordered).max(), (ordered - np.arange(n) / n).max()))
