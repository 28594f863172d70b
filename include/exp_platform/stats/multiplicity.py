"""Corrections for the number of comparisons: adjusted p-values, and intervals that agree with what is rejected."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, NamedTuple

Correction = Literal["bonferroni", "holm", "bh"]


class Corrected(NamedTuple):
    """One comparison of a family: its adjusted p, and the level of its own test.

    It is rejected exactly where its plain p is below `alpha`, so its interval of coverage 1 - alpha agrees; and, but for
    rounding, exactly where `p` is below the family's alpha.
    """

    p: float
    alpha: float


def correct(
    correction: Correction, p_values: Sequence[float], alpha: float, size: int | None = None
) -> list[Corrected]:
    """Correct the p-values of one family, in the order given.

    `size` is the number of its comparisons where some have no p-value: these are never rejected. Intervals: Bonferroni
    1 - alpha / m (together they cover with 1 - alpha); Holm 1 - alpha / (m - r + 1) for the r-th rejected and 1 - alpha /
    (m - R) for the rest, R rejected in all (they exclude zero where it is the truth with chance alpha at most); BH 1 -
    max(R, 1) alpha / m (of the selected intervals a share alpha at most is expected to miss: Benjamini and Yekutieli 2005).
    Equal p-values have equal levels. Raises ValueError outside [0, 1], for alpha outside (0, 1) and a size that is too small.
    """
    _require_family(p_values, size)
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    m = len(p_values) if size is None else size
    if correction == "bonferroni":
        adjusted, alphas = [bonferroni(p, m) for p in p_values], [alpha / m] * len(p_values)
    elif correction == "holm":
        adjusted, alphas = holm(p_values, m), _holm_alphas(p_values, alpha, m)
    else:
        passing = [rank for rank, p in enumerate(sorted(p_values), 1) if p < rank * alpha / m]
        # All up to the last that passes, whether or not those before it do
        rejected = passing[-1] if passing else 0
        adjusted, alphas = benjamini_hochberg(p_values, m), [max(rejected, 1) * alpha / m] * len(p_values)
    return [Corrected(*each) for each in zip(adjusted, alphas, strict=True)]


def _holm_alphas(p_values: Sequence[float], alpha: float, m: int) -> list[float]:
    ordered = sorted(p_values)
    # p-value -> how many are rejected before it; equal ones share it
    first = {p: rank for rank, p in reversed(list(enumerate(ordered)))}
    rejected = 0
    while rejected < len(ordered) and ordered[rejected] < alpha / (m - first[ordered[rejected]]):
        rejected += 1
    largest = ordered[rejected - 1] if rejected else -1.0
    rest = alpha / max(1, m - rejected)
    return [alpha / (m - first[p]) if p <= largest else rest for p in p_values]


def bonferroni(p: float, m: int) -> float:
    """The p-value for m comparisons, at most 1; ValueError unless p is in [0, 1] and m >= 1 (Dunn 1961)."""
    _require_probabilities([p])
    if m < 1:
        raise ValueError(f"a family has at least one comparison, not {m}")
    return min(1.0, p * m)


def holm(p_values: Sequence[float], size: int | None = None) -> list[float]:
    """Adjusted p-values, in the order given, that control the family-wise error; `size` as in `correct`.

    Raises ValueError outside [0, 1] or where `size` is too small. Source: Holm 1979.
    """
    _require_family(p_values, size)
    m = len(p_values) if size is None else size
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, p_values[i] * (m - rank)))
        adjusted[i] = running
    return adjusted


def benjamini_hochberg(p_values: Sequence[float], size: int | None = None) -> list[float]:
    """Adjusted p-values, in the order given, that control the false discovery rate; `size` as in `correct`.

    Raises ValueError outside [0, 1] or where `size` is too small. Source: Benjamini and Hochberg 1995.
    """
    _require_family(p_values, size)
    m = len(p_values) if size is None else size
    adjusted = [0.0] * len(p_values)
    running = 1.0
    descending = sorted(range(len(p_values)), key=lambda i: -p_values[i])
    for passed, i in enumerate(descending):
        running = min(running, p_values[i] * m / (len(p_values) - passed))
        adjusted[i] = running
    return adjusted


def _require_family(p_values: Sequence[float], size: int | None) -> None:
    _require_probabilities(p_values)
    if size is not None and size < len(p_values):
        raise ValueError(f"{len(p_values)} p-values are more than a family of {size} comparisons")


def _require_probabilities(p_values: Sequence[float]) -> None:
    for p in p_values:
        if not 0 <= p <= 1:
            raise ValueError(f"a p-value lies in [0, 1], not {p}")
