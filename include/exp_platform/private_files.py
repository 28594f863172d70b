"""Who may read what the platform writes: its own user, and its group, and nobody else, whatever umask a shell has.

State holds rows of users, and databases that say where all of it lies. The umask is a process's and its children's: the JVM
of a Spark session, DuckDB, PyArrow and SQLite make files by it. So whatever starts work sets it first: the commands, a stage,
a task of Airflow, and a Spark task before it writes, as its process may be a child of somebody else's worker.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

_WITHHELD = 0o027  # files 640, folders 750
_STRICTEST = 0o077


def keep_private() -> None:
    """From now on what this process makes is no other user's to read, nor its group's to write; a stricter umask stays."""
    os.umask(os.umask(_STRICTEST) | _WITHHELD)


def open_to_others(place: Path) -> Iterator[Path]:
    """The files at and below a place that every user of the machine may read or write, by their names.

    None below a folder that others may not enter. Links are not followed, and what vanishes meanwhile is passed over.
    """
    try:
        mode = place.lstat().st_mode
        inside = sorted(place.iterdir()) if stat.S_ISDIR(mode) and mode & stat.S_IXOTH else []
    except OSError:
        return
    if stat.S_ISREG(mode) and mode & (stat.S_IROTH | stat.S_IWOTH):
        yield place
    for one in inside:
        yield from open_to_others(one)
