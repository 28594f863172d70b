"""Event study by clustered regression, identified sets by linear programs, intervals from users' own combinations.

Writes expected.json beside it: the users' weeks it drew, and what others make of them.
"""

import json
from itertools import product
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.formula.api as smf
from scipy import optimize, stats

BEFORE, AFTER = 4, 2
M_BARS = (0.0, 0.5, 1.0, 1.5, 2.0)
LEVEL = 0.95


def draw() -> dict[str, np.ndarray]:
    """Users with a level of their own and days that go together; the treatment adds 3 a week after it."""
    rng = np.random.default_rng(20)
    weeks = {}
    for arm, users, effect in (("control", 60, 0.0), ("treatment", 80, 3.0)):
        level = rng.gamma(4.0, 1.0, (users, 1))
        values = rng.poisson(level, (users, BEFORE + AFTER)).astype(float)
        values[:, BEFORE:] += rng.poisson(effect, (users, AFTER))
        weeks[arm] = values
    return weeks


def long(values: np.ndarray, arm: int) -> pd.DataFrame:
    users, periods = values.shape
    return pd.DataFrame(
        {
            "y": values.ravel(),
            "period": np.tile(np.arange(periods), users),
            "user": np.repeat(np.arange(users), periods) + 1000 * arm,
            "arm": arm,
        }
    )


def clustered(weeks: dict[str, np.ndarray]) -> dict[str, object]:
    """The regression on arm, period and products, and its covariance clustered by user, without finite-sample factors."""
    reference = BEFORE - 1
    frame = pd.concat([long(weeks["control"], 0), long(weeks["treatment"], 1)])
    formula = f"y ~ C(period, Treatment({reference})) * arm"
    fit = smf.ols(formula, frame).fit(
        cov_type="cluster", cov_kwds={"groups": frame["user"], "use_correction": False}
    )
    names = [n for n in fit.params.index if n.endswith(":arm")]
    # Each arm's part on its own, so that each can be given its n / (n - 1).
    parts = []
    for values in weeks.values():
        one = long(values, 0)
        alone = smf.ols(f"y ~ C(period, Treatment({reference}))", one).fit(
            cov_type="cluster", cov_kwds={"groups": one["user"], "use_correction": False}
        )
        parts.append(alone.cov_params().to_numpy()[1:, 1:])
    together = fit.cov_params().loc[names, names].to_numpy()
    assert np.allclose(together, parts[0] + parts[1], rtol=1e-10, atol=1e-14)
    sizes = [len(values) for values in weeks.values()]
    hc2 = sum(part * n / (n - 1) for part, n in zip(parts, sizes, strict=True))
    return {"estimates": fit.params[names].tolist(), "covariance": hc2.tolist()}


def identified(gap: np.ndarray, m_bar: float) -> list[float]:
    """The set of effects by a linear program for each step that may be the largest, with either sign."""
    periods = BEFORE + AFTER
    found = []
    for largest, sign in product(range(BEFORE - 1), (1.0, -1.0)):
        step = np.zeros(periods)
        step[[largest + 1, largest]] = sign, -sign
        a_ub, b_ub = [-step], [0.0]
        for t in range(periods - 1):
            change = np.zeros(periods)
            change[[t + 1, t]] = 1.0, -1.0
            bound = step if t < BEFORE - 1 else m_bar * step
            a_ub += [change - bound, -change - bound]
            b_ub += [0.0, 0.0]
        # Before exposure there is no effect: the bias is the gap itself. The last week before it is the reference.
        a_eq, b_eq = np.eye(periods)[:BEFORE], gap[:BEFORE]
        bias = np.zeros(periods)
        bias[BEFORE:] = 1 / AFTER
        bias[BEFORE - 1] = -1.0
        for direction in (1.0, -1.0):
            solved = optimize.linprog(direction * bias, a_ub, b_ub, a_eq, b_eq, bounds=(None, None))
            if solved.status == 0:
                found.append(gap[BEFORE:].mean() - gap[BEFORE - 1] - direction * solved.fun)
    return [min(found), max(found)]


def interval(weeks: dict[str, np.ndarray], m_bar: float, critical: float) -> list[float]:
    """The union over the cases, each end from the users' own values of that combination."""
    lows, highs = [], []
    for largest, sign in product(range(BEFORE - 1), (1.0, -1.0)):
        for towards, ends in ((-1.0, lows), (1.0, highs)):
            means, variances = [], []
            for values in weeks.values():
                effect = values[:, BEFORE:].mean(axis=1) - values[:, BEFORE - 1]
                step = sign * (values[:, largest + 1] - values[:, largest])
                own = effect + towards * m_bar * (AFTER + 1) / 2 * step
                means.append(own.mean())
                variances.append(own.var(ddof=1) / len(own))
            ends.append(means[1] - means[0] + towards * critical * np.sqrt(sum(variances)))
    return [float(min(lows)), float(max(highs))]


def main() -> None:
    weeks = draw()
    gap = weeks["treatment"].mean(axis=0) - weeks["control"].mean(axis=0)
    critical = float(stats.t.ppf((1 + LEVEL) / 2, min(map(len, weeks.values())) - 1))
    breakdown = optimize.brentq(lambda m: interval(weeks, m, critical)[0], 0.0, 100.0, xtol=1e-13, rtol=1e-13)
    expected = {
        "weeks": {arm: values.astype(int).tolist() for arm, values in weeks.items()},
        "before": BEFORE,
        "level": LEVEL,
        "critical": critical,
        "event_study": clustered(weeks),
        "sensitivity": [
            {
                "m_bar": m,
                "identified": [float(x) for x in identified(gap, m)],
                "interval": interval(weeks, m, critical),
            }
            for m in M_BARS
        ],
        "breakdown": float(breakdown),
    }
    Path(__file__).with_name("expected.json").write_text(json.dumps(expected) + "\n")


if __name__ == "__main__":
    main()
