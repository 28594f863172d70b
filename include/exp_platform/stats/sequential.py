"""Asymptotic confidence sequences: intervals that hold at every look at once."""

from __future__ import annotations

import math


def rho(alpha: float, tuned_n: float, *, one_sided: bool = False) -> float:
    """The mixture parameter that makes the sequence of level 1 - alpha narrowest at `tuned_n` users.

    Users are those of both arms. Raises ValueError for alpha outside (0, 1), one-sided outside (0, 1/2), or
    tuned_n not positive. Source: Waudby-Smith et al. 2021 (arXiv 2103.06476): rho^2 = (-2 log alpha + log(1
    - 2 log alpha)) / N; one-sided: at 2 alpha.
    """
    _require_alpha(alpha, one_sided)
    if not 0 < tuned_n < math.inf:
        raise ValueError(f"tuned_n must be positive, not {tuned_n}")
    log_term = -2 * math.log(2 * alpha if one_sided else alpha)
    return math.sqrt((log_term + math.log1p(log_term)) / tuned_n)


def half_width(n: float, variance: float, rho: float, alpha: float, *, one_sided: bool = False) -> float:
    """Half width, in the metric's unit, of the confidence sequence of level 1 - alpha at n users.

    `variance` is that of one user's contribution: n (v1 / n1 + v0 / n0) for a difference of arms with n users
    in both. One-sided gives the distance to the one bound. Raises ValueError for n or rho not positive, or
    variance negative. Source: Waudby-Smith et al. 2021 (arXiv 2103.06476), theorem 2.2 (two-sided) and its
    appendix (one-sided), Robbins' normal and half-normal mixtures.
    """
    _require_alpha(alpha, one_sided)
    if not (n > 0 and rho > 0 and 0 <= variance < math.inf):
        raise ValueError(f"need n > 0, rho > 0 and variance >= 0, not {n}, {rho} and {variance}")
    information = n * rho**2
    root = math.sqrt(information + 1)
    log_term = math.log1p(root / (2 * alpha)) if one_sided else math.log(root / alpha)
    return math.sqrt(variance * 2 * (information + 1) / (n * information) * log_term)


def _require_alpha(alpha: float, one_sided: bool) -> None:
    limit = 0.5 if one_sided else 1.0
    if not 0 < alpha < limit:
        raise ValueError(f"alpha must lie between 0 and {limit}, not {alpha}")
