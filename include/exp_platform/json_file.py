"""Writing a file whole, JSON above all."""

from __future__ import annotations

import json
import os
import secrets
from pathlib import Path
from typing import Any


def write_json(path: Path, value: Any) -> Path:
    """Write JSON so that a reader sees the old file or the whole new one; dates become ISO 8601 strings."""
    return write_whole(path, json.dumps(value, indent=1, default=str))


def write_whole(path: Path, text: str) -> Path:
    """Write a file so that a reader sees the old one or the whole new one.

    Later stages rest on what is written: it is on the disk, not only on its way there, when this returns.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_name(unfinished(f".{path.name}"))
    try:
        with partial.open("w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        partial.replace(path)
    except OSError:
        partial.unlink(missing_ok=True)  # on a full disk its room is needed
        raise
    sync_folder(path.parent)
    return path


def unfinished(name: str) -> str:
    """A name for what is being written and will be renamed to `name`: no thread, process or container takes it too.

    Where the writer is killed, maintenance removes the file; the process id says whose it was.
    """
    return f"{name}.{os.getpid()}-{secrets.token_hex(4)}.partial"


def sync_folder(folder: Path) -> None:
    """Bring the names in a folder to the disk: without that a power loss may take a file that is itself there."""
    opened = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(opened)
    finally:
        os.close(opened)
