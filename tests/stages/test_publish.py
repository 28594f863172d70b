"""Publishing replaces both tables and then says so; until it does, readers have the last good pair."""

from __future__ import annotations

import json
from datetime import date
from typing import Any

import pytest
from pydantic import TypeAdapter

from exp_platform.config.environment import Environment
from exp_platform.config.experiment import Experiment
from exp_platform.json_file import write_json
from exp_platform.results.reader import Results
from exp_platform.stages.execute import execute
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.files import plan_buckets
from stages.frozen_runs import a_run, an_experiment, carry_out


def registered(environment: Environment, experiment_id: str = "exp_a") -> dict[str, Any]:
    (row,) = [row for row in Results(environment).experiments() if row["experiment_id"] == experiment_id]
    return row


def published_users(environment: Environment, experiment_id: str = "exp_a") -> list[str]:
    """Users as a reader finds them: by the registered snapshot."""
    snapshot = registered(environment, experiment_id)["exposures_snapshot"]
    plan = plan_buckets(environment, "exposures", experiment_id, snapshot, ["user_id"])
    return [user for bucket in plan.values() for user in bucket.read()["user_id"].to_pylist()]


def test_both_tables_are_replaced_and_registered_with_everything_that_identifies_them(
    environment: Environment,
) -> None:
    carry_out(a_run(environment, "r1"), "publish")
    run = a_run(environment, "r2")
    manifest = carry_out(run, "publish")
    assert published_users(environment) == ["r2-a", "r2-b", "r2-c"]
    row = registered(environment)
    assert (row["exposures_rows"], row["outcomes_rows"], row["buckets"]) == (3, 2, 1)
    assert (row["window_start"], row["window_end"], row["timezone"]) == (
        date(2025, 3, 1),
        date(2025, 3, 14),
        "UTC",
    )
    assert (row["run_id"], row["config_hash"], row["owner"]) == ("r2", run.config_hash, "owner")
    assert TypeAdapter(Experiment).validate_json(row["spec"]) == run.experiment
    left = json.loads((run.path / "publish.json").read_text())
    assert left == {
        "snapshots": {"exposures": row["exposures_snapshot"], "outcomes": row["outcomes_snapshot"]},
        "published": {"exposures": 3, "outcomes": 2},
        "buckets": 1,
        "thresholds": [],
        "rows": {"rows_in": {"exposures": 3, "outcomes": 2}, "left_out": {}, "in_series": {}},
    }
    assert manifest.snapshots.items() >= left["snapshots"].items()
    assert (manifest.rows_in, manifest.rows_out) == (5, 5)


def test_another_experiments_data_stay_as_they_were(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", of=an_experiment("exp_b")), "publish")
    before = registered(environment, "exp_b")
    for run_id in ("r2", "r3"):
        carry_out(a_run(environment, run_id), "publish")
    assert registered(environment, "exp_b") == before
    now = table(open_catalog(environment), "exposures").scan(selected_fields=("user_id",)).to_arrow()
    assert sorted(now["user_id"].to_pylist()) == ["r1-a", "r1-b", "r1-c", "r3-a", "r3-b", "r3-c"]


@pytest.mark.parametrize("staged", [4, 2])
def test_rows_that_were_lost_or_doubled_since_they_were_staged_are_not_registered(
    environment: Environment, staged: int
) -> None:
    carry_out(a_run(environment, "r1"), "publish")
    run = a_run(environment, "r2")
    ingested = json.loads((run.path / "ingest.json").read_text())
    ingested["measured"]["rows_out"]["exposures"] = staged
    write_json(run.path / "ingest.json", ingested)
    manifest = execute(run, "publish", 1)
    assert manifest.status == "failed"
    assert f"exposures: found 3, but {staged} were handed on" in str(manifest.error)
    assert published_users(environment) == ["r1-a", "r1-b", "r1-c"]
