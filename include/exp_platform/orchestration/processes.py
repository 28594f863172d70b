"""Ending a process with everything it started, and with whoever started it."""

from __future__ import annotations

import os
import threading
import time
from contextlib import suppress

import psutil  # type: ignore[import-untyped]

from exp_platform.escaping import terminal

STARTED_BY = "EXP_STARTED_BY"  # environment variable: the process that a stage must not outlive, as `this_process` says it
WATCH_SECONDS = 1.0
SAME_SECONDS = 5.0  # two processes may take the machine's start, and so a third one's, for as much apart as its clock was set
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


def this_process() -> str:
    """Say which process this is, as no later one with the same id says it."""
    own = psutil.Process()
    return f"{own.pid} {own.create_time()}"


def end_with(starter: str) -> None:
    """End this process, and what lies between it and `starter`, within seconds of the starter's end, however that came.

    A task that is killed at once (kill -9, the kernel's want of memory) cannot end its spark-submit any more; that would go on
    and commit beside the task's retry. So would this process where only the Java between them is killed.
    """
    pid, began = starter.split()
    own = psutil.Process()
    submit, java = own, own.ppid()
    while (parent := submit.parent()) is not None and parent.pid != int(pid):
        submit = parent

    def watch() -> None:
        while _is(int(pid), float(began)) and own.ppid() == java:
            time.sleep(WATCH_SECONDS)
        gone = f"the task that started this (process {pid}), or its Java, is gone, so this ends too"
        with suppress(OSError):  # nobody may listen any more
            print(terminal(gone), flush=True)
        for process in {*_tree(own.pid), *(_tree(submit.pid) if parent is not None else ())}:
            if process.pid != own.pid:
                with suppress(psutil.NoSuchProcess):
                    process.kill()
        os._exit(1)

    threading.Thread(target=watch, name="starter", daemon=True).start()


def _is(pid: int, began: float) -> bool:
    try:
        process = psutil.Process(pid)
        same = abs(process.create_time() - began) < SAME_SECONDS
        return bool(same and process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False
