"""Users and their values from raw exposures and outcomes, by pandas: an independent reading of what counts."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

DAY = pd.Timedelta(days=1)


@dataclass(frozen=True)
class Plan:
    """What a spec says, in plain words."""

    variants: tuple[str, ...]  # control first
    start: str
    days: int
    timezone: str = "UTC"
    pre_period_days: int = 14
    did_days: int = 7

    def midnight(self, days_after_start: int) -> pd.Timestamp:
        """The first instant of a local day."""
        day = pd.Timestamp(self.start) + pd.Timedelta(days=days_after_start)
        return day.tz_localize(self.timezone).tz_convert("UTC")


class Raw:
    """One experiment's raw folder at the end of its window, or of the day `last` (0: the window's first)."""

    def __init__(self, folder: Path, plan: Plan, last: int | None = None) -> None:
        self.plan = plan
        self.cutoff = plan.midnight((plan.days - 1 if last is None else last) + 1)
        self.exposures = pd.read_parquet(folder / "exposures").drop_duplicates("event_id")
        self.outcomes = pd.read_parquet(folder / "outcomes").drop_duplicates("event_id")
        inside = self.exposures[
            (self.exposures.exposed_at >= plan.midnight(0)) & (self.exposures.exposed_at < self.cutoff)
        ].sort_values("exposed_at", kind="stable")
        everybody = inside.groupby("user_id").agg(
            variant=("variant_id", "first"), exposed_at=("exposed_at", "first")
        )
        everybody["crossover"] = inside.groupby("user_id").variant_id.nunique() > 1
        attributes = [
            name for name in inside.columns if name not in ("user_id", "event_id", "variant_id", "exposed_at")
        ]
        self.assigned = everybody.join(inside.groupby("user_id")[attributes].first())
        self.users = self.assigned[~self.assigned.crossover]
        joined = self.outcomes[self.outcomes.occurred_at < self.cutoff].join(
            self.users[["variant", "exposed_at"]], on="user_id", how="inner"
        )
        self.events = joined.assign(day=(joined.occurred_at - joined.exposed_at) // DAY)

    def counted(self, event: str) -> pd.DataFrame:
        """The event's outcomes at or after exposure, inside the window."""
        end = self.plan.midnight(self.plan.days)
        rows = self.events[self.events.event == event]
        return rows[(rows.day >= 0) & (rows.occurred_at < end)]

    def before(self, event: str) -> pd.DataFrame:
        """The event's outcomes in the pre-period, on the local days before the window."""
        rows = self.events[self.events.event == event]
        at = rows.occurred_at
        return rows[(at >= self.plan.midnight(-self.plan.pre_period_days)) & (at < self.plan.midnight(0))]

    def per_user(self, rows: pd.DataFrame, how: str) -> pd.Series:
        """One number per user, 0 without outcomes: sum of values, count of rows, or whether there are any."""
        grouped = rows.groupby("user_id").value
        values = grouped.sum() if how == "sum" else grouped.count()
        values = values.reindex(self.users.index, fill_value=0).astype(float)
        return (values > 0).astype(float) if how == "any" else values

    def by_arm(self, values: pd.Series) -> tuple[pd.Series, ...]:
        """Values of each variant, control first."""
        arms = self.users.variant.reindex(values.index)
        return tuple(values[arms == variant] for variant in self.plan.variants)

    def days(self, event: str, how: str) -> pd.DataFrame:
        """Users whose days after exposure are all over, with their value on each day from -N to N - 1."""
        n = self.plan.did_days
        mature = self.users[self.users.exposed_at + n * DAY <= self.cutoff]
        rows = self.events[(self.events.event == event) & self.events.day.between(-n, n - 1)]
        rows = rows[rows.user_id.isin(mature.index)]
        grouped = rows.groupby(["user_id", "day"]).value
        cells = (grouped.sum() if how == "sum" else grouped.count()).unstack(fill_value=0.0)
        values = (
            cells.reindex(index=mature.index, columns=range(-n, n), fill_value=0.0).fillna(0.0).astype(float)
        )
        return (values > 0).astype(float) if how == "any" else values


def hc2(values: pd.Series, treated: pd.Series) -> tuple[float, float]:
    """Slope of an ordinary regression on the treatment, with its HC2 standard error."""
    import statsmodels.api as sm

    fit = sm.OLS(values, sm.add_constant(treated.astype(float).to_numpy())).fit(cov_type="HC2")
    return float(fit.params.iloc[1]), float(fit.bse.iloc[1])


def wald(control: pd.DataFrame, treatment: pd.DataFrame, reference: int) -> tuple[float, int, float, float]:
    """The joint test that no column's difference of arms departs from the reference column's, written out.

    Statistic, both degrees of freedom and p, by Krishnamoorthy and Yu 2004.
    """
    from scipy import stats

    sides = [side.drop(columns=reference).sub(side[reference], axis=0) for side in (control, treatment)]
    delta = (sides[1].mean() - sides[0].mean()).to_numpy()
    parts = [np.cov(side.to_numpy(), rowvar=False, ddof=1) / len(side) for side in sides]
    inverse, k = np.linalg.inv(sum(parts)), len(delta)
    statistic = float(delta @ inverse @ delta)
    doubt = [
        (np.trace(v @ inverse @ v @ inverse) + np.trace(v @ inverse) ** 2) / (len(side) - 1)
        for v, side in zip(parts, sides, strict=True)
    ]
    nu = k * (k + 1) / sum(doubt)
    p = float(stats.f.sf(statistic * (nu - k + 1) / (nu * k), k, nu - k + 1))
    return statistic, k, float(nu - k + 1), p
