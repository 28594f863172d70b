"""What results must be, computed by SciPy and pandas from columns of users: nothing of the platform takes part."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from scipy import stats

EXACT = 1e-9  # the relative agreement that is asked for


def welch(control: Any, treatment: Any, level: float) -> dict[str, float]:
    """Means with their intervals, the difference with its interval and test, all of them two-sided at `level`."""
    c, t = np.asarray(control, float), np.asarray(treatment, float)
    test = stats.ttest_ind(t, c, equal_var=False)
    low, high = test.confidence_interval(level)
    arms = {}
    for side, values in (("control", c), ("treatment", t)):
        mean_low, mean_high = stats.t.interval(level, len(values) - 1, values.mean(), stats.sem(values))
        arms |= {
            f"n_{side}": len(values),
            f"mean_{side}": values.mean(),
            f"sd_{side}": values.std(ddof=1),
            f"mean_{side}_low": mean_low,
            f"mean_{side}_high": mean_high,
        }
    return arms | {
        "estimate": t.mean() - c.mean(),
        "standard_error": math.sqrt(c.var(ddof=1) / len(c) + t.var(ddof=1) / len(t)),
        "degrees_of_freedom": test.df,
        "statistic": test.statistic,
        "p_value": test.pvalue,
        "log10_p": math.log10(test.pvalue),
        "ci_low": low,
        "ci_high": high,
    }


def fieller(control: Any, treatment: Any, level: float) -> dict[str, float]:
    """The relative effect and Fieller's interval in its textbook form, with g (Fieller 1954; independent arms)."""
    c, t = np.asarray(control, float), np.asarray(treatment, float)
    v0, v1 = c.var(ddof=1) / len(c), t.var(ddof=1) / len(t)
    critical = stats.t.isf((1 - level) / 2, stats.ttest_ind(t, c, equal_var=False).df)
    ratio, g = t.mean() / c.mean(), critical**2 * v0 / c.mean() ** 2
    half = critical / abs(c.mean()) * math.sqrt((1 - g) * v1 + ratio**2 * v0)
    return {
        "relative": ratio - 1,
        "relative_low": (ratio - half) / (1 - g) - 1,
        "relative_high": (ratio + half) / (1 - g) - 1,
    }


def described(control: Any, treatment: Any) -> dict[str, float]:
    """Median and 95th percentile of each arm, zeros included."""
    return {
        f"{name}_{side}": float(pd.Series(values).quantile(q))
        for side, values in (("control", control), ("treatment", treatment))
        for name, q in (("median", 0.5), ("p95", 0.95))
    }


def ratio_of_means(numerator: Any, denominator: Any) -> tuple[float, float]:
    """A ratio of means and the variance of that estimate, by the delta method written out (Deng et al. 2018, eq. 4)."""
    x, y = np.asarray(numerator, float), np.asarray(denominator, float)
    (vx, cov), (_, vy) = np.cov(x, y, ddof=1)
    ratio = x.mean() / y.mean()
    return ratio, (vx - 2 * ratio * cov + ratio**2 * vy) / y.mean() ** 2 / len(x)


def split(counts: Any, shares: Any) -> dict[str, float]:
    """Pearson's test of counts against shares, and the Bayes factor of a flat Dirichlet against them."""
    n, planned = np.asarray(counts), np.asarray(shares, float) / np.sum(shares)
    test = stats.chisquare(n, n.sum() * planned)
    flat = stats.dirichlet_multinomial(np.ones(len(n)), n.sum()).logpmf(n)
    return {
        "statistic": test.statistic,
        "degrees_of_freedom": len(n) - 1,
        "p_value": test.pvalue,
        "log10_p": math.log10(test.pvalue),
        "e_value": math.exp(flat - stats.multinomial(n.sum(), planned).logpmf(n)),
    }


def agree(row: Any, expected: dict[str, float], tolerance: float = EXACT) -> None:
    """Assert that a row holds all of these numbers; tells every one that is off, not only the first."""
    found = {name: getattr(row, name) for name in expected}
    missing = [name for name, value in found.items() if value is None]
    assert not missing, f"{row}: no {', '.join(missing)}"
    assert found == {name: pytest.approx(value, rel=tolerance, abs=0) for name, value in expected.items()}
