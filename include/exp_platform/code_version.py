"""Which code this is, however it was installed: what makes numbers, and what words them."""

from __future__ import annotations

import hashlib
import os
from functools import cache
from pathlib import Path

import exp_platform

# What makes the memo and its charts of stored results, and no number: another word of these makes a memo anew, no result.
WORDS = ("report", "stages/memo.py")
# What asks, plans, starts and looks after runs: neither a stored number nor a memo depends on it.
NEITHER = (
    "cli.py",
    "cli_start.py",
    "cli_state.py",
    "cli_privacy.py",
    "cli_schema.py",
    "cli_metrics.py",
    "config/json_schema.py",
    "config/key_descriptions.py",
    "orchestration",
    "pipelines",
    "doctor",
    "planning",
    "starting",
    "web",
)


def code_version() -> str:
    """The package's version and a hash of every file that a stored number may depend on.

    A new room is one of these until it is named above, so that nothing passes for up to date by an oversight.
    """
    return _version((*WORDS, *NEITHER), among=False)


def wording_version() -> str:
    """The same of the files that word the memo; those that it shares with the numbers are of the code's version."""
    return _version(WORDS, among=True)


def _within(path: str, rooms: tuple[str, ...]) -> bool:
    return any(path == room or path.startswith(f"{room}/") for room in rooms)


@cache
def _root() -> Path:
    return Path(exp_platform.__file__).parent


@cache
def _files() -> tuple[str, ...]:
    found = []
    for folder, folders, files in os.walk(_root()):
        folders[:] = [name for name in folders if name != "__pycache__"]
        within = Path(folder).relative_to(_root()).as_posix()
        found += [name if within == "." else f"{within}/{name}" for name in files]
    return tuple(sorted(found))


@cache
def _version(rooms: tuple[str, ...], *, among: bool) -> str:
    """Of the files in these rooms, or of all others."""
    digest = hashlib.sha256()
    for path in _files():
        if _within(path, rooms) is among:
            digest.update(f"{path}\n".encode())
            with open(f"{_root()}/{path}", "rb") as file:
                digest.update(file.read())
    return f"{exp_platform.__version__}+{digest.hexdigest()[:12]}"
