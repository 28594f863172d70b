"""Users whose past says something of their outcome, and the adjustment by it."""

from __future__ import annotations

import numpy as np

from exp_platform.stats.adjustment import Adjusted, adjust
from exp_platform.stats.moments import Moments


def users(seed: int, n: int, effect: float, covariates: int = 1, strength: float = 1.5) -> np.ndarray:
    """Columns: outcome, then covariates of unlike scale, the first two of which are correlated."""
    rng = np.random.default_rng(seed)
    latent = rng.normal(size=n)
    x = np.column_stack([latent + rng.normal(size=n) * (j + 0.5) for j in range(covariates)])
    y = 10 + effect + strength * latent + rng.normal(size=n)
    return np.column_stack([y, x * 10.0 ** np.arange(0, 3 * covariates, 3) + 5])


def cuped(arms: list[np.ndarray], covariates: list[int], slopes: str = "pooled") -> Adjusted:
    return adjust([[Moments.of(a)] for a in arms], 0, covariates, slopes)  # type: ignore[arg-type]
