"""Users whose statuses rounding must not decide: constants, constant effects, collinear and equal columns, huge means.

`python -m` with `tests` on the path prints every row's status, so that runs under different values of OPENBLAS_CORETYPE, in
which matrix products round differently, can be compared.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from analyses.simulated import aggregates, block, experiment, metric
from exp_platform.aggregates import Aggregates, Block
from exp_platform.analyses import ab, cuped, did, guardrails, pretrends, segments, stability
from exp_platform.analyses.rows import Row
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect, Guardrail, Role
from exp_platform.config.plans import AnalysisPlan
from exp_platform.stats.moments import Moments

CONSTANTS = (0.1, 1 / 3, 1e15 + 0.1, -7.7e-9, 1e8 + 1 / 3, 0.0)
DAYS = 28  # three weeks before exposure, one after
ANALYSES = (ab, cuped, guardrails, segments, did, pretrends, stability)


def in_buckets(values: np.ndarray, rng: np.random.Generator) -> Moments:
    """Moments of the users as buckets of unequal sizes give them."""
    cuts = np.sort(rng.integers(0, len(values) + 1, 6))
    return Moments.merge_all(Moments.of(part) for part in np.split(values, cuts))


def _outcomes(rng: np.random.Generator, n: int) -> np.ndarray:
    """One user's value and two covariates, of some degenerate kind or of none; shape (n, 3)."""
    base = rng.normal(rng.choice([0.0, 5.0, 1e8]), 1.0, n)
    constant = np.full(n, rng.choice(CONSTANTS))
    counts = rng.poisson(2.0, n).astype(float)
    value = (base, constant, counts, 3 * base + 0.7, base + constant, 0.1 * counts)[rng.integers(6)]
    kinds = (base, constant, counts, 0.3 * base - 1 / 7, rng.normal(size=n), 0.1 * value)
    return np.column_stack([value, kinds[rng.integers(6)], kinds[rng.integers(6)]])


def _days(rng: np.random.Generator, n: int) -> np.ndarray:
    """A user's days, of which some are equal, constant or all zero; shape (n, DAYS)."""
    level = rng.choice([0.0, 1 / 3, 1e8])
    values = np.repeat(rng.gamma(2.0, 1.0, (n, 1)) + level, DAYS, axis=1)
    if rng.random() < 0.6:
        varied = rng.integers(0, DAYS, rng.integers(1, DAYS))
        values[:, varied] += 0.1 * rng.poisson(1.0, (n, len(varied)))
    constant = rng.integers(0, DAYS, rng.integers(0, DAYS))
    values[:, constant] = rng.choice(CONSTANTS)
    return values


def case(seed: int) -> tuple[Experiment, Aggregates]:
    """An experiment of three metrics (one a ratio) whose arms are alike, shifted by a constant, or drawn apart."""
    rng = np.random.default_rng(seed)
    n = int(rng.integers(60, 400))
    guard = Guardrail(Effect(0.01, str(rng.choice(["relative", "absolute"]))), "critical")  # type: ignore[arg-type]
    metrics = [
        metric("m", covariates=["x", "z"], guardrail=guard),
        metric("r", "ratio", role=Role.SECONDARY),
        metric("d", role=Role.SECONDARY),
    ]
    drawn = {"m": _outcomes(rng, n), "r": _outcomes(rng, n)[:, :2], "days": _days(rng, n)}
    again = {"m": _outcomes(rng, n), "r": _outcomes(rng, n)[:, :2], "days": _days(rng, n)}
    how = rng.integers(4)  # equal arms, a constant effect, users in another order, arms apart
    blocks: list[Block] = []
    for variant in ("control", "t1"):
        for name, columns in (("m", ("value", "x", "z")), ("r", ("value", "denominator"))):
            values = drawn[name].copy()
            if variant == "t1":
                values = (values, values + [0.1] + values * 0, values[::-1], again[name])[how]
            half = rng.random(n) < 0.5
            blocks.append(_block(name, variant, values, columns, rng))
            blocks += [
                _block(name, variant, values[of], columns, rng, segment="country", segment_value=value)
                for value, of in (("a", half), ("b", ~half))
            ]
        days = drawn["days"]
        if variant == "t1":
            days = (days, days + 0.1 * (np.arange(DAYS) >= 21), days[::-1], again["days"])[how]
        names = [f"day{day}" for day in range(-21, DAYS - 21)]
        blocks.append(_block("d", variant, days[:, :1], ("value",), rng))
        blocks.append(_block("d", variant, days, names, rng, kind="daily"))
    plan = AnalysisPlan(did_days=7, did_pre_days=21)
    return experiment(*metrics, segments=("country",), analyses=plan), aggregates(blocks)


def _block(
    name: str, variant: str, values: np.ndarray, columns: object, rng: np.random.Generator, **more: object
) -> Block:
    made = block(name, variant, values, columns, **more)  # type: ignore[arg-type]
    return replace(made, moments=in_buckets(values, rng))


def statuses(seed: int) -> Iterator[str]:
    """Every row of every analysis as `kind key status`."""
    spec, found = case(seed)
    for analysis in ANALYSES:
        for row in analysis.analyse(spec, found):
            yield f"{seed} {analysis.__name__.rsplit('.', 1)[-1]} {_key(row)} {row.status}"


def _key(row: Row) -> str:
    names = ("method", "metric_id", "segment", "segment_value", "day", "first_day", "last_day", "m_bar")
    decided = ("verdict", "relative_kind", "covariates", "health", "parallel", "breakdown")
    told = [str(getattr(row, name, "")) for name in names]
    found = [getattr(row, name, None) for name in decided]
    return "/".join(told + [str(v is None) if isinstance(v, float) else str(v) for v in found])


if __name__ == "__main__":
    import sys

    for number in range(*map(int, sys.argv[1:3])):
        print(*statuses(number), sep="\n")
