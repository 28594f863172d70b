"""The Bayesian reading by GrowthBook's gbstats: writes values.json beside this file.

    uv venv /tmp/references && uv pip install --python /tmp/references/bin/python -r requirements.txt
    /tmp/references/bin/python make.py

Absolute differences with a proper normal prior around 0, stated on the effect or relative to control's mean; `inverse` is a
metric of which less is better. gbstats takes sums of squares: the values are small enough not to cancel.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
from gbstats.bayesian.tests import EffectBayesianABTest, EffectBayesianConfig, GaussianPrior
from gbstats.models.statistics import SampleMeanStatistic

CASES = {
    "relative_prior": {"prior_type": "relative", "sd": 0.3, "inverse": False},
    "tight_relative_prior": {"prior_type": "relative", "sd": 0.02, "inverse": False},
    "absolute_prior": {"prior_type": "absolute", "sd": 0.5, "inverse": False},
    "less_is_better": {"prior_type": "relative", "sd": 0.3, "inverse": True},
}


def statistic(values: np.ndarray) -> SampleMeanStatistic:
    return SampleMeanStatistic(n=len(values), sum=float(values.sum()), sum_squares=float((values**2).sum()))


rng = np.random.default_rng(1763)
arms = {"control": np.round(rng.gamma(2.0, 3.0, 320), 3), "t1": np.round(rng.gamma(2.0, 3.3, 260), 3)}
expected = {}
for name, case in CASES.items():
    config = EffectBayesianConfig(
        difference_type="absolute",
        prior_type=case["prior_type"],
        prior_effect=GaussianPrior(mean=0, variance=case["sd"] ** 2, proper=True),
        inverse=case["inverse"],
        alpha=0.05,
    )
    test = EffectBayesianABTest(statistic(arms["control"]), statistic(arms["t1"]), config)
    found = test.compute_result()
    expected[name] = {
        "estimate": found.expected,
        "standard_error": found.uplift.stddev,
        "ci_low": found.ci[0],
        "ci_high": found.ci[1],
        "chance_better": found.chance_to_win,
        "expected_loss_control": found.risk[0],
        "expected_loss": found.risk[1],
        "prior_sd": test.prior_effect.variance**0.5,
    }
cases = {name: {"case": CASES[name], "expected": values} for name, values in expected.items()}
written = {"arms": {name: values.tolist() for name, values in arms.items()}, "cases": cases}
(Path(__file__).parent / "values.json").write_text(json.dumps(written, default=float) + "\n")
