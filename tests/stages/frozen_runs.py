"""Runs with small aggregates and staged files in their folders, for tests of what happens to a run."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from typing import Any

import numpy as np
import pyarrow as pa

from analyses.simulated import aggregates, block, daily_block, experiment, metric
from exp_platform.aggregates import Aggregates, DailyRow, Pooled, write_aggregates
from exp_platform.analyses.rows import LateRow
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import NAMES
from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.config.hashing import config_hash
from exp_platform.json_file import write_json
from exp_platform.stages.execute import execute
from exp_platform.stages.run import Manifest, Run
from exp_platform.tables.files import task_writer
from exp_platform.tables.published import named_by
from exp_platform.tables.schemas import RESULT_TABLES

D1, D2, D3 = date(2025, 3, 12), date(2025, 3, 13), date(2025, 3, 14)

FILLED = tuple(name for name in RESULT_TABLES if name != LateRow.TABLE)  # no arm of these runs is late


def an_experiment(experiment_id: str = "exp_a") -> Experiment:
    """Two metrics, two arms, 1 to 14 March 2025."""
    buys = metric("buys", "proportion")
    return replace(experiment(metric("orders"), buys), id=experiment_id)


def an_aggregate(as_of: date, seed: int = 1, users: int = 400) -> Aggregates:
    """Everything that aggregates can hold, from 400 users per arm."""
    rng = np.random.default_rng(seed)
    blocks = []
    for variant_id in ("control", "t1"):
        values = rng.gamma(2.0, 3.0, size=(users, 2))
        blocks.append(
            block(
                "orders", variant_id, values, ("value", "pre_orders"), median=2.5, p95=9.75, capped_share=0.01
            )
        )
        blocks.append(block("buys", variant_id, (values[:, 0] > 6).astype(float)))
        blocks.append(block("orders", variant_id, values[:60, 0], segment="device", segment_value="phone"))
        blocks.append(daily_block("orders", variant_id, rng.poisson(1.0, size=(users, 14)).astype(float)))
    daily = [DailyRow(as_of, variant_id, "orders", 7, 5, 12.25) for variant_id in ("control", "t1")]
    return aggregates(
        blocks,
        as_of,
        daily=daily,
        crossovers={"control": 1, "t1": 2},
        caps={"orders": (None, 31.0 / 3.0)},
        too_large={"cohort": {"orders": "1e+61"}},
        pooled={"device": {"device": Pooled("(rarer values)", 59, 12, False, 30)}},
    )


def a_run(
    environment: Environment,
    run_id: str,
    days: Sequence[date] = (D3,),
    of: Experiment | None = None,
    seed: int = 1,
    added_to: Mapping[str, Any] | None = None,
) -> Run:
    """A frozen run whose folder holds what ingest, quality and aggregates would have left.

    `added_to`: the row of the registry whose rows its three exposures and two outcomes are added to.
    """
    of = of or an_experiment()
    run = Run(
        run_id=run_id,
        experiment=of,
        as_of_dates=tuple(days),
        environment=environment.name,
        folder=str(environment.runs_dir / of.id / run_id),
        config_hash=config_hash(of),
        code_version="0+test",
        input_fingerprint=f"input of {run_id}",
    )
    run.save()
    staged = {
        "exposures": [stage_exposures(environment, run, [f"{run_id}-{user}" for user in "abc"])],
        "outcomes": [stage_outcomes(environment, run, ["a", "b"])],
        "outcomes_aside": [stage_outcomes(environment, run, ["z"], "outcomes_aside")],
        "outcomes_seen": [stage_seen(environment, run, ["a", "b"])],
    }
    measured = {
        "rows_in": {"exposures": 3, "outcomes": 2},
        "rows_out": {"exposures": 3, "outcomes": 2},
        "left_out": {},
    }
    if added_to:
        for name in measured["rows_out"]:
            measured["rows_out"][name] += added_to[f"{name}_rows"]
    write_json(
        run.path / "ingest.json",
        {
            "measured": measured,
            "staged": staged,
            "buckets": 1,
            "thresholds": [],
            "base": named_by(added_to) if added_to else {},
            "ingest_key": {"code": "0+test"},
            "files": [
                {"input_table": "exposures", "path": f"/raw/{run_id}", "size": 1, "state": "1", "rows": 3}
            ],
            "counts": {"0": {"of": run_id}},
            "refresh": {"kind": "incremental" if added_to else "full", "why": f"of {run_id}"},
        },
    )
    checks = [CheckResult(day, "duplicates", "warning", "passed", 0.0, 0.01, "none") for day in days]
    write_json(run.path / "quality.json", [asdict(check) for check in checks])
    write_aggregates(run.path / "aggregates.json", [an_aggregate(day, seed) for day in days])
    return run


def stage_exposures(environment: Environment, run: Run, users: list[str]) -> str:
    """One staged file of exposures in bucket 0."""
    n = len(users)
    rows = {
        "user_id": users,
        "variant_id": ["control"] * n,
        "exposed_at": pa.array([datetime(2025, 3, 1, tzinfo=UTC)] * n),
        "event_id": pa.nulls(n, pa.string()),
        "attributes": pa.array([[]] * n, pa.map_(pa.string(), pa.string())),
    }
    return task_writer(environment, "exposures", run.experiment.id, run.run_id).write(0, pa.table(rows))


def stage_outcomes(environment: Environment, run: Run, users: list[str], name: str = "outcomes") -> str:
    """One staged file of outcomes in bucket 0."""
    n = len(users)
    rows = {
        "user_id": users,
        "event": ["orders"] * n,
        "occurred_at": pa.array([datetime(2025, 3, 2, tzinfo=UTC)] * n),
        "value": [1.0] * n,
        "event_id": pa.nulls(n, pa.string()),
        "properties": pa.array([[]] * n, pa.map_(pa.string(), pa.string())),
        "item": pa.nulls(n, pa.string()),
    }
    return task_writer(environment, name, run.experiment.id, run.run_id).write(0, pa.table(rows))


def carry_out(run: Run, *stages: str) -> Manifest:
    """Execute these stages, or all from publish to decision, and return the last manifest. Each must succeed."""
    for stage in stages or ("publish", *NAMES, "decision"):
        manifest = execute(run, stage, 1)
        assert manifest.status == "success", f"{stage}: {manifest.error}"
    return manifest


def stage_seen(environment: Environment, run: Run, users: list[str]) -> str:
    """One staged file in bucket 0 that says that each user has one outcome, without a mark."""
    rows = {"user_id": users, "outcomes": [1] * len(users), "marks": [0] * len(users)}
    return task_writer(environment, "outcomes_seen", run.experiment.id, run.run_id).write(0, pa.table(rows))
