"""Writes values.json: power and sizes from statsmodels, and from definitions that share no code with the platform's.

Run by hand in an environment of its own: `pip install -r requirements.txt && python make.py`. It takes half a minute.

- `t_test`: statsmodels' TTestIndPower, equal arms (with unequal ones it pools the variances, which Welch does not).
- `welch`: P(|T| > critical) as the mean, over the chi-square law of the estimated variance, of a normal tail; mpmath, 30 digits.
- `score`: statsmodels' power_proportions_2indep: normal, with the pooled rate where there is no effect.
- `score_counted`: the power of the score test counted out over all tables of both arms.
- `sequence`: the confidence sequence of Waudby-Smith et al. 2021 at one look, mpmath.
- `several`: the treatments of an experiment, each by TTestIndPower at Bonferroni's level.
"""

from __future__ import annotations

import json
from pathlib import Path

import mpmath as mp
import numpy as np
from scipy import stats
from statsmodels.stats.power import TTestIndPower
from statsmodels.stats.proportion import power_proportions_2indep

mp.mp.dps = 30

T_TEST = [(0.05, 6280.0, 0.05), (0.2, 150.0, 0.045), (0.01, 40_000.0, 0.005), (0.8, 12.0, 0.1)]
SIZES = [(0.05, 0.05, 0.8), (0.1, 0.0225, 0.9), (0.02, 0.005625, 0.8)]
WELCH = [  # effect, sd and users of both arms, alpha, degrees of freedom of an arm of n: n - 1
    (0.5, 3.0, 900.0, 3.0, 100.0, 0.05),
    (-0.4, 2.0, 150.0, 5.0, 600.0, 0.045),
    (2.0, 1.0, 12.0, 4.0, 8.0, 0.01),
    (0.08, 1.0, 5000.0, 1.0, 2500.0, 0.0225),
]
SCORE = [  # baseline, effect, users of both arms, alpha
    (0.1, 0.02, 3800, 3800, 0.05),
    (0.1, 0.03, 9000, 1000, 0.045),
    (0.1, -0.03, 9000, 1000, 0.045),
    (0.005, 0.0016, 180_000, 20_000, 0.05),
    (0.9, 0.015, 1000, 9000, 0.0225),
]
COUNTED = [(0.1, 1800, 200, 0.05), (0.1, 200, 1800, 0.05), (0.3, 900, 100, 0.045), (0.02, 9000, 3000, 0.01)]
SEQUENCE = [(0.3, 2.0, 4000.0, 1.0, 1000.0, 0.005, 5000.0), (-0.06, 1.0, 2500.0, 1.0, 2500.0, 0.05, 5000.0)]


def welch(effect: float, sd0: float, n0: float, sd1: float, n1: float, alpha: float) -> float:
    v0, v1 = mp.mpf(sd0) ** 2 / mp.mpf(n0), mp.mpf(sd1) ** 2 / mp.mpf(n1)
    df = (v0 + v1) ** 2 / (v0**2 / (mp.mpf(n0) - 1) + v1**2 / (mp.mpf(n1) - 1))
    shift = mp.mpf(effect) / mp.sqrt(v0 + v1)
    tail = lambda t: mp.betainc(df / 2, mp.mpf(1) / 2, 0, df / (df + t * t), regularized=True)  # noqa: E731
    critical = mp.findroot(lambda t: tail(t) - mp.mpf(alpha), float(stats.t.isf(alpha / 2, float(df))))
    log_scale = df / 2 * mp.log(df / 2) - mp.loggamma(df / 2)

    def integrand(u: mp.mpf) -> mp.mpf:  # u: the estimated variance over the true one, gamma(df / 2, df / 2)
        density = mp.exp(log_scale + (df / 2 - 1) * mp.log(u) - df / 2 * u)
        reach = critical * mp.sqrt(u)
        return density * (mp.ncdf(shift - reach) + mp.ncdf(-shift - reach))

    spread = mp.sqrt(2 / df)
    ends = [max(mp.mpf("1e-12"), 1 + k * spread) for k in (-14, -6, -3, -1, 0, 1, 3, 6, 14)]
    if df < 60:
        ends += [1 + 30 * spread, 1 + 80 * spread]
    return float(mp.quad(integrand, sorted(set(ends))))


def counted(p0: float, p1: float, n0: int, n1: int, alpha: float) -> float:
    x0, x1 = np.arange(n0 + 1), np.arange(n1 + 1)
    w0, w1 = stats.binom.pmf(x0, n0, p0), stats.binom.pmf(x1, n1, p1)
    x0, w0, x1, w1 = x0[w0 > 1e-14], w0[w0 > 1e-14], x1[w1 > 1e-14], w1[w1 > 1e-14]
    pooled = (x0[:, None] + x1) / (n0 + n1)
    error = np.sqrt(pooled * (1 - pooled) * (1 / n0 + 1 / n1))
    with np.errstate(invalid="ignore"):
        z = np.nan_to_num((x1 / n1 - x0[:, None] / n0) / error)
    return float((np.outer(w0, w1) * (np.abs(z) > stats.norm.isf(alpha / 2))).sum())


def sequence(
    effect: float, sd0: float, n0: float, sd1: float, n1: float, alpha: float, tuned: float
) -> float:
    n, v0, v1 = mp.mpf(n0) + mp.mpf(n1), mp.mpf(sd0) ** 2, mp.mpf(sd1) ** 2
    variance, careful = v0 / n0 + v1 / n1, max(v0 / n0 + v1 / n1, v0 / n1 + v1 / n0)
    a = mp.mpf(alpha)
    rho2 = (-2 * mp.log(a) + mp.log(1 - 2 * mp.log(a))) / mp.mpf(tuned)
    inside = mp.log(mp.sqrt(n * rho2 + 1) / a)
    half = mp.sqrt(n * careful * 2 * (n * rho2 + 1) / (n**2 * rho2) * inside)
    error = mp.sqrt(variance)
    return float(mp.ncdf((mp.mpf(effect) - half) / error) + mp.ncdf((-mp.mpf(effect) - half) / error))


def several() -> dict[str, object]:
    """Two treatments of unequal shares, three comparisons' worth of metrics, alpha .045: users of all arms together."""
    shares, effect, sd, comparisons = {"control": 0.5, "t1": 0.3, "t2": 0.2}, 0.3, 2.0, 4
    needed = {}
    for treatment in ("t1", "t2"):
        ratio = shares[treatment] / shares["control"]
        control = TTestIndPower().solve_power(
            effect / sd, alpha=0.045 / comparisons, power=0.8, ratio=ratio, nobs1=None
        )
        needed[treatment] = float(control) / shares["control"]
    return {
        "shares": shares,
        "effect": effect,
        "sd": sd,
        "comparisons": comparisons,
        "users_by_treatment": needed,
        "users": max(needed.values()),
    }


def main() -> None:
    test = TTestIndPower()
    values = {
        "t_test": [[*case, float(test.power(case[0], case[1], case[2]))] for case in T_TEST],
        "sizes": [[*case, float(test.solve_power(case[0], alpha=case[1], power=case[2]))] for case in SIZES],
        "welch": [[*case, welch(*case)] for case in WELCH],
        "score": [
            [
                p,
                effect,
                n0,
                n1,
                alpha,
                float(
                    power_proportions_2indep(
                        effect, p, nobs1=n1, ratio=n0 / n1, alpha=alpha, return_results=False
                    )
                ),
            ]
            for p, effect, n0, n1, alpha in SCORE
        ],
        "score_counted": [
            [p, lift * p, n0, n1, alpha, counted(p, p + lift * p, n0, n1, alpha)]
            for p, n0, n1, alpha in COUNTED
            for lift in (0.3, 0.7, -0.4)
        ],
        "sequence": [[*case, sequence(*case)] for case in SEQUENCE],
        "several": several(),
    }
    Path(__file__).with_name("values.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
