"""What a commit rests on is on the disk before the commit: each file, the folder that names it, and SQLite's log."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from pyiceberg.io import load_file_io
from sqlalchemy import text

from exp_platform.config.environment import Environment
from exp_platform.json_file import write_json
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.durable_io import DurableFileIO
from stages.frozen_runs import a_run, carry_out, stage_exposures


@pytest.fixture
def synced(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The inodes of the files and folders that were brought to the disk, in order."""
    inodes: list[int] = []
    fsync = os.fsync

    def noting(number: int) -> None:
        inodes.append(os.fstat(number).st_ino)
        fsync(number)

    monkeypatch.setattr(os, "fsync", noting)
    return inodes


def inode(path: Path) -> int:
    return path.stat().st_ino


def test_every_file_that_a_commit_names_is_on_the_disk_with_its_name(
    environment: Environment, synced: list[int]
) -> None:
    carry_out(a_run(environment, "r1"), "publish")
    source = table(open_catalog(environment), "exposures")
    snapshot = source.current_snapshot()
    assert snapshot is not None
    (manifest,) = snapshot.manifests(source.io)
    (task,) = source.scan().plan_files()
    named = [source.metadata_location, snapshot.manifest_list, manifest.manifest_path, task.file.file_path]
    for path in (Path(location.removeprefix("file://")) for location in named):
        assert inode(path) in synced
        assert inode(path.parent) in synced[synced.index(inode(path)) :]


def test_folders_that_were_made_for_a_file_are_on_the_disk_too(
    environment: Environment, synced: list[int]
) -> None:
    path = Path(stage_exposures(environment, a_run(environment, "r1"), ["u"]).removeprefix("file://"))
    assert {inode(folder) for folder in (path.parent, *path.parents[1:3])} <= set(synced)


def test_a_json_file_is_on_the_disk_and_then_its_name(tmp_path: Path, synced: list[int]) -> None:
    written = write_json(tmp_path / "publish.json", {"a": 1})
    assert synced == [inode(written), inode(tmp_path)]


def test_sqlite_brings_each_commit_to_the_disk(environment: Environment) -> None:
    engine = open_catalog(environment).engine  # type: ignore[attr-defined]
    with engine.connect() as connection:
        assert connection.execute(text("PRAGMA synchronous")).scalar_one() == 2  # FULL


def test_an_existing_file_is_not_overwritten_and_a_store_is_written_as_ever(tmp_path: Path) -> None:
    files = DurableFileIO()
    with files.new_output(f"file://{tmp_path}/a/b").create() as stream:
        stream.write(b"one")
    with pytest.raises(FileExistsError):
        files.new_output(f"file://{tmp_path}/a/b").create()
    with files.new_output(f"file://{tmp_path}/a/b").create(overwrite=True) as stream:
        stream.write(b"two")
    assert (tmp_path / "a" / "b").read_bytes() == b"two"
    store = load_file_io({"py-io-impl": "exp_platform.tables.durable_io.DurableFileIO"}).new_output(
        "s3://bucket/key"
    )
    assert type(store).__name__ == "PyArrowFile"
