"""A run: one experiment, frozen when it starts, with the folder its stages share; and the manifest each try leaves."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field
from datetime import date, datetime
from functools import cache
from pathlib import Path
from typing import Any, Literal

from pydantic import TypeAdapter

from exp_platform.config.experiment import Experiment
from exp_platform.config.readings import NOTHING_READ, RunState
from exp_platform.json_file import write_json
from exp_platform.stages.graph import Stage, stages_of


@dataclass(frozen=True)
class Run:
    """What every stage of a run is given. `skipped` names stages whose stored results are used instead."""

    run_id: str
    experiment: Experiment
    as_of_dates: tuple[date, ...]  # ascending; usually one
    environment: str  # name of the environment file
    folder: str  # <runs_dir>/<experiment_id>/<run_id>
    config_hash: str
    code_version: str
    input_fingerprint: str
    state: RunState = NOTHING_READ  # what the run's start found of earlier ones
    skipped: tuple[str, ...] = ()
    started_by: str = ""  # a person, or what Airflow says of the DAG run
    generated_until: datetime | None = (
        None  # of synthetic data, which occur before it; None: nothing is still to come
    )
    full: bool = False  # everything is read from the source, also what nothing has changed of
    memo_only: bool = False  # the stored results stand; their memo alone is made anew
    watermarks: dict[str, str] = field(
        default_factory=dict
    )  # table in a database -> what it was before it was read
    holder: str = ""  # who holds the experiment's lease for it; empty: nobody, as in tests of single stages

    @property
    def path(self) -> Path:
        """The run folder."""
        return Path(self.folder)

    @property
    def as_of_date(self) -> date:
        """The newest as_of date: the one the memo is about."""
        return self.as_of_dates[-1]

    @property
    def stages(self) -> tuple[Stage, ...]:
        """What it carries out, in order."""
        return stages_of(self.experiment, memo_only=self.memo_only)

    def save(self) -> Path:
        """Write `run.json` into the run folder and return its path."""
        self.path.mkdir(parents=True, exist_ok=True)
        return write_json(self.path / "run.json", _as_json().dump_python(self, mode="json"))

    @staticmethod
    def load(path: str | Path) -> Run:
        """Read a `run.json`; one that an older version froze has the state within the experiment."""
        content = Path(path).read_bytes()
        data = json.loads(content)
        if "state" not in data:
            content = json.dumps(data | {"state": data["experiment"].get("earlier", {})}).encode()
        return _as_json().validate_json(content)


@cache
def _as_json() -> TypeAdapter[Run]:
    return TypeAdapter(Run)  # some 30 ms to make, which a command that finds nothing new need not spend


@dataclass(frozen=True)
class StageResult:
    """What a stage tells of itself; `details` are small and JSON."""

    rows_in: int = 0
    rows_out: int = 0
    snapshots: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Manifest:
    """One try of one stage, as XCom carries it."""

    run_id: str
    experiment_id: str
    stage: str
    try_number: int
    status: Literal["success", "failed"]
    started_at: str  # ISO 8601, UTC
    seconds: float
    rows_in: int = 0
    rows_out: int = 0
    snapshots: dict[str, int] = field(default_factory=dict)
    warnings: tuple[str, ...] = ()
    details: dict[str, Any] = field(default_factory=dict)
    error: str | None = None  # one line: what failed and the remedy
    retryable: bool = True

    def to_json(self) -> dict[str, Any]:
        """The manifest as JSON has it: what the file and XCom hold."""
        return {**asdict(self), "warnings": list(self.warnings)}

    def save(self, run: Run) -> Path:
        """Write the manifest under its try number."""
        return write_json(manifest_path(run.path, self.stage, self.try_number), self.to_json())


def manifest_path(folder: Path, stage: str, try_number: int) -> Path:
    """Where the manifest of one try of a stage is."""
    return folder / "manifests" / f"{stage}.{try_number}.json"
