"""Group-sequential tests: two-sided bounds at several looks whose chances of being crossed add up to alpha."""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from exp_platform.stats import special
from exp_platform.stats.intervals import normal_critical, normal_quantile
from exp_platform.stats.moments import Array

Spending = Literal["obrien_fleming", "pocock", "power"]

FAR = 9.0  # standard deviations; beyond it lies less than 1e-18
SMALLEST_STEP = 1e-4  # of the information so far; quadrature of a finer step would need too many nodes
NODES, WEIGHTS = np.polynomial.legendre.leggauss(16)


def spent(spending: Spending, fraction: float, alpha: float, exponent: float = 2.0) -> float:
    """The share of alpha, in alpha's unit, that may be used up by this fraction of the planned information.

    Two-sided: half of it on each side. Fractions above 1 count as 1. Raises ValueError for alpha outside (0, 1), a
    fraction that is not positive, or an exponent that is not. Source: Lan and DeMets 1983: O'Brien-Fleming type 4 (1 -
    Phi(z_(alpha / 4) / sqrt t)), Pocock type alpha log(1 + (e - 1) t); Kim and DeMets 1987: alpha t^exponent.
    """
    if not 0 < alpha < 1:
        raise ValueError(f"alpha must lie between 0 and 1, not {alpha}")
    if not (fraction > 0 and exponent > 0):
        raise ValueError(f"fraction and exponent must be positive, not {fraction} and {exponent}")
    t = fraction
    if t >= 1:
        return alpha
    if spending == "obrien_fleming":
        return float(4 * special.ndtr(normal_quantile(alpha / 4) / math.sqrt(t)))
    if spending == "pocock":
        return alpha * math.log1p((math.e - 1) * t)
    return float(alpha * t**exponent)


@lru_cache(maxsize=1024)
def bounds(information: tuple[float, ...], cumulative: tuple[float, ...]) -> tuple[float, ...]:
    """Critical |z| at each look, so that the chance of having crossed one by then is `cumulative`; inf where none is left.

    `information` is that of the looks, in any unit, increasing; the statistics at two looks have the correlation
    sqrt(earlier / later), as where later looks add independent users. Raises ValueError for wrong lengths, or information
    or chances that do not grow (a step below 1e-4 of the information included). Source: Armitage, McPherson and Rowe 1969
    for the recursion; Jennison and Turnbull 2000, chapters 7 and 19.
    """
    _check(information, cumulative)
    found: list[float] = []
    walk: _Walk | None = None
    for i, (at, chance) in enumerate(zip(information, np.diff(cumulative, prepend=0.0), strict=True)):
        step = at - information[i - 1] if i else at
        walk = _Walk.start() if walk is None else walk
        critical = walk.critical(step, at, float(chance))
        found.append(critical)
        if i + 1 < len(information):
            walk = walk.continued(step, at, critical, 0.0, information[i + 1] - at)
    return tuple(found)


def separate_bounds(cumulative: Sequence[float]) -> tuple[float, ...]:
    """Critical |z| at each look by Bonferroni: each look has what is added to `cumulative`, however looks are correlated."""
    added = np.diff(np.asarray(cumulative, dtype=np.float64), prepend=0.0)
    return tuple(normal_critical(1 - a) if a > 1e-15 else math.inf for a in added.tolist())


def crossing(
    information: tuple[float, ...], critical: tuple[float, ...], drift: float = 0.0
) -> tuple[float, ...]:
    """The chance that |z| first crosses its bound at each look, where z's mean at the last look is `drift`.

    At 0 the sum is the type-I error, elsewhere the power (of both sides). Raises ValueError as `bounds` does.
    """
    _check(information, tuple(np.linspace(0.5, 1, len(critical)).tolist()))
    slope = drift / math.sqrt(information[-1])
    found: list[float] = []
    walk = _Walk.start()
    for i, (at, bound) in enumerate(zip(information, critical, strict=True)):
        step = at - information[i - 1] if i else at
        found.append(walk.beyond(bound * math.sqrt(at), step, slope * step))
        if i + 1 < len(information):
            walk = walk.continued(step, at, bound, slope, information[i + 1] - at)
    return tuple(found)


@lru_cache(maxsize=1024)
def inflation(
    information: tuple[float, ...], critical: tuple[float, ...], alpha: float, power: float
) -> float:
    """How many times the fixed test's sample size the last look must have for the same power.

    Raises ValueError as `bounds` does. Source: Jennison and Turnbull 2000, section 2.4: squared drift over (z_(alpha / 2) +
    z_beta)^2.
    """
    fixed = normal_critical(1 - alpha) + normal_quantile(power)
    low, high = 0.5 * fixed, 3.0 * fixed
    for _ in range(40):
        middle = (low + high) / 2
        low, high = (middle, high) if sum(crossing(information, critical, middle)) < power else (low, middle)
    return float((high / fixed) ** 2)


class _Walk(NamedTuple):
    """The sums z sqrt(information) that have crossed no bound yet: nodes, and density times quadrature weight."""

    nodes: Array
    mass: Array

    @staticmethod
    def start() -> _Walk:
        return _Walk(np.zeros(1), np.ones(1))

    def beyond(self, bound: float, step: float, shift: float = 0.0) -> float:
        """The chance that the sum lies beyond +-bound once it has moved by a normal step of variance `step`."""
        sd = math.sqrt(step)
        above = special.ndtr((self.nodes + shift - bound) / sd)
        below = special.ndtr((-bound - self.nodes - shift) / sd)
        return float(self.mass @ (above + below))

    def critical(self, step: float, at: float, chance: float) -> float:
        """The |z| that is exceeded with this chance after the step, by bisection to the last digit."""
        if not chance > 0:
            return math.inf
        low, high = 0.0, 40.0
        while low < (middle := (low + high) / 2) < high:
            larger = self.beyond(middle * math.sqrt(at), step) > chance
            low, high = (middle, high) if larger else (low, middle)
        return high

    def continued(self, step: float, at: float, critical: float, slope: float, next_step: float) -> _Walk:
        """The walk after the step, on what lies within the bound; the nodes are fine enough for the next step too."""
        spread, mean = math.sqrt(at), slope * at
        low = max(-critical * spread, mean - FAR * spread)
        high = min(critical * spread, mean + FAR * spread)
        if high <= low:
            return _Walk(np.zeros(1), np.zeros(1))
        panels = math.ceil((high - low) / math.sqrt(min(step, next_step)))
        half = (high - low) / panels / 2
        centres = low + half * (2 * np.arange(panels) + 1)
        nodes = (centres[:, None] + half * NODES).ravel()
        weights = np.tile(half * WEIGHTS, panels)
        z = (nodes[:, None] - self.nodes - slope * step) / math.sqrt(step)
        density = np.exp(-0.5 * z * z) @ self.mass / math.sqrt(2 * math.pi * step)
        return _Walk(nodes, weights * density)


def _check(information: tuple[float, ...], cumulative: tuple[float, ...]) -> None:
    if not information or len(information) != len(cumulative):
        raise ValueError(f"{len(information)} looks and {len(cumulative)} chances: one of each is needed")
    steps = np.diff(information, prepend=0.0)
    if not (np.isfinite(information).all() and (steps >= SMALLEST_STEP * np.asarray(information)).all()):
        raise ValueError(f"information must be finite and grow from look to look: {list(information)}")
    if not (np.diff(cumulative, prepend=0.0) >= 0).all() or not 0 < cumulative[-1] <= 1:
        raise ValueError(f"chances must grow from look to look, to 1 at most: {list(cumulative)}")
