"""Carrying out one try of one stage: whatever happens, it ends in a manifest."""

from __future__ import annotations

import importlib
import logging
import time
import traceback
from datetime import UTC, datetime
from typing import Any

from exp_platform.config.analyses import NAMES
from exp_platform.config.experiment import Experiment
from exp_platform.diagnosis import told
from exp_platform.errors import ConfigError, DataError, bounded
from exp_platform.private_files import keep_private
from exp_platform.stages.graph import COMMITTING
from exp_platform.stages.run import Manifest, Run, StageResult

log = logging.getLogger(__name__)


def execute(run: Run, stage: str, try_number: int) -> Manifest:
    """Run a stage, or put its stored results in its place where the run skips it, and save and return its manifest.

    Raises nothing that the stage raises: a failure is a manifest of status `failed`, which is not retryable where the
    data or the config are at fault. The traceback of an unexpected error goes to the log.
    """
    keep_private()
    began, clock = datetime.now(UTC), time.monotonic()
    result, error, retryable = StageResult(), None, True
    try:
        result = _run(run, stage)
    except Exception as failure:
        retryable = not isinstance(failure, (ConfigError, DataError))
        error = _in_one_line(failure, stage, run.experiment)
    manifest = Manifest(
        run_id=run.run_id,
        experiment_id=run.experiment.id,
        stage=stage,
        try_number=try_number,
        status="success" if error is None else "failed",
        started_at=began.isoformat(),
        seconds=round(time.monotonic() - clock, 3),
        error=error,
        retryable=retryable,
        **vars(result),
    )
    manifest.save(run)
    return manifest


def _run(run: Run, stage: str) -> StageResult:
    # Each stage is imported only when it runs: what a process imports is most of what a small stage costs.
    if stage in run.skipped:
        from exp_platform.stages.stored import use_stored

        return use_stored(run, stage)
    if stage in COMMITTING and run.holder:
        from exp_platform.config.environment import load_environment
        from exp_platform.tables.fence import fenced
        from exp_platform.tables.lease import Lease

        with fenced(Lease(run.experiment.id, run.holder, load_environment(run.environment))):
            return _module(stage).run(run)  # type: ignore[no-any-return]
    if stage in NAMES:
        from exp_platform.stages.analyse import run_analysis

        return run_analysis(run, stage)
    return _module(stage).run(run)  # type: ignore[no-any-return]


def _module(stage: str) -> Any:
    return importlib.import_module(f"exp_platform.stages.{stage}")


def _in_one_line(failure: Exception, stage: str, experiment: Experiment) -> str:
    """The failure in one line. What the platform does not report itself is unexpected: its traceback is logged.

    Libraries quote paths and data: locations are told as the spec has them, and nothing is an order to a terminal.
    """
    from exp_platform.config.locations import (
        without_values,  # environments, which an analysis knows nothing of
    )

    if meaning := told(failure):
        return without_values(_one_line(meaning), experiment)
    trace = without_values("".join(traceback.format_exception(failure)), experiment)
    log.error("stage %s failed unexpectedly\n%s", stage, bounded(trace))
    said = f"{type(failure).__name__}: {_one_line(str(failure))}"
    said = without_values(said, experiment)
    return f"{said}; see the traceback above. If a retry fails too, this is a fault"


def _one_line(said: str) -> str:
    return bounded("; ".join(line.strip() for line in said.splitlines() if line.strip()))
