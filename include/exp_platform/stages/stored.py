"""What stands in for a stage that was skipped: the stored results of the same experiment and day."""

from __future__ import annotations

from dataclasses import replace
from datetime import date
from typing import TYPE_CHECKING

from exp_platform.aggregates import write_aggregates
from exp_platform.config.analyses import analysis
from exp_platform.errors import ConfigError
from exp_platform.json_file import write_json
from exp_platform.stages.analyse import leave_rows
from exp_platform.stages.graph import SKIPPABLE
from exp_platform.stages.run import Run, StageResult

if TYPE_CHECKING:
    from exp_platform.analyses.rows import Row
    from exp_platform.results.reader import Results


def use_stored(run: Run, stage: str) -> StageResult:
    """Leave in the run folder what `stage` would, from the stored results of each as_of date.

    `quality` has no stand-in: nothing is known of new data until it is judged, so no check is reported and the
    decision says so. Raises DataError where no aggregates are stored for a day, ConfigError for a stage that cannot
    be skipped.
    """
    if stage not in SKIPPABLE:
        raise ConfigError(f"stage {stage} cannot be skipped; allowed are {', '.join(SKIPPABLE)}")
    if stage == "quality":
        write_json(run.path / "quality.json", [])
        return StageResult(warnings=("the quality of the data was not checked",))
    from exp_platform.config.environment import load_environment
    from exp_platform.results.reader import Results

    results = Results(load_environment(run.environment))
    if stage == "aggregates":
        return _aggregates(run, results)
    rows = [row for day in run.as_of_dates for row in _rows(results, run.experiment.id, stage, day)]
    result = leave_rows(run, stage, rows, rows_in=0)
    missing = f"{stage} was skipped and has no stored rows, so there are none"
    return result if rows else replace(result, warnings=(missing,))


def _aggregates(run: Run, results: Results) -> StageResult:
    days = [results.stored_aggregates(run.experiment.id, day) for day in run.as_of_dates]
    write_aggregates(run.path / "aggregates.json", days)
    blocks = sum(len(day.blocks) for day in days)
    return StageResult(rows_out=blocks, warnings=("stored aggregates were used: newer data are not in them",))


def _rows(results: Results, experiment_id: str, stage: str, day: date) -> list[Row]:
    methods = analysis(stage).kinds_of_rows
    return [row for method in methods for row in results.of_method(method.name, experiment_id, day)]
