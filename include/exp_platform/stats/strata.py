"""Strata that every arm can fill: small ones are merged, by the numbers of users alone; and arms weighed alike over them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from exp_platform.stats.intervals import chi2_sf
from exp_platform.stats.moments import Moments

LEAST_USERS = 10  # an arm needs in each stratum: nine degrees of freedom for its variance


@dataclass(frozen=True)
class Strata:
    """Cells by arm, then by stratum, as `adjust` takes them, and the names of the strata that were merged into one.

    Strata are in `groups`, of so many each, within which alone users were assigned with the same chances.
    """

    cells: list[list[Moments]]
    merged: tuple[str, ...]
    groups: tuple[int, ...]

    def __len__(self) -> int:
        return len(self.cells[0])

    @staticmethod
    def of_groups(parts: Sequence[Strata]) -> Strata:
        """Strata of the same arms, each part a group (or several) of its own."""
        return Strata(
            [
                [cell for cells in arm for cell in cells]
                for arm in zip(*(p.cells for p in parts), strict=True)
            ],
            tuple(name for part in parts for name in part.merged),
            tuple(size for part in parts for size in part.groups),
        )


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
    return Strata([list(arm) for arm in zip(*strata, strict=True)], tuple(sorted(merged)), (len(strata),))


def _together(one: Sequence[Moments] | None, other: Sequence[Moments]) -> list[Moments]:
    return list(other) if one is None else [a.merge(b) for a, b in zip(one, other, strict=True)]


def equal_shares(groups: Sequence[Sequence[Sequence[Moments]]]) -> float | None:
    """The p-value of Pearson's test that two arms have the same shares of users in the strata of every group.

    `groups` hold control's and treatment's cells. None where no group has two strata.
    """
    statistic, df = 0.0, 0
    for control, treatment in groups:
        n = np.array([[cell.n for cell in arm] for arm in (control, treatment)], dtype=np.float64)
        expected = np.outer(n.sum(axis=1), n.sum(axis=0)) / n.sum()
        statistic += float(((n - expected) ** 2 / expected).sum())
        df += n.shape[1] - 1
    return chi2_sf(statistic, df).p if df else None


def standardised(cells: Sequence[Sequence[Moments]]) -> list[Moments]:
    """Each arm's Moments with every stratum weighed by its share of the users of all arms; `cells` by arm, then stratum.

    Means are sum_s w_s mean_s. Co-moments are those with which `covariance() / n` is their covariance given how many
    users are in each stratum, sum_s w_s^2 S_s / n_s. Raises ValueError for a cell of fewer than two users. Source:
    Miratrix, Sekhon and Yu 2013, the variance conditional on the strata.
    """
    if len(cells[0]) == 1:
        return [arm[0] for arm in cells]
    users = np.array([[cell.n for cell in arm] for arm in cells], dtype=np.float64)
    weights = users.sum(axis=0) / users.sum()
    found = []
    for arm in cells:
        n = sum(cell.n for cell in arm)
        mean = np.sum([w * cell.mean for w, cell in zip(weights, arm, strict=True)], axis=0)
        spread = np.sum(
            [w**2 * cell.covariance() / cell.n for w, cell in zip(weights, arm, strict=True)], axis=0
        )
        size = np.max([cell.size for cell in arm], axis=0)
        found.append(Moments(n, mean, spread * n * (n - 1), size))
    return found
