"""Welch's test of means winsorised at pooled quantiles, by SciPy alone: writes values.json beside this file.

    uv venv /tmp/references && uv pip install --python /tmp/references/bin/python -r requirements.txt
    /tmp/references/bin/python make.py

605 users, so that 0.02 of them is no whole number: `mstats.winsorize` counts users, the platform takes an order statistic,
and the two agree unless the rank is exactly a whole number.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from scipy import optimize, stats
from scipy.stats import mstats

LEVEL = 0.95


def tested(control: np.ndarray, treated: np.ndarray) -> dict[str, float]:
    test = stats.ttest_ind(treated, control, equal_var=False)
    low, high = test.confidence_interval(LEVEL)
    critical = stats.t.ppf((1 + LEVEL) / 2, test.df)

    def excess(r: float) -> float:
        error = np.hypot(stats.sem(treated), (1 + r) * stats.sem(control))
        return float(abs(treated.mean() - (1 + r) * control.mean()) / error - critical)

    point = treated.mean() / control.mean() - 1
    return {
        "mean_control": control.mean(),
        "mean_treatment": treated.mean(),
        "estimate": treated.mean() - control.mean(),
        "standard_error": np.hypot(stats.sem(treated), stats.sem(control)),
        "degrees_of_freedom": test.df,
        "statistic": test.statistic,
        "p_value": test.pvalue,
        "ci_low": low,
        "ci_high": high,
        "relative": point,
        "relative_low": optimize.brentq(excess, point - 1, point, xtol=1e-15, rtol=1e-14),
        "relative_high": optimize.brentq(excess, point, point + 1, xtol=1e-15, rtol=1e-14),
    }


rng = np.random.default_rng(605)
arms = {
    "control": np.round(rng.standard_t(2, 300) * 3 + 10, 3),
    "blue": np.round(rng.standard_t(2, 305) * 3.3 + 11, 3),
}
together = np.concatenate(list(arms.values()))
expected = {}
for name, limits in {"both": (0.02, 0.02), "upper": (0.0, 0.02), "lower": (0.02, 0.0)}.items():
    capped = np.asarray(mstats.winsorize(together, limits=limits))
    expected[name] = tested(*np.split(capped, [len(arms["control"])])) | {
        "capped_lower_control": np.mean(arms["control"] < capped.min()),
        "capped_upper_control": np.mean(arms["control"] > capped.max()),
        "capped_lower_treatment": np.mean(arms["blue"] < capped.min()),
        "capped_upper_treatment": np.mean(arms["blue"] > capped.max()),
    }
written = {"arms": {name: values.tolist() for name, values in arms.items()}, "expected": expected}
(Path(__file__).parent / "values.json").write_text(json.dumps(written, default=float) + "\n")
