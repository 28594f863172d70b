"""Whole portfolios: many experiments of one metric, of which what was significant is shipped, and what shipping has brought."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from exp_platform.stats.intervals import normal_critical
from exp_platform.stats.moments import Array
from exp_platform.stats.shrinkage import shrink
from exp_validation.bands import Check, Side
from exp_validation.drawn import random_numbers
from exp_validation.methods import LEVEL

Positions = npt.NDArray[np.intp]

ERROR = 0.012  # the middle one of the standard errors, on the scale of logarithms
COVERAGE, EXPECTED, NAIVE = (
    "interval holds the sum",
    "expected sum, of the true one",
    "winners added up, of the true sum",
)


class Sum(NamedTuple):
    """What a portfolio is said to have brought, and the interval of coverage 1 - LEVEL."""

    expected: float
    low: float
    high: float


class Drawn(NamedTuple):
    """One portfolio: estimates and errors of all arms, whose they are, and which are shipped."""

    estimates: Array
    errors: Array
    experiments: list[str]
    shipped: Positions

    def winners(self) -> Sum:
        """The estimates of what was shipped, added up as if nobody had chosen them."""
        total = float(self.estimates[self.shipped].sum())
        half = normal_critical(1 - LEVEL) * math.sqrt(float((self.errors[self.shipped] ** 2).sum()))
        return Sum(total, total - half, total + half)

    def shrunken(self) -> Sum:
        """The same after each is shrunken by all that were measured."""
        found = shrink(self.estimates.tolist(), self.errors.tolist(), self.experiments)
        said = found.of(self.shipped.tolist(), 1 - LEVEL)
        return Sum(said.mean, said.low, said.high)


@dataclass(frozen=True)
class Portfolio:
    """So many experiments, whose true effects have this spread (in middling standard errors), mean and tail.

    Errors differ between experiments (lognormal, sd of the logarithm 0.4). Of each the best arm is shipped if it is
    significantly better than control, two-sided at LEVEL. Only portfolios that shipped something count. `tail` are degrees of
    freedom of Student's t, inf for the normal.
    """

    experiments: int
    spread: float
    tail: float = math.inf
    mean: float = 0.0  # in middling standard errors
    treatments: int = 1
    most: int = 2_000  # portfolios: each takes up to a tenth of a second
    method: str = "shrunken portfolio"
    said: Callable[[Drawn], Sum] = Drawn.shrunken

    @property
    def name(self) -> str:
        """The cell's name."""
        law = "normal" if math.isinf(self.tail) else f"t with {self.tail:g} degrees"
        arms = f" of {self.treatments} treatments" if self.treatments > 1 else ""
        mean = f", mean {self.mean:g}" if self.mean else ""
        return f"{self.method}: {self.experiments} experiments{arms}, effects {law}, spread {self.spread:g}{mean}"

    def checks(self, replicates: int) -> list[Check]:
        """How often the interval holds the true sum; told beside it, how large both sums are on average, of the true one."""
        held, sums = [], []
        for drawn, effects in self._portfolios(min(replicates, self.most)):
            if not len(drawn.shipped):
                continue
            truth, said = float(effects[drawn.shipped].sum()), self.said(drawn)
            held.append(said.low <= truth <= said.high)
            sums.append((truth, said.expected, drawn.winners().expected))
        truth, expected, naive = np.mean(sums, axis=0)
        told = {EXPECTED: expected, NAIVE: naive} if self.said is Drawn.shrunken else {NAIVE: naive}
        # Arms of one experiment count as one for the law, though they tell more of it: careful
        side: Side = "at least" if self.treatments > 1 else "both"
        return [
            Check(self.name, COVERAGE, float(np.mean(held)), len(held), 1 - LEVEL, side),
            *(
                Check(self.name, measure, float(n / truth), len(held), 0.0, "none")
                for measure, n in told.items()
            ),
        ]

    def _portfolios(self, replicates: int) -> Iterator[tuple[Drawn, Array]]:
        rng = random_numbers(self.name)
        names = np.repeat(np.arange(self.experiments), self.treatments)
        for _ in range(replicates):
            errors = np.repeat(ERROR * np.exp(rng.normal(0, 0.4, self.experiments)), self.treatments)
            shape = len(names)
            law = rng.standard_normal(shape) if math.isinf(self.tail) else rng.standard_t(self.tail, shape)
            effects = ERROR * (self.mean + self.spread * law)
            noise = rng.standard_normal(shape)
            if self.treatments > 1:  # half of each error's variance is that of the one control
                control = np.repeat(rng.standard_normal(self.experiments), self.treatments)
                noise = (noise + control) / math.sqrt(2)
            estimates = effects + errors * noise
            yield Drawn(estimates, errors, list(map(str, names)), self._shipped(estimates / errors)), effects

    def _shipped(self, z: Array) -> Positions:
        """The best arm of each experiment, where it is significantly better."""
        of = z.reshape(self.experiments, self.treatments)
        best = of.argmax(axis=1) + np.arange(self.experiments) * self.treatments
        shipped: Positions = best[of.max(axis=1) > normal_critical(1 - LEVEL)]
        return shipped


def portfolios() -> Iterator[Portfolio]:
    """Small and large portfolios, effects smaller and larger than their errors, with and without large wins among them."""
    for experiments in (20, 40):
        for spread in (0.3, 1.0, 2.0):
            yield Portfolio(experiments, spread)
        yield Portfolio(experiments, 0.7, tail=3.0)
    yield Portfolio(40, 1.5, tail=3.0)
    yield Portfolio(40, 1.0, mean=0.3)
    yield Portfolio(200, 0.3, most=1_000)
    yield Portfolio(200, 1.0, most=1_000)
    yield Portfolio(200, 0.7, tail=3.0, most=1_000)
    yield Portfolio(40, 1.0, treatments=3, method="shrunken portfolio, several treatments")


def winners_added_up() -> Portfolio:
    """What is known to be wrong: the sum of what was significant, with the interval of a sum that nobody chose."""
    return Portfolio(40, 1.0, method="sum of winners", said=Drawn.winners)
