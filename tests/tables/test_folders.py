"""Which folders are an experiment's runs, and when anything in one was last written."""

from __future__ import annotations

import os
from pathlib import Path

from exp_platform.config.environment import Environment
from exp_platform.tables.folders import last_written, run_folders


def test_beside_the_folders_of_runs_lie_files_and_hidden_folders(environment: Environment) -> None:
    assert run_folders(environment) == []
    for name in ("exp_b", "exp_a", ".last_runs"):
        (environment.runs_dir / name).mkdir(parents=True)
    (environment.runs_dir / ".forgotten.key").write_text("")
    (environment.runs_dir / "notes.txt").write_text("")
    assert [folder.name for folder in run_folders(environment)] == ["exp_a", "exp_b"]


def test_a_file_that_is_gone_when_it_is_looked_at_tells_nothing(tmp_path: Path) -> None:
    empty = last_written(tmp_path)
    (tmp_path / "renamed.partial").symlink_to(tmp_path / "gone")  # listed, and not there
    assert last_written(tmp_path) >= empty
    (tmp_path / "manifests").mkdir()
    (tmp_path / "manifests" / "ingest.1.json").write_text("")
    os.utime(tmp_path / "manifests", (1e9, 1e9))
    os.utime(tmp_path / "manifests" / "ingest.1.json", (1.1e9, 1.1e9))
    assert last_written(tmp_path) == 1.1e9
