"""A server as a plain process: started, waited for until it answers, killed with the processes of its group."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path

ANSWERS_WITHIN_SECONDS = 120  # seconds are enough on a quiet machine
POLL_SECONDS = 0.05


class Server:
    """One server in a process group of its own, with a log file. It may be killed and started again."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        answers: Callable[[], bool],
        *,
        variables: Mapping[str, str] | None = None,
        user: str | None = None,
        killed_by: signal.Signals = signal.SIGKILL,
        within: float = ANSWERS_WITHIN_SECONDS,
    ) -> None:
        self.log, self._within = log, within
        self._answers, self._user, self._killed_by = answers, user, killed_by
        # Where Linux offers it, no server outlives these tests, even if they are killed themselves.
        dies_with_tests = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []
        self._command = [*dies_with_tests, *command]
        # A bare environment: what a server or a Spark executor needs must reach it by its own settings.
        # OPENBLAS_CORETYPE names the processor that sums are made for: with another one their last bits differ.
        kept = ("PATH", "HOME", "LANG", "JAVA_HOME", "PYTHONPATH", "OPENBLAS_CORETYPE")
        self._variables = {name: os.environ[name] for name in kept if name in os.environ} | dict(
            variables or {}
        )
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def pid(self) -> int | None:
        """The process that was started; None where none runs."""
        return self._process.pid if self._process else None

    def start(self) -> None:
        """Start it and wait until it answers; raises RuntimeError with the end of its log where it does not."""
        with self.log.open("ab") as log:
            self._process = subprocess.Popen(
                self._command,
                env=self._variables,
                cwd="/",
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                user=self._user,
                group=self._user and _group_of(self._user),
                extra_groups=[] if self._user else None,
            )
        deadline = time.monotonic() + self._within
        while not self._answers():
            if self._process.poll() is not None or time.monotonic() > deadline:
                said = self.log.read_text(errors="replace")[-3000:]
                self.kill()
                raise RuntimeError(f"{self.log.parent.name}: no answer; {self.log} ends with:\n{said}")
            time.sleep(POLL_SECONDS)

    def kill(self) -> None:
        """End it at once, with the processes of its group; nothing happens where it has ended already."""
        if self._process is not None:
            with suppress(ProcessLookupError):
                os.killpg(self._process.pid, self._killed_by)
            self._process.wait()
            self._process = None


def wait_until(happened: Callable[[], bool], seconds: float = ANSWERS_WITHIN_SECONDS) -> None:
    """Return as soon as it has happened; raises TimeoutError where it does not."""
    deadline = time.monotonic() + seconds
    while not happened():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} s")
        time.sleep(POLL_SECONDS)


def free_ports(count: int) -> list[int]:
    """So many ports of 127.0.0.1 that nobody uses at this moment."""
    with ExitStack() as held:
        sockets = [held.enter_context(socket.socket()) for _ in range(count)]
        for one in sockets:
            one.bind(("127.0.0.1", 0))
        return [one.getsockname()[1] for one in sockets]


def _group_of(user: str) -> int:
    import pwd  # not on every system that can collect these tests

    return pwd.getpwnam(user).pw_gid
