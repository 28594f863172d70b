"""Checks: a measured rate beside the promised one, and the band that chance alone leaves it in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

from scipy import special

ERROR = 0.01  # the chance that a page on which every promise is kept shows any miss

Side = Literal["both", "at most", "at least", "none"]


@dataclass(frozen=True)
class Check:
    """`count` of `of` replicates against a promised rate; `side` says which deviation breaks the promise.

    `none`: only told. For measure `uniformity` the rate is Kolmogorov's distance of the p-values to the uniform law.
    """

    cell: str
    measure: str
    rate: float
    of: int  # replicates that gave an answer
    promised: float
    side: Side

    def band(self, checks: int) -> tuple[float, float]:
        """Where the rate lies with chance 1 - ERROR / checks if the promise is kept (exact binomial; Bonferroni)."""
        alpha = ERROR / checks
        if self.measure == UNIFORMITY:
            return 0.0, float(special.kolmogi(alpha)) / math.sqrt(self.of)
        tail = alpha / 2 if self.side == "both" else alpha
        low = 0.0 if self.side == "at most" else _quantile(tail, self.of, self.promised) / self.of
        high = 1.0 if self.side == "at least" else -_quantile(tail, self.of, 1 - self.promised) / self.of + 1
        return low, high

    def holds(self, checks: int) -> bool:
        """Whether the rate is inside its band."""
        low, high = self.band(checks)
        return self.side == "none" or low <= self.rate <= high


UNIFORMITY = "uniformity"


def judged(checks: list[Check]) -> int:
    """Over how many checks the error of the page is shared."""
    return max(1, sum(check.side != "none" for check in checks))


def _quantile(tail: float, n: int, p: float) -> int:
    """The largest count that a binomial falls below with chance `tail` at most."""
    if p <= 0:
        return 0
    if p >= 1:
        return n
    low, high = 0, n
    while low < high:
        middle = (low + high + 1) // 2
        if float(special.bdtr(middle - 1, n, p)) <= tail:
            low = middle
        else:
            high = middle - 1
    return low
