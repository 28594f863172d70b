"""The joint test that several estimates are all zero: Wald's statistic, its tail from Hotelling's T squared."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from exp_platform.stats.arms import Arms
from exp_platform.stats.intervals import f_sf
from exp_platform.stats.moments import Array, Moments
from exp_platform.stats.rounding import RESOLUTION, is_rounding, is_zero

SINGULAR = 1e-10  # eigenvalues of the correlation matrix below this share of the largest are zero


class Part(NamedTuple):
    """One independent share of the estimates' covariance, shape (k, k), and the degrees of freedom of its estimate (inf: known)."""

    covariance: ArrayLike
    degrees_of_freedom: float


class Wald(NamedTuple):
    """Wald's statistic, its degrees of freedom (the covariance's rank) and the denominator's, and the upper tail."""

    statistic: float
    df: int
    denominator_df: float
    p: float
    log10_p: float


def part_of(moments: Moments) -> Part:
    """The share that one arm has in the covariance of differences of its columns' means; ValueError below two users."""
    return Part(moments.covariance() / moments.n, moments.n - 1)


def of_arms(control: Moments, treatment: Moments) -> Wald:
    """Test that the means of all columns are the same in both arms, columns of the same users; raises as `joint` does."""
    sides = control.settled(), treatment.settled()
    size = control.size + treatment.size
    return joint(mean_difference(*sides), [part_of(side) for side in sides], RESOLUTION * size)


def mean_difference(control: Moments, treatment: Moments) -> Array:
    """The columns' means of treatment minus control; exactly 0 where neither varies and rounding alone tells them apart."""
    delta = treatment.mean - control.mean
    constant = (np.diag(control.m2) == 0) & (np.diag(treatment.m2) == 0)  # as `Moments.linear` has settled it
    delta[constant & is_zero(delta, control.size + treatment.size)] = 0.0
    return delta


def joint(estimates: ArrayLike, parts: Sequence[Part], resolution: ArrayLike = 0.0) -> Wald:
    """Test that all estimates, shape (k,), are zero; their covariance V is the sum of the independent `parts`.

    W = b' V^- b, on the range of V where that is singular; df is its rank r. W (nu - r + 1) / (nu r) is held against F with r
    and nu - r + 1 degrees of freedom, nu = r (r + 1) / sum of (tr(H)^2 + tr(H^2)) / f over the parts, H = V_part V^-: Welch's
    test where r = 1, Hotelling's where there is one part. `resolution` is what the estimates, each, are known to. Raises ValueError for wrong shapes or numbers that are not finite,
    where nothing varies, where estimates differ from zero in a direction without variance, and where nu is below r. Source:
    Krishnamoorthy and Yu 2004 (Statistics and Probability Letters 66) for two arms; Zhang 2012 (Open Journal of Statistics
    2) for any parts.
    """
    b = np.asarray(estimates, dtype=np.float64)
    shares = [np.asarray(part.covariance, dtype=np.float64) for part in parts]
    if b.ndim != 1 or any(v.shape != (len(b), len(b)) for v in shares):
        shapes = ", ".join(str(v.shape) for v in shares)
        raise ValueError(f"{b.shape} estimates do not match covariances of shapes {shapes}")
    if not all(np.isfinite(x).all() for x in (b, *shares)):
        raise ValueError("estimates and covariances must be finite")
    known_to = np.broadcast_to(np.asarray(resolution, dtype=np.float64), b.shape)
    whiten = _whitening(b, sum(shares, np.zeros((len(b), len(b)))), known_to)
    doubt = 0.0
    for v, part in zip(shares, parts, strict=True):
        h = whiten @ v @ whiten.T
        doubt += (float(np.trace(h)) ** 2 + float(np.sum(h**2))) / part.degrees_of_freedom
    return _held(float(np.sum((whiten @ b) ** 2)), len(whiten), doubt)


def equal(groups: Sequence[Arms]) -> Wald:
    """Test that the effects of groups of disjoint users, treatment minus control, are all the same.

    It is `joint` of their differences from any one of them, each arm of a group a part, in closed form: the statistic is
    Cochran's Q, and an arm's H is its share of its effect's variance times 1 - that group's weight. Arms that are not
    independent are one part, with the variance and degrees of freedom of their difference. Raises ValueError below
    two groups, where an effect has no variance, and where `joint` does. Source: Cochran 1954; Zhang 2012.
    """
    if len(groups) < 2:
        raise ValueError(f"the effects of two groups are compared at least, not of {len(groups)}")
    effects = np.array([group.treatment.mean - group.control.mean for group in groups])
    variance = np.array([group.variance_of_difference for group in groups])
    if any(group.constant for group in groups):
        raise ValueError("an effect without variance cannot be weighed")
    weight = variance.min() / variance  # on a common scale: squared units may be tiny
    weight /= weight.sum()
    return _held(
        float(np.sum((effects - weight @ effects) ** 2 / variance)),
        len(groups) - 1,
        float(2 * (1 - weight) ** 2 @ [_doubt(group) for group in groups]),
    )


def _doubt(arms: Arms) -> float:
    """One over the degrees of freedom of an effect's variance: its own, else by Satterthwaite from both arms'."""
    if arms.df is not None:
        return 1 / arms.df
    control, treatment, variance = arms.control, arms.treatment, arms.variance_of_difference
    shares = control.variance_of_mean / variance, treatment.variance_of_mean / variance
    return shares[0] ** 2 / control.df + shares[1] ** 2 / treatment.df


def _held(statistic: float, r: int, doubt: float) -> Wald:
    """The statistic of r estimates against its F; ValueError where their covariance is known too little."""
    nu = r * (r + 1) / doubt if doubt else math.inf
    if nu < r:
        raise ValueError(f"{nu:.3g} degrees of freedom are too few to test {r} estimates together")
    tail = f_sf(statistic * (1 - (r - 1) / nu) / r, r, nu - r + 1)
    return Wald(statistic, r, nu - r + 1, *tail)


def _whitening(b: Array, v: Array, resolution: Array) -> Array:
    """The matrix, shape (r, k), that gives estimates of covariance `v` unit variances without correlation."""
    sd = np.sqrt(np.maximum(np.diag(v), 0.0))
    varies = ~is_rounding(sd**2, size=resolution / RESOLUTION)
    if not varies.any():
        raise ValueError("no estimate has a variance, so there is no test")
    if (np.abs(b) > np.maximum(1e-9 * sd.max(), resolution))[~varies].any():
        raise ValueError("an estimate without variance differs from zero")
    z = b[varies] / sd[varies]  # on a common scale, so the rank does not depend on units
    eigenvalues, vectors = np.linalg.eigh(v[np.ix_(varies, varies)] / np.outer(sd[varies], sd[varies]))
    inside = eigenvalues > SINGULAR * eigenvalues[-1]
    still = vectors[:, ~inside].T
    allowed = 1e-6 * max(1.0, float(np.abs(z).max())) + np.abs(still) @ (resolution[varies] / sd[varies])
    if (np.abs(still @ z) > allowed).any():
        raise ValueError("the estimates differ from zero in a direction without variance")
    whiten = np.zeros((int(inside.sum()), len(b)))
    whiten[:, varies] = (vectors[:, inside] / np.sqrt(eigenvalues[inside])).T / sd[varies]
    return whiten
