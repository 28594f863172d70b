"""Makes values.json: joint tests in 50-digit arithmetic from users, and Hotelling's of one sample by statsmodels.

    uv run --no-project --with-requirements requirements.txt make.py

The tests do not run this. Users are drawn here and kept in values.json with six decimals.
"""

from __future__ import annotations

import json
from pathlib import Path

import mpmath as mp
import numpy as np
from statsmodels.stats.multivariate import test_mvmean as hotelling

mp.mp.dps = 50
HERE = Path(__file__).parent


def covariance(users: list[list[float]]) -> tuple[mp.matrix, mp.matrix]:
    """Means, and the sample covariance over n, by sums over users."""
    n, k = len(users), len(users[0])
    mean = mp.matrix([mp.fsum(mp.mpf(u[j]) for u in users) / n for j in range(k)])
    v = mp.matrix(k, k)
    for i in range(k):
        for j in range(k):
            v[i, j] = (
                mp.fsum((mp.mpf(u[i]) - mean[i]) * (mp.mpf(u[j]) - mean[j]) for u in users) / (n - 1) / n
            )
    return mean, v


def trace(m: mp.matrix) -> mp.mpf:
    return mp.fsum(m[i, i] for i in range(m.rows))


def f_tail(x: mp.mpf, df1: int, df2: mp.mpf) -> mp.mpf:
    """By mpmath's incomplete beta function, or where its series fails by quadrature of the beta density, u = top v^(1 / a)."""
    a, b, top = df2 / 2, mp.mpf(df1) / 2, df2 / (df2 + df1 * x)
    if a < 200:
        return mp.betainc(a, b, 0, top, regularized=True)
    pieces = [0, *(mp.mpf(10) ** -power for power in (60, 40, 20, 10, 5, 2, 1)), 1]
    return top**a / a / mp.beta(a, b) * mp.quad(lambda v: (1 - top * v ** (1 / a)) ** (b - 1), pieces)


def tested(b: mp.matrix, parts: list[tuple[mp.matrix, int]]) -> dict[str, float]:
    """Krishnamoorthy and Yu 2004, equations for T squared and nu, with products of plain inverses."""
    total = parts[0][0]
    for v, _ in parts[1:]:
        total = total + v
    inverse, r = total**-1, b.rows
    statistic = (b.T * inverse * b)[0]
    doubt = mp.fsum((trace(v * inverse * v * inverse) + trace(v * inverse) ** 2) / f for v, f in parts)
    nu = r * (r + 1) / doubt
    p = f_tail(statistic * (nu - r + 1) / (nu * r), r, nu - r + 1)
    return {
        "statistic": float(statistic), "df": r, "denominator_df": float(nu - r + 1), "p": float(p),
        "log10_p": float(mp.log10(p)),
    }  # fmt: skip


def two_arms(rng: np.random.Generator, n: tuple[int, int], k: int, shift: float) -> dict:
    root = np.eye(k) + 0.4
    users = [
        np.round(rng.gamma(2.0, 1.0, (size, k)) @ root * sd, 6).tolist()
        for size, sd in zip(n, (1.0, 2.0), strict=True)
    ]
    users[1] = [[round(u[0] + shift, 6), *u[1:]] for u in users[1]]
    (m0, v0), (m1, v1) = (covariance(u) for u in users)
    return {"users": users, "found": tested(m1 - m0, [(v0, n[0] - 1), (v1, n[1] - 1)])}


def f_tails() -> list[list[float]]:
    cases = [
        (0.5, 3, 40.7), (2.2, 6, 112.3), (2.2, 6, 1e7), (9.0, 13, 37.2), (80.0, 2, 900.0), (300.0, 6, 5_000.0),
        (1e4, 13, 60.0), (400.0, 29, 1e5), (1e6, 5, 350.5), (1e-6, 4, 200.0),
    ]  # fmt: skip
    return [[x, a, b, float(mp.log10(f_tail(mp.mpf(x), a, mp.mpf(b))))] for x, a, b in cases]


def main() -> None:
    rng = np.random.default_rng(20261122)
    values: dict = {
        "two_arms": [
            two_arms(rng, (90, 12), 3, 0.0),
            two_arms(rng, (40, 25), 5, 1.5),
            two_arms(rng, (20, 20), 6, 30.0),
        ],
        "f_tails": f_tails(),
    }
    one = np.round(rng.gamma(2.0, 1.0, (30, 4)) - 1.8, 6)
    fitted = hotelling(one)
    values["one_sample"] = {
        "users": one.tolist(), "t2": float(fitted.t2), "df": [float(x) for x in fitted.df], "p": float(fitted.pvalue),
    }  # fmt: skip
    (HERE / "values.json").write_text(json.dumps(values) + "\n")


if __name__ == "__main__":
    main()
