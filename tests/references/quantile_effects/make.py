"""Quantile treatment effects by SciPy alone: writes values.json beside this file.

    uv venv /tmp/references && uv pip install --python /tmp/references/bin/python -r requirements.txt
    /tmp/references/bin/python make.py

The effect is the coefficient of a quantile regression, solved exactly as a linear program (Koenker and Bassett 1978); each
arm's interval is that of `scipy.stats.quantile_test`; the standard error is the outer-confidence-interval one of Deng,
Knoblich and Lu 2018 with the tails that the binomial really leaves, and where a distance from the quantile is steeper than twice
the noise allows, the least error that no rank interval reaches beyond (docs/06_methods/quantiles.md). (n - 1) q is a whole number in every arm, where linear
interpolation and quantile regression agree on the quantile.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import optimize, sparse, stats

LEVEL = 0.95


def regression(control: np.ndarray, treated: np.ndarray, q: float) -> tuple[float, float]:
    """Intercept and coefficient of treatment that minimise the check loss."""
    y = np.concatenate([control, treated])
    x = np.column_stack([np.ones(len(y)), np.repeat([0.0, 1.0], [len(control), len(treated)])])
    each = sparse.identity(len(y))
    cost = np.concatenate([np.zeros(2), np.full(len(y), q), np.full(len(y), 1 - q)])
    free = [(None, None)] * 2 + [(0, None)] * (2 * len(y))
    rows = sparse.hstack([sparse.csr_array(x), each, -each])
    found = optimize.linprog(cost, A_eq=rows, b_eq=y, bounds=free, method="highs-ds")
    return float(found.x[0]), float(found.x[1])


def arm(values: np.ndarray, q: float) -> dict[str, float]:
    n = len(values)
    interval = stats.quantile_test(values, p=q).confidence_interval(LEVEL)
    # Users below the lower end, and at or below the upper one: no ties
    below = int((values < interval.low).sum())
    through = int((values <= interval.high).sum())
    left = stats.binom.cdf(below, n, q), stats.binom.sf(through - 1, n, q)
    widths = -stats.norm.ppf(left[0]) - stats.norm.ppf(left[1])
    df = (through - below - 1) / 2
    error = steepest(values, q, (interval.high - interval.low) / widths, df)
    return {"low": interval.low, "high": interval.high, "error": error, "df": df}


def steepest(values: np.ndarray, q: float, smooth: float, df: float) -> float:
    """Rank by rank: the distance of a user's value from the quantile in t errors of the chance to miss it there."""
    y, n, at = np.sort(values), len(values), np.quantile(values, q)
    slopes, beyond_chance = [smooth], False
    for k in range(1, n + 1):
        if k - 1 == (n - 1) * q:
            continue
        missed = stats.binom.sf(k - 1, n, q) if k - 1 > (n - 1) * q else stats.binom.cdf(k - 1, n, q)
        if missed < 5e-4:
            continue
        away = max(1.0, stats.t.isf(min(missed, 0.5), df))
        slopes.append(abs(y[k - 1] - at) / away)
        m = max(abs(k - 1 - (n - 1) * q), np.sqrt(n * q * (1 - q)))
        beyond_chance |= bool(slopes[-1] > smooth * min(2.0, 1 + 2 / np.sqrt(m)))
    return float(max(slopes)) if beyond_chance else smooth


def tested(control: np.ndarray, treated: np.ndarray, q: float) -> dict[str, float]:
    intercept, effect = regression(control, treated, q)
    c, t = arm(control, q), arm(treated, q)
    v0, v1 = c["error"] ** 2, t["error"] ** 2
    df = (v0 + v1) ** 2 / (v0**2 / c["df"] + v1**2 / t["df"])
    error = float(np.sqrt(v0 + v1))
    critical = stats.t.ppf((1 + LEVEL) / 2, df)
    point = effect / intercept

    def excess(r: float) -> float:
        spread = np.sqrt(v1 + (1 + r) ** 2 * v0)
        return float(abs(intercept + effect - (1 + r) * intercept) / spread - critical)

    return {
        "mean_control": intercept,
        "mean_control_low": c["low"],
        "mean_control_high": c["high"],
        "mean_treatment": intercept + effect,
        "mean_treatment_low": t["low"],
        "mean_treatment_high": t["high"],
        "estimate": effect,
        "standard_error": error,
        "degrees_of_freedom": df,
        "statistic": effect / error,
        "p_value": 2 * stats.t.sf(abs(effect / error), df),
        "ci_low": effect - critical * error,
        "ci_high": effect + critical * error,
        "relative": point,
        "relative_low": optimize.brentq(excess, point - 0.5, point, xtol=1e-15, rtol=1e-14),
        "relative_high": optimize.brentq(excess, point, point + 0.5, xtol=1e-15, rtol=1e-14),
    }


rng = np.random.default_rng(1978)
arms = {
    "control": np.round(rng.lognormal(3, 0.6, 401), 4),
    "blue": np.round(rng.lognormal(3.1, 0.5, 301), 4),
}
expected = {str(q): tested(arms["control"], arms["blue"], q) for q in (0.1, 0.5, 0.75, 0.9)}
written = {"arms": {name: values.tolist() for name, values in arms.items()}, "expected": expected}
(Path(__file__).parent / "values.json").write_text(json.dumps(written, default=float) + "\n")
