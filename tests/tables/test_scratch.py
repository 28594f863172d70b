"""Folders of rows on their way: private, gone with the block or with the process, and never another living one's."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

from exp_platform.config.environment import Environment
from exp_platform.tables.scratch import new_file, remove_abandoned, scratch

# Holds a scratch folder with a user's row until it is killed.
HOLDER = """
import sys
from exp_platform.config.environment import load_environment
from exp_platform.tables.scratch import new_file, scratch
with scratch(load_environment("embedded")) as folder:
    new_file(folder / "rows")
    print(folder, flush=True)
    sys.stdin.read()
"""


def folders(environment: Environment) -> list[Path]:
    return [path for path in (environment.state_dir / "tmp").iterdir() if path.is_dir()]


def test_a_folder_is_its_users_alone_and_goes_with_the_block(environment: Environment) -> None:
    before = os.umask(0)
    try:
        with suppress(KeyboardInterrupt), scratch(environment) as folder:
            new_file(folder / "rows")
            modes = [stat.S_IMODE(path.stat().st_mode) for path in (folder, folder / "rows")]
            raise KeyboardInterrupt
    finally:
        os.umask(before)
    assert modes == [0o700, 0o600]
    assert folders(environment) == []


def test_what_a_killed_process_left_goes_with_the_next_and_by_maintenance(environment: Environment) -> None:
    for by_maintenance in (False, True):
        holder = subprocess.Popen(
            [sys.executable, "-c", HOLDER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        assert holder.stdout is not None
        assert holder.stdin is not None
        left = Path(holder.stdout.readline().strip())
        try:
            with scratch(environment) as own:
                assert {own, left} == set(folders(environment))  # it lives: nothing of its is touched
                assert remove_abandoned(environment) == 0
        finally:
            holder.send_signal(signal.SIGKILL)
            holder.wait()
            holder.stdin.close()
            holder.stdout.close()
        assert (left / "rows").exists()
        if by_maintenance:
            assert remove_abandoned(environment) == 1
        else:
            with scratch(environment) as own:
                assert folders(environment) == [own]
        assert folders(environment) == []


def test_one_that_died_before_it_held_its_folder_leaves_nothing(environment: Environment) -> None:
    with scratch(environment):
        pass
    (environment.state_dir / "tmp" / "half").mkdir()
    assert remove_abandoned(environment) == 1
