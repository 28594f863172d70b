"""A ramp's users as arrays, and the aggregates that kernels would make of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from datetime import date

import numpy as np
import pandas as pd

from analyses.simulated import END, START, aggregates, block, experiment
from exp_platform.aggregates import ALL, Aggregates, Arrivals
from exp_platform.config.allocation import Allocation, effective_shares, in_period, planned_shares
from exp_platform.config.experiment import Experiment, Variant
from exp_platform.config.metrics import Metric

STARTS = (START, date(2025, 3, 6), date(2025, 3, 10))


def ramped(*metrics: Metric, shares: Sequence[Sequence[float]], **more: object) -> Experiment:
    """An experiment whose allocations begin on `STARTS`."""
    plan = tuple(Allocation(start, tuple(s)) for start, s in zip(STARTS, shares, strict=False))
    made = experiment(*metrics, shares=shares[0], **more)  # type: ignore[arg-type]
    planned = zip(planned_shares(plan, END), effective_shares(plan, END), strict=True)
    variants = tuple(Variant(v.id, *share) for v, share in zip(made.variants, planned, strict=True))
    return replace(made, variants=variants, ramp=plan)


def users_of(
    seed: int, sizes: Sequence[int], shares: Sequence[Sequence[float]], level: Sequence[float]
) -> pd.DataFrame:
    """Users by period and arm; `level` is control's mean in each period, treatments gain 0.1, then 0.2 for each arm."""
    rng = np.random.default_rng(seed)
    frames = []
    for start, n, split, mean in zip(STARTS, sizes, shares, level, strict=False):
        arm = rng.choice(len(split), n, p=split)
        x = rng.gamma(2.0, 1.0, n) + 0.3 * mean
        frames.append(
            pd.DataFrame(
                {
                    "arm": np.array(["control", "t1", "t2"])[arm],
                    "period": str(start),
                    "tier": rng.choice(["free", "plus"], n),
                    "x": x,
                    "y": mean + 0.1 * arm * (1 + (start > START)) + x + rng.normal(0, 1 + 0.5 * arm, n),
                    "den": 1.0 + rng.poisson(1 + mean, n),
                }
            )
        )
    return pd.concat(frames, ignore_index=True)


def day_of(
    frame: pd.DataFrame, metric_id: str, columns: Sequence[str], names: Sequence[str], kind: str = "total"
) -> Aggregates:
    """Blocks of all users and of each tier, whole and by period."""
    blocks = []
    for segment in (ALL, "tier"):
        for (arm, value), of_value in frame.assign(all=ALL).groupby(["arm", segment]):
            blocks.append(
                block(metric_id, arm, of_value[list(columns)].to_numpy(), names, segment, value, kind=kind)
            )
            for period, part in of_value.groupby("period"):
                key = in_period(period, segment, value)
                blocks.append(block(metric_id, arm, part[list(columns)].to_numpy(), names, *key, kind=kind))
    return aggregates(
        blocks,
        assigned=frame.arm.value_counts().to_dict(),
        periods={
            period: Arrivals(part.arm.value_counts().to_dict(), {})
            for period, part in frame.groupby("period")
        },
    )
