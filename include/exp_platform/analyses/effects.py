"""The columns of an effect, as rows of every table have them."""

from __future__ import annotations

from typing import Any

from exp_platform.analyses.estimators import Test


def effect_of(test: Test, level: float) -> dict[str, Any]:
    """The columns of `rows.Effect` for a test of two arms, with its interval of coverage `level`."""
    low, high = test.interval(level)
    return {
        "estimate": test.estimate,
        "standard_error": test.standard_error,
        "degrees_of_freedom": test.degrees_of_freedom,
        "p_value": test.p_value,
        "log10_p": test.log10_p,
        "ci_level": level,
        "ci_low": low,
        "ci_high": high,
    }
