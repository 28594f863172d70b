"""How often joint tests reject what is true: Wald's statistic against chi-square, and as `stats.wald` holds it.

Run with `.venv/bin/python benchmarks/joint_levels.py`; a minute. 20,000 draws a setting at a level of 5 %, of normal users:
contrasts of days before exposure (their covariance does not matter, both tests are affine invariant), and effects in
twenty values of a segment. docs/06_methods/segments.md quotes it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import numpy as np
from scipy.special import chdtri

from exp_platform.stats.arms import Arm, Arms
from exp_platform.stats.wald import Part, Wald, equal, joint

DRAWS, LEVEL, VALUES = 20_000, 0.05, 20


def days(rng: np.random.Generator, n: tuple[int, int], contrasts: int) -> Wald:
    """The test of one draw of so many contrasts, both arms alike."""
    from scipy.stats import wishart

    parts = [
        Part(
            wishart.rvs(users - 1, np.eye(contrasts), random_state=rng) / ((users - 1) * users),
            users - 1,
        )
        for users in n
    ]
    return joint(rng.normal(0, np.sqrt(1 / n[0] + 1 / n[1]), contrasts), parts)


def values(rng: np.random.Generator, n: tuple[int, int]) -> Wald:
    """The test of one draw of values with one effect."""

    def arm(users: int) -> Arm:
        return Arm(
            users, rng.normal(0, users**-0.5), rng.chisquare(users - 1) / ((users - 1) * users), users - 1
        )

    return equal([Arms(arm(n[0]), arm(n[1])) for _ in range(VALUES)])


def main() -> None:
    """Print a line a setting."""
    for n in ((900, 100), (450, 50)):
        for contrasts in (6, 13):
            tell(f"{contrasts + 1} days, {n[0]} and {n[1]} users", partial(days, n=n, contrasts=contrasts))
    for n in ((50, 50), (450, 50)):
        tell(f"{VALUES} values, {n[0]} and {n[1]} users each", partial(values, n=n))


def tell(setting: str, draw: Callable[[np.random.Generator], Wald]) -> None:
    """The shares of draws that either test rejects."""
    rng = np.random.default_rng(2026)
    found = [draw(rng) for _ in range(DRAWS)]
    by_chi_square = np.mean([w.statistic > chdtri(w.df, LEVEL) for w in found])
    print(f"{setting}: chi-square {by_chi_square:.1%}, this test {np.mean([w.p < LEVEL for w in found]):.1%}")


if __name__ == "__main__":
    main()
