"""How a process calls itself as the holder of a lease, so that another one on its machine can tell whether it still runs."""

from __future__ import annotations

import os
import re
import socket
from pathlib import Path

_HOLDER = re.compile(r"(?:^|.* )(?P<host>\S+) pid (?P<pid>\d+)(?: \((?P<where>[\w.]+)-(?P<start>\d+)\))?")


def this_process() -> str:
    """`<host> pid <n>`, and on Linux in brackets where that number counts and when it was given."""
    pid, name = os.getpid(), f"{socket.gethostname()} pid {os.getpid()}"
    where, start = _numbered_in(), _start(pid)
    return name if where is None or start is None else f"{name} ({where}-{start})"


def has_ended(holder: str) -> bool:
    """Whether a holder is a process of this machine that does not run any more; False where that cannot be told.

    A number is given again to other processes, and means another one in another container or after a restart, even where
    the host has the same name. On Linux it is compared with the start, within the same boot and namespace alone.
    """
    found = _HOLDER.fullmatch(holder)
    if found is None or found["host"] != socket.gethostname() or found["where"] != _numbered_in():
        return False
    pid = int(found["pid"])
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    except OSError:
        pass  # it runs, and is another user's
    start = _start(pid)
    return start is not None and found["start"] is not None and start != int(found["start"])


def _numbered_in() -> str | None:
    """The boot and the namespace that processes are numbered in; None where the system does not say."""
    try:
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return f"{boot.replace('-', '')[:12]}.{os.stat('/proc/self/ns/pid').st_ino}"
    except OSError:
        return None


def _start(pid: int) -> int | None:
    """When a process started, in ticks since the boot; 0 of one that has ended and was not fetched yet, None if unknown."""
    try:
        said = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return None
    state, *rest = said.rpartition(")")[2].split()  # the name before it may hold anything
    return 0 if state in "ZX" else int(rest[18])
