"""CUPED: take out of an outcome what covariates from before the experiment explain of it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from exp_platform.stats.arms import ROUNDING
from exp_platform.stats.moments import Array, Moments

COLLINEAR = 1e-8  # a covariate whose variance the earlier ones explain but for this share adds nothing


@dataclass(frozen=True, eq=False)
class Adjusted:
    """The adjusted outcome of every arm and how it was adjusted.

    `rho` is the correlation of outcome and covariate pooled within arms (where several are kept: the multiple
    correlation, never negative); `variance_reduction` is rho^2, the share of the variance that went.
    """

    arms: tuple[Moments, ...]  # one column each, on the metric's own scale
    theta: Array  # shape (k,), outcome units per covariate unit; 0 for a dropped covariate
    rho: float
    variance_reduction: float
    dropped: tuple[int, ...]  # columns that are constant, or collinear with earlier covariates

    @property
    def control(self) -> Moments:
        """The first arm."""
        return self.arms[0]

    @property
    def treatment(self) -> Moments:
        """The second arm."""
        return self.arms[1]


def adjust(
    control: Moments, treatment: Moments, outcome: int = 0, covariates: Sequence[int] = (1,)
) -> Adjusted:
    """Adjust two arms; see `adjust_all`."""
    return adjust_all([control, treatment], outcome, covariates)


def adjust_all(arms: Sequence[Moments], outcome: int = 0, covariates: Sequence[int] = (1,)) -> Adjusted:
    """Adjust the outcome column of all arms by one theta = Sxx^-1 Sxy, pooled within the arms.

    Adjusted means are about the covariates' mean over all arms, so they stay on the metric's scale. Raises
    ValueError for no arms or covariates, a constant outcome, or where no covariate varies. Source: Deng, Xu,
    Kohavi and Walker 2013 (WSDM); pooling within arms keeps a treatment effect out of theta.
    """
    if not arms or not covariates:
        raise ValueError("CUPED needs at least one arm and one covariate")
    x = list(covariates)
    within = sum((arm.m2 for arm in arms[1:]), arms[0].m2)
    pooled = Moments.merge_all(arms)
    if not _varies(pooled, within, outcome):
        raise ValueError("the outcome is constant within the arms, so there is nothing to adjust")
    varying = [j for j in x if _varies(pooled, within, j)]
    sd = np.sqrt(np.diag(within))
    unit = np.where(sd > 0, sd, 1.0)
    scaled = within / np.outer(unit, unit)  # correlations pooled within arms
    kept = _independent(scaled, varying)
    if not kept:
        raise ValueError("no covariate varies within the arms")
    r = scaled[kept, outcome]
    beta = np.linalg.solve(scaled[np.ix_(kept, kept)], r)
    rho = float(r[0] if len(kept) == 1 else math.sqrt(max(0.0, float(beta @ r))))
    rho = min(1.0, max(-1.0, rho))
    theta = np.array([beta[kept.index(j)] * sd[outcome] / sd[j] if j in kept else 0.0 for j in x])
    adjusted = tuple(_apply(arm, outcome, x, theta, pooled.mean[x]) for arm in arms)
    return Adjusted(adjusted, theta, rho, rho**2, tuple(j for j in x if j not in kept))


def _varies(pooled: Moments, within: Array, column: int) -> bool:
    return bool(within[column, column] > pooled.n * (ROUNDING * pooled.mean[column]) ** 2)


def _independent(correlation: Array, columns: list[int]) -> list[int]:
    """The columns that earlier ones do not explain, by a Cholesky that pivots the dependent ones out.

    Limited pivoting, as in R's `lm`: the order given decides which of a collinear set stays, not rounding.
    """
    kept: list[int] = []
    factor = np.zeros((len(correlation), 0))
    for j in columns:
        rest = correlation[:, j] - factor @ factor[j]
        if rest[j] > COLLINEAR:
            kept.append(j)
            factor = np.column_stack([factor, rest / math.sqrt(rest[j])])
    return kept


def _apply(arm: Moments, outcome: int, covariates: list[int], theta: Array, centre: Array) -> Moments:
    residual = arm.select([outcome, *covariates]).linear([1.0, *-theta])
    mean = arm.mean[outcome] - theta @ (arm.mean[covariates] - centre)
    return Moments(arm.n, np.array([mean]), residual.m2)
