"""Rows are DEGENERATE exactly where the users themselves do not vary, whatever rounding the processor's products leave.

The truth is taken from each user's own value by exact sums (`math.fsum`), which know no matrix product.
"""

from __future__ import annotations

import math

import numpy as np
import pytest

from analyses import rounded
from exp_platform.analyses import ab, did, stability
from exp_platform.analyses.rows import DidRow, ResultRow, Status

ROUNDING = 64 * 2.0**-52


def constant(arms: list[np.ndarray], weights: np.ndarray) -> bool:
    """Whether users' own combinations, summed exactly, differ by no more than the rounding of what they are made of.

    That is true of every arm, or of what the arms' means are known to.
    """
    sums = [np.array([math.fsum(user * weights) for user in arm]) for arm in arms]
    size = [float(np.abs(arm).mean(axis=0) @ np.abs(weights)) for arm in arms]
    spread = [float(np.std(s - s[0])) for s in sums]
    error = math.hypot(*(sd / math.sqrt(len(s) - 1) for sd, s in zip(spread, sums, strict=True)))
    means = max(abs(math.fsum(s) / len(s)) for s in sums)
    return all(sd <= ROUNDING * of for sd, of in zip(spread, size, strict=True)) or error <= ROUNDING * means


@pytest.mark.parametrize("seed", range(40))
def test_a_row_is_degenerate_exactly_where_no_user_differs_from_another(
    seed: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    drawn: dict[tuple[str, str, str], np.ndarray] = {}
    plain = rounded.in_buckets
    made: list[np.ndarray] = []

    def remembered(values: np.ndarray, rng: np.random.Generator) -> object:
        made.append(values)
        return plain(values, rng)

    monkeypatch.setattr(rounded, "in_buckets", remembered)
    spec, found = rounded.case(seed)
    for block, values in zip(found.blocks, made, strict=True):
        if block.segment == "all":
            drawn[block.kind, block.metric_id, block.variant_id] = values
    still = constant([drawn["total", "m", v][:, :1] for v in ("control", "t1")], np.ones(1))
    plain_row = next(r for r in ab.analyse(spec, found) if isinstance(r, ResultRow) and r.metric_id == "m")
    assert plain_row.status is (Status.DEGENERATE if still else Status.OK)

    days = [drawn["daily", "d", v] for v in ("control", "t1")]
    change = np.repeat([-1 / 21, 1 / 7], [21, 7])
    still = constant(days, change)
    row = next(r for r in did.analyse(spec, found) if isinstance(r, DidRow) and r.metric_id == "d")
    if row.status is not Status.NOT_APPLICABLE:  # nothing before exposure
        assert row.status is (Status.DEGENERATE if still else Status.OK)

    slope = np.concatenate([np.zeros(21), (np.arange(7) - 3.0) / 28])
    still = constant(days, slope)
    trend = next(
        r
        for r in stability.analyse(spec, found)
        if isinstance(r, ResultRow) and (r.metric_id, r.segment_value) == ("d", "trend")
    )
    assert trend.status is (Status.DEGENERATE if still else Status.OK)


def test_statuses_are_found_of_every_kind() -> None:
    """The cases are worth their name: each analysis has rows with numbers and rows without."""
    seen = {tuple(line.split()[i] for i in (1, -1)) for seed in range(25) for line in rounded.statuses(seed)}
    for analysis in ("ab", "cuped", "guardrails", "segments", "did", "pretrends", "stability"):
        assert {(analysis, "OK"), (analysis, "DEGENERATE")} <= seen
