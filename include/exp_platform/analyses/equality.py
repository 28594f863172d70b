"""The columns of a joint test that the effects of several groups of users are the same."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from exp_platform.stats.arms import Arms
from exp_platform.stats.wald import equal


def equality(groups: Sequence[Arms]) -> dict[str, Any]:
    """Statistic, degrees of freedom and p by the names of a row's columns; raises ValueError as `equal` does."""
    wald = equal(groups)
    return {
        "statistic": wald.statistic,
        "degrees_of_freedom": float(wald.df),
        "denominator_df": wald.denominator_df,
        "p_value": wald.p,
        "log10_p": wald.log10_p,
    }
