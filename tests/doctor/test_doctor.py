"""The doctor finds what is broken before a run does, says what to do, and touches nothing."""

from __future__ import annotations

import json
import shutil
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from exp_platform.cli import app
from exp_platform.config.environment import Environment, load_environment
from exp_platform.doctor import installation, stored
from exp_platform.doctor.examine import examine
from exp_platform.doctor.finding import Finding
from exp_platform.spark import jar_checksums
from exp_platform.tables.backup import backup
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.lease import Lease
from exp_platform.tables.maintenance import maintain
from machine import open_folder, without_root
from stages.frozen_runs import D3, a_run, carry_out, stage_exposures
from tables.lost_state import forget_connections, lose_the_catalog, metadata_files


@pytest.fixture
def run(environment: Environment, tmp_path: Path) -> Environment:
    """An installation that has run one experiment."""
    carry_out(a_run(environment, "r1", (D3,)))
    backup(environment, tmp_path / "catalog")
    lose_the_catalog(environment)
    # As at the process's end: no log beside the database
    shutil.copy(tmp_path / "catalog", environment.catalog.uri)
    return environment


def everything(environment: Environment) -> dict[Path, Any]:
    return {path: path.stat().st_mtime_ns for path in environment.state_dir.rglob("*")}


def faults(environment: Environment) -> list[Finding]:
    return [finding for finding in examine() if finding.state == "fault"]


def the_only_fault(environment: Environment) -> Finding:
    (found,) = faults(environment)
    return found


def a_data_file(environment: Environment, name: str) -> Path:
    task = next(iter(table(open_catalog(environment), name).scan().plan_files()))
    return Path(task.file.file_path.removeprefix("file://"))


def test_what_works_has_no_fault_and_nothing_is_written(run: Environment) -> None:
    before = everything(run)
    assert not Path(f"{run.catalog.uri}-wal").exists()
    found = examine()
    assert [finding.line for finding in found if finding.state == "fault"] == []
    assert {f"table {name}" for name in ("exposures", "decisions", "unit_days")} <= {f.check for f in found}
    assert everything(run) == before


def test_before_the_first_run_there_is_no_fault_and_no_folder(environment: Environment) -> None:
    assert faults(environment) == []
    assert not environment.state_dir.exists()


def test_a_lost_catalog_is_told_with_its_remedy(run: Environment) -> None:
    lose_the_catalog(run)
    assert "`exp repair`" in the_only_fault(run).line


def test_a_damaged_catalog_is_told_with_its_remedy(run: Environment) -> None:
    lose_the_catalog(run)
    Path(run.catalog.uri).write_bytes(b"no database " * 1000)
    assert "is damaged; `exp restore FILE`" in the_only_fault(run).line


def test_missing_metadata_manifests_and_data_are_told_apart(run: Environment) -> None:
    metadata_files(run, "decisions")[-1].unlink()
    snapshot = table(open_catalog(run), "analysis_results").current_snapshot()
    assert snapshot is not None
    Path(snapshot.manifest_list.removeprefix("file://")).unlink()
    a_data_file(run, "did_results").unlink()
    cut = a_data_file(run, "metric_aggregates_overall")
    cut.write_bytes(cut.read_bytes()[:-10])
    found = {finding.check: finding for finding in faults(run)}
    assert found.keys() == {
        f"table {name}"
        for name in ("decisions", "analysis_results", "did_results", "metric_aggregates_overall")
    }
    assert found["table decisions"].remedy == found["table analysis_results"].remedy == "`exp repair`"
    for name in ("did_results", "metric_aggregates_overall"):
        assert "1 data files of exp_a are missing or cut" in found[f"table {name}"].found
        assert "`exp run exp_a --force`" in found[f"table {name}"].remedy


def test_published_data_that_are_gone_are_told(run: Environment) -> None:
    a_data_file(run, "exposures").unlink()
    assert any(f.check == "published data" and "for exp_a" in f.found for f in faults(run))


def test_files_that_nothing_names_and_those_in_quarantine_are_counted(run: Environment) -> None:
    size = Path(stage_exposures(run, a_run(run, "r2"), ["u"]).removeprefix("file://")).stat().st_size
    line = next(f.line for f in examine() if f.check == "orphans exposures")
    assert f"{size:,} bytes" not in line  # r2's own staged file is one more
    assert "2 files" in line
    assert "quarantines 0 of them" in line
    maintain(run, now=datetime.now(UTC) + timedelta(days=4))
    forget_connections()
    assert any(f.check == "quarantine exposures" and "files" in f.found for f in examine())


def test_an_older_catalog_is_warned_of(run: Environment, tmp_path: Path) -> None:
    backup(run, tmp_path / "then")
    carry_out(a_run(run, "r2", (D3,)))
    lose_the_catalog(run)
    shutil.copy(tmp_path / "then", run.catalog.uri)
    found = {f.check: f for f in examine() if f.state == "warning"}
    assert "`exp repair --forward`" in found["table decisions"].remedy


def test_a_stale_lease_is_warned_of_and_a_live_one_is_not(run: Environment) -> None:
    Lease("exp_a", "a run", run).acquire()
    Lease("exp_b", "a dead run", run, ttl=-1).acquire()
    live, dead = (f for f in examine() if f.check == "leases")
    assert (live.state, dead.state) == ("ok", "warning")
    assert "`exp unlock exp_b`" in dead.remedy


def test_a_file_where_the_state_folder_should_be_is_told(environment: Environment) -> None:
    environment.state_dir.write_text("")
    assert any("is no folder" in f.found and "EXP_STATE_DIR" in f.remedy for f in faults(environment))


def test_a_folder_that_another_user_has_made_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    with open_folder() as state:
        monkeypatch.setenv("EXP_STATE_DIR", str(state))
        metadata = state / "warehouse" / "exp" / "decisions" / "metadata"
        metadata.mkdir(parents=True)
        for folder in (metadata, *list(metadata.parents)[:3]):
            folder.chmod(0o777)
        with without_root():
            assert installation.rights(load_environment()).state == "ok"
        metadata.chmod(0o555)
        with without_root():
            assert (
                f"{metadata} (of warehouse) cannot be written"
                in installation.rights(load_environment()).found
            )


def test_no_java_or_an_unknown_one_is_told(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "nowhere"))
    assert installation.java().state == "fault"
    assert "set JAVA_HOME" in installation.java().remedy
    program = tmp_path / "home" / "bin" / "java"
    program.parent.mkdir(parents=True)
    program.write_text("#!/bin/sh\necho 'openjdk version \"11.0.2\"' >&2\n")
    program.chmod(0o755)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path / "home"))
    assert "is version 11" in installation.java().found
    monkeypatch.delenv("JAVA_HOME")
    monkeypatch.setenv("PATH", str(tmp_path))
    assert "no java on the PATH" in installation.java().found


def test_jars_that_are_missing_or_of_another_spark_are_told(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("EXP_JARS_DIR", str(tmp_path))
    assert next(iter(installation.jars(environment))).remedy == "make setup"
    (tmp_path / "iceberg-spark-runtime-3.5_2.13-1.9.0.jar").write_text("")
    assert "is not for Spark 4" in next(iter(installation.jars(environment))).found


def test_a_damaged_jar_is_told_with_both_checksums(
    environment: Environment, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    name, expected = next(iter(jar_checksums.expected("embedded").items()))
    (tmp_path / name).write_text("")
    monkeypatch.setenv("EXP_JARS_DIR", str(tmp_path))
    (told,) = (found for found in installation.jars(environment) if expected in found.found)
    assert told.state == "fault"
    assert "sha256 e3b0c442" in told.found  # of nothing
    assert told.remedy.startswith("make setup")


def test_a_disk_that_is_nearly_full_is_told(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    usage = type(shutil.disk_usage("/"))
    monkeypatch.setattr(installation.shutil, "disk_usage", lambda _: usage(10**11, 10**11 - 10**8, 10**8))
    assert next(iter(installation.disks(environment))).state == "fault"


def test_a_python_that_is_too_old_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "version_info", (3, 10, 1))
    assert "3.11 to 3.13" in installation.python().remedy


def test_a_check_that_fails_itself_is_a_fault_and_ends_no_other(
    run: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fails(environment: Environment) -> Finding:
        raise RuntimeError("never seen before")

    monkeypatch.setattr(stored, "standing_leases", fails)
    assert the_only_fault(run).found == "RuntimeError: never seen before"


def test_the_exit_code_and_the_json_say_whether_there_is_a_fault(run: Environment) -> None:
    said = CliRunner().invoke(app, ["doctor"])
    assert said.exit_code == 0, said.output
    assert "0 faults" in said.output
    lose_the_catalog(run)
    said = CliRunner().invoke(app, ["doctor", "--json"])
    assert said.exit_code == 1
    assert [f["check"] for f in json.loads(said.stdout) if f["state"] == "fault"] == ["catalog"]
