"""What is written whole is whole, whoever else writes the same at that moment."""

from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier, get_ident

import pytest

from exp_platform.json_file import unfinished, write_whole


def test_two_threads_that_write_one_file_at_once_are_both_done(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With the process id alone both wrote one file, and the second found nothing left to rename."""
    both, seen, fsync = Barrier(2), set[int](), os.fsync

    def meeting(opened: int) -> None:
        fsync(opened)
        if get_ident() not in seen:  # all is written, nothing renamed
            seen.add(get_ident())
            both.wait(20)

    monkeypatch.setattr(os, "fsync", meeting)
    with ThreadPoolExecutor(2) as pool:
        written = pool.map(lambda letter: write_whole(tmp_path / "run.json", letter * 9), "ab")
    assert {path.read_text() for path in written} <= {"a" * 9, "b" * 9}
    assert [path.name for path in tmp_path.iterdir()] == ["run.json"]


def test_an_unfinished_file_says_whose_it_is_and_is_what_maintenance_looks_for() -> None:
    assert unfinished("run.json").startswith(f"run.json.{os.getpid()}-")
    assert unfinished("run.json").endswith(".partial")
