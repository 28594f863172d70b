"""Whether an adjustment can be relied on: balanced between the arms, of use, and from before exposure."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from exp_platform.analyses.comparison import Pair
from exp_platform.config.experiment import Experiment, Metric
from exp_platform.stats.wald import joint

BALANCE_ALARM = (
    0.001  # p below which covariates count as different between the arms: the level of the SRM test
)
SMALL_GAIN = 0.01  # of the variance: below it an adjustment is told to be of no use


@dataclass(frozen=True)
class Health:
    """What was found: words for programs, `ok` where there are none, and notes for people."""

    balance_p: float | None
    words: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.words) or "ok"


def health(
    experiment: Experiment, metric: Metric, pair: Pair, covariates: tuple[int, ...], gain: float
) -> Health:
    """Judge the adjustment of one comparison by these columns of its blocks, which took `gain` off the variance."""
    p = balance(pair, covariates)
    words, notes = [], []
    if p is not None and p < BALANCE_ALARM:
        words.append("unbalanced")
        notes.append(
            f"the covariates differ between the arms (p = {p:.1e}): the assignment is broken, or the treatment "
            "has changed a covariate"
        )
    if gain < SMALL_GAIN:
        words.append("unrelated")
        notes.append(
            f"the adjustment explains about nothing of the metric: it gains {gain:.2%} of the variance"
        )
    if experiment.source.kind == "units" and any(c.until is None for c in metric.covariates):
        words.append("undated")
    return Health(p, tuple(words), tuple(notes))


def balance(pair: Pair, columns: tuple[int, ...]) -> float | None:
    """The p-value of the joint Wald test that the arms' means of these columns are equal; None without columns."""
    if not columns:
        return None
    control, treatment = (block.moments.select(columns) for block in pair)
    spread = control.covariance() / control.n + treatment.covariance() / treatment.n
    if not np.diag(spread).any():
        return None
    return joint(treatment.mean - control.mean, spread).p
