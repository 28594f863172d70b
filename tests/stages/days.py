"""Days of a source through ingest and publish, and what then stands."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.results.reader import Results
from exp_platform.stages import ingest, publish
from exp_platform.tables.files import plan_buckets
from exp_platform.tables.schemas import arrow_schema
from stages.raw_data import (
    Rows,
    exposures,
    frozen,
    outcomes,
    write_parquet,
)

DAYS = 4


def of_day(rows: Rows, day: int) -> Rows:
    """A quarter of the rows."""
    return {name: values[day::DAYS] for name, values in rows.items()}


def deliver_day(folder: Path, day: int, name: str | None = None) -> None:
    """Exposures and outcomes of a day: of users of other days too, so that exposures come late."""
    for what, rows in (("exposures", exposures()), ("outcomes", outcomes())):
        write_parquet(folder / what / f"{name or f'day-{day}'}.parquet", of_day(rows, day))


def run_once(place: Environment, experiment: Experiment, run_id: str, **asked: Any) -> dict[str, str]:
    """Ingest and publish; gives the refresh that was made."""
    run = replace(frozen(place, experiment, run_id), **asked)
    ingest.run(run)
    return dict(publish.run(run).details["refresh"])


def stands(place: Environment, experiment: Experiment, run_id: str) -> dict[str, Any]:
    """All that is published and measured, in an order of its own, without what says which files it is in."""
    (row,) = [row for row in Results(place).experiments() if row["experiment_id"] == experiment.id]
    found: dict[str, Any] = {}
    for name in ("exposures", "outcomes", "outcomes_seen"):
        columns = [c for c in arrow_schema(name).names if c not in ("experiment_id", "bucket")]
        plan = plan_buckets(place, name, experiment.id, row[f"{name}_snapshot"], columns)
        found[name] = sorted(repr(one) for files in plan.values() for one in files.read().to_pylist())
    ingested = json.loads((place.runs_dir / experiment.id / run_id / "ingest.json").read_text())
    measured = ingested["measured"] | {"examples": {}}
    return found | {"measured": without_nothing(measured)}


def without_nothing(value: Any) -> Any:
    """Without what is empty or zero, which a bucket that was never asked does not have."""
    if isinstance(value, dict):
        return {key: kept for key, inner in value.items() if (kept := without_nothing(inner))}
    return value


def require_as_if_read_at_once(place: Environment, experiment: Experiment, run_id: str) -> None:
    """What stands is what another experiment has that reads the same files for the first time."""
    other = replace(experiment, id=f"{experiment.id}_{run_id}_whole")
    assert run_once(place, other, run_id)["kind"] == "full"
    assert stands(place, experiment, run_id) == stands(place, other, run_id)
