"""Maintenance deletes nothing that it has not set aside before, and nothing where the catalog may be the wrong one."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from pyiceberg import manifest as manifests

from exp_platform.config.environment import Environment
from exp_platform.errors import DataError
from exp_platform.tables import maintenance
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.maintenance import maintain
from exp_platform.tables.repair import repair
from exp_platform.tables.write import replace_files
from stages.frozen_runs import D3, a_run, carry_out, stage_exposures
from tables.lost_state import bring_back_the_catalog, copy_the_catalog, forget_connections

pytestmark = pytest.mark.e2e  # commit after commit, or Spark: longer than a unit test may take

NOW = datetime.now(UTC)


def in_days(days: int) -> datetime:
    return NOW + timedelta(days=days)


def folder(environment: Environment, name: str = "exposures") -> Path:
    return Path(environment.warehouse.removeprefix("file://"), "exp", name)


def aside(environment: Environment, file: Path, days: int = 4) -> Path:
    """Where a file of `exposures` lies in quarantine after the maintenance of a day."""
    inside = folder(environment)
    return inside / "quarantine" / str(in_days(days).date()) / file.relative_to(inside)


def unpublished(environment: Environment, run_id: str = "r9") -> Path:
    return Path(stage_exposures(environment, a_run(environment, run_id), ["u"]).removeprefix("file://"))


def everything(environment: Environment) -> dict[Path, bytes]:
    inside = Path(environment.warehouse.removeprefix("file://"))
    return {path: path.read_bytes() for path in inside.rglob("*") if path.is_file()}


def test_a_file_that_no_snapshot_names_is_moved_and_only_later_deleted(environment: Environment) -> None:
    carry_out(a_run(environment, "r1"))
    file = unpublished(environment)
    content = file.read_bytes()
    assert maintain(environment, now=in_days(4)).quarantined > 0
    assert not file.exists()
    assert aside(environment, file).read_bytes() == content
    for days in (5, 6, 7):
        assert maintain(environment, now=in_days(days)).removed_files == 0
    assert aside(environment, file).exists()
    assert maintain(environment, now=in_days(8)).removed_files > 0
    assert not aside(environment, file).exists()
    assert not aside(environment, file).parents[2].exists()  # nor its day


def test_maintenance_that_is_repeated_moves_nothing_twice(environment: Environment) -> None:
    carry_out(a_run(environment, "r1"))
    unpublished(environment)
    maintain(environment, now=in_days(4))
    after = everything(environment)
    again = maintain(environment, now=in_days(4))
    assert (again.quarantined, again.put_back, again.removed_files) == (0, 0, 0)
    assert everything(environment) == after


def test_what_is_committed_after_all_comes_back_from_quarantine(environment: Environment) -> None:
    run = a_run(environment, "r1")
    carry_out(run)
    file = unpublished(environment)
    maintain(environment, now=in_days(4))
    # A run that was cleared after days commits what it had staged.
    shutil.copy(aside(environment, file), file)
    replace_files(open_catalog(environment), "exposures", "exp_a", [f"file://{file}"], "r9")
    file.unlink()
    assert maintain(environment, now=in_days(5)).put_back == 1
    assert table(open_catalog(environment), "exposures").scan().to_arrow()["user_id"].to_pylist() == ["u"]


def test_repair_brings_back_what_is_named_and_lies_in_quarantine(environment: Environment) -> None:
    carry_out(a_run(environment, "r1"))
    source = table(open_catalog(environment), "exposures")
    snapshot = source.current_snapshot()
    assert snapshot is not None
    before = everything(environment)
    for location in (snapshot.manifest_list, next(iter(source.scan().plan_files())).file.file_path):
        file = Path(location.removeprefix("file://"))
        aside(environment, file).parent.mkdir(parents=True)
        file.rename(aside(environment, file))
    told = [line for line in repair(environment) if line.startswith("exposures")]
    assert "2 files that it names were in quarantine, and are back" in told[0]
    assert everything(environment) == before


def test_a_table_with_a_snapshot_that_cannot_be_read_is_left_alone(environment: Environment) -> None:
    for run_id in ("r1", "r2"):
        carry_out(a_run(environment, run_id), "publish")
    oldest = table(open_catalog(environment), "exposures").snapshots()[0]
    manifest_list = Path(oldest.manifest_list.removeprefix("file://"))
    manifest_list.write_bytes(manifest_list.read_bytes()[:100])
    manifests._manifest_cache.clear()  # as a new process
    file = unpublished(environment)
    long_ago = (NOW - timedelta(days=9)).timestamp()
    os.utime(file, (long_ago, long_ago))
    assert maintain(environment).damaged == ("exposures",)
    assert file.exists()
    assert maintain(environment, now=in_days(4)).damaged == ()  # that snapshot has expired
    assert not file.exists()


def test_maintenance_stops_where_it_would_remove_too_large_a_share(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    carry_out(a_run(environment, "r1"))
    carry_out(a_run(environment, "r2"))
    for number in range(4):
        unpublished(environment, f"r9{number}")
    monkeypatch.setattr(maintenance, "MAX_UNNAMED", 3)
    before = everything(environment)
    with pytest.raises(
        DataError, match=r"8 of 10 data files of exposures.*20 %.*exp doctor.*`exp maintain --force`"
    ):
        maintain(environment, now=in_days(4))
    assert everything(environment) == before  # nor is a snapshot expired
    assert maintain(environment, now=in_days(4), force=True).quarantined >= 8


def test_a_handful_of_leftovers_stops_nothing(environment: Environment) -> None:
    carry_out(a_run(environment, "r1"))
    for number in range(4):
        unpublished(environment, f"r9{number}")
    assert maintain(environment, now=in_days(4)).quarantined >= 4


def test_files_of_snapshots_that_expire_are_no_surprise(
    environment: Environment, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(maintenance, "MAX_UNNAMED", 0)
    for number in range(4):  # each replaces what the one before has published
        carry_out(a_run(environment, f"r{number}"), "publish")
    maintain(environment, now=in_days(4))
    assert len(list((folder(environment) / "data").rglob("*.parquet"))) == 1


def test_maintenance_stops_where_an_older_catalog_is_in_use(environment: Environment, tmp_path: Path) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    copy_the_catalog(environment, tmp_path / "then")
    carry_out(a_run(environment, "r2", (D3,)))
    carry_out(a_run(environment, "r3", (D3,)))
    bring_back_the_catalog(environment, tmp_path / "then")
    before = everything(environment)
    with pytest.raises(DataError, match="decisions was committed to since"):
        maintain(environment)
    assert everything(environment) == before
    repair(environment, forward=True)
    forget_connections()
    maintain(environment, now=in_days(4))


def test_repair_finds_what_an_older_catalog_has_sent_into_quarantine(
    environment: Environment, tmp_path: Path
) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    copy_the_catalog(environment, tmp_path / "then")
    carry_out(a_run(environment, "r2", (D3,)))
    now = table(open_catalog(environment), "decisions").scan().to_arrow().to_pylist()
    bring_back_the_catalog(environment, tmp_path / "then")
    maintain(environment, now=in_days(4), force=True)
    repair(environment, forward=True)
    forget_connections()
    assert table(open_catalog(environment), "decisions").scan().to_arrow().to_pylist() == now
