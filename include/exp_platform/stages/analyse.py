"""The analysis stages: the run's aggregates in, one file of rows out. No table, no Arrow, no Spark session."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from exp_platform.aggregates import read_aggregates
from exp_platform.analyses.registry import analyse
from exp_platform.analyses.row_codec import read_rows, write_rows
from exp_platform.analyses.rows import Row
from exp_platform.config.analyses import analysis
from exp_platform.stages.run import Run, StageResult


def run_analysis(run: Run, stage: str) -> StageResult:
    """Run one analysis for every as_of date of the run, and leave its rows in the run folder."""
    days = read_aggregates(run.path / "aggregates.json")
    before = [row for name in analysis(stage).after for row in _left(run, name)]
    rows = [
        row
        for day in days
        for row in analyse(
            stage, run.experiment, day, run.state, [r for r in before if r.as_of_date == day.as_of_date]
        )
    ]
    return leave_rows(run, stage, rows, rows_in=sum(len(day.blocks) for day in days))


def leave_rows(run: Run, stage: str, rows: list[Row], rows_in: int) -> StageResult:
    """Write the rows of an analysis where `decision` looks for them, and tell how many there are of each status."""
    write_rows(rows_path(run, stage), rows)
    statuses = Counter(str(row.status) for row in rows)
    return StageResult(
        rows_in=rows_in, rows_out=len(rows), details={"statuses": dict(sorted(statuses.items()))}
    )


def _left(run: Run, stage: str) -> list[Row]:
    """The rows of an analysis of this run; none where the spec does not ask for it, or it failed and is best effort."""
    path = rows_path(run, stage)
    return read_rows(path) if path.is_file() else []


def rows_path(run: Run, stage: str) -> Path:
    """Where an analysis leaves its rows in the run folder."""
    return run.path / "rows" / f"{stage}.json"
