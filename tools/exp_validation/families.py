"""Many metrics at once: whether a correction keeps the error that it promises for its whole family."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from exp_platform.stats.arms import arm_mean
from exp_platform.stats.moments import Moments
from exp_platform.stats.multiplicity import Corrected, Correction, correct
from exp_platform.stats.welch import Difference, difference
from exp_validation.bands import Check
from exp_validation.drawn import COSTLY, chunks, random_numbers
from exp_validation.methods import LEVEL
from exp_validation.populations import Mask, Normal

CORRECTIONS: tuple[Correction, ...] = ("bonferroni", "holm", "bh")
SHIFT = 0.2  # standard deviations that a metric with an effect is moved by


@dataclass(frozen=True)
class Family:
    """Normal metrics of the same users, each pair with this correlation; the first `effects` of them are moved.

    Of Bonferroni and Holm the chance of any false positive is judged, of BH the expected share of false ones among those
    found, and of the intervals what their corrections say of them together. A share's band is that of a rate: it can only
    be narrower.
    """

    metrics: int
    effects: int
    correlation: float
    users: tuple[int, int]

    @property
    def name(self) -> str:
        """The cell's name."""
        moved = f"{self.effects} of them with an effect" if self.effects else "none with an effect"
        users = f"{self.users[0]:,} and {self.users[1]:,}"
        return f"corrected families: {self.metrics} metrics of correlation {self.correlation:g}, {moved}, {users}"

    def checks(self, replicates: int) -> list[Check]:
        """Errors and coverage of the whole family, a correction at a time."""
        tests = list(self._tests(min(replicates, COSTLY)))
        p = np.array([[d.p_value for d in each] for each in tests])
        true = np.arange(self.metrics) >= self.effects  # nothing to be found
        effect = np.where(true, 0.0, SHIFT)
        checks = []
        for correction in CORRECTIONS:
            alphas, missed = np.empty_like(p), np.zeros(p.shape, dtype=np.bool_)
            for i, each in enumerate(tests):
                found = correct(correction, p[i].tolist(), LEVEL)
                alphas[i] = [c.alpha for c in found]
                missed[i] = [_misses(*of_metric) for of_metric in zip(each, found, effect, strict=True)]
            checks += self._of(correction, p < alphas, missed, true)
        return checks

    def _of(self, correction: Correction, found: Mask, missed: Mask, true: Mask) -> list[Check]:
        share_false = (found & true).sum(axis=1) / np.maximum(found.sum(axis=1), 1)
        rates = {
            "bonferroni": {
                "any false positive": (found & true).any(axis=1),
                "any interval misses": missed.any(axis=1),
            },
            "holm": {"any false positive": (found & true).any(axis=1)},
            "bh": {
                "false share of those found": share_false,
                "intervals that miss, of those found": (missed & found).sum(axis=1)
                / np.maximum(found.sum(axis=1), 1),
            },
        }[correction]
        return [
            Check(self.name, f"{correction}: {measure}", float(rate.mean()), len(rate), LEVEL, "at most")
            for measure, rate in rates.items()
        ]

    def _tests(self, replicates: int) -> Iterator[list[Difference]]:
        """Welch's tests of all metrics, replicate by replicate."""
        covariance = np.full((self.metrics, self.metrics), self.correlation)
        np.fill_diagonal(covariance, 1.0)
        moved = (1.0,) * self.effects + (0.0,) * (self.metrics - self.effects)
        population = Normal((1.0,) * self.metrics, tuple(map(tuple, covariance.tolist())), moved)
        for chunk, r in chunks(replicates, sum(self.users)):
            rng = random_numbers(self.name, chunk)
            arms = [
                population.draw(rng, n, r, lift) for n, lift in zip(self.users, (0.0, SHIFT), strict=True)
            ]
            for control, treatment in zip(*arms, strict=True):
                yield [_test(control, treatment, metric) for metric in range(self.metrics)]


def _test(control: Moments, treatment: Moments, metric: int) -> Difference:
    return difference(arm_mean(control, metric), arm_mean(treatment, metric))


def _misses(test: Difference, corrected: Corrected, effect: float) -> bool:
    low, high = test.interval(1 - corrected.alpha)
    return not low <= effect <= high
