"""Ending a process ends all that it started, also what will not go quietly."""

from __future__ import annotations

import subprocess
import sys
import time

import psutil

from exp_platform.orchestration.processes import end_process_tree

# A child in a group of its own (as PySpark's daemon is) that ignores SIGTERM, and a grandchild.
STUBBORN = """
import os, signal, subprocess, sys, time
child = subprocess.Popen([sys.executable, "-S", "-c", '''
import os, signal, subprocess, time
os.setpgid(0, 0)
signal.signal(signal.SIGTERM, signal.SIG_IGN)
grandchild = subprocess.Popen(["sleep", "300"])
print(os.getpid(), grandchild.pid, flush=True)
time.sleep(300)
'''])
time.sleep(300)
"""


def _gone(pid: int) -> bool:
    return not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE


def test_children_in_other_groups_that_ignore_sigterm_are_ended_too() -> None:
    root = subprocess.Popen([sys.executable, "-S", "-c", STUBBORN], stdout=subprocess.PIPE, text=True)
    assert root.stdout is not None
    child, grandchild = map(int, root.stdout.readline().split())

    end_process_tree(root.pid, grace=0.2)

    assert root.wait(timeout=5) != 0
    deadline = time.monotonic() + 5
    while not (_gone(child) and _gone(grandchild)) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert _gone(child)
    assert _gone(grandchild)
    root.stdout.close()


def test_the_exit_code_is_left_for_the_parent() -> None:
    process = subprocess.Popen(["sleep", "300"])
    end_process_tree(process.pid)
    assert process.wait(timeout=5) == -15


def test_a_process_that_has_ended_is_no_error() -> None:
    process = subprocess.Popen(["true"])
    process.wait()
    end_process_tree(process.pid)


# A task that starts a stand-in for spark-submit, which starts the stage and a worker.
TASK = """
import os, subprocess, sys, time
from exp_platform.orchestration.processes import STARTED_BY, this_process
subprocess.Popen([sys.executable, "-c", sys.argv[1]], env=os.environ | {STARTED_BY: this_process()})
time.sleep(300)
"""
SUBMIT = """
import subprocess, sys, time
worker = subprocess.Popen(["sleep", "300"])
stage = subprocess.Popen([sys.executable, "-c", '''
import os, time
from exp_platform.orchestration import processes
processes.WATCH_SECONDS = 0.1
processes.end_with(os.environ[processes.STARTED_BY])
print("watching", flush=True)
time.sleep(300)
'''], stdout=subprocess.PIPE, text=True)
stage.stdout.readline()
print(worker.pid, stage.pid, flush=True)
time.sleep(300)
"""


def test_a_stage_does_not_outlive_the_task_that_started_it_though_that_was_killed_at_once() -> None:
    """Its spark-submit went on, and committed beside the retry."""
    task = subprocess.Popen([sys.executable, "-c", TASK, SUBMIT], stdout=subprocess.PIPE, text=True)
    assert task.stdout is not None
    worker, stage = map(int, task.stdout.readline().split())
    submit = psutil.Process(stage).ppid()
    time.sleep(0.5)
    assert not any(map(_gone, (submit, stage, worker)))  # the task lives

    task.kill()
    task.wait()
    deadline = time.monotonic() + 10
    while not all(map(_gone, (submit, stage, worker))) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert all(map(_gone, (submit, stage, worker)))
    task.stdout.close()


def test_a_stage_does_not_outlive_its_java_that_was_killed_at_once() -> None:
    """It went on, and committed beside the retry that its task began."""
    task = subprocess.Popen([sys.executable, "-c", TASK, SUBMIT], stdout=subprocess.PIPE, text=True)
    assert task.stdout is not None
    worker, stage = map(int, task.stdout.readline().split())
    time.sleep(0.5)
    psutil.Process(psutil.Process(stage).ppid()).kill()
    deadline = time.monotonic() + 10
    while not _gone(stage) and time.monotonic() < deadline:
        time.sleep(0.05)
    assert _gone(stage)
    for left in (worker, task.pid):
        psutil.Process(left).kill()
    task.wait()
    task.stdout.close()
