"""Folders of rows that are on their way through one stage, below the state root: gone with the stage, or with its process.

Whoever uses one holds a lock on it, which the system lets go however the process ends. What nobody holds is a dead process's
and is removed when the next one is made, and by maintenance.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from exp_platform.config.environment import Environment

_LOCK = ".lock"


@contextmanager
def scratch(environment: Environment) -> Iterator[Path]:
    """A new folder that this user alone may enter, for the length of a `with` block. Raises OSError where none can be made."""
    root = _root(environment)
    root.mkdir(parents=True, exist_ok=True)
    with _held(root):  # nobody takes the folder for a dead process's before it is held
        _remove_abandoned(root)
        folder = Path(tempfile.mkdtemp(dir=root))
        holding = _hold(folder)
    try:
        yield folder
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        os.close(holding)


def remove_abandoned(environment: Environment) -> int:
    """Remove what dead processes left, and return how many folders those were."""
    root = _root(environment)
    if not root.is_dir():
        return 0
    with _held(root):
        return _remove_abandoned(root)


def new_file(path: Path) -> None:
    """Make an empty file that this user alone may read. Raises OSError."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))


def _root(environment: Environment) -> Path:
    return environment.state_dir / "tmp"


@contextmanager
def _held(folder: Path) -> Iterator[None]:
    holding = _hold(folder)
    try:
        yield
    finally:
        os.close(holding)


def _hold(folder: Path) -> int:
    """The open file by which this process, and none that it starts, holds a folder, as soon as nobody else does."""
    opened = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    fcntl.flock(opened, fcntl.LOCK_EX)
    return opened


def _remove_abandoned(root: Path) -> int:
    removed = 0
    for folder in root.iterdir():
        if folder.is_dir() and _abandoned(folder):
            shutil.rmtree(folder, ignore_errors=True)
            removed += 1
    return removed


def _abandoned(folder: Path) -> bool:
    try:
        opened = os.open(folder / _LOCK, os.O_RDWR | os.O_CLOEXEC)
    except FileNotFoundError:
        return True  # ended while it made or removed it
    try:
        fcntl.flock(opened, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    finally:
        os.close(opened)
    return True
