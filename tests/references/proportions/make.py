"""Writes values.json: tests and intervals of two proportions, from definitions at 60 digits and from SciPy and statsmodels.

Run by hand in an environment of its own: `pip install -r requirements.txt && python make.py`. It takes minutes.
Score intervals maximise the likelihood by bisection at 60 digits; melded ones are SciPy's betas under its adaptive quad.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from itertools import pairwise
from pathlib import Path

import mpmath as mp
from scipy.integrate import quad
from scipy.optimize import brentq
from scipy.stats import beta, fisher_exact
from statsmodels.stats.proportion import proportions_chisquare

mp.mp.dps = 60

SCORE = [
    (500, 10_000, 560, 10_000, 0.95),
    (500, 10_000, 560, 10_000, 0.9925),
    (14, 28, 16, 30, 0.95),
    (10, 4_000, 31, 2_000, 0.99),
    (3_000, 4_000, 1_020, 1_300, 0.95),
    (10, 100_000_000, 25, 100_000_000, 0.95),
    (99_999_990, 100_000_000, 99_999_975, 100_000_000, 0.95),
    (12, 100, 60_000_000, 100_000_000, 0.95),
    (0, 100, 0, 100, 0.95),
    (0, 100, 5, 90, 0.95),
    (7, 100, 0, 130, 0.9),
    (100, 100, 95, 100, 0.95),
    (0, 40, 40, 40, 0.95),
]
EXACT = [
    (3, 5, 1, 8, 0.95),
    (6, 12, 15, 17, 0.95),
    (0, 100, 5, 100, 0.95),
    (5, 100, 0, 100, 0.99),
    (9, 1_000_000, 25, 1_000_000, 0.95),
    (0, 1_000_000, 9, 500_000, 0.99),
    (2, 400, 60, 3_000, 0.95),
    (997, 1_000, 1_990, 2_000, 0.95),
    (100, 100, 95, 100, 0.95),
    (0, 60, 60, 60, 0.95),
    (1, 50, 1, 1_000_000, 0.95),
    (9, 100_000_000, 25, 100_000_000, 0.95),
]
Number = mp.mpf
Function = Callable[[Number], Number]


def crossing(f: Function, low: Number, high: Number) -> Number:
    """Where f, of different signs at both ends, is zero."""
    at_low = f(low)
    for _ in range(190):
        middle = (low + high) / 2
        if (f(middle) > 0) == (at_low > 0):
            low = middle
        else:
            high = middle
    return (low + high) / 2


def likeliest(
    x0: int, n0: int, x1: int, n1: int, other: Function, slope: Number, high: Number, low: Number
) -> Number:
    """The control's rate that maximises the likelihood where treatment's is other(rate), whose derivative is `slope`."""

    def derivative(p: Number) -> Number:
        q = other(p)
        total = mp.mpf(0)
        for count, chance, sign, rate in (
            (x0, p, 1, 1),
            (n0 - x0, 1 - p, -1, 1),
            (x1, q, 1, slope),
            (n1 - x1, 1 - q, -1, slope),
        ):
            if count:
                total += sign * rate * count / chance
        return total

    tiny = (high - low) * mp.mpf(10) ** -45
    if derivative(low + tiny) <= 0:
        return low
    if derivative(high - tiny) >= 0:
        return high
    return crossing(derivative, low + tiny, high - tiny)


def z_difference(x0: int, n0: int, x1: int, n1: int, delta: Number) -> Number:
    p = likeliest(
        x0, n0, x1, n1, lambda p: p + delta, mp.mpf(1), min(mp.mpf(1), 1 - delta), max(mp.mpf(0), -delta)
    )
    q = p + delta
    v = p * (1 - p) / n0 + q * (1 - q) / n1
    return (mp.mpf(x1) / n1 - mp.mpf(x0) / n0 - delta) / mp.sqrt(v)


def z_ratio(x0: int, n0: int, x1: int, n1: int, ratio: Number) -> Number:
    p = likeliest(x0, n0, x1, n1, lambda p: ratio * p, ratio, min(mp.mpf(1), 1 / ratio), mp.mpf(0))
    q = ratio * p
    v = ratio**2 * p * (1 - p) / n0 + q * (1 - q) / n1
    return (mp.mpf(x1) / n1 - ratio * mp.mpf(x0) / n0) / mp.sqrt(v)


def critical(level: float) -> Number:
    return mp.sqrt(2) * mp.erfinv(mp.mpf(level))


def score_interval(x0: int, n0: int, x1: int, n1: int, level: float) -> dict[str, list[Number | None]]:
    z = critical(level)
    found = mp.mpf(x1) / n1 - mp.mpf(x0) / n0
    tiny = mp.mpf(10) ** -25
    ends: list[Number | None] = []
    for edge, target in ((mp.mpf(-1), z), (mp.mpf(1), -z)):
        if found == edge:
            ends.append(edge)
            continue
        inside = found + (edge - found) * tiny
        ends.append(
            crossing(
                lambda d, t=target: z_difference(x0, n0, x1, n1, d) - t, inside, edge - (edge - found) * tiny
            )
        )
    relative: list[Number | None] = []
    for side, target in ((-1, z), (1, -z)):
        if side < 0 and x1 == 0:
            relative.append(mp.mpf(-1))
        elif side > 0 and x0 == 0:
            relative.append(None)
        else:
            inside = (
                mp.log(mp.mpf(x1) * n0 / (mp.mpf(x0) * n1)) + side * tiny if x0 and x1 else -side * mp.mpf(60)
            )
            outside = side * mp.mpf(60)
            log_ratio = crossing(lambda u, t=target: z_ratio(x0, n0, x1, n1, mp.exp(u)) - t, inside, outside)
            relative.append(mp.expm1(log_ratio))
    return {"difference": ends, "relative": relative}


def beyond(x0: int, n0: int, x1: int, n1: int, offset: float, slope: float) -> float:
    """P(high >= offset + slope low): high is treatment's upper, low control's lower Clopper-Pearson limit as a variable."""
    low = beta(x0, n0 - x0 + 1) if x0 else None  # None: always 0
    high = beta(x1 + 1, n1 - x1) if x1 < n1 else None  # None: always 1
    if low is None or high is None:
        return float(
            offset <= 1 if low is high else high.sf(offset) if low is None else low.cdf((1 - offset) / slope)
        )
    if high.std() <= slope * low.std():
        kinks, law = (offset, offset + slope), high

        def integrand(y: float) -> float:
            return float(high.pdf(y) * low.cdf((y - offset) / slope))
    else:
        kinks, law = (-offset / slope, (1 - offset) / slope), low

        def integrand(x: float) -> float:
            return float(low.pdf(x) * high.sf(offset + slope * x))

    ends = [law.ppf(1e-19), *law.ppf([1e-9, 1e-4, 0.02, 0.2, 0.5]), *law.isf([0.2, 0.02, 1e-4, 1e-9, 1e-19])]
    ends = sorted({*ends, *(k for k in kinks if ends[0] < k < ends[-1])})
    pieces = (quad(integrand, a, b, epsabs=0, epsrel=1e-13, limit=200)[0] for a, b in pairwise(ends))
    return math.fsum(pieces)


def melded_upper(x0: int, n0: int, x1: int, n1: int, alpha: float) -> tuple[float, float | None]:
    found = (x1 * n0 - x0 * n1) / (n0 * n1)
    rate = (x0 + x1 + 1) / (n0 + n1 + 1)
    scale = math.sqrt(rate * (1 / n0 + 1 / n1))

    def steps(k: float) -> float:
        return beyond(x0, n0, x1, n1, found + k * scale, 1.0) - alpha / 2

    difference = (
        1.0 if found == 1 else found + scale * brentq(steps, 0, (1 - found) / scale, xtol=1e-13, rtol=1e-14)
    )
    if x0 == 0:
        return difference, None
    start = math.log(max(x1, 0.01) * n0 / (x0 * n1))

    def logs(u: float) -> float:
        return beyond(x0, n0, x1, n1, 0.0, math.exp(u)) - alpha / 2

    far = next(k for k in range(1, 200) if logs(start + k) < 0)
    return difference, math.expm1(brentq(logs, start + far - 1, start + far, xtol=1e-13, rtol=1e-14))


def melded_interval(x0: int, n0: int, x1: int, n1: int, level: float) -> dict[str, list[Number | None]]:
    high, relative_high = melded_upper(x0, n0, x1, n1, 1 - level)
    low, inverse = melded_upper(x1, n1, x0, n0, 1 - level)
    relative_low = -1.0 if inverse is None else -inverse / (1 + inverse)
    return {"difference": [-low, high], "relative": [relative_low, relative_high]}


def fisher_tails(x0: int, n0: int, x1: int, n1: int) -> Number:
    """Twice the smaller tail, from whole numbers."""
    s, n = x0 + x1, n0 + n1
    if n <= 10_000:
        table = [[x1, n1 - x1], [x0, n0 - x0]]
        return mp.mpf(
            min(1.0, 2 * min(fisher_exact(table, alternative=a).pvalue for a in ("less", "greater")))
        )
    lowest, highest = max(0, s - n0), min(s, n1)
    if highest - lowest > 10_000:
        raise ValueError("too many terms")
    log_all = mp.log(mp.binomial(n, s)) if s < 200 else None
    weights = [mp.binomial(n1, k) * mp.binomial(n0, s - k) for k in range(lowest, highest + 1)]
    total = mp.exp(log_all) if log_all is not None else mp.fsum(weights)
    at = x1 - lowest
    return min(mp.mpf(1), 2 * min(mp.fsum(weights[: at + 1]), mp.fsum(weights[at:])) / total)


def plain(values: dict[str, list[Number | None]]) -> dict[str, list[float | None]]:
    return {k: [None if v is None else float(v) for v in both] for k, both in values.items()}


def main() -> None:
    entries = []
    for x0, n0, x1, n1, level in SCORE:
        entry = {"test": "score", "control": [x0, n0], "treatment": [x1, n1], "level": level}
        if 0 < x0 + x1 < n0 + n1:
            pooled = mp.mpf(x0 + x1) / (n0 + n1)
            z = (mp.mpf(x1) / n1 - mp.mpf(x0) / n0) / mp.sqrt(
                pooled * (1 - pooled) * (mp.mpf(1) / n0 + mp.mpf(1) / n1)
            )
            entry["p"] = float(mp.erfc(abs(z) / mp.sqrt(2)))
            entry["statsmodels_p"] = float(proportions_chisquare([x0, x1], [n0, n1])[1])
            entry["log10_p"] = float(mp.log10(mp.erfc(abs(z) / mp.sqrt(2))))
        entries.append({**entry, **plain(score_interval(x0, n0, x1, n1, level))})
        print(entries[-1], flush=True)
    for x0, n0, x1, n1, level in EXACT:
        entry = {"test": "exact", "control": [x0, n0], "treatment": [x1, n1], "level": level}
        p = fisher_tails(x0, n0, x1, n1)
        entry |= {"p": float(p), "log10_p": float(mp.log10(p))}
        entries.append({**entry, **plain(melded_interval(x0, n0, x1, n1, level))})
        print(entries[-1], flush=True)
    lines = ",\n".join("  " + json.dumps(e) for e in entries)
    Path(__file__).with_name("values.json").write_text(f"[\n{lines}\n]\n")


if __name__ == "__main__":
    main()
