"""Rounding: below which size a computed variance or mean is only what floating point left of zero.

Which bits are left of a sum depends on the processor (how a matrix product is split), so nothing may be decided by whether
a computed number is exactly 0. Every such decision is taken here, once, and what is found to be rounding is set to 0.
The limits lie far from what rounding leaves (some 1e-16 of the scale) and from what data hold, so that all processors
decide alike. The scale is that of the numbers that cancelled, never that of what is left: a standard deviation of 1 beside
a mean of 1e8 is data, as co-moments are sums of centred values.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike, NDArray

Floats = NDArray[np.float64]

RESOLUTION = 64 * float(np.finfo(np.float64).eps)  # of values: a user's sum of some 100 events rounds by less
CANCELLED = 1e-12  # of a variance's terms; co-moments of 10 million users have relative errors of some 1e-13

# Arithmetic takes fourth powers of values, and sums of them over users: outside these it may overflow or underflow.
LARGEST = 1e60
SMALLEST = 1e-60


def is_rounding(spread: ArrayLike, terms: ArrayLike = 0.0, size: ArrayLike = 0.0) -> NDArray[np.bool_]:
    """Whether variances (or sums of squares) are what rounding leaves of none.

    `terms` are the sums of the absolute terms that cancelled in them, in their unit; `size` is the magnitude of the values
    that they are of, in the root of their unit (for a sum of squares times the root of the number of values).
    """
    limit = np.maximum(CANCELLED * np.asarray(terms), (RESOLUTION * np.asarray(size)) ** 2)
    return np.asarray(np.asarray(spread) <= limit)


def is_zero(mean: ArrayLike, size: ArrayLike) -> NDArray[np.bool_]:
    """Whether sums or means are what rounding leaves of zero, their terms being as large as `size`."""
    return np.asarray(np.abs(mean) <= RESOLUTION * np.asarray(size))


def combined(weights: Floats, m2: Floats, size: Floats) -> tuple[Floats, NDArray[np.bool_]]:
    """Co-moments of the combinations `weights @ x`, and which combinations vary; weights of shape (j, k).

    `size` is the magnitude of each column's values times the root of their number. A combination whose columns cancel has
    co-moments of exactly 0.
    """
    found = weights @ m2 @ weights.T
    found = (found + found.T) / 2
    terms = (np.abs(weights) @ np.sqrt(np.diag(m2))) ** 2
    constant = is_rounding(np.diag(found), terms, np.abs(weights) @ size)
    found[constant, :] = 0.0
    found[:, constant] = 0.0
    return found, ~constant
