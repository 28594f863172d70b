"""Where an experiment stood is kept for as long as the experiment, and written only where it changed."""

from __future__ import annotations

from pathlib import Path

import pytest

from exp_platform.config.environment import Environment, load_environment
from exp_platform.tables.deletion import delete_experiment
from exp_platform.tables.status import note_status, status_of


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path))
    return load_environment("embedded")


def test_it_is_read_as_it_was_noted_until_the_experiment_is_deleted(environment: Environment) -> None:
    assert status_of(environment, "one") is None
    note_status(environment, "one", "running")
    note_status(environment, "other", "ended")
    note_status(environment, "one", "decided")
    assert (status_of(environment, "one"), status_of(environment, "other")) == ("decided", "ended")
    delete_experiment(environment, "one")
    assert (status_of(environment, "one"), status_of(environment, "other")) == (None, "ended")


def test_what_has_not_changed_is_not_written_again(environment: Environment) -> None:
    note_status(environment, "one", "running")
    file = environment.runs_dir / ".status" / "one"
    before = file.stat()
    note_status(environment, "one", "running")
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


@pytest.mark.parametrize("content", [b"", b"\xff", b"halted", b"running\n<b>"])
def test_a_damaged_file_is_as_if_nothing_had_been_noted(environment: Environment, content: bytes) -> None:
    note_status(environment, "one", "running")
    (environment.runs_dir / ".status" / "one").write_bytes(content)
    assert status_of(environment, "one") is None
