"""The relative effect of a row: by the method that the spec chose, and Fieller's interval, which decides, beside it."""

from __future__ import annotations

import math
from typing import Any

from exp_platform.config.plans import RelativeMethod
from exp_platform.stats.arms import Arms
from exp_platform.stats.exact import Exact
from exp_platform.stats.intervals import t_critical
from exp_platform.stats.proportions import Score
from exp_platform.stats.relative import Kind, RelativeInterval, delta, fieller, log_ratio
from exp_platform.stats.welch import Difference

_METHODS = {"fieller": fieller, "delta": delta, "log": log_ratio}


def relative_columns(
    test: Difference | Score | Exact, arms: Arms, level: float, by: RelativeMethod
) -> dict[str, Any]:
    """The columns of the relative effect; tests of counts keep their own interval, whatever is chosen."""
    if not isinstance(test, Difference):
        return _columns(_of_counts(test, level))
    means = (arms.control, arms.treatment, t_critical(level, test.degrees_of_freedom), arms.covariance)
    columns = _columns(_METHODS[by](*means))
    if by == "fieller":
        return columns
    deciding = fieller(*means)
    return columns | {"fieller_low": deciding.low, "fieller_high": deciding.high}


def _of_counts(test: Score | Exact, level: float) -> RelativeInterval:
    """The relative effects that the test does not reject."""
    low, high = test.relative_interval(level)
    if math.isinf(high):
        return RelativeInterval(test.relative, None, None, Kind.UNBOUNDED)
    return RelativeInterval(test.relative, low, high, Kind.BOUNDED)


def _columns(found: RelativeInterval) -> dict[str, Any]:
    return {
        "relative": found.point,
        "relative_low": found.low,
        "relative_high": found.high,
        "relative_kind": str(found.kind),
    }
