"""What runs have left in their folders: the spec as it was frozen, which stages ended how, what quality found.

A folder may be gone, or lie where this server does not see it: then nothing is known of it, which is no fault.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from exp_platform.checks import CheckResult
from exp_platform.config.experiment import Experiment
from exp_platform.stages.run import Run
from exp_platform.tables.last_runs import run_json_of
from exp_platform.web.specs import environment

_MOST_LOOKED_AT = 200  # folders, from the newest


@dataclass(frozen=True)
class Progress:
    """How far a run has come: its stages in order, and how the last try of each ended (success, failed; None: not yet)."""

    run: Run
    ended: dict[str, str | None]

    @property
    def failed(self) -> str | None:
        """The first stage that the run failed in."""
        needed = {stage.name for stage in self.run.stages if stage.required}
        return next(
            (name for name, status in self.ended.items() if status == "failed" and name in needed), None
        )

    @property
    def checks(self) -> list[CheckResult]:
        """The quality checks that failed."""
        try:
            rows = json.loads((self.run.path / "quality.json").read_text())
            found = [CheckResult(**row) for row in rows]
        except (OSError, ValueError, TypeError):
            return []
        newest = max((str(check.as_of_date) for check in found), default="")
        return [check for check in found if check.status == "failed" and str(check.as_of_date) == newest]


def frozen(experiment_id: str, run_id: str) -> Run | None:
    """A run as it was frozen when it started: its spec, and what it found of earlier runs."""
    return _run(environment().runs_dir / experiment_id / run_id)


def last_frozen(experiment_id: str) -> Experiment | None:
    """The spec that the experiment's last DAG run was frozen with, where the spec itself has gone or is broken."""
    path = run_json_of(environment(), experiment_id)
    run = _run(Path(path).parent) if path else None
    return run.experiment if run else None


def newest_progress(experiment_id: str) -> Progress | None:
    """How far the newest run has come, whoever started it."""
    return next((found for folder in _folders(experiment_id) if (found := _progress(folder))), None)


def progress_of(experiment_id: str, dag_run_id: str) -> Progress | None:
    """How far the run has come that a DAG run froze."""
    for folder in _folders(experiment_id)[:_MOST_LOOKED_AT]:
        found = _progress(folder)
        if found and found.run.started_by.endswith(f"by Airflow, {dag_run_id}"):
            return found
    return None


def _folders(experiment_id: str) -> list[Path]:
    """Run folders, the newest first: their names begin with the moment they were made."""
    try:
        return sorted((environment().runs_dir / experiment_id).iterdir(), reverse=True)
    except OSError:
        return []


def _progress(folder: Path) -> Progress | None:
    run = _run(folder)
    return (
        None
        if run is None
        else Progress(run, {stage.name: _ended(folder, stage.name) for stage in run.stages})
    )


def _ended(folder: Path, stage: str) -> str | None:
    tries = sorted(
        (folder / "manifests").glob(f"{stage}.*.json"), key=lambda path: int(path.name.split(".")[-2])
    )
    try:
        status: str = json.loads(tries[-1].read_text())["status"]
    except (IndexError, OSError, ValueError, KeyError):
        return None
    return status


def _run(folder: Path) -> Run | None:
    try:
        return Run.load(folder / "run.json")
    except (OSError, ValueError, TypeError, KeyError):  # not there, or of a version that froze other things
        return None
