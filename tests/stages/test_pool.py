"""Processes of our own: results in order, errors as they are, one that dies in one line, and none that outlives whoever asked."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from exp_platform.diagnosis import diagnosis
from exp_platform.errors import DataError
from exp_platform.stages.pool import Pool, WorkerEndedError


class OddError(DataError):
    """Pickles to a class that cannot be called with its own message."""

    def __init__(self, what: str, where: str) -> None:
        super().__init__(f"{what} in {where}")


def where(number: int) -> tuple[int, int]:
    time.sleep(0.3)  # so that no process does all of them
    return number * number, os.getpid()


def broken(number: int) -> int:
    if number != 3:
        time.sleep(0.05)
        return number
    try:
        raise OSError(28, "No space left on device")
    except OSError as error:
        raise ValueError("the file was not written") from error


def odd(asking: int) -> int:
    if os.getpid() == asking:
        time.sleep(1)
        return 0
    raise OddError("a fault", "a file")


def ended(asking: int) -> int:
    """Where it is not the asking process: end it as the kernel does that wants memory."""
    if os.getpid() != asking:
        os.kill(os.getpid(), signal.SIGKILL)
    time.sleep(1)
    return 0


def imports(asking: int) -> list[str]:
    """Of some heavy packages those that are there."""
    if os.getpid() == asking:
        time.sleep(1)
        return []
    return [name for name in ("pandas", "pyspark", "airflow", "typer") if sys.modules.get(name)]


@pytest.fixture
def pool() -> Iterator[Pool]:
    others = psutil.Process().children()  # a JVM, where a test before had Spark
    made = Pool(3)
    yield made
    made.close()
    assert psutil.Process().children() == others


def test_results_come_in_order_from_all_processes(pool: Pool) -> None:
    done, again = pool.map(where, range(12)), pool.map(where, range(12))
    assert [number for number, _ in done] == [n * n for n in range(12)]
    processes = {pid for _, pid in done}
    assert len(processes) == 3
    assert os.getpid() in processes
    assert {pid for _, pid in again} == processes  # they stay for the next round


def test_one_item_starts_no_process(pool: Pool) -> None:
    others = psutil.Process().children()
    assert pool.map(where, [2]) == [(4, os.getpid())]
    assert psutil.Process().children() == others


def test_an_error_arrives_with_its_cause_and_nothing_is_begun_after_it(pool: Pool) -> None:
    began = time.monotonic()
    with pytest.raises(ValueError, match="the file was not written") as caught:
        pool.map(broken, range(500))
    assert time.monotonic() - began < 20
    assert "the disk is full" in (diagnosis(caught.value) or "")


def test_an_error_that_does_not_pickle_keeps_its_kind_and_words(pool: Pool) -> None:
    with pytest.raises(DataError) as caught:
        pool.map(odd, [os.getpid()] * 3)
    assert str(caught.value) == "a fault in a file"
    assert "in odd" in "".join(caught.value.__notes__)  # where it was raised


def test_one_that_dies_is_told_with_its_remedy(pool: Pool) -> None:
    with pytest.raises(
        WorkerEndedError, match=r"ended in the middle of it \(SIGKILL\): run again; .* memory is short"
    ):
        pool.map(ended, [os.getpid()] * 3)


def test_what_cannot_be_sent_is_told(pool: Pool) -> None:
    with pytest.raises(Exception, match="pickle"):
        pool.map(lambda number: number, range(2))


def test_others_import_what_their_tasks_name(pool: Pool) -> None:
    assert pool.map(imports, [os.getpid()] * 3) == [[], [], []]


SCRIPT = """
import signal, sys, time
from exp_platform.stages.pool import Pool
from stages.test_pool import slow
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs begin without
print("began", flush=True)  # no guard: whoever runs this again says so twice
pool = Pool(2)
try:
    pool.map(slow, range(2))
finally:
    pool.close()
"""


def slow(number: int) -> int:
    Path(os.environ["PIDS"], str(os.getpid())).touch()
    time.sleep(60)
    return number


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGINT, signal.SIGTERM])
def test_none_outlives_whoever_asked(how: signal.Signals, tmp_path: Path) -> None:
    """Killed, interrupted by Ctrl-C, or stopped: in the middle of tasks of a minute."""
    script, pids = tmp_path / "script.py", tmp_path / "pids"
    script.write_text(SCRIPT)
    pids.mkdir()
    asking = subprocess.Popen(
        [sys.executable, str(script)],
        env=os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "PIDS": str(pids)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
    )
    try:
        wait_until(lambda: len(list(pids.iterdir())) == 2, 60)
        os.killpg(asking.pid, how)  # as a terminal does it: to the whole group
        out, err = asking.communicate(timeout=30)
        wait_until(lambda: not any(psutil.pid_exists(int(pid.name)) for pid in pids.iterdir()), 10)
    finally:
        asking.kill()
    assert out == "began\n"
    assert err.count("Traceback") == (how == signal.SIGINT)  # its own, which commands catch


def wait_until(holds: Callable[[], bool], seconds: float) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end
        time.sleep(0.05)
