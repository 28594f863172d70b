"""P-values adjusted for the number of comparisons."""

from __future__ import annotations

from collections.abc import Sequence


def bonferroni(p: float, m: int) -> float:
    """The p-value for m comparisons, at most 1; ValueError unless p is in [0, 1] and m >= 1 (Dunn 1961)."""
    _require_probabilities([p])
    if m < 1:
        raise ValueError(f"a family has at least one comparison, not {m}")
    return min(1.0, p * m)


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given, that control the family-wise error.

    Raises ValueError outside [0, 1]. Source: Holm 1979.
    """
    _require_probabilities(p_values)
    adjusted = [0.0] * len(p_values)
    running = 0.0
    for rank, i in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        running = max(running, min(1.0, p_values[i] * (len(p_values) - rank)))
        adjusted[i] = running
    return adjusted


def benjamini_hochberg(p_values: Sequence[float]) -> list[float]:
    """Adjusted p-values, in the order given, that control the false discovery rate.

    Raises ValueError outside [0, 1]. Source: Benjamini and Hochberg 1995.
    """
    _require_probabilities(p_values)
    adjusted = [0.0] * len(p_values)
    running = 1.0
    descending = sorted(range(len(p_values)), key=lambda i: -p_values[i])
    for passed, i in enumerate(descending):
        running = min(running, p_values[i] * len(p_values) / (len(p_values) - passed))
        adjusted[i] = running
    return adjusted


def _require_probabilities(p_values: Sequence[float]) -> None:
    for p in p_values:
        if not 0 <= p <= 1:
            raise ValueError(f"a p-value lies in [0, 1], not {p}")
