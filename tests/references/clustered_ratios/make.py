"""Ratios of randomised units above the analysis unit, by cluster-robust regression: writes values.json beside this file.

    uv venv /tmp/references && uv pip install --python /tmp/references/bin/python -r requirements.txt
    /tmp/references/bin/python make.py

Households are randomised, their members' orders are analysed: an order's value is regressed on a constant, in each arm by
itself, with a covariance clustered by household (statsmodels, without its small-sample factor). Households without any
order are no rows of a regression but were randomised, so the factor n / (n - 1) is that of all households.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import statsmodels.api as sm
from scipy import optimize, stats

LEVEL = 0.95


def orders(rng: np.random.Generator, households: int, mean: float) -> list[list[float]]:
    """Each household's orders: alike within it, and the larger the more there are, so that clusters matter."""
    made = []
    for _ in range(households):
        size = int(rng.poisson(2.5))
        level = mean + rng.normal(0, 4) + 0.8 * size
        made.append([round(float(v), 2) for v in level + rng.normal(0, 2, size)])
    return made


def regression(households: list[list[float]]) -> tuple[float, float]:
    """The mean order and its clustered variance over randomised households."""
    y = np.array([value for household in households for value in household])
    groups = np.repeat(np.arange(len(households)), [len(household) for household in households])
    kinds = {"groups": groups, "use_correction": False}
    fit = sm.OLS(y, np.ones(len(y))).fit(cov_type="cluster", cov_kwds=kinds)
    n = len(households)
    return float(fit.params[0]), float(fit.cov_params()[0, 0]) * n / (n - 1)


rng = np.random.default_rng(2018)
arms = {"control": orders(rng, 160, 20.0), "blue": orders(rng, 120, 21.5)}
(r0, v0), (r1, v1) = (regression(households) for households in arms.values())
n0, n1 = (len(households) for households in arms.values())
df = (v0 + v1) ** 2 / (v0**2 / (n0 - 1) + v1**2 / (n1 - 1))
error, effect = float(np.sqrt(v0 + v1)), r1 - r0
critical = float(stats.t.ppf((1 + LEVEL) / 2, df))
point = effect / r0


def excess(r: float) -> float:
    return float(abs(r1 - (1 + r) * r0) / np.sqrt(v1 + (1 + r) ** 2 * v0) - critical)


# The same effect from one regression of both arms, and what it would be worth if orders were independent.
values = [[value for household in households for value in household] for households in arms.values()]
together = np.concatenate(values)
treated = np.repeat([0.0, 1.0], [len(v) for v in values])
sizes = [len(household) for households in arms.values() for household in households]
both = sm.OLS(together, sm.add_constant(treated)).fit(
    cov_type="cluster", cov_kwds={"groups": np.repeat(np.arange(n0 + n1), sizes), "use_correction": False}
)
naive = sm.OLS(together, sm.add_constant(treated)).fit(cov_type="HC2")

expected = {
    "mean_control": r0,
    "mean_treatment": r1,
    "sd_control": float(np.sqrt(v0 * n0)),
    "sd_treatment": float(np.sqrt(v1 * n1)),
    "estimate": effect,
    "standard_error": error,
    "degrees_of_freedom": df,
    "statistic": effect / error,
    "p_value": float(2 * stats.t.sf(abs(effect / error), df)),
    "ci_low": effect - critical * error,
    "ci_high": effect + critical * error,
    "relative": point,
    "relative_low": float(optimize.brentq(excess, point - 0.5, point, xtol=1e-15, rtol=1e-14)),
    "relative_high": float(optimize.brentq(excess, point, point + 0.5, xtol=1e-15, rtol=1e-14)),
}
regressions = {
    "coefficient": float(both.params[1]),
    "clustered_error_without_factor": float(both.bse[1]),
    "error_if_orders_were_independent": float(naive.bse[1]),
}
written = {"arms": arms, "expected": expected, "regression_of_both_arms": regressions}
(Path(__file__).parent / "values.json").write_text(json.dumps(written) + "\n")
