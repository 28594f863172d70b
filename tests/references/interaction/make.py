"""Joint tests that an effect is the same in all values of a segment, by regression: writes values.json beside this file.

    uv run --no-project --with-requirements requirements.txt make.py

A saturated regression on treatment, segment and their products with HC2 errors has Welch's variances, so statsmodels' Wald
test of the products is Cochran's Q. Its tail is that of Zhang 2012 with the trace of every cell's share, by plain matrices.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import statsmodels.api as sm
from scipy import stats
from statsmodels.stats.multitest import multipletests

ALPHA = 0.045
VALUES = ("desktop", "phone", "tablet", "tv")
SIZES = {"desktop": (400, 310), "phone": (220, 260), "tablet": (90, 60), "tv": (50, 75)}


def design(users: dict[str, list[list[float]]]) -> tuple[np.ndarray, np.ndarray]:
    """Outcomes, and a column a cell: control of each value, then treated minus control of each value."""
    y = np.concatenate([np.concatenate(users[v]) for v in VALUES])
    rows = []
    for i, v in enumerate(VALUES):
        for treated, cell in enumerate(users[v]):
            row = np.zeros(2 * len(VALUES))
            row[i], row[len(VALUES) + i] = 1, treated
            rows += [row] * len(cell)
    return y, np.array(rows)


def tail(estimates: np.ndarray, parts: list[tuple[np.ndarray, int]], statistic: float) -> dict[str, float]:
    total = sum(v for v, _ in parts)
    inverse, r = np.linalg.inv(total), len(estimates)
    doubt = sum((np.trace(v @ inverse) ** 2 + np.trace(v @ inverse @ v @ inverse)) / f for v, f in parts)
    nu = r * (r + 1) / doubt
    return {
        "statistic": statistic,
        "degrees_of_freedom": r,
        "denominator_df": nu - r + 1,
        "p_value": stats.f.sf(statistic * (nu - r + 1) / (nu * r), r, nu - r + 1),
    }


def tested(users: dict[str, list[list[float]]]) -> dict[str, float]:
    k = len(VALUES)
    y, x = design(users)
    fitted = sm.OLS(y, x).fit(cov_type="HC2")
    contrast = np.hstack([np.zeros((k - 1, k)), -np.ones((k - 1, 1)), np.eye(k - 1)])
    wald = fitted.wald_test(contrast, use_f=False, scalar=True)
    cells = [(np.array(cell), i) for i, v in enumerate(VALUES) for cell in users[v]]
    parts = []
    for cell, i in cells:
        column = contrast[:, k + i]
        parts.append((np.outer(column, column) * cell.var(ddof=1) / len(cell), len(cell) - 1))
    found = tail(contrast @ fitted.params, parts, float(wald.statistic))
    return found | {"p_relative": relative(users)}


def relative(users: dict[str, list[list[float]]]) -> float:
    """The same of the log of each value's ratio of means; the statistic by a plain inverse."""
    k = len(VALUES)
    contrast = np.hstack([-np.ones((k - 1, 1)), np.eye(k - 1)])
    logs, parts = np.zeros(k), []
    for i, v in enumerate(VALUES):
        for sign, cell in zip((-1, 1), users[v], strict=True):
            logs[i] += sign * np.log(np.mean(cell))
            variance = np.var(cell, ddof=1) / len(cell) / np.mean(cell) ** 2
            parts.append((np.outer(contrast[:, i], contrast[:, i]) * variance, len(cell) - 1))
    estimates = contrast @ logs
    statistic = estimates @ np.linalg.inv(sum(v for v, _ in parts)) @ estimates
    return float(tail(estimates, parts, float(statistic))["p_value"])


def main() -> None:
    rng = np.random.default_rng(20261122)
    lifts = {"desktop": 0.0, "phone": 0.1, "tablet": 0.7, "tv": -0.6}
    minutes = {
        v: [
            np.round(rng.gamma(2, 2, n) + (lifts[v] + 0.5) * side, 3).tolist()
            for side, n in enumerate(SIZES[v])
        ]
        for v in VALUES
    }
    rates = {"desktop": 0.25, "phone": 0.4, "tablet": 0.5, "tv": 0.6}
    bought = {
        v: [
            (rng.random(n) < rates[v] * (1 + 0.3 * side)).astype(float).tolist()
            for side, n in enumerate(SIZES[v])
        ]
        for v in VALUES
    }
    metrics = {"minutes": minutes, "bought": bought}
    expected = {name: tested(users) for name, users in metrics.items()}
    p = [found["p_value"] for found in expected.values()]
    for name, adjusted in zip(expected, multipletests(p, ALPHA, "holm")[1], strict=True):
        expected[name]["p_adjusted"] = adjusted
    written = {"alpha": ALPHA, "users": metrics, "expected": expected}
    (Path(__file__).parent / "values.json").write_text(json.dumps(written, default=float) + "\n")


if __name__ == "__main__":
    main()
