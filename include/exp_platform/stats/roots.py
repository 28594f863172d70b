"""Where a function crosses zero: a bracket found by doubling, then Chandrupatla's method."""

from __future__ import annotations

import sys
from collections.abc import Callable

STEPS = 200  # more than bisection alone would need for all digits


def positive_root(f: Callable[[float], float], start: float, most: float = sys.float_info.max) -> float:
    """The x in (0, most] at which f, negative before it and positive behind it, is zero.

    `start` > 0 is a guess of its size. Where f does not change its sign: 0 if it is nowhere negative, `most` if it is
    nowhere positive. Relative precision is that of a float.
    """
    x = min(start, most)
    fx = f(x)
    if fx <= 0:
        while fx <= 0 and x < most:
            low, f_low = x, fx
            x = min(2 * x, most)
            fx = f(x)
        return _between(f, low, f_low, x, fx) if fx > 0 else most
    while fx > 0 and x > 0:
        high, f_high = x, fx
        x /= 2
        fx = f(x)
    return _between(f, x, fx, high, f_high) if x > 0 else 0.0


def _between(f: Callable[[float], float], b: float, fb: float, a: float, fa: float) -> float:
    """Source: Chandrupatla 1997: inverse quadratic interpolation where it is safe, else bisection."""
    share = 0.5
    for _ in range(STEPS):
        x = a + share * (b - a)
        fx = f(x)
        if (fx > 0) == (fa > 0):
            c, fc = a, fa
        else:
            c, fc, b, fb = b, fb, a, fa
        a, fa = x, fx
        best, f_best = (a, fa) if abs(fa) < abs(fb) else (b, fb)
        least = 2 * sys.float_info.epsilon * abs(best) / abs(b - a)  # a step the size of rounding
        if f_best == 0 or least > 0.5:
            break
        ratio, rise = (a - b) / (c - b), (fa - fb) / (fc - fb)
        share = 0.5
        if rise**2 < ratio and (1 - rise) ** 2 < 1 - ratio:
            share = fa / (fb - fa) * fc / (fb - fc) + (c - a) / (b - a) * fa / (fc - fa) * fb / (fc - fb)
        share = min(1 - least, max(least, share))
    return best
