"""A stage that dies after any of its commits: readers see the old state or the new one, and a retry completes it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog

from end_to_end.installation import run_of
from exp_platform.analyses.rows import (
    DidRow,
    DidSensitivityRow,
    EventStudyRow,
    PretrendDeltaRow,
    PretrendTestRow,
    ResultRow,
)
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import NAMES
from exp_platform.config.environment import Environment, load_environment
from exp_platform.results.reader import Results
from exp_platform.stages.execute import execute
from exp_platform.stages.run import Run
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.files import plan_buckets
from exp_platform.tables.maintenance import maintain
from exp_platform.tables.published import ingested_at
from exp_platform.tables.schemas import NAMED, RESULT_TABLES, TABLES
from stages.frozen_runs import D1, D3, FILLED, a_run, carry_out

pytestmark = pytest.mark.e2e  # with real commits, or Airflow's own tasks: longer than a unit test may take

# What a rerun may change: which run it was, when, and the snapshots that it committed.
OF_THE_RUN = {
    "run_id",
    "computed_at",
    "published_at",
    "input_fingerprint",
    *(f"{name}_snapshot" for name in NAMED),
}


class Killed(BaseException):
    """Ends a stage like a kill does: no handler of the platform's runs after it."""


@pytest.fixture
def commits_left(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How many more commits to any table succeed before the next one's author dies; empty: nobody does."""
    left: list[int] = []
    commit = SqlCatalog.commit_table

    def deadly(self: SqlCatalog, *arguments: Any, **options: Any) -> Any:
        if left:
            left[0] -= 1
            if left[0] < 0:
                raise Killed
        return commit(self, *arguments, **options)

    monkeypatch.setattr(SqlCatalog, "commit_table", deadly)
    return left


def killed_again_and_again(run: Run, stage: str, commits_left: list[int]) -> Iterator[int]:
    """Try a stage until it outlives all of its commits, killed after 0, 1, 2 ... of them.

    Of `publish` three times each, as it does not repeat a commit of files that an earlier try has made.
    """
    tries = 3 if stage == "publish" else 1
    for number in range(100):
        commits_left[:] = [-(-number // tries)]
        try:
            manifest = execute(run, stage, number + 1)
        except Killed:
            yield number
            continue
        finally:
            commits_left.clear()
        assert manifest.status == "success", manifest.error
        return


def published(environment: Environment) -> dict[str, list[str]]:
    """The pair of tables that a reader finds by the registry."""
    (row,) = Results(environment).experiments()
    files = ingested_at(open_catalog(environment), "exp_a", row["ingested_files_snapshot"])
    pair = {"files": sorted(file["path"] for file in files), "counts": [row["measured"]]}
    for name in ("exposures", "outcomes"):
        plan = plan_buckets(environment, name, "exp_a", row[f"{name}_snapshot"], ["user_id"])
        pair[name] = sorted(u for bucket in plan.values() for u in bucket.read()["user_id"].to_pylist())
    return pair


def decided(environment: Environment) -> dict[str, list[str]]:
    """All results that a reader finds."""
    results = Results(environment)
    parts = {
        "decisions": [d.document for d in results.decisions("exp_a")],
        "analyses": results.rows(ResultRow, "exp_a"),
        "did": results.rows(DidRow, "exp_a"),
        "event_study": results.rows(EventStudyRow, "exp_a"),
        "sensitivity": results.rows(DidSensitivityRow, "exp_a"),
        "deltas": results.rows(PretrendDeltaRow, "exp_a"),
        "tests": results.rows(PretrendTestRow, "exp_a"),
        "checks": results.rows(CheckResult, "exp_a"),
        "daily": results.daily("exp_a"),
        "aggregates": [results.stored_aggregates("exp_a", day) for day in (D1, D3)],
    }
    return {name: sorted(map(repr, found)) for name, found in parts.items()}


def stored(environment: Environment) -> dict[str, list[str]]:
    """Every row that lies in a table, whoever may read it; of results those that count."""
    catalog = open_catalog(environment)
    lying = {name: table(catalog, name).scan().to_arrow().to_pylist() for name in TABLES}
    counts = {run_of(row) for row in lying["decisions"]}
    return {
        name: sorted(
            repr({key: value for key, value in row.items() if key not in OF_THE_RUN})
            for row in rows
            if name not in RESULT_TABLES or run_of(row) in counts
        )
        for name, rows in lying.items()
    }


@pytest.mark.parametrize(
    ("stage", "seen_by_readers", "least"),
    [
        ("publish", published, 4),  # exposures, outcomes, files, registry
        ("increment", published, 4),
        ("decision", decided, len(FILLED) + 1),  # each table of results, decisions
    ],
)
def test_a_stage_killed_after_any_commit_is_never_half_visible_and_a_retry_completes_it(
    environment: Environment,
    commits_left: list[int],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path_factory: pytest.TempPathFactory,
    stage: str,
    seen_by_readers: Any,
    least: int,
) -> None:
    def second(of: Environment) -> Run:
        (row,) = Results(of).experiments()
        return a_run(of, "r2", (D3,), seed=2, added_to=row if adds else None)

    adds, stage = stage == "increment", stage.replace("increment", "publish")
    carry_out(a_run(environment, "r1", (D1, D3), seed=1))
    old = seen_by_readers(environment)
    run = second(environment)
    before = {"publish": (), "decision": ("publish", *NAMES)}[stage]
    if before:
        carry_out(run, *before)

    views = [seen_by_readers(environment) for _ in killed_again_and_again(run, stage, commits_left)]
    new = seen_by_readers(environment)
    assert execute(run, stage, 100).status == "success"  # a retry that was not needed
    assert seen_by_readers(environment) == new

    assert old != new
    assert len(views) >= least
    shown = [[old, new].index(view) for view in views]  # raises for half a run
    assert shown == sorted(shown)
    if stage == "publish":
        carry_out(run, *NAMES, "decision")
    found = stored(environment)
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path_factory.mktemp("undisturbed")))
    undisturbed = load_environment("embedded")
    carry_out(a_run(undisturbed, "r1", (D1, D3), seed=1))
    carry_out(second(undisturbed))
    assert found == stored(undisturbed)


def test_maintenance_clears_what_a_killed_run_left_once_another_has_decided(
    environment: Environment, commits_left: list[int]
) -> None:
    killed = a_run(environment, "r1 killed", (D3,))
    carry_out(killed, "publish", *NAMES)
    commits_left[:] = [4]
    with pytest.raises(Killed):
        execute(killed, "decision", 1)
    commits_left.clear()
    assert Results(environment).rows(ResultRow, "exp_a") == []
    carry_out(a_run(environment, "r2", (D3,)))
    assert maintain(environment).superseded > 0
    for name in FILLED:
        rows = table(open_catalog(environment), name).scan().to_arrow().to_pylist()
        assert {row["run_id"] for row in rows} == {"r2"}, name
