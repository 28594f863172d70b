"""Which experiment was run last as what: a small file each, so that its DAG outlives its spec for a few days.

`<runs_dir>/.last_runs/<experiment_id>` holds the path of the run.json that the experiment's last DAG run was frozen in; it is
empty where that run had only begun to wait. A parse of the DAGs may read it, as it may read no database.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from exp_platform.config.entries import is_id
from exp_platform.config.environment import Environment
from exp_platform.json_file import write_whole

_LONGEST_WAIT = timedelta(hours=168)  # that a spec may ask for (schedule.wait_hours)
_FOLDER = ".last_runs"  # no experiment's id begins with a point


def note_run(environment: Environment, experiment_id: str, run_json: str = "") -> None:
    """Remember that the experiment is being run; without a `run_json` an earlier one stays."""
    path = last_runs(environment) / experiment_id
    if run_json or not path.is_file():
        write_whole(path, run_json)
    else:
        path.touch()


def run_json_of(environment: Environment, experiment_id: str) -> str:
    """Where the experiment's last run is frozen; "" where that is not known."""
    try:
        return (last_runs(environment) / experiment_id).read_text()
    except OSError:
        return ""


def ids_run(environment: Environment) -> tuple[str, ...]:
    """The experiments that a DAG has run within the last days; none where this process does not see the folder."""
    try:
        return tuple(sorted(path.name for path in last_runs(environment).iterdir() if is_id(path.name)))
    except OSError:
        return ()


def forget_runs(environment: Environment, before: datetime) -> int:
    """Forget what nobody has run for the longest wait for data before that aware instant, and return how many those were."""
    old = [
        path
        for path in last_runs(environment).glob("*")
        if path.stat().st_mtime < (before - _LONGEST_WAIT).timestamp()
    ]
    for path in old:
        path.unlink()
    return len(old)


def last_runs(environment: Environment) -> Path:
    """The folder of these files."""
    return environment.runs_dir / _FOLDER
