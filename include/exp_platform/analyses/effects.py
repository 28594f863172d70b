"""The columns of an effect, as rows of every table have them."""

from __future__ import annotations

from typing import Any

from exp_platform.stats.welch import Difference


def effect_of(difference: Difference, level: float) -> dict[str, Any]:
    """The columns of `Effect` for Welch's test of two arms, with its interval at that level."""
    low, high = difference.interval(level)
    return {
        "estimate": difference.estimate,
        "standard_error": difference.standard_error,
        "degrees_of_freedom": difference.degrees_of_freedom,
        "p_value": difference.p_value,
        "log10_p": difference.log10_p,
        "ci_level": level,
        "ci_low": low,
        "ci_high": high,
    }
