"""Reference values of adjusted effects, from regressions on users: writes users.csv and values.json beside itself.

Nothing here is shared with the platform: slopes, effects and standard errors are statsmodels' own wherever it has them.
Every variance is that of the regression given the covariates and strata, plus the part that both samples' averages of
covariates and strata add in a superpopulation (`of_population`), from users too.

    pip install -r requirements.txt && python make.py
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import statsmodels.api as sm
from scipy import optimize, stats

HERE = Path(__file__).parent
COVARIATES = {"one": ["x1"], "three": ["x1", "x2", "x3"]}


def users() -> pd.DataFrame:
    """Three arms of unlike size and noise; slopes and effects differ by arm and stratum; x1 and x2 are correlated."""
    rng = np.random.default_rng(20260301)
    n = 420
    arm = rng.choice(3, n, p=[0.5, 0.3, 0.2])
    stratum = rng.choice(["a", "b", "c", "d"], n, p=[0.4, 0.3, 0.2, 0.1])
    level = np.array([{"a": 0.0, "b": 2.0, "c": 5.0, "d": -3.0}[s] for s in stratum])
    x1 = rng.gamma(2.0, 1.5, n) + 0.3 * level
    x2 = 0.6 * x1 + rng.normal(0, 1, n)
    x3 = (rng.random(n) < 0.25).astype(float)
    y = 4 + 0.9 * level + (1.2 + 0.5 * arm) * x1 - 0.4 * x2 + x3 + 0.7 * arm + rng.normal(0, 1 + 0.6 * arm, n)
    visits = rng.poisson(3 + 0.4 * x1 + 0.3 * arm) + 1.0
    spend = visits * (2 + 0.5 * x1 + 0.2 * arm) + rng.gamma(2.0, 2.0, n)
    frame = pd.DataFrame(
        {
            "arm": arm,
            "stratum": stratum,
            "y": y,
            "spend": spend,
            "visits": visits,
            "x1": x1,
            "x2": x2,
            "x3": x3,
        }
    )
    return frame.round(6)


def regression(frame: pd.DataFrame, y: np.ndarray, names: list[str], slopes: str, strata: bool) -> dict:
    """Adjusted means of all arms by least squares on cell dummies and covariates, then averaged over all users."""
    arms, levels = sorted(frame.arm.unique()), sorted(frame.stratum.unique()) if strata else [None]
    arm, n = frame.arm.to_numpy(), len(frame)
    cell = {
        (a, s): (arm == a) & (frame.stratum.eq(s).to_numpy() if strata else True)
        for a in arms
        for s in levels
    }
    x = frame[names].to_numpy()
    dummies = np.column_stack(list(cell.values())).astype(float)
    if slopes == "pooled":
        design = np.column_stack([dummies, x])
    else:
        design = np.column_stack([dummies, *(x * (arm == a)[:, None] for a in arms)])
    fitted = sm.OLS(y, design).fit()
    # Residual variance by cell; the slopes' degrees of freedom are taken from their own arms, or from all.
    spread = np.empty(n)
    for a in arms:
        of_arm = arm == a if slopes == "per_arm" else np.ones(n, bool)
        cells = [inside & of_arm for inside in cell.values() if (inside & of_arm).any()]
        free = of_arm.sum() - len(cells)
        for s in levels:
            inside = cell[a, s]
            ratio = free / (free - len(names))
            spread[inside] = fitted.resid[inside].var(ddof=1) * ratio
    bread = np.linalg.inv(design.T @ design)
    given = bread @ (design.T * spread) @ design @ bread  # statsmodels' sandwich with variances by cell
    # What each arm would have given for every user: its regression at the user's own stratum and covariates.
    predict = []
    for a in arms:
        at = np.zeros((n, design.shape[1]))
        for j, (b, s) in enumerate(cell):
            at[:, j] = (b == a) & (frame.stratum.eq(s).to_numpy() if strata else True)
        first = len(cell) + (0 if slopes == "pooled" else len(names) * arms.index(a))
        at[:, first : first + len(names)] = x
        predict.append(at)
    contrast = np.array([at.mean(axis=0) for at in predict])
    surface = np.array([at @ fitted.params for at in predict])
    of_population = np.atleast_2d(np.cov(surface)) / n
    # Slopes that are not an arm's own leave residuals that go with the covariates, hence with their averages.
    share = {s: (frame.stratum.eq(s).mean() if strata else 1.0) for s in levels}
    crossed = np.zeros((len(arms), len(arms)))
    for i, a in enumerate(arms):
        for j in range(len(arms)):
            for s in levels:
                inside = cell[a, s]
                centred = surface[j][inside] - surface[j][inside].mean()
                crossed[i, j] += share[s] * (fitted.resid[inside] @ centred) / inside.sum() / n
    covariance = contrast @ given @ contrast.T + of_population + crossed + crossed.T
    theta = fitted.params[len(cell) :].reshape(-1, len(names)) if names else np.zeros((1, 0))
    found = {
        "mean": (contrast @ fitted.params).tolist(),
        "covariance": covariance.tolist(),
        "given_covariates": (contrast @ given @ contrast.T).tolist(),
        "theta": theta.tolist(),
    }
    for kind in ("HC2", "HC3"):
        robust = fitted.get_robustcov_results(kind).cov_params()
        step = contrast[1] - contrast[0]
        found[kind] = float(step @ robust @ step)
    return found


def lin(frame: pd.DataFrame, y: np.ndarray, names: list[str]) -> dict:
    """Lin's regression of arms 0 and 1: treatment, centred covariates and their products; and each arm's own fit."""
    both = frame.arm.isin([0, 1]).to_numpy()
    x = frame.loc[both, names].to_numpy()
    x = x - x.mean(axis=0)
    t = frame.arm[both].to_numpy().astype(float)
    design = np.column_stack([np.ones_like(t), t, x, x * t[:, None]])
    fitted = sm.OLS(y[both], design).fit(cov_type="HC2")
    arms = [sm.OLS(y[both][t == a], sm.add_constant(x[t == a])).fit() for a in (0, 1)]
    return {
        "estimate": float(fitted.params[1]),
        "HC2": float(fitted.bse[1] ** 2),
        "own_intercepts": [float(a.params[0]) for a in arms],
        "own_variances": [float(a.bse[0] ** 2) for a in arms],
        "own_df": [float(a.df_resid) for a in arms],
        "slopes": [a.params[1:].tolist() for a in arms],
        "of_population": float(np.var(x @ (arms[1].params - arms[0].params)[1:], ddof=1) / both.sum()),
    }


def saturated(frame: pd.DataFrame, y: np.ndarray) -> dict:
    """Post-stratified effect of arm 1 against 0 as the regression on treatment, centred strata and their products."""
    both = frame.arm.isin([0, 1]).to_numpy()
    t = frame.arm[both].to_numpy().astype(float)
    strata = pd.get_dummies(frame.stratum[both], drop_first=True).to_numpy().astype(float)
    strata -= strata.mean(axis=0)
    design = np.column_stack([np.ones_like(t), t, strata, strata * t[:, None]])
    fitted = sm.OLS(y[both], design).fit(cov_type="HC2")
    effect = strata @ fitted.params[-strata.shape[1] :]
    return {
        "estimate": float(fitted.params[1]),
        "HC2": float(fitted.bse[1] ** 2),
        "of_population": float(np.var(effect, ddof=1) / both.sum()),
    }


def fieller(found: dict, critical: float) -> list[float]:
    """The relative effects at which the test of treatment - (1 + r) control just rejects, by root search."""
    m, v = np.array(found["mean"])[:2], np.array(found["covariance"])[:2, :2]

    def beyond(r: float) -> float:
        c = np.array([-(1 + r), 1.0])
        return (c @ m) ** 2 - critical**2 * (c @ v @ c)

    point = m[1] / m[0] - 1
    return [
        optimize.brentq(beyond, point - 1, point, xtol=1e-15),
        optimize.brentq(beyond, point, point + 1, xtol=1e-15),
    ]


def linearised(frame: pd.DataFrame) -> np.ndarray:
    """Each user's spend a visit: r + (spend - r visits) / mean visits, with r and the mean of the user's arm."""
    means = frame.groupby("arm")[["spend", "visits"]].transform("mean")
    r = means.spend / means.visits
    return (r + (frame.spend - r * frame.visits) / means.visits).to_numpy()


def main() -> None:
    frame = users()
    frame.to_csv(HERE / "users.csv", index=False)
    frame = pd.read_csv(HERE / "users.csv")
    outcomes = {"mean": frame.y.to_numpy(), "ratio": linearised(frame)}
    values: dict = {"adjusted": {}, "lin": {}, "saturated": {}}
    for outcome, y in outcomes.items():
        for name, names in {"none": [], **COVARIATES}.items():
            for slopes in ("pooled", "per_arm"):
                for strata in (False, True):
                    if not names and (slopes == "per_arm" or not strata):
                        continue
                    found = regression(frame, y, names, slopes, strata)
                    found["fieller_2.1"] = fieller(found, 2.1)
                    values["adjusted"][f"{outcome} {name} {slopes} {'strata' if strata else 'whole'}"] = found
    for name, names in COVARIATES.items():
        values["lin"][name] = lin(frame, outcomes["mean"], names)
    values["saturated"] = saturated(frame, outcomes["mean"])
    shifted = [frame[frame.arm == a] for a in (0, 1)]
    x = [s[COVARIATES["three"]].to_numpy() for s in shifted]
    d = x[1].mean(axis=0) - x[0].mean(axis=0)
    spread = sum(np.cov(part.T) / len(part) for part in x)
    wald = float(d @ np.linalg.solve(spread, d))
    values["balance"] = {"wald": wald, "p": float(stats.chi2.sf(wald, 3))}
    (HERE / "values.json").write_text(json.dumps(values, indent=1) + "\n")


if __name__ == "__main__":
    main()
