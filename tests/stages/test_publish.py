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
from exp_platform.tables.published import ingested_at, named_by
from exp_platform.tables.write import replace_files
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
        "refresh": {"kind": "full", "why": "of r2"},
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


def test_an_increment_adds_its_files_to_what_the_registry_named_when_it_was_read(
    environment: Environment,
) -> None:
    carry_out(a_run(environment, "r1"), "publish")
    first = registered(environment)
    run = a_run(environment, "r2", added_to=first)
    died = a_run(environment, "died", added_to=first)
    catalog = open_catalog(environment)
    (staged,) = json.loads((died.path / "ingest.json").read_text())["staged"]["exposures"]
    replace_files(catalog, "exposures", "exp_a", [staged], "died")  # and left them before anybody was told
    for _ in range(2):  # the second is a retry
        carry_out(run, "publish")
        assert sorted(published_users(environment)) == ["r1-a", "r1-b", "r1-c", "r2-a", "r2-b", "r2-c"]
    row = registered(environment)
    assert (row["exposures_rows"], row["outcomes_rows"], row["outcomes_aside_rows"]) == (6, 4, 2)
    assert json.loads(row["measured"]) == {"0": {"of": "r2"}}
    read = ingested_at(catalog, "exp_a", row["ingested_files_snapshot"])
    assert sorted((file["path"], file["run_id"]) for file in read) == [("/raw/r1", "r1"), ("/raw/r2", "r2")]


def test_an_increment_writes_no_file_of_before_anew_and_one_of_nothing_commits_none(
    environment: Environment,
) -> None:
    carry_out(a_run(environment, "r1"), "publish")
    run = a_run(environment, "r2", added_to=registered(environment))
    carry_out(run, "publish")
    added = table(open_catalog(environment), "exposures").current_snapshot()
    assert added is not None
    assert added.summary is not None
    assert (added.summary["added-data-files"], added.summary.get("deleted-data-files")) == ("1", None)
    before = registered(environment)
    run = a_run(environment, "r3", added_to=before)
    ingested = json.loads((run.path / "ingest.json").read_text())
    ingested |= {"staged": {"exposures": [], "outcomes": [], "outcomes_aside": []}, "files": []}
    ingested["measured"]["rows_out"] = {"exposures": 6, "outcomes": 4}
    write_json(run.path / "ingest.json", ingested)
    carry_out(run, "publish")
    assert named_by(registered(environment)) == named_by(before)
    assert registered(environment)["run_id"] == "r3"


def test_what_can_be_added_to_no_more_names_no_files(environment: Environment) -> None:
    carry_out(a_run(environment, "r1"), "publish")
    run = a_run(environment, "r2")
    ingested = json.loads((run.path / "ingest.json").read_text())
    write_json(run.path / "ingest.json", ingested | {"ingest_key": {"none": "it is read as a whole"}})
    carry_out(run, "publish")
    row = registered(environment)
    assert (row["ingested_files_snapshot"], row["measured"]) == (None, None)
    assert json.loads(row["ingest_key"]) == {"none": "it is read as a whole"}
    assert len(table(open_catalog(environment), "ingested_files").scan().to_arrow()) == 0


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
