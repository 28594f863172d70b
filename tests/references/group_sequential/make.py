"""Group-sequential bounds by direct integration of the joint normal law, and by the port of ldbounds in spotify-confidence.

Writes expected.json. `exact` holds bounds of three looks from nested quadrature of the density of (Z1, Z2, Z3), not from a
recursion; alpha spent with 30 digits (mpmath). `ldbounds` is spotify-confidence's: trapezoids of width .05 and a
tolerance of 1e-7 leave it some 5e-5 off, as the exact values of the same design show.
"""

import json
import math
from pathlib import Path

import mpmath as mp
import numpy as np
from scipy import integrate, optimize, special
from spotify_confidence.analysis.frequentist import sequential_bound_solver

ALPHA = 0.05
mp.mp.dps = 30


def spent(kind: str, t: float) -> float:
    """With 30 digits."""
    t, alpha = mp.mpf(t), mp.mpf(ALPHA)
    if kind == "obrien_fleming":
        z = mp.findroot(lambda x: mp.ncdf(-x) - alpha / 4, 2.2)
        return float(4 * mp.ncdf(-z / mp.sqrt(t)))
    if kind == "pocock":
        return float(alpha * mp.log(1 + (mp.e - 1) * t))
    return float(alpha * t**2)


def first(chance: float) -> float:
    return float(mp.findroot(lambda x: 2 * mp.ncdf(-x) - chance, float(-special.ndtri(chance / 2))))


def second(c1: float, t1: float, t2: float, chance: float) -> float:
    """Adaptive quadrature over the first statistic, the second's tails in closed form."""
    r = math.sqrt(t1 / t2)
    s = math.sqrt(1 - r * r)

    def beyond(c: float) -> float:
        def integrand(x: float) -> float:
            tails = special.ndtr((r * x - c) / s) + special.ndtr((-c - r * x) / s)
            return float(math.exp(-0.5 * x * x) / math.sqrt(2 * math.pi) * tails)

        return float(integrate.quad(integrand, -c1, c1, epsabs=1e-16, epsrel=1e-13, limit=500)[0])

    return float(optimize.brentq(lambda c: beyond(c) - chance, 1.0, 8.0, xtol=1e-14, rtol=1e-14))


def third(c1: float, c2: float, t: list[float], chance: float) -> float:
    """Nested Gauss-Legendre over the square of the first two, the third's tails in closed form."""
    x, w = np.polynomial.legendre.leggauss(300)
    z1, z2 = np.meshgrid(c1 * x, c2 * x, indexing="ij")
    weight = np.outer(c1 * w, c2 * w)
    r12, r23 = math.sqrt(t[0] / t[1]), math.sqrt(t[1] / t[2])
    s12, s23 = math.sqrt(1 - r12**2), math.sqrt(1 - r23**2)
    density = np.exp(-0.5 * z1**2 - 0.5 * ((z2 - r12 * z1) / s12) ** 2) / (2 * math.pi * s12)

    def beyond(c: float) -> float:
        tails = special.ndtr((r23 * z2 - c) / s23) + special.ndtr((-c - r23 * z2) / s23)
        return float((weight * density * tails).sum())

    return float(optimize.brentq(lambda c: beyond(c) - chance, 1.0, 6.0, xtol=1e-14, rtol=1e-14))


def exact(kind: str, t: list[float]) -> dict[str, object]:
    cumulative = [spent(kind, x) for x in t]
    c1 = first(cumulative[0])
    c2 = second(c1, t[0], t[1], cumulative[1] - cumulative[0])
    c3 = third(c1, c2, t, cumulative[2] - cumulative[1])
    return {
        "spending": kind,
        "information": t,
        "spent": cumulative,
        "bounds": [c1, c2, c3],
    }


def ldbounds(looks: int) -> dict[str, object]:
    t = np.arange(1, looks + 1) / looks
    found = sequential_bound_solver.bounds(t, alpha=ALPHA, rho=2, ztrun=8, sides=2)
    return {"information": t.tolist(), "bounds": found.df["zb"].tolist()}


def main() -> None:
    designs = [[1 / 3, 2 / 3, 1.0], [0.2, 0.45, 1.0], [0.5, 0.6, 0.97]]
    expected = {
        "alpha": ALPHA,
        "exact": [exact(k, t) for k in ("obrien_fleming", "pocock", "power") for t in designs],
        "ldbounds": [ldbounds(looks) for looks in (3, 5)],
    }
    Path(__file__).with_name("expected.json").write_text(json.dumps(expected, indent=1) + "\n")


if __name__ == "__main__":
    main()
