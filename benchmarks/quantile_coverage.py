"""How often the interval of a quantile effect holds the truth, by simulation: the table of docs/06_methods.md.

    PYTHONPATH=include python benchmarks/quantile_coverage.py [replicates]

Users are drawn, their quantiles taken as the kernels take them and compared as `ab` compares them, at 95 %. The treatment
is control scaled by 1.2 (whole numbers: moved by 1), so that the true effect is known and not zero.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from exp_platform.kernels.order_statistics import Bracket, Bracketed, QuantileNumbers, quantile_numbers
from exp_platform.stats.arms import Arm
from exp_platform.stats.quantile import arm_quantile, rank_interval
from exp_platform.stats.welch import difference

LEVEL = 0.95
MIN_USERS_ARM = 50


@dataclass(frozen=True)
class Law:
    """How users are drawn, the true quantile of control, and what the treatment does."""

    name: str
    draw: Callable[[np.random.Generator, int], np.ndarray]
    quantile: Callable[[float], float]
    treat: Callable[[np.ndarray], np.ndarray]


def poisson(mean: float) -> Law:
    """Whole numbers, moved by one."""

    def quantile(q: float) -> float:
        return float(np.searchsorted(special.pdtr(np.arange(4 * mean), mean), q))

    return Law(f"Poisson of mean {mean:g}", lambda g, n: g.poisson(mean, n) * 1.0, quantile, lambda x: x + 1)


LAWS = (
    Law("normal", lambda g, n: g.normal(10, 2, n), lambda q: 10 + 2 * special.ndtri(q), lambda x: 1.2 * x),
    Law(
        "lognormal, sd of log 1.5",
        lambda g, n: g.lognormal(0, 1.5, n),
        lambda q: np.exp(1.5 * special.ndtri(q)),
        lambda x: 1.2 * x,
    ),
    poisson(30),
    poisson(1000),
)


def main(replicates: int) -> None:
    """Print a table as Markdown."""
    print("| distribution | q | users | arms | effect covered | control's quantile covered | DEGENERATE |")
    print("|---|---:|---:|---|---:|---:|---:|")
    for law in LAWS:
        for q in (0.5, 0.9, 0.99):
            for users in (200, 2000, 20_000):
                for share in (0.5, 0.1):
                    sizes = round(users * share), users - round(users * share)
                    if min(sizes) >= MIN_USERS_ARM and rank_interval(min(sizes), q) is not None:
                        cells = [f"{value:.1%}" for value in covered(law, q, sizes, replicates)]
                        arms = f"{share:.0%} / {1 - share:.0%}"
                        print(
                            "|", " | ".join([law.name, f"{q:g}", f"{users:,}", arms, *cells]), "|", flush=True
                        )


def covered(law: Law, q: float, sizes: tuple[int, int], replicates: int) -> tuple[float, float, float]:
    """Share of intervals with the true effect (of those tested), with control's quantile, and of DEGENERATE ones."""
    rng = np.random.default_rng(95)
    at = law.quantile(q)
    effect = float(law.treat(np.array(at))) - at
    held = own = tested = 0
    for _ in range(replicates):
        control, treated = law.draw(rng, sizes[0]), law.treat(law.draw(rng, sizes[1]))
        numbers = [around(values, q) for values in (control, treated)]
        own += numbers[0].quantile_low <= at <= numbers[0].quantile_high
        if min(n.quantile_error for n in numbers) > 0:
            low, high = difference(arm(numbers[0], sizes[0], q), arm(numbers[1], sizes[1], q)).interval(LEVEL)
            tested += 1
            held += low <= effect <= high
    return held / tested if tested else float("nan"), own / replicates, 1 - tested / replicates


def around(values: np.ndarray, q: float) -> QuantileNumbers:
    """One arm's quantile numbers, from one bucket that holds them all."""
    everybody = Bracketed.of(values, Bracket(float(values.min()), float(values.max())))
    numbers = quantile_numbers(everybody, len(values), q)
    assert numbers is not None
    return numbers


def arm(numbers: QuantileNumbers, n: int, q: float) -> Arm:
    """What is compared."""
    return arm_quantile(n, q, numbers.quantile, numbers.quantile_error)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
