"""Strata that every arm can fill: small ones are merged, by the numbers of users alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from exp_platform.stats.intervals import chi2_sf
from exp_platform.stats.moments import Moments

LEAST_USERS = 10  # an arm needs in each stratum: nine degrees of freedom for its variance


class Strata(NamedTuple):
    """Cells by arm, then by stratum, as `adjust` takes them, and the names of the strata that were merged into one."""

    cells: list[list[Moments]]
    merged: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.cells[0])


def merge_small(cells: Mapping[str, Sequence[Moments]], least: int = LEAST_USERS) -> Strata:
    """Strata of which each has `least` users in every arm; `cells` are the arms' Moments by name of stratum.

    Those with too few in any arm, empty and one-armed ones too, become one stratum, the last. While that has too few
    itself, it takes in the stratum of the fewest users (of equals the first by name). Outcomes play no part, so the
    choice cannot favour an arm. Raises ValueError without strata.
    """
    if not cells:
        raise ValueError("there are no strata")
    left = {name: list(cells[name]) for name in sorted(cells)}

    def short(arms: Sequence[Moments]) -> bool:
        return min(arm.n for arm in arms) < least

    merged = [name for name, arms in left.items() if short(arms)]
    rest: list[Moments] | None = None
    for name in merged:
        rest = _together(rest, left.pop(name))
    while rest is not None and short(rest) and left:
        fewest = min(left, key=lambda name: sum(arm.n for arm in left[name]))
        merged.append(fewest)
        rest = _together(rest, left.pop(fewest))
    strata = [*left.values(), *([] if rest is None else [rest])]
    return Strata([list(arm) for arm in zip(*strata, strict=True)], tuple(sorted(merged)))


def _together(one: Sequence[Moments] | None, other: Sequence[Moments]) -> list[Moments]:
    return list(other) if one is None else [a.merge(b) for a, b in zip(one, other, strict=True)]


def equal_shares(control: Sequence[Moments], treatment: Sequence[Moments]) -> float:
    """The p-value of Pearson's test that both arms have the same shares of users in the strata; 1 of a single one."""
    n = np.array([[cell.n for cell in arm] for arm in (control, treatment)], dtype=np.float64)
    if n.shape[1] == 1:
        return 1.0
    expected = np.outer(n.sum(axis=1), n.sum(axis=0)) / n.sum()
    return chi2_sf(float(((n - expected) ** 2 / expected).sum()), n.shape[1] - 1).p
