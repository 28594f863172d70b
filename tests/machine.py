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


def read_only_disk(folder: Path) -> list[str]:
    """A command that sees `folder` as it is, on a disk that cannot be written."""
    return mounted(folder, f'--bind "{folder}" "{folder}" && mount -o remount,ro,bind')


def nearly_full_disk(folder: Path, kilobytes: int) -> list[str]:
    """A command that sees a copy of `folder` on a disk with that much room left; its file `ballast` takes the rest."""
    script = (
        'set -e; room=$1; shift; scratch=$(mktemp -d); mount -t tmpfs none "$scratch"; cp -a "$0/." "$scratch"; '
        'mount -t tmpfs -o size=32m none "$0"; cp -a "$scratch/." "$0"; umount "$scratch"; rmdir "$scratch"; '
        'left=$(df --output=avail -k "$0" | tail -1); head -c $(( (left - room) * 1024 )) /dev/zero > "$0/ballast"; '
        'exec "$@"'
    )
    mounted(folder, "-t", "tmpfs", "none")
    return ["unshare", "--mount", "sh", "-c", script, str(folder), str(kilobytes)]
