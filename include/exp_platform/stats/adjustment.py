"""Adjusted arms: means with what strata and covariates from before the experiment explain taken out."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from exp_platform.stats.arms import Arm, Arms
from exp_platform.stats.moments import Array, Moments
from exp_platform.stats.rounding import is_rounding

COLLINEAR = 1e-8  # a covariate whose variance the earlier ones explain but for this share adds nothing

Slopes = Literal["pooled", "per_arm"]
Cells = Sequence[Sequence[Moments]]  # by arm, then by stratum


@dataclass(frozen=True, eq=False)
class Adjusted:
    """The adjusted mean of every arm, their joint covariance, and how they were adjusted.

    `rho` is the correlation of outcome and covariates pooled within arms and strata (where several are kept: the
    multiple correlation, never negative; 0 without covariates).
    """

    n: tuple[int, ...]
    mean: Array  # shape (arms,), on the metric's own scale
    covariance: Array  # shape (arms, arms), of the means
    own: Array  # shape (arms, strata): what each cell of users alone adds to its arm's variance ...
    own_df: Array  # ... and the degrees of freedom of that
    users: Array  # shape (arms, strata)
    theta: Array  # shape (arms, k), outcome units per covariate unit; 0 for a dropped covariate
    rho: float
    dropped: tuple[int, ...]  # columns that are constant, or collinear with earlier covariates

    def pair(self, control: int, treatment: int) -> Arms:
        """Two of the arms by position, with Satterthwaite's degrees of freedom over all their cells."""
        own, df = self.own[[control, treatment]], self.own_df[[control, treatment]]
        total, users = own.sum(), self.users[[control, treatment]]
        gain = (own * (users / users[::-1] - 1)).sum(axis=1)
        return Arms(
            self._arm(control)._replace(gain=float(gain[0])),
            self._arm(treatment)._replace(gain=float(gain[1])),
            float(self.covariance[control, treatment]),
            float(1 / ((own / total) ** 2 / df).sum()) if total > 0 else None,
        )

    def _arm(self, position: int) -> Arm:
        return Arm(self.n[position], float(self.mean[position]), float(self.covariance[position, position]))


def adjust(
    cells: Cells, outcome: int = 0, covariates: Sequence[int] = (), slopes: Slopes = "pooled"
) -> Adjusted:
    """Adjust the outcome column of all arms by strata, by covariates, or by both.

    Every arm has the same strata in the same order; one stratum is CUPED, no covariate is post-stratification. An
    arm's mean is sum_s w_s (y_s - theta (x_s - X_s)): w_s and X_s are the share of users and the covariates' mean of
    stratum s over all arms, theta = Sxx^-1 Sxy within the strata of all arms together or of each arm alone. Their
    covariance is that of users drawn from a superpopulation, where w_s and X_s are estimates too.

    Raises ValueError for cells of fewer than two users, covariates of which none varies, no more users than slopes,
    and an outcome that is constant within the arms. Source: Deng, Xu, Kohavi and Walker 2013 (pooled); Lin 2013 (each
    arm's own slopes); Miratrix, Sekhon and Yu 2013 (strata); Negi and Wooldridge 2021 (the estimated w and X).
    """
    every = [[cell.select([outcome, *covariates]) for cell in arm] for arm in cells]
    if not every or min(cell.n for arm in every for cell in arm) < 2:
        raise ValueError("every arm needs two users in every stratum")
    if not any(_varying([Moments.merge_all(arm) for arm in every], 0)):
        raise ValueError("the outcome is constant within the arms, so there is nothing to adjust")
    independent = [_independent(group) for group in _groups(every, slopes)]
    kept = [j for j in range(1, len(covariates) + 1) if all(j in group for group in independent)]
    if covariates and not kept:
        raise ValueError("no covariate varies within the arms")
    used = [[cell.select([0, *kept]) for cell in arm] for arm in every]
    slope = [_slopes(group) for group in _groups(used, slopes)]
    beta = np.array(slope * (len(used) if slopes == "pooled" else 1))
    theta = np.zeros((len(used), len(covariates)))
    theta[:, [j - 1 for j in kept]] = beta
    return Adjusted(
        n=tuple(sum(cell.n for cell in arm) for arm in used),
        **_estimates(used, beta, slopes),
        theta=theta,
        rho=_correlation(_within([cell for arm in used for cell in arm])),
        dropped=tuple(c for j, c in enumerate(covariates, start=1) if j not in kept),
    )


def _groups(cells: Cells, slopes: Slopes) -> list[Sequence[Moments]]:
    """The cells that share their slopes."""
    return list(cells) if slopes == "per_arm" else [[cell for arm in cells for cell in arm]]


def _within(cells: Sequence[Moments]) -> Array:
    """Co-moments within cells."""
    return np.asarray(np.sum([cell.m2 for cell in cells], axis=0), dtype=np.float64)


def _varying(cells: Sequence[Moments], *columns: int) -> list[bool]:
    """Whether each column varies within the cells by more than rounding."""
    pooled, within = Moments.merge_all(cells), np.diag(_within(cells))
    size = math.sqrt(pooled.n) * np.max([cell.size for cell in cells], axis=0)
    return [not is_rounding(within[j], size=size[j]) for j in columns]


def _independent(cells: Sequence[Moments]) -> list[int]:
    """The covariates that vary and that earlier ones do not explain, by a Cholesky that pivots the others out.

    Limited pivoting, as in R's `lm`: the order given decides which of a collinear set stays, not rounding.
    """
    within = _within(cells)
    sd = np.sqrt(np.diag(within))
    unit = np.where(sd > 0, sd, 1.0)
    correlation = within / np.outer(unit, unit)
    columns = range(1, len(within))
    kept: list[int] = []
    factor = np.zeros((len(correlation), 0))
    for j, varies in zip(columns, _varying(cells, *columns), strict=True):
        rest = correlation[:, j] - factor @ factor[j]
        if varies and rest[j] > COLLINEAR:
            kept.append(j)
            factor = np.column_stack([factor, rest / math.sqrt(rest[j])])
    return kept


def _slopes(cells: Sequence[Moments]) -> Array:
    """Least squares slopes of column 0 on the others within the cells, solved on a common scale."""
    within = _within(cells)
    sd = np.sqrt(np.diag(within))[1:]
    solved: Array = np.linalg.solve(within[1:, 1:] / np.outer(sd, sd), within[1:, 0] / sd) / sd
    return solved


def _correlation(within: Array) -> float:
    """The multiple correlation of column 0 with the others; of a single one with its sign."""
    if len(within) == 1 or within[0, 0] <= 0:
        return 0.0
    sd = np.sqrt(np.diag(within))
    r = within / np.outer(sd, sd)
    if len(r) == 2:
        return float(np.clip(r[0, 1], -1.0, 1.0))
    explained = float(r[0, 1:] @ np.linalg.solve(r[1:, 1:], r[0, 1:]))
    return math.sqrt(min(1.0, max(0.0, explained)))


def _estimates(cells: Cells, beta: Array, slopes: Slopes) -> dict[str, Array]:
    """Means of the arms and their variances, from cells of an outcome and covariates; `beta` of shape (arms, k)."""
    n = np.array([[cell.n for cell in arm] for arm in cells], dtype=np.float64)
    means = np.array([[cell.mean for cell in arm] for arm in cells])
    m2 = np.array([[cell.m2 for cell in arm] for arm in cells])
    sxx = m2[:, :, 1:, 1:]
    total = n.sum()
    weight = n.sum(axis=0) / total
    offset = means[:, :, 1:] - np.einsum("as,ask->sk", n / n.sum(axis=0), means[:, :, 1:])
    cell_mean = means[:, :, 0] - np.einsum("ask,ak->as", offset, beta)
    mean = cell_mean @ weight

    free = (n - 1) * (1 - _spent(n, beta.shape[1], slopes))
    size = np.array([[math.sqrt(cell.n) * cell.size for cell in arm] for arm in cells])
    variance = _residual(m2, size, beta) / free  # a user's, in each cell
    own = weight**2 * variance / n
    covariance = np.diag(own.sum(axis=1)) + _of_slopes(sxx, variance, weight @ offset, slopes)

    # Stratum shares and covariates' means are those of the sample: they vary alike for all arms.
    left = m2[:, :, 1:, 0] - np.einsum("askl,al->ask", sxx, beta)
    with_own = np.einsum("as,ask,bk->ab", weight / (n * total), left, beta)
    between = cell_mean - mean[:, None]
    in_strata = sxx.sum(axis=(0, 1)) + np.einsum("as,ask,asl->kl", n, offset, offset)
    shared = (between * n.sum(axis=0)) @ between.T + beta @ in_strata @ beta.T
    covariance += with_own + with_own.T + shared / (total * (total - 1))
    return {
        "mean": mean,
        "covariance": (covariance + covariance.T) / 2,
        "own": own,
        "own_df": free,
        "users": n,
    }


def _residual(m2: Array, size: Array, beta: Array) -> Array:
    """Sums of squares of outcome - beta x in each cell; what cancels to rounding is zero, as in `Moments.linear`.

    `size`, shape (arms, strata, 1 + k), is the magnitude of the values times the root of their number.
    """
    weights = np.column_stack([np.ones(len(beta)), -beta])
    left = np.einsum("ai,asij,aj->as", weights, m2, weights)
    spread = np.sqrt(np.diagonal(m2, axis1=2, axis2=3))
    terms = np.einsum("ai,asi->as", np.abs(weights), spread) ** 2
    constant = is_rounding(left, terms, np.einsum("ai,asi->as", np.abs(weights), size))
    return np.where(constant, 0.0, left)


def _spent(n: Array, k: int, slopes: Slopes) -> Array:
    """The share of each arm's degrees of freedom that its slopes take, shape (arms, 1)."""
    of_arms = (n - 1).sum(axis=1, keepdims=True)
    if slopes == "pooled":
        of_arms = np.full_like(of_arms, of_arms.sum())
    if of_arms.min() <= k:
        raise ValueError(f"{k} covariates need more users than {int(of_arms.min())}")
    return np.asarray(k / of_arms, dtype=np.float64)


def _of_slopes(sxx: Array, variance: Array, imbalance: Array, slopes: Slopes) -> Array:
    """What the slopes' own error adds to the arms' covariance; `imbalance` of shape (arms, k) is what they multiply."""
    added = np.zeros((len(sxx), len(sxx)))
    arms = list(range(len(sxx)))
    for group in [[a] for a in arms] if slopes == "per_arm" else [arms]:
        whole = sxx[group].sum(axis=(0, 1))
        noise = np.einsum("as,askl->kl", variance[group], sxx[group])
        sd = np.sqrt(np.diag(whole))
        lever = np.linalg.solve(whole / np.outer(sd, sd), (imbalance[group] / sd).T) / sd[:, None]
        added[np.ix_(group, group)] = lever.T @ noise @ lever
    return added
