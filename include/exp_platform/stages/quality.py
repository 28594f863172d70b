"""The stage `quality`: judge what ingest measured. An error keeps the data from being published, a warning does not.

Needs no Spark session, and no table unless a check fails.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn

from pydantic import TypeAdapter

from exp_platform.checks import CheckResult
from exp_platform.config.environment import load_environment
from exp_platform.errors import DataError
from exp_platform.json_file import write_json
from exp_platform.kernels.measured import Measured
from exp_platform.stages.quality_checks import judge
from exp_platform.stages.quality_evidence import Evidence
from exp_platform.stages.run import Run, StageResult
from exp_platform.tables.folders import delete_file

_MOST = 10  # faults that one message names: a folder of a thousand files has as many
_CHECKS = TypeAdapter(list[CheckResult])


def run(run: Run) -> StageResult:
    """Judge `ingest.json` at each as_of date of the run and leave `quality.json` in the run folder.

    Raises DataError where an error is found at the newest as_of date; an older one's only costs its own trust.
    """
    ingested = json.loads((run.path / "ingest.json").read_text())
    measured = Measured.from_json(ingested["measured"])
    checks = [
        check
        for as_of in run.as_of_dates
        for check in judge(
            Evidence(
                run.experiment,
                as_of,
                measured,
                ingested["published_rows"],
                ingested.get("published_days", {}),  # of an older version's `ingest` unknown
            )
        )
    ]
    failed = [c for c in checks if c.status == "failed" and c.as_of_date == run.as_of_date]
    if any(check.severity == "error" for check in failed):
        refuse(run, checks, [path for paths in ingested["staged"].values() for path in paths])
    write_checks(run.path / "quality.json", checks)
    rows = sum(measured.rows_out.values())
    counts = {status: sum(c.status == status for c in checks) for status in ("passed", "failed", "skipped")}
    return StageResult(
        rows_in=rows,
        rows_out=rows,
        warnings=tuple(f"{check.check}: {check.message}" for check in failed),
        details={"checks": counts},
    )


def refuse(run: Run, checks: Sequence[CheckResult], staged: Iterable[str] = ()) -> NoReturn:
    """Leave `quality.json`, record what failed in `data_quality_results`, and raise DataError that names the errors.

    The `staged` files of the refused data go at once: no table will ever name them, and to maintenance a night of refused runs would
    look like a catalog that has lost its files.
    """
    write_checks(run.path / "quality.json", checks)
    _record(run, [check for check in checks if check.status == "failed"])
    environment = load_environment(run.environment)
    for path in staged:
        delete_file(environment, path)
    found = dict.fromkeys(
        f"{check.check}: {check.message}"
        for check in checks
        if check.status == "failed" and check.severity == "error" and check.as_of_date == run.as_of_date
    )
    told = list(found)[:_MOST]
    if len(found) > _MOST:
        told.append(f"and {len(found) - _MOST:,} faults more, see {run.path / 'quality.json'}")
    raise DataError(f"{run.experiment.id}: data refused, the last good ones stay. {'; '.join(told)}")


def failures_of(run: Run, found: Sequence[tuple[str, str]]) -> list[CheckResult]:
    """Failed checks, as pairs of name and message, for data that could not be measured at all."""
    return [
        CheckResult(as_of, check, "error", "failed", None, None, message)
        for as_of in run.as_of_dates
        for check, message in found
    ]


def write_checks(path: Path, checks: Sequence[CheckResult]) -> None:
    """Write checks as a JSON list."""
    write_json(path, _CHECKS.dump_python(list(checks), mode="json"))


def read_checks(path: Path) -> list[CheckResult]:
    """Read what `write_checks` wrote."""
    return _CHECKS.validate_json(path.read_bytes())


def _record(run: Run, failed: Sequence[CheckResult]) -> None:
    from exp_platform.tables.catalog import open_catalog
    from exp_platform.tables.write import replace_rows

    now = datetime.now(UTC)
    replace_rows(
        open_catalog(load_environment(run.environment)),
        CheckResult.TABLE,
        {"experiment_id": run.experiment.id, "run_id": run.run_id},
        [{**asdict(check), "computed_at": now} for check in failed],
        run.run_id,
    )
