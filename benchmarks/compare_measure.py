"""What a command takes, with all its descendants: CPU seconds, wall seconds, and the most memory at any moment.

A process that dies before its parent asks for it is lost to the kernel's account of children, and Spark's workers and its JVM
outlive those that started them. So the measuring process adopts orphans (a subreaper, Linux), and waits for every one of them: the
account of its children is then that of the whole tree. Memory is the sum of the processes' proportional shares, looked at twice a
second, and the CPU so far four times: by these moments what a run spent can be told apart by its stages.
"""

from __future__ import annotations

import ctypes
import json
import os
import resource
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryFile
from typing import Any

_SUBREAPER = 36  # PR_SET_CHILD_SUBREAPER of prctl(2)
_TICK = os.sysconf("SC_CLK_TCK")
_EVERY = 0.25  # seconds; memory at each second look


@dataclass(frozen=True)
class Spent:
    """What a command and its descendants took."""

    cpu: float  # seconds, user and system
    wall: float  # seconds
    peak_mb: float
    began: float  # seconds since 1970
    moments: list[tuple[float, float]]  # seconds since 1970, CPU seconds so far
    said: str

    def cpu_until(self, instant: float) -> float:
        """CPU seconds that were spent before an instant (since 1970), between two looks in proportion."""
        before = (self.began, 0.0)
        for moment in self.moments:
            if moment[0] >= instant:
                share = (instant - before[0]) / max(moment[0] - before[0], 1e-9)
                return before[1] + max(0.0, share) * (moment[1] - before[1])
            before = moment
        return self.cpu


def measured(command: list[str], threads: int) -> Spent:
    """Run a command in a measuring process of its own, on that many cores; ends with its message where it fails."""
    asked = [sys.executable, __file__, str(threads), *command]
    done = subprocess.run(asked, stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode:
        sys.exit(f"{' '.join(command)}: failed, see above")
    told: dict[str, Any] = json.loads(done.stdout)
    return Spent(**told)


def _measure(threads: int, command: list[str]) -> dict[str, Any]:
    if ctypes.CDLL(None, use_errno=True).prctl(_SUBREAPER, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl: orphans cannot be adopted")
    os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[:threads])
    began, peak, moments, looks = time.time(), 0.0, [], 0
    with TemporaryFile("w+") as output, subprocess.Popen(command, stdout=output, stderr=output) as child:
        ended: float | None = None
        while True:
            processes = _descendants()
            if child.poll() is not None and ended is None:
                ended = time.time()
                processes = _descendants()
            if looks % 2 == 0:
                peak = max(peak, sum(_proportional_mb(one) for one in processes))
            moments.append((time.time(), _waited() + sum(_cpu(one) for one in processes)))
            looks += 1
            if ended is not None:
                _wait_for_orphans()
                if not _descendants():
                    break
            time.sleep(_EVERY)
        output.seek(0)
        said = output.read()
    if child.returncode:
        sys.exit(said)
    return {
        "cpu": _waited(),
        "wall": ended - began,
        "peak_mb": peak,
        "began": began,
        "moments": moments,
        "said": said,
    }


def _wait_for_orphans() -> None:
    """Take the account of those that have ended."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        pass


def _waited() -> float:
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def _descendants() -> list[int]:
    found, left = [], [os.getpid()]
    while left:
        below = _children(left.pop())
        found += below
        left += below
    return found


def _children(process: int) -> list[int]:
    """Of all its threads; none of a process that is gone."""
    try:
        threads = list(Path(f"/proc/{process}/task").iterdir())
        return [int(child) for thread in threads for child in (thread / "children").read_text().split()]
    except OSError:
        return []


def _stat(process: int) -> list[str]:
    """The fields of /proc/PID/stat behind the name, which may hold anything; none of a process that is gone."""
    try:
        return Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return []


def _cpu(process: int) -> float:
    """Of a process and of those that it has waited for."""
    return sum(map(int, _stat(process)[11:15])) / _TICK


def _proportional_mb(process: int) -> float:
    try:
        lines = Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()
    except OSError:
        return 0.0
    return sum(int(line.split()[1]) for line in lines if line.startswith("Pss:")) / 1024


if __name__ == "__main__":
    print(json.dumps(_measure(int(sys.argv[1]), sys.argv[2:])))
