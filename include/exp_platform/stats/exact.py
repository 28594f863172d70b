"""Two proportions with few successes or failures: Fisher's exact test and the melded intervals that agree with it."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Literal, NamedTuple

import numpy as np

from exp_platform.stats import special
from exp_platform.stats.intervals import LN10, Interval, Tail, normal_critical
from exp_platform.stats.moments import Array
from exp_platform.stats.proportions import (
    LOG_MOST,
    Count,
    Score,
    difference_of,
    inverse_relative,
    relative_of,
    require_counts,
    score,
)
from exp_platform.stats.roots import positive_root

FEW = 10  # successes or failures of an arm; below it the normal law is not to be trusted
FACTORS = 1_000_000  # a product of more has its logarithm taken from gamma functions instead
TERMS = 2_000  # of a tail whose terms fall at least geometrically
NEGLIGIBLE = 1e-20  # probability outside the range of an integral
PANELS = 4
NODES, WEIGHTS = np.polynomial.legendre.leggauss(40)


class Exact(NamedTuple):
    """Treatment's rate minus control's and Fisher's exact test, two-sided as twice the smaller tail."""

    control: Count
    treatment: Count
    estimate: float
    p_value: float
    log10_p: float
    standard_error: None = None
    statistic: None = None
    degrees_of_freedom: None = None
    test: Literal["exact"] = "exact"

    def interval(self, level: float) -> Interval:
        """The melded interval of the difference: excludes 0 exactly where p < 1 - level.

        Source: Fay, Proschan and Brittain 2015: the quantiles of the difference of two independent betas, those of
        Clopper and Pearson's limits. Its p-value for no effect is Fisher's.
        """
        return Interval(
            -_most_difference(self.treatment, self.control, 1 - level),
            _most_difference(self.control, self.treatment, 1 - level),
        )

    def relative_interval(self, level: float) -> Interval:
        """The same for the ratio of the rates minus 1; the upper end is infinite where control has no success."""
        return Interval(
            inverse_relative(_most_relative(self.treatment, self.control, 1 - level)),
            _most_relative(self.control, self.treatment, 1 - level),
        )

    @property
    def relative(self) -> float | None:
        """The difference as a share of control's rate; None where that is zero."""
        return relative_of(self.control, self.treatment)

    def rate_interval(self, arm: Count, level: float) -> Interval:
        """The exact interval of one arm's rate. Source: Clopper and Pearson 1934."""
        tail = (1 - level) / 2
        x, n = arm
        return Interval(
            float(special.betaincinv(x, n - x + 1, tail)) if x > 0 else 0.0,
            float(special.betainccinv(x + 1, n - x, tail)) if x < n else 1.0,
        )


def proportions(control: Count, treatment: Count) -> Score | Exact:
    """The score test, or the exact one where an arm has fewer than 10 successes or fewer than 10 failures.

    Raises ValueError as `score` does.
    """
    test = score(control, treatment)
    if min(*_cells(control), *_cells(treatment)) >= FEW:
        return test
    return Exact(control, treatment, test.estimate, *fisher(control, treatment))


def fisher(control: Count, treatment: Count) -> Tail:
    """Fisher's exact test: twice the smaller of both tails of the hypergeometric law, at most 1.

    Made for tables with a small cell; the logarithm stays finite where p underflows. Raises ValueError for an arm
    without users or counts out of range. Source: Fisher 1935; Fay 2010 for twice the smaller tail, which has an
    interval that agrees with it.
    """
    require_counts(control, treatment)
    cell, arm, other = min(
        (cell, arm, other)
        for arm, other in ((control, treatment), (treatment, control))
        for cell in _cells(arm)
    )
    in_column = cell + (other.successes if cell == arm.successes else other.failures)
    lower, upper = _log_tails(cell, arm.n, in_column, arm.n + other.n)
    log_p = min(0.0, math.log(2) + min(lower, upper))
    return Tail(math.exp(log_p), log_p / LN10)


def _cells(arm: Count) -> tuple[int, int]:
    return arm.successes, arm.failures


def _log_tails(cell: int, row: int, column: int, n: int) -> tuple[float, float]:
    """Logs of P(X <= cell) and P(X >= cell), X hypergeometric; `cell` is the smallest of the table's four."""
    first = _log_none(row, column, n)
    k = np.arange(min(cell + TERMS, row, column), dtype=np.float64)
    ratios = (row - k) * (column - k) / ((k + 1) * (n - row - column + k + 1))  # P(X = k + 1) / P(X = k)
    terms = np.concatenate(([1.0], np.cumprod(ratios[:cell])))
    lower = first + math.log(terms.sum())
    below = math.exp(first) * float(terms[:-1].sum())
    if below < 0.5:
        return lower, math.log1p(-below)
    beyond = terms[-1] * (1 + np.cumprod(ratios[cell:]).sum())
    return lower, first + math.log(beyond)


def _log_none(row: int, column: int, n: int) -> float:
    """Log of the chance that none of the `row` users drawn of n is among `column` of them."""
    draws, marked = sorted((row, column))
    if draws <= FACTORS:
        return float(np.log1p(-marked / (n - np.arange(draws, dtype=np.float64))).sum())
    parts = special.gammaln(np.array([n - row + 1.0, n - column + 1.0, n - row - column + 1.0, n + 1.0]))
    return float(parts[0] + parts[1] - parts[2] - parts[3])


def _most_difference(control: Count, treatment: Count, alpha: float) -> float:
    """The quantile 1 - alpha / 2 of treatment's upper confidence variable minus control's lower one."""
    low, high = _confidence(control, treatment)
    found = difference_of(control, treatment)
    if control.successes + treatment.successes > (control.n + treatment.n) / 2:
        low, high = high.flipped, low.flipped  # the same event; small rates keep their digits

    def short(step: float) -> float:
        return alpha / 2 - exceeds(high, low, found + step, 1.0)

    rate = (control.successes + treatment.successes + 1) / (control.n + treatment.n + 1)
    start = normal_critical(1 - alpha) * math.sqrt(rate * (1 / control.n + 1 / treatment.n))
    return found + positive_root(short, start, 1 - found) if found < 1 else 1.0


def _most_relative(control: Count, treatment: Count, alpha: float) -> float:
    """The same quantile of their ratio, minus 1."""
    found = relative_of(control, treatment)
    if found is None:
        return math.inf
    low, high = _confidence(control, treatment)
    flip = control.successes + treatment.successes > (control.n + treatment.n) / 2

    def excess(step: float) -> float:
        return step - 1 if treatment.successes == 0 else found + (1 + found) * math.expm1(step)

    def short(step: float) -> float:
        r = excess(step)
        if flip:
            return alpha / 2 - exceeds(low.flipped, high.flipped, r / (1 + r), 1 / (1 + r))
        return alpha / 2 - exceeds(high, low, 0.0, 1 + r)

    cells = min(control.successes, treatment.successes) + 1
    start = min(normal_critical(1 - alpha) / math.sqrt(cells), 1.0)
    most = LOG_MOST if treatment.successes else math.exp(LOG_MOST)
    return excess(positive_root(short, start, most))


class Beta(NamedTuple):
    """A beta variable of whole parameters; a or b of 0 puts it at 0 or at 1."""

    a: int
    b: int

    @property
    def flipped(self) -> Beta:
        """One minus the variable."""
        return Beta(self.b, self.a)

    @property
    def constant(self) -> float | None:
        """Where it always is, or None where it varies."""
        return 0.0 if self.a == 0 else 1.0 if self.b == 0 else None

    @property
    def variance(self) -> float:
        """Its variance."""
        total = float(self.a + self.b)
        return self.a / total * (self.b / total) / (total + 1)

    def below(self, x: Array) -> Array:
        """P(variable <= x)."""
        return np.asarray(special.betainc(self.a, self.b, np.clip(x, 0.0, 1.0)), dtype=np.float64)

    def above(self, x: Array) -> Array:
        """P(variable > x)."""
        return np.asarray(special.betaincc(self.a, self.b, np.clip(x, 0.0, 1.0)), dtype=np.float64)


def _confidence(control: Count, treatment: Count) -> tuple[Beta, Beta]:
    """Control's lower and treatment's upper confidence variable (Clopper and Pearson 1934)."""
    return (
        Beta(control.successes, control.failures + 1),
        Beta(treatment.successes + 1, treatment.failures),
    )


def exceeds(y: Beta, x: Beta, offset: float, slope: float) -> float:
    """P(y >= offset + slope x) of independent y and x, slope > 0: an integral over the one that varies less.

    The other's distribution function is smooth on that scale, but for the points where it reaches 0 and 1.
    """
    if x.constant is not None and y.constant is not None:
        return float(y.constant >= offset + slope * x.constant)
    if y.constant is not None:
        return float(x.below(np.asarray((y.constant - offset) / slope)))
    if x.constant is not None:
        return float(y.above(np.asarray(offset + slope * x.constant)))
    if y.variance <= slope**2 * x.variance:
        points, weights = _mass(y, offset, offset + slope)
        return float(weights @ x.below((points - offset) / slope))
    points, weights = _mass(x, -offset / slope, (1 - offset) / slope)
    return float(weights @ y.above(offset + slope * points))


def _mass(beta: Beta, *breaks: float) -> tuple[Array, Array]:
    """Points and weights that integrate against the density, to rounding where a function is smooth between breaks."""
    edges, total = _panels(beta)
    inside = [b for b in breaks if edges[0] < b < edges[-1]]
    points, weights = _weighted(beta, np.sort(np.append(edges, inside)))
    return points, weights / total


@lru_cache(maxsize=1024)
def _panels(beta: Beta) -> tuple[Array, float]:
    """The panels that hold all but a negligible part of the probability, and the integral of the density's multiple."""
    low = float(special.betaincinv(beta.a, beta.b, NEGLIGIBLE))
    high = float(special.betainccinv(beta.a, beta.b, NEGLIGIBLE))
    edges = np.linspace(low, high, PANELS + 1)
    return edges, float(_weighted(beta, edges)[1].sum())


def _weighted(beta: Beta, edges: Array) -> tuple[Array, Array]:
    """Gauss and Legendre's points on each panel, with their weights times the density as a multiple of its centre's."""
    half = np.diff(edges)[:, None] / 2
    points = ((edges[:-1, None] + half) + half * NODES).ravel()
    centre = beta.a / (beta.a + beta.b)
    away = points - centre
    # xlog1py: a power of 0 is 1 at the ends, too.
    log_density = special.xlog1py(beta.a - 1, away / centre) + special.xlog1py(
        beta.b - 1, -away / (1 - centre)
    )
    return points, (half * WEIGHTS).ravel() * np.exp(log_density)
