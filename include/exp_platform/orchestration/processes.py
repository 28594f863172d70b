"""Ending a process with everything it started."""

from __future__ import annotations

import time
from contextlib import suppress

import psutil  # type: ignore[import-untyped]

GRACE_SECONDS = 2.0  # Airflow kills a task 5 seconds after it asked it to end


def end_process_tree(pid: int, grace: float = GRACE_SECONDS) -> None:
    """End a process and all its descendants: SIGTERM, `grace` seconds to tidy up, then SIGKILL.

    By the tree and not by the process group: PySpark's worker daemon makes a group of its own, and a JVM in a group
    of its own would survive a Ctrl-C in the terminal, which reaches only the group in the foreground.
    """
    processes = _tree(pid)
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.terminate()
    deadline = time.monotonic() + grace
    while any(map(_alive, processes)) and time.monotonic() < deadline:
        time.sleep(0.05)
    survivors = [process for process in processes if _alive(process)]
    for process in [late for survivor in survivors for late in _tree(survivor.pid)]:
        with suppress(psutil.NoSuchProcess):
            process.kill()


def _tree(pid: int) -> list[psutil.Process]:
    try:
        root = psutil.Process(pid)
        return [root, *root.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _alive(process: psutil.Process) -> bool:
    """Whether it still runs. Not by waiting for it: that would take its exit code from whoever started it."""
    try:
        return bool(process.is_running() and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
