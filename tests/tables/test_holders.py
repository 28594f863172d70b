"""The lease of a process that was killed is taken at once by the next on its machine, and never that of one that may live."""

from __future__ import annotations

import os
import re
import socket
import subprocess
import sys
from collections.abc import Iterator

import pytest

from exp_platform.config.environment import Environment
from exp_platform.errors import LeaseError
from exp_platform.tables import holders
from exp_platform.tables.holders import has_ended, this_process
from exp_platform.tables.lease import Lease, holder_of, release_dead

HOLD = (
    "import time\n"
    "from exp_platform.config.environment import load_environment\n"
    "from exp_platform.tables.holders import this_process\n"
    "from exp_platform.tables.lease import Lease\n"
    "Lease('exp_a', this_process(), load_environment()).acquire()\n"
    "print(this_process(), flush=True)\n"
    "time.sleep(60)\n"
)
LINUX = pytest.mark.skipif(
    not os.path.exists("/proc/self/stat"), reason="only Linux tells when a process started"
)


@pytest.fixture
def other(environment: Environment) -> Iterator[subprocess.Popen[str]]:
    """Another process that holds the lease of exp_a."""
    made = subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True)
    yield made
    made.kill()
    made.communicate()


def test_the_lease_of_a_killed_process_is_taken_at_once(
    environment: Environment, other: subprocess.Popen[str]
) -> None:
    assert other.stdout is not None
    holder = other.stdout.readline().strip()
    with pytest.raises(LeaseError, match="is being run by"):
        Lease("exp_a", this_process(), environment).acquire()
    assert not has_ended(holder)
    other.kill()
    os.waitid(os.P_PID, other.pid, os.WEXITED | os.WNOWAIT)  # it has ended, and nobody has fetched that yet
    Lease("exp_a", this_process(), environment).acquire()
    assert holder_of(environment, "exp_a").holder == this_process()  # type: ignore[union-attr]
    other.wait()
    assert has_ended(holder)


def test_unlock_needs_no_wait_for_a_killed_process(
    environment: Environment, other: subprocess.Popen[str]
) -> None:
    assert other.stdout is not None
    holder = other.stdout.readline().strip()
    with pytest.raises(LeaseError, match="sign of life"):
        release_dead(environment, "exp_a")
    other.kill()
    other.wait()
    assert release_dead(environment, "exp_a") == holder


@LINUX
def test_a_number_that_was_given_again_is_another_process(monkeypatch: pytest.MonkeyPatch) -> None:
    mine = this_process()
    assert not has_ended(mine)
    assert has_ended(re.sub(r"-(\d+)\)$", lambda m: f"-{int(m[1]) - 1})", mine))


@LINUX
def test_what_may_run_elsewhere_is_never_taken_for_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    host, pid = socket.gethostname(), 2**22 + 1  # no process has that number
    here = holders._numbered_in()
    assert has_ended(f"{host} pid {pid} ({here}-5)")
    assert has_ended(f"maintenance on {host} pid {pid} ({here}-5)")
    for holder in (
        f"elsewhere pid {pid} ({here}-5)",
        f"{host} pid {pid} (0123456789ab.4026531836-5)",  # another boot, or another container of the same name
        f"{host} pid {pid}",  # an older version, wherever it ran
        "airflow exp__a scheduled__2026-03-01",
    ):
        assert not has_ended(holder), holder


def test_a_system_that_tells_no_start_goes_by_the_number_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(holders, "_numbered_in", lambda: None)
    monkeypatch.setattr(holders, "_start", lambda pid: None)
    assert this_process() == f"{socket.gethostname()} pid {os.getpid()}"
    assert not has_ended(this_process())
    assert has_ended(f"{socket.gethostname()} pid {2**22 + 1}")
