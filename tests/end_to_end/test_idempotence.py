"""Reruns, compactions, neighbours, crowds and killed runs: none of them changes what a reader gets."""

from __future__ import annotations

import signal
import subprocess
from dataclasses import asdict, dataclass
from typing import Any

import pytest
from pyiceberg.table import StaticTable

from end_to_end.installation import Installation
from exp_platform.analyses.rows import (
    DidRow,
    DidSensitivityRow,
    EventStudyRow,
    PretrendDeltaRow,
    PretrendTestRow,
    ResultRow,
)
from exp_platform.checks import CheckResult
from exp_platform.cli import main as exp
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.forgotten import NAME as FORGOTTEN
from exp_platform.tables.lease import holder_of
from exp_platform.tables.schemas import TABLES
from exp_platform.tables.selection import selection

SMALL = {"days": 14, "n_users": 1500, "duplicate_share": 0.005, "crossover_share": 0.005, "late_share": 0.01}
FIRST, SECOND, THIRD = (f"exp_checkout_button_{letter}" for letter in "abc")
ENTRIES = {
    FIRST: {**SMALL, "seed": 1},
    SECOND: {**SMALL, "seed": 2, "effect_lift_conversion": 0.05},
    THIRD: {**SMALL, "seed": 3, "timezone": "Asia/Tokyo"},
}
# A new spec, so other results.
CHANGED = {**ENTRIES[FIRST], "n_users": 1600, "effect_lift_conversion": 0.04}
ELSEWHERE = ("spec", "code_version")  # where an installation lies, and when a process read the code
# Nobody is to be forgotten, nothing is late, and generated data are read as a whole
EMPTY = {FORGOTTEN, "late_days", "outcomes_aside", "outcomes_seen", "ingested_files"}


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
    """Every table after one undisturbed run of the experiment, and one of it changed."""
    made = Installation(tmp_path_factory.mktemp("changed"))
    for entry in (ENTRIES[FIRST], CHANGED):
        made.entries(**{FIRST: entry})
        made.run(FIRST)
    return made.content(FIRST, ELSEWHERE)


@pytest.fixture
def disturbed(tmp_path_factory: pytest.TempPathFactory) -> Installation:
    """An experiment with results, whose spec has changed since."""
    made = Installation(tmp_path_factory.mktemp("disturbed"))
    made.entries(**{FIRST: ENTRIES[FIRST]})
    made.run(FIRST)
    made.entries(**{FIRST: CHANGED})
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
        return {name: table(catalog, name).metadata.current_snapshot_id for name in TABLES}

    before = snapshots()
    outcome = alone.run(FIRST)
    assert outcome.started.up_to_date
    assert outcome.manifests == ()
    assert snapshots() == before


@dataclass(frozen=True)
class Rerun:
    """One forced rerun of the first experiment, after Spark has written every file of every table anew."""

    before: dict[str, list[str]]
    compacted: dict[str, list[str]]
    after: dict[str, list[str]]
    neighbours_before: dict[str, Any]
    neighbours_after: dict[str, Any]
    old_run: str


@pytest.fixture(scope="module")
def rerun(alone: Installation) -> Rerun:
    from exp_platform.spark.session import build_spark_session

    def rows_of_neighbours() -> dict[str, Any]:
        """With run ids, times and snapshots: nobody may have written them again. And as readers see them."""
        rows = {
            name: sorted(repr(row) for other in (SECOND, THIRD) for row in alone.rows(name, other))
            for name in TABLES
        }
        return rows | results_of(alone, SECOND)

    before, neighbours = alone.content(), rows_of_neighbours()
    (old_run,) = {row["run_id"] for row in alone.rows("decisions", FIRST)}
    with alone.here():
        spark = build_spark_session("compaction")
        for name in TABLES:
            spark.sql(
                f"CALL iceberg.system.rewrite_data_files(table => 'exp.{name}', options => map('rewrite-all', 'true'))"
            ).collect()
            spark.sql(f"CALL iceberg.system.rewrite_manifests('exp.{name}')").collect()
    compacted = alone.content()
    alone.run(FIRST, force=True)
    return Rerun(before, compacted, alone.content(), neighbours, rows_of_neighbours(), old_run)


def test_a_compaction_by_spark_changes_no_row(rerun: Rerun) -> None:
    assert {name for name, rows in rerun.before.items() if not rows} == EMPTY
    assert rerun.compacted == rerun.before


def test_a_forced_rerun_after_a_compaction_gives_every_table_the_same_content(
    rerun: Rerun, alone: Installation
) -> None:
    """The ids begin with the same 16 characters, to which Iceberg cuts what it knows of a file's values."""
    assert rerun.after == rerun.before
    for name in TABLES:
        assert rerun.old_run not in {row.get("run_id") for row in alone.rows(name, FIRST)}, name


def test_peer_defect_a_rerun_leaves_the_neighbours_rows_as_they_are(rerun: Rerun) -> None:
    assert rerun.neighbours_after == rerun.neighbours_before


@pytest.mark.usefixtures("rerun")
def test_no_committed_version_of_a_table_is_without_the_experiments_rows(alone: Installation) -> None:
    """The original deleted and appended in two commits: whoever read in between saw nothing."""
    catalog, mine = open_catalog(alone.environment), selection({"experiment_id": FIRST})
    for name in TABLES.keys() - EMPTY:
        current = table(catalog, name)
        earlier = [entry.metadata_file for entry in current.metadata.metadata_log]
        versions = [StaticTable.from_metadata(location) for location in (*earlier, current.metadata_location)]
        stored = [any(True for _ in version.scan(mine).plan_files()) for version in versions]
        assert stored[stored.index(True) :].count(False) == 0, name
        assert len(stored) >= 3, name


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


# ---- a killed run; what a kill after each single commit leaves is tried in tests/stages/test_killed.py


def results_of(installation: Installation, experiment_id: str) -> dict[str, Any]:
    """All that a reader can see of an experiment: its results, and the published pair that they rest on."""
    results = installation.results
    rows = {
        "analyses": results.rows(ResultRow, experiment_id),
        "did": results.rows(DidRow, experiment_id),
        "event_study": results.rows(EventStudyRow, experiment_id),
        "sensitivity": results.rows(DidSensitivityRow, experiment_id),
        "deltas": results.rows(PretrendDeltaRow, experiment_id),
        "tests": results.rows(PretrendTestRow, experiment_id),
        "checks": results.rows(CheckResult, experiment_id),
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
    old = results_of(disturbed, FIRST)
    process = run_process(disturbed, FIRST, "-c", DIES_IN_AGGREGATES)
    said, _ = process.communicate()
    assert process.returncode == -signal.SIGKILL, said
    run_folder = max(disturbed.state.glob(f"runs/{FIRST}/*"))  # run ids sort by time
    assert (run_folder / "publish.json").exists()
    assert not (run_folder / "aggregates.json").exists()

    now = results_of(disturbed, FIRST)
    assert {name: now[name] for name in old if name not in ("exposures", "outcomes")} == {
        name: rows for name, rows in old.items() if name not in ("exposures", "outcomes")
    }
    assert holder_of(disturbed.environment, FIRST) is not None  # it may be alive for all that others know
    assert disturbed.call(exp, "unlock", FIRST).code == 0
    disturbed.run(FIRST)
    assert disturbed.content(FIRST, ELSEWHERE) == changed
