"""Synthetic experiments, and their raw rows joined user by user with pandas: an independent reading of the rows."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import Any

import pandas as pd

from exp_platform.config.experiment import Experiment, Variant, Window
from exp_platform.config.metrics import Measure, Metric, Role
from exp_platform.config.sources import SyntheticSource
from exp_platform.synth.rows import chunk_rows, chunks

START, DAYS = date(2026, 1, 5), 14


def synthetic(n_users: int, arms: int = 2, experiment_id: str = "exp_synth", **settings: Any) -> Experiment:
    """Equal planned shares, a lift of .03 in the last treatment, two weeks before and two weeks of window."""
    defaults: dict[str, Any] = {
        "seed": 42,
        "exposure_rate": 0.85,
        "base_conversion": 0.10,
        "effect_lift_conversion": (0.0,) * (arms - 2) + (0.03,),
        "effect_lift_revenue": (0.0,) * (arms - 1),
        "revenue_mean": 12.5,
        "revenue_sd": 3.0,
        "pre_period_days": 14,
    }
    source = SyntheticSource(n_users=n_users, days=DAYS, **{**defaults, **settings})
    names = ("control", *(f"t{i}" for i in range(1, arms)))
    conversion = Metric("conversion", "proportion", Role.PRIMARY, 1, Measure("purchase", "any"))
    return Experiment(
        id=experiment_id,
        owner="nobody",
        hypothesis="",
        variants=tuple(Variant(name, 1 / arms) for name in names),
        window=Window(START, date(2026, 1, 18)),
        source=source,
        metrics=(
            conversion,
            replace(conversion, id="revenue", kind="mean", numerator=Measure("purchase", "sum")),
        ),
    )


def raw(experiment: Experiment) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Exposures and outcomes of all chunks, late ones last."""
    assert isinstance(experiment.source, SyntheticSource)
    parts = [chunk_rows(experiment, chunk) for chunk in range(chunks(experiment.source))]
    exposures = pd.concat([part.exposures.to_pandas() for part in parts], ignore_index=True)
    outcomes = pd.concat(
        [table.to_pandas() for part in parts for table in (part.outcomes, part.late)], ignore_index=True
    )
    return exposures, outcomes


def users(exposures: pd.DataFrame, outcomes: pd.DataFrame) -> pd.DataFrame:
    """One row per user: variant, and orders, revenue and views in the pre-period and from exposure on."""
    first = exposures.sort_values("exposed_at").drop_duplicates("user_id").set_index("user_id")
    rows = outcomes.join(first.exposed_at, on="user_id")
    start = pd.Timestamp(START, tz="UTC")
    end = start + pd.Timedelta(days=DAYS)
    found = first[["variant_id", "exposed_at"]].copy()
    for name, selected in (
        ("pre", rows[rows.occurred_at < start]),
        ("post", rows[(rows.occurred_at >= rows.exposed_at) & (rows.occurred_at < end)]),
    ):
        orders = selected[selected.event == "purchase"].groupby("user_id").value
        found[f"{name}_orders"] = orders.count().reindex(found.index, fill_value=0)
        found[f"{name}_revenue"] = orders.sum().reindex(found.index, fill_value=0.0)
        views = selected[selected.event == "pageview"].groupby("user_id").value.sum()
        found[f"{name}_views"] = views.reindex(found.index, fill_value=0.0)
    return found
