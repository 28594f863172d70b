"""Post-stratification: effects adjusted by strata whose shares are those of the sample, alone and with a covariate."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from exp_platform.stats.adjustment import adjust
from exp_platform.stats.moments import Array, Moments
from exp_platform.stats.strata import merge_small
from exp_validation.bands import UNIFORMITY, Check
from exp_validation.drawn import COSTLY, chunks, distance, random_numbers
from exp_validation.methods import LEVEL, Answer, compared
from exp_validation.populations import Normal

SHARES = np.array([0.5, 0.3, 0.15, 0.05])
MEANS = np.array([8.0, 10.0, 14.0, 20.0])  # of the strata, without an effect
EFFECTS = np.array([0.0, 0.5, 1.0, 2.0])  # relative to the first's unit: strata may differ in it


@dataclass(frozen=True)
class Stratified:
    """Users of four strata that differ in level and, with an effect, in effect; the covariate is of each user.

    The truth is the effect on all users to come. Strata that an arm cannot fill are merged as the platform merges them.
    """

    covariate: bool
    users: tuple[int, int]

    @property
    def name(self) -> str:
        """The cell's name."""
        method = "post-stratification" + " with CUPED" * self.covariate
        return f"{method}: four strata, {self.users[0]:,} and {self.users[1]:,}"

    def checks(self, replicates: int) -> list[Check]:
        """Level and uniformity without an effect, coverage with effects that differ between strata."""
        replicates = min(replicates, COSTLY)
        null = list(self._answers(replicates, effect=False))
        p = np.array([answer.p for answer in null])
        truth = float(SHARES @ EFFECTS)
        covered = [answer.covers(truth) for answer in self._answers(replicates, effect=True)]
        return [
            Check(self.name, "false positives", float((p < LEVEL).mean()), len(p), LEVEL, "both"),
            Check(self.name, UNIFORMITY, distance(p), len(p), 0.0, "both"),
            Check(self.name, "coverage", float(np.mean(covered)), len(covered), 1 - LEVEL, "both"),
        ]

    def _answers(self, replicates: int, *, effect: bool) -> Iterator[Answer]:
        covariates = (1,) if self.covariate else ()
        for chunk, r in chunks(replicates, sum(self.users)):
            rng = random_numbers(self.name, "effect" if effect else "null", chunk)
            arms = [self._arm(rng, n, r, EFFECTS * (effect and side)) for side, n in enumerate(self.users)]
            for control, treatment in zip(*arms, strict=True):
                strata = dict(zip("abcd", zip(control, treatment, strict=True), strict=True))
                adjusted = adjust(merge_small(strata).cells, 0, covariates)
                yield compared(*adjusted.pair(0, 1))

    def _arm(
        self, rng: np.random.Generator, n: int, replicates: int, effects: Array
    ) -> Iterator[list[Moments]]:
        """Each replicate's strata: multinomial numbers of users, their metric and covariate of correlation .7."""
        counts = rng.multinomial(n, SHARES, replicates)
        strata = [
            _drawn(rng, Normal.with_covariates(0.0, 3.0, (0.7,)), counts[:, s], MEANS[s] + effects[s])
            for s in range(len(SHARES))
        ]
        return map(list, zip(*strata, strict=True))


def _drawn(
    rng: np.random.Generator, population: Normal, n: NDArray[np.int64], mean: float
) -> Iterator[Moments]:
    """The Moments of a metric and a covariate of n[i] users in replicate i (Bartlett 1933); of none where n is 0 or 1."""
    root = np.linalg.cholesky(np.array(population.covariance))
    users = np.maximum(n, 3)
    means = np.array([mean, 0.0]) + rng.standard_normal((len(n), 2)) @ root.T / np.sqrt(users)[:, None]
    factor = np.zeros((len(n), 2, 2))
    factor[:, 1, 0] = rng.standard_normal(len(n))
    factor[:, [0, 1], [0, 1]] = np.sqrt(rng.chisquare(users[:, None] - [1.0, 2.0]))
    whole = root @ factor
    for size, centre, m2 in zip(n.tolist(), means, whole @ np.swapaxes(whole, 1, 2), strict=True):
        yield Moments(size, centre, m2) if size > 2 else Moments.empty(2)
