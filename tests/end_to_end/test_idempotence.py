"""Reruns, compactions, neighbours, crowds and killed runs: none of them changes what a reader gets."""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from dataclasses import asdict
from typing import Any

import pytest
from pyiceberg.catalog.sql import SqlCatalog
from pyiceberg.table import StaticTable

from end_to_end.installation import Installation
from exp_platform.cli import main as exp
from exp_platform.config.loading import load_experiment
from exp_platform.stages.execute import execute
from exp_platform.stages.graph import stages_of
from exp_platform.stages.run import Run
from exp_platform.stages.start import start_run
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.lease import holder_of
from exp_platform.tables.schemas import TABLES
from exp_platform.tables.selection import selection

SMALL = {"days": 14, "n_users": 1500, "duplicate_share": 0.005, "crossover_share": 0.005, "late_share": 0.01}
ENTRIES = {
    "exp_a": {**SMALL, "seed": 1},
    "exp_b": {**SMALL, "seed": 2, "effect_lift_conversion": 0.05},
    "exp_c": {**SMALL, "seed": 3, "timezone": "Asia/Tokyo"},
}
# A new spec, so other results.
CHANGED = {**ENTRIES["exp_a"], "n_users": 1600, "effect_lift_conversion": 0.04}
ELSEWHERE = ("spec", "code_version")  # where an installation lies, and when a process read the code


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """Three experiments, one after another and undisturbed."""
    made = Installation(tmp_path_factory.mktemp("alone"))
    made.entries(**ENTRIES)
    for experiment_id in ENTRIES:
        made.run(experiment_id)
    return made


@pytest.fixture(scope="module")
def changed(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """Every table after one undisturbed run of the changed experiment."""
    made = Installation(tmp_path_factory.mktemp("changed"))
    made.entries(exp_a=CHANGED)
    made.run("exp_a")
    return made.content("exp_a", ELSEWHERE)


@pytest.fixture
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An experiment with results, whose spec has changed since."""
    made = Installation(tmp_path_factory.mktemp("disturbed"))
    made.entries(exp_a=ENTRIES["exp_a"])
    made.run("exp_a")
    made.entries(exp_a=CHANGED)
    return made


def run_process(installation: Installation, experiment_id: str, *program: str) -> subprocess.Popen[str]:
    """The original command in a process of its own, or another program with its arguments."""
    config = str(installation.configs / "dev.yaml")
    options = ("--config", config, "--experiment-id", experiment_id, "--generate-synth")
    return installation.process(*(program or ("-m", "exp_platform.pipelines.run_end_to_end")), *options)


# ---- reruns


def test_a_second_run_finds_everything_up_to_date_and_commits_nothing(alone: Installation) -> None:
    def snapshots() -> dict[str, int]:
        catalog = open_catalog(alone.environment)
        return {name: table(catalog, name).current_snapshot().snapshot_id for name in TABLES}

    before = snapshots()
    outcome = alone.run("exp_a")
    assert outcome.started.up_to_date
    assert outcome.manifests == ()
    assert snapshots() == before


def test_a_forced_rerun_gives_every_table_the_same_content(alone: Installation) -> None:
    before = alone.content("exp_a")
    assert all(before.values()), f"empty: {[name for name, rows in before.items() if not rows]}"
    (old_run,) = {row["run_id"] for row in alone.rows("decisions", "exp_a")}

    alone.run("exp_a", force=True)

    assert alone.content("exp_a") == before
    for name in TABLES:
        assert old_run not in {row.get("run_id") for row in alone.rows(name, "exp_a")}, name


def test_no_committed_version_of_a_table_is_without_the_experiments_rows(alone: Installation) -> None:
    """The original deleted and appended in two commits: whoever read in between saw nothing."""
    alone.run("exp_a", force=True)
    catalog, mine = open_catalog(alone.environment), selection({"experiment_id": "exp_a"})
    for name in TABLES:
        current = table(catalog, name)
        earlier = [entry.metadata_file for entry in current.metadata.metadata_log]
        versions = [StaticTable.from_metadata(location) for location in (*earlier, current.metadata_location)]
        stored = [any(True for _ in version.scan(mine).plan_files()) for version in versions]
        assert stored[stored.index(True) :].count(False) == 0, name
        assert len(stored) >= 3, name


def test_peer_defect_a_rerun_leaves_the_neighbours_rows_as_they_are(alone: Installation) -> None:
    def rows_of_others() -> dict[str, list[str]]:
        return {
            name: sorted(repr(row) for other in ("exp_b", "exp_c") for row in alone.rows(name, other))
            for name in TABLES
        }

    before = rows_of_others()  # with run ids, times and snapshots: nobody may have written them again
    alone.run("exp_a", force=True)
    assert rows_of_others() == before


def test_a_rerun_after_a_compaction_gives_the_same_content(alone: Installation) -> None:
    from exp_platform.spark.session import build_spark_session

    before = alone.content()
    with alone.here():
        spark = build_spark_session("compaction")
        for name in TABLES:
            spark.sql(
                f"CALL iceberg.system.rewrite_data_files(table => 'exp.{name}', options => map('rewrite-all', 'true'))"
            ).collect()
    assert alone.content() == before
    results = results_of(alone, "exp_b")

    alone.run("exp_a", force=True)

    assert alone.content() == before
    assert results_of(alone, "exp_b") == results


# ---- several at once


def test_three_experiments_at_once_lose_nothing(
    alone: Installation, tmp_path_factory: pytest.TempPathFactory
) -> None:
    together = Installation(tmp_path_factory.mktemp("together"))
    together.entries(**ENTRIES)
    processes = {experiment_id: run_process(together, experiment_id) for experiment_id in ENTRIES}
    for experiment_id, process in processes.items():
        said, _ = process.communicate()
        assert process.returncode == 0, f"{experiment_id}: {said}"
    for experiment_id in ENTRIES:
        assert together.content(experiment_id, ELSEWHERE) == alone.content(experiment_id, ELSEWHERE)


# ---- killed runs


class Killed(BaseException):
    """Ends a stage like a kill does: no handler of the platform's runs after it."""


@pytest.fixture
def kill_after(monkeypatch: pytest.MonkeyPatch) -> list[int]:
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


def results_of(installation: Installation, experiment_id: str) -> dict[str, Any]:
    """All that a reader can see of an experiment: its results, and the published pair that they rest on."""
    results = installation.results
    rows = {
        "analyses": results.analysis_rows(experiment_id),
        "did": results.did_rows(experiment_id),
        "event_study": results.event_study(experiment_id),
        "sensitivity": results.did_sensitivity(experiment_id),
        "deltas": results.pretrend_deltas(experiment_id),
        "tests": results.pretrend_tests(experiment_id),
        "checks": results.checks(experiment_id),
        "daily": results.daily(experiment_id),
    }
    seen: dict[str, Any] = {name: sorted(repr(asdict(row)) for row in found) for name, found in rows.items()}
    for decision in results.decisions(experiment_id):
        seen[f"decision of {decision.as_of_date}"] = decision.document
    (entry,) = installation.rows("experiment_registry", experiment_id)
    catalog = open_catalog(installation.environment)
    for name in ("exposures", "outcomes"):
        scan = table(catalog, name).scan(
            snapshot_id=entry[f"{name}_snapshot"], selected_fields=("user_id", "event_id")
        )
        seen[name] = sorted(scan.to_arrow().to_pylist(), key=repr)
    return seen


def run_killed(run: Run, stage: str, kill_after: list[int]) -> Iterator[int]:
    """Try a stage again and again, killed after 0, 1, 2 ... commits, until it outlives all of them."""
    for commits in range(100):
        kill_after[:] = [commits]
        try:
            manifest = execute(run, stage, commits + 1)
        except Killed:
            yield commits
            continue
        finally:
            kill_after.clear()
        assert manifest.status == "success", manifest.error
        return


def test_a_run_killed_after_any_commit_is_never_half_visible_and_a_retry_completes_it(
    disturbed: Installation, changed: dict[str, list[str]], kill_after: list[int]
) -> None:
    old = results_of(disturbed, "exp_a")
    with disturbed.here():
        experiment = load_experiment("exp_a")
        run = start_run(experiment).run
        assert run is not None
        kills = {"publish": 0, "decision": 0}
        seen = []
        for stage in stages_of(experiment):
            if stage.name not in kills:
                assert execute(run, stage.name, 1).status == "success"
                continue
            for commits in run_killed(run, stage.name, kill_after):
                kills[stage.name] = commits
                seen.append(results_of(disturbed, "exp_a"))
    new = results_of(disturbed, "exp_a")

    assert kills["publish"] >= 2  # exposures, outcomes, registry
    assert kills["decision"] >= 9  # seven tables of results, decisions, and the old rows' ends
    pair, of_results = ("exposures", "outcomes"), old.keys() - {"exposures", "outcomes"}
    for part in (pair, of_results):
        states = [{name: view[name] for name in part} for view in (old, new)]
        shown = [states.index({name: view[name] for name in part}) for view in seen]  # raises for half a run
        assert shown == sorted(shown)
    assert old != new
    assert disturbed.content("exp_a", ELSEWHERE) == changed


DIES_IN_AGGREGATES = """
import os, signal
from exp_platform.pipelines.run_end_to_end import main
from exp_platform.stages import aggregates
aggregates.run = lambda run: os.kill(os.getpid(), signal.SIGKILL)
main()
"""


def test_a_process_killed_in_the_middle_leaves_the_old_results_and_a_rerun_the_new(
    disturbed: Installation, changed: dict[str, list[str]]
) -> None:
    old = results_of(disturbed, "exp_a")
    process = run_process(disturbed, "exp_a", "-c", DIES_IN_AGGREGATES)
    said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    run_folder = max(disturbed.state.glob("runs/exp_a/*"))  # run ids sort by time
    assert (run_folder / "publish.json").exists()
    assert not (run_folder / "aggregates.json").exists()

    now = results_of(disturbed, "exp_a")
    assert {name: now[name] for name in old if name not in ("exposures", "outcomes")} == {
        name: rows for name, rows in old.items() if name not in ("exposures", "outcomes")
    }
    assert holder_of(disturbed.environment, "exp_a") is not None  # it may be alive for all that others know
    assert disturbed.call(exp, "unlock", "exp_a").code == 0
    disturbed.run("exp_a")
    assert disturbed.content("exp_a", ELSEWHERE) == changed
