"""The list of what is judged on drawn Moments: a new method is a few lines here and one function in `methods`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Protocol

import numpy as np

from exp_platform.config.metrics import Effect
from exp_platform.stats.group_sequential import Spending
from exp_platform.stats.moments import Array
from exp_validation import methods
from exp_validation.analysed import Guarded, Segmented
from exp_validation.bands import Check
from exp_validation.behaviours import behaviours, forgetful
from exp_validation.beliefs import Believed, Sensitivity
from exp_validation.drawn import Cell
from exp_validation.families import Family
from exp_validation.populations import Discrete, Draws, Normal, Population, Purchases, Spend
from exp_validation.portfolios import portfolios, winners_added_up
from exp_validation.quantiles import Quantile, laws
from exp_validation.sequences import (
    Bound,
    HalfWidth,
    Sequence,
    Split,
    at_levels_spent,
    fixed_horizon,
    group_sequential,
)
from exp_validation.stratified import Stratified


class Judged(Protocol):
    """Anything with a name that can be judged by so many replicates."""

    @property
    def name(self) -> str:
        """Names the cell on the page."""

    def checks(self, replicates: int) -> list[Check]:
        """Carry it out."""


EVEN, UNEVEN, SMALL = (0.5, 0.5), (0.9, 0.1), (0.97, 0.03)
SPENDING: tuple[Spending, ...] = ("obrien_fleming", "pocock")

NORMAL = Normal.of(10.0, 3.0)
BINARY = Discrete.binary(0.1)
RARE = Discrete.binary(0.005)
VISITS = Discrete.visits(0.2)
SPEND, HEAVY = Spend(0.1, 1.0), Spend(0.1, 2.0)
PURCHASES = Purchases(0.3, 1.5)
DAYS, DRIFT = Normal.of_days(7, 2.0, 1.0, 1.0), Normal.of_days(7, 2.0, 1.0, 1.0, drift=0.05)


def cells() -> list[Judged]:
    """Every cell, in the order of the page."""
    return [
        *_welch(),
        *_cautions(),
        *_counted(),
        *_ratios(),
        *_cuped(),
        *_stratified(),
        *_did(),
        *_sensitivity(),
        *_winsorised(),
        *_quantiles(),
        *_families(),
        *_looks(),
        *_declared(),
        *_guardrails(),
        *_splits(),
        *_beliefs(),
        *behaviours(),
        *portfolios(),
    ]


def wrong() -> list[Judged]:
    """What is known to be wrong: a page that does not find it out proves nothing."""
    return [
        Cell("pooled-variance test", "normal, sd 3 and 6", methods.pooled_z, NORMAL, (900, 100), planned=False,
             warned=False, treated=Normal.of(10.0, 6.0)),
        Sequence("fixed-horizon interval at every look", "normal", _ever(fixed_horizon), NORMAL, (50, 50)),
        Cell("DiD", "trends that are not parallel", methods.did(7), DAYS, (300, 300), planned=False, warned=False, treated=DRIFT),
        Cell("pre-trends", "trends that are not parallel", methods.pretrends(7), DAYS, (300, 300), planned=False, warned=False, treated=DRIFT),
        winners_added_up(),
        *forgetful(),
    ]  # fmt: skip


def _welch() -> Iterator[Judged]:
    populations: list[tuple[str, Population, int]] = [
        ("normal", NORMAL, 500),
        ("normal", NORMAL, 5_000),
        ("binary 10 %", BINARY, 2_000),
        ("binary 10 %", BINARY, 20_000),
        ("rare binary 0.5 %", RARE, 20_000),
        ("rare binary 0.5 %", RARE, 200_000),
        ("spend", SPEND, 10_000),
        ("spend, heavy tail", HEAVY, 10_000),
    ]
    for name, population, users in populations:
        for shares in (EVEN, UNEVEN):
            n = round(users * shares[0]), round(users * shares[1])
            yield Cell("Welch", name, methods.welch, population, n, planned=population is not HEAVY)


def _cautions() -> Iterator[Judged]:
    """Few users, where means are not normal yet: what the caution on a row warns of."""
    for name, population in (("binary 10 %", BINARY), ("spend", SPEND), ("spend, heavy tail", HEAVY)):
        for n in ((50, 50), (200, 200), (450, 50), (1_800, 200)):
            yield Cell("Welch, few users", name, methods.welch, population, n, planned=False)


def _counted() -> Iterator[Judged]:
    """The score test promises its level, the exact one at most that."""
    several: tuple[tuple[str, Population, tuple[int, int]], ...] = (
        ("binary 10 %", BINARY, (1_000, 1_000)),
        ("binary 10 %", BINARY, (1_800, 200)),
        ("rare binary 0.5 %", RARE, (18_000, 2_000)),
    )
    for name, population, n in several:
        yield Cell("score test", name, methods.counted, population, n, scored=True, warned=False)
    for n in ((50, 50), (450, 50)):
        yield Cell(
            "score test, exact below 10", "binary 10 %", methods.counted, BINARY, n, planned=False, warned=False,
            side="at most",
        )  # fmt: skip


def _ratios() -> Iterator[Judged]:
    for n in ((1_000, 1_000), (1_800, 200), (50, 50)):
        yield Cell("ratio", "orders a visit", methods.ratio, VISITS, n, planned=n != (50, 50))
    for n in (
        (500, 4_500),
        (1_000, 9_000),
        (9_000, 1_000),
        (2_000, 18_000),
        (1_000, 1_000),
        (20_000, 180_000),
    ):
        most = 20_000 if sum(n) < 100_000 else 2_000
        yield Cell("ratio", "amount of a purchase", methods.ratio, PURCHASES, n, planned=False, most=most)
    for n in ((1_000, 9_000), (8_000, 72_000)):
        yield Cell(
            "ratio",
            "amount of a purchase, less skewed",
            methods.ratio,
            Purchases(0.3, 1.0),
            n,
            planned=False,
            most=20_000,
        )


def _cuped() -> Iterator[Judged]:
    one, two = Normal.with_covariates(10.0, 3.0, (0.7,)), Normal.with_covariates(10.0, 3.0, (0.6, 0.4))
    pooled, per_arm = methods.cuped(), methods.cuped("per_arm")
    for n in ((500, 500), (900, 100), (50, 50)):
        planned = n == (500, 500)
        yield Cell(
            "CUPED",
            "normal, correlation .7",
            pooled,
            one,
            n,
            planned=planned,
            variance_reduction=0.49,
            most=50_000,
        )
    yield Cell(
        "CUPED", "slopes per arm, two covariates", per_arm, two, (900, 100), planned=False, most=50_000
    )


def _stratified() -> Iterator[Judged]:
    for covariate in (False, True):
        for n in ((500, 500), (1_800, 200), (900, 100)):
            yield Stratified(covariate, n)


def _did() -> Iterator[Judged]:
    for n in ((300, 300), (900, 100)):
        yield Cell("DiD", "7 days before and after", methods.did(7), DAYS, n, planned=False, warned=False)
    for n in ((300, 300), (900, 100), (2_000, 2_000), (9_000, 1_000)):
        yield Cell("pre-trends", "parallel", methods.pretrends(7), DAYS, n, planned=False, warned=False)


def _sensitivity() -> Iterator[Judged]:
    yield Sensitivity((0.0, 0.0), 1.0, (300, 300))
    yield Sensitivity((0.3, 0.0), 1.0, (300, 300))
    yield Sensitivity((0.3, -0.3), 0.5, (900, 100))


def _winsorised() -> Iterator[Judged]:
    for n in ((500, 500), (900, 100)):
        yield Cell(
            "Welch, winsorised at .98",
            "spend, heavy tail",
            methods.welch,
            HEAVY,
            n,
            planned=False,
            reduce=_capped,
        )


def _quantiles() -> Iterator[Judged]:
    """Smooth laws, and each way in which values jump beside a quantile: on its edge, and one to two errors from it."""
    sizes = ((5_000, 5_000), (500, 500), (9_000, 1_000), (1_800, 200), (180, 60))
    for q in (0.5, 0.9):
        for n in sizes:
            for law in laws(q, min(n)):
                yield Quantile(q, law, n)


def _capped(control: Array, treatment: Array) -> tuple[Draws, Draws]:
    """Both arms capped at the 98th percentile of all their users, as the kernels define it."""
    pooled = np.concatenate([control, treatment], axis=1)
    rank = max(int(np.ceil(pooled.shape[1] * 0.98 - 1)), 0)
    cap = np.partition(pooled, rank, axis=1)[:, [rank]]
    return Draws.of(np.minimum(control, cap)), Draws.of(np.minimum(treatment, cap))


def _ever(half_width: HalfWidth) -> tuple[Bound, ...]:
    return (Bound("errors over all looks", half_width),)


def _looks() -> Iterator[Judged]:
    for name, population, daily, most in (
        ("normal", NORMAL, 200, 100_000),
        ("binary 10 %", BINARY, 200, 100_000),
        ("rare binary 0.5 %", RARE, 2_000, 100_000),
        ("spend", SPEND, 200, 50_000),
        ("spend, heavy tail", HEAVY, 200, 50_000),
        ("everybody spends, heavy tail", Spend(1.0, 1.5), 200, 20_000),
        ("orders a visit", VISITS, 200, 100_000),
        ("amount of a purchase", PURCHASES, 200, 20_000),
    ):
        for shares in (EVEN, UNEVEN, UNEVEN[::-1], SMALL):
            n = round(daily * shares[0]), round(daily * shares[1])
            yield Sequence("confidence sequence", name, at_levels_spent(), population, n, most=most)


def _families() -> Iterator[Judged]:
    for effects in (0, 5):
        yield Family(10, effects, 0.5, (500, 500))
    yield Segmented("bonferroni", (250, 250))
    yield Segmented("holm", (250, 250))


def _guardrails() -> Iterator[Judged]:
    yield Guarded("normal", NORMAL, Effect(0.3, "absolute"), (100, 100))
    yield Guarded("normal", NORMAL, Effect(0.03, "relative"), (180, 20))
    yield Guarded("binary 10 %", BINARY, Effect(0.1, "relative"), (200, 200))


def _beliefs() -> Iterator[Judged]:
    yield Believed(0.1, (500, 500))
    yield Believed(0.3, (900, 100))


def _declared() -> Iterator[Judged]:
    for name, population in (("normal", NORMAL), ("binary 10 %", BINARY)):
        for spending in SPENDING:
            daily = (500, 500)
            half = _ever(group_sequential(spending, daily, 5))
            yield Sequence(
                f"group sequential, {spending}", name, half, population, daily, looks=5, side="both"
            )


def _splits() -> Iterator[Judged]:
    yield Split((0.5, 0.5), 20_000)
    yield Split((0.9, 0.1), 20_000)
    yield Split((0.4, 0.3, 0.3), 20_000)
    yield Split((0.9, 0.1), 40)
    yield Split((0.5, 0.5), 2_800, looks=28)
    yield Split((0.9, 0.1), 2_800, looks=28)
