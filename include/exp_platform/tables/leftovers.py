"""What killed processes left beside what they were replacing: `<id>.partial-*`, `*.old`, `*.partial`; and scratch folders. Nothing reads it."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from exp_platform.config.environment import Environment
from exp_platform.tables.folders import delete_folder, files_below, folders_in
from exp_platform.tables.last_runs import forget_runs
from exp_platform.tables.scratch import remove_abandoned

_FOLDER = re.compile(r"\.partial-[0-9a-f]{8}(\.old)?$")  # beside an experiment's synthetic raw data


def remove_leftovers(environment: Environment, before: datetime) -> int:
    """Remove what was last written before that aware instant, and return how many files and folders those were."""
    removed = 0
    for folder in folders_in(environment, f"{environment.raw_dir.rstrip('/')}/exp_platform"):
        if not _FOLDER.search(folder.rstrip("/")):
            continue
        if all(file.mtime < before for file in files_below(environment, folder)):
            removed += delete_folder(environment, folder)
    for path in _files(environment):
        if path.stat().st_mtime < before.timestamp():
            path.unlink()
            removed += 1
    return removed + remove_abandoned(environment) + forget_runs(environment, before)


def _files(environment: Environment) -> Iterator[Path]:
    """Files that were to be renamed; objects in a store appear whole, so there are none there."""
    for place in (str(environment.runs_dir), environment.memos_dir.removeprefix("file://")):
        if "://" not in place:
            yield from Path(place).rglob("*.partial")
    yield from (environment.state_dir / "spark").glob("tmp*")
