"""A run's results are visible all at once or not at all, and supersede exactly those of its own days."""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import date

from exp_platform.analyses.row_codec import read_rows
from exp_platform.analyses.rows import (
    ROW_TYPES,
    ResultRow,
)
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import NAMES
from exp_platform.config.environment import Environment
from exp_platform.results.reader import Results
from exp_platform.stages.analyse import rows_path
from exp_platform.stages.decision import decided
from exp_platform.stages.execute import execute
from exp_platform.stages.run import Run
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.maintenance import maintain
from stages.frozen_runs import D1, D2, D3, FILLED, a_run, an_experiment, carry_out


def keys(environment: Environment, name: str, experiment_id: str = "exp_a") -> set[tuple[date, str]]:
    """The (as_of_date, run_id) that a table physically holds of an experiment."""
    rows = table(open_catalog(environment), name).scan().to_arrow().to_pylist()
    return {(row["as_of_date"], row["run_id"]) for row in rows if row["experiment_id"] == experiment_id}


def content(environment: Environment, name: str, experiment_id: str = "exp_a") -> list[str]:
    """All rows of an experiment, without what differs between two equal runs."""
    different = (
        "run_id",
        "computed_at",
        "input_fingerprint",
        "exposures_snapshot",
        "outcomes_snapshot",
        "refresh",
    )
    rows = table(open_catalog(environment), name).scan().to_arrow().to_pylist()
    mine = [row for row in rows if row["experiment_id"] == experiment_id]
    return sorted(str({key: value for key, value in row.items() if key not in different}) for row in mine)


def prepared(environment: Environment, run_id: str, days: tuple[date, ...], seed: int = 1) -> Run:
    run = a_run(environment, run_id, days, seed=seed)
    carry_out(run, "publish", *NAMES)
    return run


def test_every_row_that_the_analyses_left_is_stored_with_its_run(environment: Environment) -> None:
    run = prepared(environment, "r1", (D1, D3))
    manifest = carry_out(run, "decision")
    results = Results(environment)
    left = [row for stage in NAMES for row in read_rows(rows_path(run, stage))]
    stored = [row for row_type in ROW_TYPES.values() for row in results.rows(row_type, "exp_a")]
    assert sorted(map(repr, stored)) == sorted(map(repr, left))
    for name in FILLED:
        assert keys(environment, name) == {(D1, "r1"), (D3, "r1")}, name
    assert manifest.rows_in == len(left)


def test_the_decisions_follow_from_what_the_tables_hold(environment: Environment) -> None:
    """Of both days of a run, the second in memory of the first, from rows in any order."""
    run = prepared(environment, "r1", (D1, D3))
    carry_out(run, "decision")
    results = Results(environment)
    rows = [row for row_type in ROW_TYPES.values() for row in results.rows(row_type, "exp_a")]
    again = decided(run, rows[::-1], results.rows(CheckResult, "exp_a"))
    assert [d.to_json() for d in again] == [d.decision.to_json() for d in results.decisions("exp_a")]


def test_the_decision_row_carries_what_its_numbers_can_be_traced_by(environment: Environment) -> None:
    run = prepared(environment, "r1", (D1, D3))
    manifest = carry_out(run, "decision")
    (row,) = [
        row
        for row in table(open_catalog(environment), "decisions").scan().to_arrow().to_pylist()
        if row["as_of_date"] == D3
    ]
    decided = json.loads((run.path / "decision.json").read_text())[-1]
    same = ("winner", "action", "winning_variant", "confidence", "lift", "effect", "final")
    assert {name: row[name] for name in same} == {name: decided[name] for name in same}
    assert json.loads(row["reasons"]) == decided["reasons"]
    assert json.loads(row["decision"]) == decided
    assert [check["check"] for check in json.loads(row["checks"])] == ["duplicates", "missing_days"]
    published = json.loads((run.path / "publish.json").read_text())["snapshots"]
    assert (row["exposures_snapshot"], row["outcomes_snapshot"]) == (
        published["exposures"],
        published["outcomes"],
    )
    assert (row["config_hash"], row["code_version"]) == (run.config_hash, "0+test")
    assert row["input_fingerprint"] == "input of r1"
    told = {name: row[name] for name in ("winner", "action", "final")}
    assert manifest.details == told | {"as_of_date": "2025-03-14"}


def test_a_rerun_of_a_day_supersedes_that_day_and_no_other(environment: Environment) -> None:
    carry_out(a_run(environment, "r0", of=an_experiment("exp_b")))
    carry_out(a_run(environment, "r1", (D1, D2, D3), seed=1))
    others = {name: content(environment, name, "exp_b") for name in FILLED}
    carry_out(a_run(environment, "r2", (D2,), seed=2))
    assert keys(environment, "decisions") == {(D1, "r1"), (D2, "r2"), (D3, "r1")}
    maintain(environment)
    for name in (*FILLED, "decisions"):
        assert keys(environment, name) == {(D1, "r1"), (D2, "r2"), (D3, "r1")}, name
    assert {name: content(environment, name, "exp_b") for name in FILLED} == others


def test_two_equal_runs_leave_equal_tables(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D1, D3)))
    first = {name: content(environment, name) for name in (*FILLED, "decisions")}
    carry_out(a_run(environment, "r2", (D1, D3)))
    maintain(environment)
    assert {name: content(environment, name) for name in first} == first
    assert all(first.values())


def test_a_best_effort_analysis_that_left_nothing_is_a_warning_and_a_required_one_an_error(
    environment: Environment,
) -> None:
    run = prepared(environment, "r1", (D3,))
    rows_path(run, "cuped").unlink()
    manifest = carry_out(run, "decision")
    assert manifest.warnings == ("cuped left no rows: its results are missing from this run",)
    assert Results(environment).rows(ResultRow, "exp_a", method="cuped") == []
    rows_path(run, "ab").unlink()
    failed = execute(run, "decision", 2)
    assert failed.error == "the required stage ab left no rows; run it before `decision`"
    assert not failed.retryable


def test_the_recorded_checks_of_refused_data_go_with_the_next_good_run(environment: Environment) -> None:
    from exp_platform.tables.write import replace_rows

    refused = CheckResult(D3, "nulls", "error", "failed", 0.5, 0.0, "half of the user ids are missing")
    key = {"experiment_id": "exp_a", "run_id": "r0"}
    replace_rows(open_catalog(environment), CheckResult.TABLE, key, [asdict(refused)], "r0")
    assert Results(environment).rows(CheckResult, "exp_a") == []  # of a run that never decided
    key = {"experiment_id": "exp_a", "run_id": "r2"}
    replace_rows(open_catalog(environment), CheckResult.TABLE, key, [asdict(refused)], "r2")
    carry_out(a_run(environment, "r1", (D3,)))
    maintain(environment)
    assert keys(environment, CheckResult.TABLE) == {
        (D3, "r1"),
        (D3, "r2"),
    }  # who refused it later is still told
    carry_out(a_run(environment, "r3", (D3,)))
    maintain(environment)
    assert keys(environment, CheckResult.TABLE) == {(D3, "r3")}
