"""Which experiment was run last as what: a small file each, so that its DAG outlives its spec for a few days.

`<runs_dir>/.last_runs/<experiment_id>` holds the path of the run.json that the experiment's last DAG run was frozen in; it is
empty where that run had only begun to wait. Its second line, where there is one, are the seconds that a whole run took. A parse of
the DAGs may read it, as it may read no database.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from pathlib import Path

from exp_platform.config.entries import is_id
from exp_platform.config.environment import Environment
from exp_platform.json_file import write_whole

_LONGEST_WAIT = timedelta(hours=168)  # that a spec may ask for (schedule.wait_hours)
_AS_BEFORE = 1.5
_FOLDER = ".last_runs"  # no experiment's id begins with a point


def note_run(environment: Environment, experiment_id: str, run_json: str = "") -> None:
    """Remember that the experiment is being run; without a `run_json` an earlier one stays."""
    path = last_runs(environment) / experiment_id
    if run_json or not path.is_file():
        _, *seconds = _lines(environment, experiment_id)
        write_whole(path, "\n".join([run_json, *seconds]))
    else:
        path.touch()


def note_seconds(environment: Environment, experiment_id: str, seconds: float) -> None:
    """Remember what the stages of a whole run took, where that is more than half as much again as is remembered, or as much less.

    Not each small change, as any makes Airflow store another version of the experiment's DAG.
    """
    known = seconds_of(environment, experiment_id)
    if known is None or not known / _AS_BEFORE <= seconds <= known * _AS_BEFORE:
        run_json = run_json_of(environment, experiment_id)
        write_whole(last_runs(environment) / experiment_id, f"{run_json}\n{seconds:.1f}")


def run_json_of(environment: Environment, experiment_id: str) -> str:
    """Where the experiment's last run is frozen; "" where that is not known."""
    return _lines(environment, experiment_id)[0]


def seconds_of(environment: Environment, experiment_id: str) -> float | None:
    """What the stages of a whole run of the experiment took; None where no run was measured."""
    _, *seconds = _lines(environment, experiment_id)
    try:
        return float(seconds[0])
    except (IndexError, ValueError):
        return None


def _lines(environment: Environment, experiment_id: str) -> list[str]:
    try:
        return (last_runs(environment) / experiment_id).read_text().split("\n")
    except OSError:
        return [""]


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
