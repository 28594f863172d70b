"""The real spark-submit, whose JVM is killed as the kernel does it where memory is short."""

from __future__ import annotations

import os
import signal
import threading
import time
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from airflow.sdk.exceptions import AirflowException

from end_to_end.installation import Installation
from exp_platform.orchestration.submit import Submit


def _stage_below(pid: int) -> psutil.Process | None:
    """The Python of the stage, as soon as the JVM above it has started it.

    Spark's launcher, a JVM that lives for a moment, has the same words on its command line.
    """
    for found in psutil.Process(pid).children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            program, *words = found.cmdline() or [""]
            if "python" in Path(program).name and any("stage.py" in word for word in words):
                return found
    return None


def test_a_killed_jvm_is_told_by_its_signal_and_takes_its_python_with_it(
    checkout: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its harmless banner was told as the cause; and its Python went on, beside the task's retry."""
    for name, value in checkout.variables_of_airflow.items():
        monkeypatch.setenv(name, value)
    os.mkfifo(tmp_path / "run.json")  # the stage waits for it
    arguments = ["--run", str(tmp_path / "run.json"), "--stage", "srm"]
    submit = Submit("spark_default", "embedded", "killed", arguments, session=False)
    stages: list[psutil.Process] = []

    def kill() -> None:
        while not stages:
            time.sleep(0.1)
            process = submit._hook._submit_sp
            stages.extend(filter(None, [process and _stage_below(process.pid)]))
        time.sleep(3)  # by then it has begun to watch
        os.kill(stages[0].ppid(), signal.SIGKILL)

    thread = threading.Thread(target=kill, daemon=True)
    thread.start()
    with pytest.raises(AirflowException):
        submit.run()
    thread.join()
    told = submit.how_it_ended
    submit.close()
    assert told.startswith(
        "spark-submit was killed by signal 9 (SIGKILL) before the stage was done, saying nothing of why. Memory"
    )
    psutil.wait_procs(stages, timeout=20)
    assert not stages[0].is_running() or stages[0].status() == psutil.STATUS_ZOMBIE
