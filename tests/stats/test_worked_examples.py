"""Examples that other packages print, reproduced to 1e-9: tests/references/worked_examples/make.py made the values."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from exp_platform.stats.arms import Arm, arm_mean
from exp_platform.stats.intervals import normal_critical, t_critical, t_two_sided
from exp_platform.stats.moments import Moments
from exp_platform.stats.power import of_means, required_per_arm
from exp_platform.stats.proportions import Count, score
from exp_platform.stats.relative import delta, delta_standard_error, fieller, log_ratio
from exp_platform.stats.sequential import half_width, rho
from exp_platform.stats.srm import mismatch, sequential_e_value
from exp_platform.stats.welch import difference

VALUES: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "references" / "worked_examples" / "values.json").read_text()
)


def near(value: float) -> Any:
    return pytest.approx(value, rel=1e-9, abs=0)


def from_sums(total: float, squares: float, n: int) -> Arm:
    return arm_mean(Moments(n, np.array([total / n]), np.array([[squares - total**2 / n]])))


PAIRS = {
    "sums": (from_sums(1396.87, 52377.9767, 3407), from_sums(2422.7, 134698.29, 3461)),
    "conversions": (from_sums(14, 14, 28), from_sums(16, 16, 30)),
    "means": (Arm(1000, 50.0, 0.25), Arm(1000, 55.0, 0.30)),
}


@pytest.mark.parametrize("name", ["sums", "conversions"])
def test_welch(name: str) -> None:
    found, expected = difference(*PAIRS[name]), VALUES[name]["welch"]
    low, high = found.interval(0.95)
    assert {
        "estimate": found.estimate,
        "degrees_of_freedom": found.degrees_of_freedom,
        "statistic": found.statistic,
        "p_value": found.p_value,
        "low": low,
        "high": high,
    } == {key: near(value) for key, value in expected.items()}


@pytest.mark.parametrize("name", PAIRS)
def test_relative_effects(name: str) -> None:
    """With t quantiles; the means' variances are known, so with the normal one."""
    pair, expected = PAIRS[name], VALUES[name]["relative"]
    df = difference(*pair).degrees_of_freedom if name != "means" else 1e300
    critical = t_critical(0.95, df) if name != "means" else normal_critical(0.95)
    exact, logged, approximate = (method(*pair, critical) for method in (fieller, log_ratio, delta))
    assert {
        "point": exact.point,
        "delta_low": approximate.low,
        "delta_high": approximate.high,
        "delta_p": t_two_sided(exact.point / delta_standard_error(*pair), df).p,
        "fieller_low": exact.low,
        "fieller_high": exact.high,
        "log_low": logged.low,
        "log_high": logged.high,
    } == {key: near(value) for key, value in expected.items()}


def test_confidence_sequence() -> None:
    tuned = rho(0.05, 5000)
    assert tuned == near(VALUES["sequence"]["rho"])
    for n in (1000, 5000):
        assert half_width(n, 1.0, tuned, 0.05) == near(VALUES["sequence"][str(n)])


@pytest.mark.parametrize("counts", VALUES["split"])
def test_sample_ratio_mismatch(counts: str) -> None:
    listed = [int(count) for count in counts.split()]
    assert mismatch(listed, [1] * len(listed)).p == near(VALUES["split"][counts])


@pytest.mark.parametrize("counts", VALUES["split_e_values"])
def test_sequential_sample_ratio_mismatch(counts: str) -> None:
    found = sequential_e_value([int(count) for count in counts.split()], (1, 1))
    assert found.e_value == near(VALUES["split_e_values"][counts])


def test_pooled_test_of_proportions() -> None:
    assert score(Count(500, 10_000), Count(560, 10_000)).p_value == near(VALUES["pooled_p"])


@pytest.mark.parametrize("design", VALUES["users_per_arm"])
def test_users_per_arm(design: str) -> None:
    effect, alpha, power = map(float, design.split())
    found = required_per_arm(effect, of_means(1.0), alpha=alpha, power=power)
    assert found.control == near(VALUES["users_per_arm"][design])
