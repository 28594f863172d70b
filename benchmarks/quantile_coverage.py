"""How often the interval of a quantile effect holds the truth, by simulation: the table of docs/06_methods/quantiles.md.

    PYTHONPATH=include python benchmarks/quantile_coverage.py [replicates]

Quantiles and their errors are drawn as those of users are (`tools/exp_validation/quantiles.py`) and compared as `ab` compares them, at
95 %. The treatment is control scaled by 1.2 (whole numbers: moved by 1), so that the true effect is known and not zero.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from scipy import special

from exp_platform.stats.moments import Array
from exp_platform.stats.quantile import arm_quantile, rank_interval
from exp_platform.stats.welch import difference
from exp_validation.quantiles import quantiles_drawn

LEVEL = 0.95
MIN_USERS_ARM = 50


@dataclass(frozen=True)
class Law:
    """The quantile function of control, and what the treatment does."""

    name: str
    of_share: Callable[[Array], Array]
    treat: Callable[[Array], Array]


def poisson(mean: float) -> Law:
    """Whole numbers, moved by one."""
    up_to = special.pdtr(np.arange(4 * mean), mean)
    return Law(f"Poisson, mean {mean:g}", lambda u: np.searchsorted(up_to, u).astype(float), lambda x: x + 1)


LAWS = (
    Law("normal", lambda u: 10 + 2 * special.ndtri(u), lambda x: 1.2 * x),
    Law("lognormal (sd of log 1.5)", lambda u: np.exp(1.5 * special.ndtri(u)), lambda x: 1.2 * x),
    poisson(30),
    poisson(1000),
)


def main(replicates: int) -> None:
    """Print the table as Markdown."""
    sizes = [(round(n * s), round(n * (1 - s))) for n in (200, 2000, 20_000) for s in (0.5, 0.1)]
    sizes = [pair for pair in sizes if min(pair) >= MIN_USERS_ARM]
    print(f"| distribution, q | {' | '.join(f'{a:,} and {b:,}' for a, b in sizes)} |")
    print("|---|" + "---:|" * len(sizes))
    for law in LAWS:
        for q in (0.5, 0.9, 0.99):
            cells = [covered(law, q, pair, replicates) for pair in sizes]
            print(f"| {law.name}, {q:g} | {' | '.join(cells)} |", flush=True)


def covered(law: Law, q: float, sizes: tuple[int, int], replicates: int) -> str:
    """The share of intervals with the true effect, of those tested; in brackets that of DEGENERATE ones."""
    if rank_interval(min(sizes), q) is None:
        return "–"
    rng = np.random.default_rng(95)
    at = law.of_share(np.array([q]))
    effect = float((law.treat(at) - at)[0])
    laws = law.of_share, lambda u: law.treat(law.of_share(u))
    drawn = [quantiles_drawn(rng, of, n, q, replicates) for of, n in zip(laws, sizes, strict=True)]
    arms = [zip(*(column.tolist() for column in arm), strict=True) for arm in drawn]
    held = tested = 0
    for control, treated in zip(*arms, strict=True):
        if min(control[1], treated[1]) > 0:
            pair = arm_quantile(sizes[0], q, *control), arm_quantile(sizes[1], q, *treated)
            low, high = difference(*pair).interval(LEVEL)
            tested += 1
            held += low <= effect <= high
    degenerate = f"({1 - tested / replicates:.0%})" if tested < 0.995 * replicates else ""
    return f"{held / tested:.1%} {degenerate}".strip() if tested > 0.005 * replicates else degenerate


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
