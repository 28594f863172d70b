"""Whether an adjustment can be relied on: balanced between the arms, of use, and from before exposure."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass

from exp_platform import numbers
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.stats.moments import Moments
from exp_platform.stats.strata import equal_shares, standardised
from exp_platform.stats.wald import of_arms

Cells = tuple[Sequence[Moments], Sequence[Moments]]  # of control and treatment, by stratum

BALANCE_ALARM = (
    0.001  # p below which covariates count as different between the arms: the level of the SRM test
)
SMALL_GAIN = 0.01  # of the variance: below it an adjustment is told to be of no use, or to do harm


@dataclass(frozen=True)
class Health:
    """What was found: words for programs, `ok` where there are none, and notes for people."""

    balance_p: float | None
    words: tuple[str, ...]
    notes: tuple[str, ...]

    def __str__(self) -> str:
        return ", ".join(self.words) or "ok"


def health(
    experiment: Experiment, metric: Metric, periods: Sequence[Cells], covariates: Sequence[int], gain: float
) -> Health:
    """Judge the adjustment of one comparison: of these cells, by these columns, with `gain` off the variance.

    `periods` are those of a ramp, else one: within each, arms must be alike.
    """
    p = balance(periods, covariates)
    words, notes = [], []
    if p is not None and p < BALANCE_ALARM:
        words.append("unbalanced")
        what = " and ".join(
            ["covariates"] * bool(covariates) + ["strata"] * any(len(control) > 1 for control, _ in periods)
        )
        notes.append(
            f"the {what} differ between the arms (p {_told(p)}): the assignment is broken, or the treatment "
            "has changed one of them"
        )
    if gain <= -SMALL_GAIN:
        words.append("harmful")
        notes.append(
            f"the adjustment makes the variance {numbers.share(-gain, 0)} larger: effects differ along the covariates or strata; "
            "see `slopes`, and the unadjusted effect"
        )
    elif gain < SMALL_GAIN:
        words.append("unrelated")
        notes.append(
            f"the adjustment explains about nothing of the metric: it gains {numbers.share(gain, 2)} of the variance"
        )
    if covariates and experiment.source.kind == "units" and any(c.until is None for c in metric.covariates):
        words.append("undated")
    return Health(p, tuple(words), tuple(notes))


def balance(periods: Sequence[Cells], covariates: Sequence[int]) -> float | None:
    """The p-value of the test that control and treatment are alike before exposure; None with nothing to compare.

    Covariates: the joint Wald test of equal means, standardised over the periods. Strata: Pearson's test of equal shares
    within them. Of both the smaller p, doubled.
    """
    found = []
    if covariates:
        arms = zip(*periods, strict=True)
        a, b = (
            whole.select(covariates)
            for whole in standardised([[Moments.merge_all(cells) for cells in arm] for arm in arms])
        )
        with suppress(ValueError):  # too few users for so many covariates, or none that varies in either arm
            found.append(of_arms(a, b).p)
    shares = equal_shares(periods)
    if shares is not None:
        found.append(shares)
    return min(1.0, len(found) * min(found)) if found else None


def _told(p: float) -> str:
    return f"= {p:.1e}" if p > 1e-300 else "< 1e-300"
