"""Where an experiment stood when its newest memo was written: a small file each, `<runs_dir>/.status/<experiment_id>`.

A parse of the DAGs may read it, as it may ask no clock and no table. It stays as long as the experiment, since one that has ended is
run no more.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal, get_args

from exp_platform.config.environment import Environment
from exp_platform.json_file import write_whole

Status = Literal["running", "ended", "decided"]
_FOLDER = ".status"  # no experiment's id begins with a point


def status_of(environment: Environment, experiment_id: str) -> Status | None:
    """What was noted last; None where nothing was, or this process does not see the folder."""
    try:
        noted = _file(environment, experiment_id).read_text("utf-8")
    except (OSError, ValueError):
        return None
    return next((status for status in get_args(Status) if status == noted), None)


def note_status(environment: Environment, experiment_id: str, status: Status) -> None:
    """Note it in place of what was noted before. Raises OSError."""
    if status_of(environment, experiment_id) != status:
        write_whole(_file(environment, experiment_id), status)


def forget_status(environment: Environment, experiment_id: str) -> None:
    """Forget it of an experiment that is deleted."""
    _file(environment, experiment_id).unlink(missing_ok=True)


def _file(environment: Environment, experiment_id: str) -> Path:
    return environment.runs_dir / _FOLDER / experiment_id
