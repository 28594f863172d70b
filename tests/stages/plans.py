"""What a plan of reading holds, for the tests of sources."""

from __future__ import annotations

import pyarrow as pa

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.stages.shards import read_and_split
from exp_platform.stages.sources import Plan, plan_reading


def rows_of(plan: Plan, table: str) -> pa.Table:
    parts = [part.rows for piece in plan.pieces if piece.table == table for part in piece.parts()]
    return pa.concat_tables(parts)


def planned(experiment: Experiment, environment: Environment) -> Plan:
    plan = plan_reading(experiment, environment)
    assert plan.problems == ()
    return plan


def problems(experiment: Experiment, environment: Environment) -> list[tuple[str, str]]:
    return [(problem.check, problem.message) for problem in plan_reading(experiment, environment).problems]


def told_when_read(plan: Plan) -> str:
    (problem,) = [
        str(shard.problem) for _, shard in read_and_split(enumerate(plan.pieces), 1) if shard.problem
    ]
    return problem
