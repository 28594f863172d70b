"""Faults of the machine that tests bring about: rights that bite for root too, disks that are full or read-only."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

NOBODY = 65534


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user may enter, unlike pytest's own."""
    folder = Path(tempfile.mkdtemp(prefix="exp-test-"))
    folder.chmod(0o777)
    try:
        yield folder
    finally:
        for path in (folder, *folder.rglob("*")):
            if path.is_dir() and not path.is_symlink():
                path.chmod(0o777)
        shutil.rmtree(folder)


@contextmanager
def without_root() -> Iterator[None]:
    """This process has an ordinary user's rights: root may read and write everything, so its tests would prove nothing."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def mounted(folder: Path, *mount: str) -> list[str]:
    """The beginning of a command whose process alone sees something mounted at `folder`. Skips where that is not allowed."""
    script = f'mount {" ".join(mount)} "$0" && exec "$@"'
    command = ["unshare", "--mount", "sh", "-c", script, str(folder)]
    if shutil.which("unshare") is None or subprocess.run([*command, "true"], capture_output=True).returncode:
        pytest.skip("this user may not mount a disk, not even for one process")
    return command


def tiny_disk(folder: Path, kilobytes: int) -> list[str]:
    """A command on an empty disk of that size at `folder`."""
    return mounted(folder, "-t", "tmpfs", "-o", f"size={kilobytes}k", "none")


def read_only_disk(folder: Path) -> list[str]:
    """A command that sees `folder` as it is, on a disk that cannot be written."""
    return mounted(folder, f'--bind "{folder}" "{folder}" && mount -o remount,ro,bind')
