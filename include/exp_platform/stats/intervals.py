"""Tails and quantiles of the normal, t and chi-square distributions, finite in log10 where p underflows."""

from __future__ import annotations

import math
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from exp_platform.stats import special

LN10 = math.log(10.0)
UNDERFLOW = 1e-250  # below this tail the logarithm is computed by its own formula, not from p
NODES, WEIGHTS = np.polynomial.laguerre.laggauss(40)


class Tail(NamedTuple):
    """A p-value and its decimal logarithm, which stays finite where p is 0 in floating point."""

    p: float
    log10_p: float


class Interval(NamedTuple):
    """Both ends of an interval, in the unit of the estimate."""

    low: float
    high: float


def normal_two_sided(z: float) -> Tail:
    """Two-sided tail of the standard normal beyond |z|.

    Raises ValueError unless z is finite. Source: p = erfc(|z| / sqrt 2), its logarithm by log_ndtr.
    """
    _require_finite(z=z)
    return Tail(
        float(special.erfc(abs(z) / math.sqrt(2))), float(math.log(2) + special.log_ndtr(-abs(z))) / LN10
    )


def t_two_sided(t: float, df: float) -> Tail:
    """Two-sided tail of Student's t beyond |t| with df > 0 degrees of freedom (inf: the normal).

    Raises ValueError unless t is finite and df positive. Source: DLMF 8.17 with a = df / 2, b = 1 / 2.
    """
    _require_finite(t=t)
    _require_positive(df=df)
    if math.isinf(df):
        return normal_two_sided(t)
    r = abs(t) / math.sqrt(df)
    if r < 1:  # the argument that is small keeps its digits: 1 / (1 + r^2) would lose r at a large df
        p = float(special.betaincc(0.5, df / 2, r * r / (1 + r * r)))
    else:
        p = float(special.betainc(df / 2, 0.5, 1 / (1 + r * r) if r < 1e100 else 0.0))
    if p > UNDERFLOW:
        return Tail(p, math.log10(p))
    y = math.log1p(r * r) if r < 1e100 else 2 * math.log(r)
    log_p = _log_gamma_half_step(df / 2) - 0.5 * math.log(math.pi) + _log_beta_tail(df / 2, 0.5, y)
    return Tail(math.exp(log_p), log_p / LN10)


def f_sf(x: float, df1: float, df2: float) -> Tail:
    """Upper tail of the F distribution beyond x >= 0 with df1, df2 > 0 degrees of freedom (df2 inf: chi-square over df1).

    Raises ValueError where x is negative or not finite, or degrees of freedom are not positive. Source: DLMF 8.17 with
    a = df2 / 2, b = df1 / 2.
    """
    _require_finite(x=x, df1=df1)
    _require_positive(df1=df1, df2=df2)
    if x < 0:
        raise ValueError(f"an F statistic is never negative: {x}")
    if math.isinf(df2):
        return chi2_sf(df1 * x, df1)
    a, b, ratio = df2 / 2, df1 / 2, df1 * x / df2
    if ratio < 1:  # the argument that is small keeps its digits, as for t
        p = float(special.betaincc(b, a, ratio / (1 + ratio)))
    else:
        p = float(special.betainc(a, b, 1 / (1 + ratio)))
    if p > UNDERFLOW:
        return Tail(p, math.log10(p))
    log_p = _log_beta_tail(a, b, math.log1p(ratio)) - float(special.betaln(a, b))
    return Tail(math.exp(log_p), log_p / LN10)


def _log_beta_tail(a: float, b: float, y: float) -> float:
    """Log of the integral over 0 <= u <= e^-y of u^(a-1) (1-u)^(b-1), where it is tiny.

    With u = e^(-y - s / a) it is e^(-a y) / a times the integral over s >= 0 of e^-s (1 - e^(-y - s / a))^(b - 1), whose
    second factor changes slowly: Gauss-Laguerre is exact to rounding.
    """
    integral = float(WEIGHTS @ (-np.expm1(-y - NODES / a)) ** (b - 1))
    return math.log(integral) - math.log(a) - a * y


def _log_gamma_half_step(a: float) -> float:
    """Log of Gamma(a + 1/2) / Gamma(a), a > 0; two large logarithms would cancel (DLMF 5.11.13)."""
    if a < 50:
        return float(special.gammaln(a + 0.5) - special.gammaln(a))
    u = 1 / (a * a)
    return 0.5 * math.log(a) - (1 / 8 - u * (1 / 192 - u * (1 / 640 - u * 17 / 14336))) / a


def chi2_sf(x: float, df: float) -> Tail:
    """Upper tail of the chi-square distribution beyond x >= 0 with df > 0 degrees of freedom.

    Raises ValueError where x is negative or not finite, or df is not positive. Source: DLMF 8.2.4, 8.9.2.
    """
    _require_finite(x=x, df=df)
    _require_positive(df=df)
    if x < 0:
        raise ValueError(f"a chi-square statistic is never negative: {x}")
    p = float(special.gammaincc(df / 2, x / 2))
    if p > UNDERFLOW:
        return Tail(p, math.log10(p))
    log_p = _log_gamma_tail(df / 2, x / 2)
    return Tail(math.exp(log_p), log_p / LN10)


def _log_gamma_tail(a: float, x: float) -> float:
    """Log of Gamma(a, x) / Gamma(a), x far beyond a: continued fraction DLMF 8.9.2, modified Lentz."""
    b = x + 1 - a
    c = 1e300
    d = 1 / b
    fraction = d
    for i in range(1, 100_000):
        numerator = -i * (i - a)
        b += 2
        d = 1 / (numerator * d + b)
        c = b + numerator / c
        fraction *= c * d
        if abs(c * d - 1) < 1e-15:
            break
    return float(a * math.log(x) - x - special.gammaln(a) + math.log(fraction))


def normal_quantile(probability: float) -> float:
    """Value below which the standard normal falls with this probability; ValueError outside (0, 1)."""
    _require_probability(probability=probability)
    return float(special.ndtri(probability))


def t_quantile(probability: float, df: float) -> float:
    """Value below which Student's t falls with this probability.

    df > 0 degrees of freedom (inf: the normal). Raises ValueError for a probability outside (0, 1) or df
    not positive. For an interval's factor see `t_critical`.
    """
    _require_probability(probability=probability)
    _require_positive(df=df)
    if math.isinf(df):
        return normal_quantile(probability)
    return float(special.stdtrit(df, probability))


def normal_critical(level: float) -> float:
    """Half width, in standard errors, of a two-sided normal interval of coverage `level` (0.95: 1.96)."""
    _require_probability(level=level)
    return -normal_quantile((1 - level) / 2)


@lru_cache(maxsize=4096)  # a row asks for each two or three times, and rows of the same users again
def t_critical(level: float, df: float) -> float:
    """Half width, in standard errors, of a two-sided t interval of coverage `level` (0.95, not 0.975)."""
    _require_probability(level=level)
    return -t_quantile((1 - level) / 2, df)


def _require_finite(**numbers: float) -> None:
    for name, value in numbers.items():
        if not math.isfinite(value):
            raise ValueError(f"{name} must be finite, not {value}")


def _require_positive(**numbers: float) -> None:
    for name, value in numbers.items():
        if not value > 0:
            raise ValueError(f"{name} must be positive, not {value}")


def _require_probability(**numbers: float) -> None:
    for name, value in numbers.items():
        if not 0 < value < 1:
            raise ValueError(f"{name} must lie between 0 and 1, not {value}")
