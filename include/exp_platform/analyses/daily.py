"""Daily blocks: a metric day by day around first exposure, as DiD and pre-trends read it."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from exp_platform.aggregates import Block
from exp_platform.analyses.comparison import Pair
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric
from exp_platform.stats.moments import Array


def why_not(experiment: Experiment, metric: Metric) -> str | None:
    """Why a metric has no daily series whatever the data, or None where it has one."""
    if experiment.source.kind == "units":
        return "a source of one row per user has no days before first exposure"
    return metric.not_daily or None


def day_weights(columns: tuple[str, ...], days: Iterable[int]) -> Array:
    """Weights over the block's columns that give the mean of these days. Raises ValueError where a day is missing."""
    chosen = [columns.index(f"day{day}") for day in days]
    weights = np.zeros(len(columns))
    weights[chosen] = 1 / len(chosen)
    return weights


def has_pre_period(pair: Pair, days: int) -> bool:
    """Whether anything was ever observed on the days before first exposure."""

    def active(block: Block) -> bool:
        before = [block.columns.index(f"day{day}") for day in range(-days, 0)]
        return bool(block.moments.mean[before].any() or block.moments.m2[before, before].any())

    return any(active(block) for block in pair)
