"""What situations show of what was said: single rows and numbers, and a naive test on the raw data."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from exp_platform import numbers
from exp_platform.aggregates import ALL
from exp_platform.analyses.rows import ResultRow
from exp_platform.report.content import Report
from exp_platform.stats.arms import arm_mean
from exp_platform.stats.moments import Moments
from exp_platform.stats.welch import difference


def row(report: Report, method: str, metric_id: str, segment: str = ALL, value: str = ALL) -> ResultRow:
    """The one row of that key. Raises ValueError where there is another number of them."""
    key = (method, metric_id, segment, value)
    (found,) = (r for r in report.rows if (r.method, r.metric_id, r.segment, r.segment_value) == key)
    return found


def tested(found: ResultRow) -> str:
    """A row's relative effect and plain p-value, as in `+3.1 % (p = 0.020)`."""
    return f"{numbers.percent(found.relative)} (p = {numbers.p_value(found.p_value, found.log10_p)})"


class Naive(NamedTuple):
    """A comparison of two groups of values as anybody would make it."""

    control: float
    treatment: float
    p_value: float

    @property
    def relative(self) -> float:
        """The difference as a share of control's mean."""
        return self.treatment / self.control - 1

    def __str__(self) -> str:
        return f"{numbers.percent(self.relative)} (p = {numbers.p_value(self.p_value)})"


def naive(control: Sequence[Any], treatment: Sequence[Any]) -> Naive:
    """Welch's test of values taken as they are."""
    sides = [Moments.of(np.asarray(values, float)) for values in (control, treatment)]
    arms = [arm_mean(side) for side in sides]
    return Naive(arms[0].mean, arms[1].mean, difference(arms[0], arms[1]).p_value)
