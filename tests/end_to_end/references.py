"""What results must be, computed by SciPy and pandas from columns of users: nothing of the platform takes part."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
import statsmodels.api as sm
from scipy import optimize, stats

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


def cuped(frame: pd.DataFrame, control: str, treatment: str, level: float) -> dict[str, float]:
    """The comparison of two arms of `frame` (arm, y, x) adjusted by a regression of y on all arms' dummies and x.

    The residuals' variance is an arm's own; both adjusted means also vary with the average of x, told by the users'
    influence on them. The relative interval is found by root search.
    """
    dummies = pd.get_dummies(frame.arm, dtype=float)
    design = dummies.assign(x=frame.x)
    fit = sm.OLS(frame.y, design).fit()
    n, lost = len(frame), (len(frame) - dummies.shape[1]) / fit.df_resid
    sizes, theta = dummies.sum(), fit.params["x"]
    spread = fit.resid.groupby(frame.arm).var() * lost
    sxx = ((frame.x - frame.groupby("arm").x.transform("mean")) ** 2).groupby(frame.arm).sum()
    centre, pair = frame.x.mean(), [control, treatment]
    means = fit.params[pair].to_numpy() + theta * centre
    lever = np.array([frame.x[frame.arm == a].mean() - centre for a in pair])
    left = np.array([(fit.resid * (frame.x - centre))[frame.arm == a].mean() * theta / n for a in pair])
    own = np.array([spread[a] / sizes[a] for a in pair])
    covariance = (
        np.diag(own)
        + np.outer(lever, lever) * (spread * sxx).sum() / sxx.sum() ** 2
        + left[:, None]
        + left[None, :]
        + theta**2 * frame.x.var() / n
    )
    step = np.array([-1.0, 1.0])
    error = math.sqrt(step @ covariance @ step)
    df = own.sum() ** 2 / (own**2 / ((sizes[pair].to_numpy() - 1) / lost)).sum()
    effect, critical = means[1] - means[0], stats.t.isf((1 - level) / 2, df)

    def beyond(ratio: float) -> float:
        weights = np.array([-ratio, 1.0])
        return float((weights @ means) ** 2 - critical**2 * (weights @ covariance @ weights))

    point, reach = means[1] / means[0], 3 * critical * error / abs(means[0])
    plain = [frame.y[frame.arm == a] for a in pair]
    before = sum(values.var() / len(values) for values in plain)
    within = frame[["x", "y"]] - frame.groupby("arm")[["x", "y"]].transform("mean")
    return {
        "theta": theta,
        "theta_treatment": theta,
        "rho": within.y.corr(within.x),
        "variance_reduction": 1 - error**2 / before,
        "mean_control": plain[0].mean(),
        "mean_treatment": plain[1].mean(),
        "adjusted_mean_control": means[0],
        "adjusted_mean_treatment": means[1],
        "estimate": effect,
        "standard_error": error,
        "degrees_of_freedom": df,
        "p_value": 2 * stats.t.sf(abs(effect / error), df),
        "ci_low": effect - critical * error,
        "ci_high": effect + critical * error,
        "relative": point - 1,
        "relative_low": optimize.brentq(beyond, point - reach, point, xtol=1e-15) - 1,
        "relative_high": optimize.brentq(beyond, point, point + reach, xtol=1e-15) - 1,
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
