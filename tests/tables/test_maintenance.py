"""Maintenance makes tables small and changes nothing that anybody reads."""

from __future__ import annotations

import os
from contextvars import Context
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from end_to_end.installation import run_of
from exp_platform.config.environment import Environment
from exp_platform.results.reader import Results
from exp_platform.tables import maintenance
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.files import plan_buckets
from exp_platform.tables.lease import Lease, force_release, holder_of
from exp_platform.tables.maintenance import Maintained, maintain
from exp_platform.tables.schemas import RESULT_TABLES, TABLES
from stages.frozen_runs import D1, D2, D3, a_run, an_experiment, carry_out, stage_exposures

pytestmark = pytest.mark.e2e  # commit after commit, or Spark: longer than a unit test may take

IN_FOUR_DAYS = datetime.now(UTC) + timedelta(days=4)


def rows(environment: Environment) -> dict[str, list[str]]:
    """All rows of all tables, without the snapshots' ids; of results those that count."""
    catalog = open_catalog(environment)
    lying = {name: table(catalog, name).scan().to_arrow().to_pylist() for name in TABLES}
    counts = {run_of(row) for row in lying["decisions"]}
    return {
        name: sorted(
            str({key: value for key, value in row.items() if not key.endswith("_snapshot")})
            for row in found
            if name not in RESULT_TABLES or run_of(row) in counts
        )
        for name, found in lying.items()
    }


def files(environment: Environment, name: str) -> list[Path]:
    """Its data files, those in quarantine left out."""
    return sorted(Path(environment.warehouse.removeprefix("file://"), "exp", name, "data").rglob("*.parquet"))


def published_users(environment: Environment, experiment_id: str) -> list[str]:
    (row,) = [row for row in Results(environment).experiments() if row["experiment_id"] == experiment_id]
    plan = plan_buckets(environment, "exposures", experiment_id, row["exposures_snapshot"], ["user_id"])
    return [user for bucket in plan.values() for user in bucket.read()["user_id"].to_pylist()]


def test_what_is_young_stays(environment: Environment) -> None:
    for run_id in ("r1", "r2"):
        carry_out(a_run(environment, run_id), "publish")
    before = files(environment, "exposures")
    assert maintain(environment) == Maintained()
    assert files(environment, "exposures") == before
    assert len(table(open_catalog(environment), "exposures").snapshots()) == 3  # added; deleted and added


def test_old_snapshots_files_and_runs_go_and_all_rows_stay(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D1, D3)))
    carry_out(a_run(environment, "r2", (D3,)))
    carry_out(a_run(environment, "r3", of=an_experiment("exp_b")))
    never_published = stage_exposures(environment, a_run(environment, "r4"), ["u"]).removeprefix("file://")
    before = rows(environment)
    done = maintain(environment, now=IN_FOUR_DAYS)
    assert rows(environment) == before
    assert [
        len(table(open_catalog(environment), name).snapshots()) for name in ("exposures", "did_results")
    ] == [1, 1]
    assert not Path(never_published).exists()
    live = table(open_catalog(environment), "exposures").scan().plan_files()
    assert [f"file://{path}" for path in files(environment, "exposures")] == sorted(
        t.file.file_path for t in live
    )
    # Of r1 and r2; r3 and r4 are the newest of their experiments
    assert (done.removed_runs, done.busy) == (2, ())
    assert sorted(path.name for path in environment.runs_dir.glob("*/*")) == ["r3", "r4"]
    again = maintain(environment, now=IN_FOUR_DAYS)
    assert (again.expired, again.compacted, again.removed_runs) == (0, 0, 0)
    assert rows(environment) == before


def test_an_experiment_that_runs_no_more_is_left_with_one_file_a_table(environment: Environment) -> None:
    for run_id, day in (("r1", D1), ("r2", D2), ("r3", D3)):
        carry_out(a_run(environment, run_id, (day,)))
    before = rows(environment)
    assert maintain(environment).compacted == 0  # it may go on tomorrow
    assert maintain(environment, now=IN_FOUR_DAYS).compacted > 0
    catalog = open_catalog(environment)
    left = {name: len(list(table(catalog, name).scan().plan_files())) for name in TABLES}
    assert {name: n for name, n in left.items() if n > 1} == {}
    assert rows(environment) == before
    assert maintain(environment, now=IN_FOUR_DAYS).compacted == 0


def test_the_registered_snapshot_stays_readable_and_follows_the_head(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", of=an_experiment("exp_a")), "publish")
    first = Results(environment).experiments()[0]["exposures_snapshot"]
    for run_id in ("r2", "r3"):
        carry_out(a_run(environment, run_id, of=an_experiment("exp_b")), "publish")
    maintain(environment, now=IN_FOUR_DAYS)
    assert published_users(environment, "exp_a") == ["r1-a", "r1-b", "r1-c"]
    assert published_users(environment, "exp_b") == ["r3-a", "r3-b", "r3-c"]
    assert {row["exposures_snapshot"] for row in Results(environment).experiments()} != {first}
    assert table(open_catalog(environment), "exposures").snapshot_by_id(first) is None


def test_a_registered_snapshot_whose_files_are_no_longer_the_newest_is_kept(environment: Environment) -> None:
    run = a_run(environment, "r1")
    carry_out(run, "publish")
    registered = Results(environment).experiments()[0]["exposures_snapshot"]
    path = stage_exposures(environment, run, ["not yet registered"])
    maintenance.replace_files(open_catalog(environment), "exposures", "exp_a", [path], "killed")
    maintain(environment, now=IN_FOUR_DAYS)
    assert Results(environment).experiments()[0]["exposures_snapshot"] == registered
    assert published_users(environment, "exp_a") == ["r1-a", "r1-b", "r1-c"]


def test_many_small_result_files_become_one_with_the_same_rows(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    for run_id, day in (("r1", D1), ("r2", D3)):
        carry_out(a_run(environment, run_id, (day,)))
    carry_out(a_run(environment, "r3", of=an_experiment("exp_b")))
    before = rows(environment)
    monkeypatch.setattr(maintenance, "MAX_FILES", 1)
    lease = Lease("exp_b", "a run", environment)
    lease.acquire()
    done = maintain(environment)
    assert (done.busy, done.compacted > 0) == (("exp_b",), True)
    assert rows(environment) == before
    live = list(table(open_catalog(environment), "decisions").scan().plan_files())
    assert sorted(task.file.record_count for task in live) == [1, 2]  # one file of each experiment
    assert holder_of(environment, "exp_a") is None


@pytest.mark.parametrize("lease_is_taken", [False, True])
def test_a_compaction_undoes_no_run_that_commits_meanwhile(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, lease_is_taken: bool
) -> None:
    """It stops between reading and replacing, as a process does that the machine suspends."""
    for run_id, day in (("r1", D1), ("r2", D3)):
        carry_out(a_run(environment, run_id, (day,)))
    monkeypatch.setattr(maintenance, "MAX_FILES", 1)
    writer_of, waiting = maintenance.writer_of, ["r3"]

    def stopped(*arguments: Any) -> Any:
        if waiting:
            run = a_run(environment, waiting.pop(), (D2,))
            if lease_is_taken:
                force_release(environment, "exp_a")
                Lease("exp_a", "a run", environment).acquire()
            Context().run(carry_out, run)  # another process knows nothing of this one's fence
        return writer_of(*arguments)

    monkeypatch.setattr(maintenance, "writer_of", stopped)
    done = maintain(environment)
    assert done.busy == (("exp_a",) if lease_is_taken else ())
    assert {d.as_of_date: d.run_id for d in Results(environment).decisions("exp_a")} == {
        D1: "r1",
        D2: "r3",
        D3: "r2",
    }
    assert all(Results(environment).missing_rows(d) == {} for d in Results(environment).decisions("exp_a"))


def test_files_of_a_run_that_was_just_staged_are_not_touched(environment: Environment) -> None:
    carry_out(a_run(environment, "r1"), "publish")
    waiting = a_run(environment, "r2")
    maintain(environment)
    carry_out(waiting, "publish")
    assert published_users(environment, "exp_a") == ["r2-a", "r2-b", "r2-c"]


def test_an_environment_without_runs_is_maintained_too(environment: Environment) -> None:
    assert maintain(environment, now=IN_FOUR_DAYS).busy == ()
    assert all(content == [] for content in rows(environment).values())


def test_old_run_folders_go_by_their_newest_file(environment: Environment) -> None:
    environment.runs_dir.mkdir(parents=True)
    (environment.runs_dir / ".forgotten.key").write_text("a file among the folders")
    folders: dict[str, Any] = {name: environment.runs_dir / "exp_a" / name for name in ("r1", "r2", "r3")}
    for folder in folders.values():
        (folder / "manifests").mkdir(parents=True)
        (folder / "manifests" / "ab.1.json").write_text("{}")
        long_ago = (datetime.now(UTC) - timedelta(days=9)).timestamp()
        for path in (*folder.rglob("*"), folder):
            os.utime(path, (long_ago, long_ago))
    (folders["r2"] / "manifests" / "ab.2.json").write_text("{}")  # somebody has cleared a task of it just now
    assert maintain(environment).removed_runs == 1
    assert [name for name, folder in folders.items() if folder.exists()] == ["r2", "r3"]
