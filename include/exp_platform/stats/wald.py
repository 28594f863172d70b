"""The joint Wald test that several estimates are all zero."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from exp_platform.stats.intervals import chi2_sf

SINGULAR = 1e-10  # eigenvalues of the correlation matrix below this share of the largest are zero


class Wald(NamedTuple):
    """A chi-square statistic, its degrees of freedom (the rank of the covariance) and its upper tail."""

    statistic: float
    df: int
    p: float
    log10_p: float


def joint(estimates: ArrayLike, covariance: ArrayLike) -> Wald:
    """Test that all estimates, shape (k,), are zero given their covariance, shape (k, k).

    A singular covariance is inverted on its range and df is its rank. Raises ValueError for wrong shapes or
    numbers that are not finite, where nothing varies, and where estimates differ from zero in a direction
    without variance. Source: Wald 1943: b' V^- b, with Moore and Penrose's inverse where V is singular.
    """
    b = np.asarray(estimates, dtype=np.float64)
    v = np.asarray(covariance, dtype=np.float64)
    if b.ndim != 1 or v.shape != (len(b), len(b)):
        raise ValueError(f"{b.shape} estimates do not match a covariance of shape {v.shape}")
    if not (np.isfinite(b).all() and np.isfinite(v).all()):
        raise ValueError("estimates and covariance must be finite")
    sd = np.sqrt(np.maximum(np.diag(v), 0.0))
    varies = sd > 0
    if not varies.any():
        raise ValueError("no estimate has a variance, so there is no test")
    if np.abs(b[~varies]).max(initial=0.0) > 1e-9 * sd.max():
        raise ValueError("an estimate without variance differs from zero")
    z = b[varies] / sd[varies]  # on a common scale, so the rank does not depend on units
    eigenvalues, vectors = np.linalg.eigh(v[np.ix_(varies, varies)] / np.outer(sd[varies], sd[varies]))
    projected = vectors.T @ z
    inside = eigenvalues > SINGULAR * eigenvalues[-1]
    if np.abs(projected[~inside]).max(initial=0.0) > 1e-6 * max(1.0, float(np.abs(z).max())):
        raise ValueError("the estimates differ from zero in a direction without variance")
    statistic = float(np.sum(projected[inside] ** 2 / eigenvalues[inside]))
    df = int(inside.sum())
    return Wald(statistic, df, *chi2_sf(statistic, df))
