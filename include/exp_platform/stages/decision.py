"""Stage decision: decides every as_of date of the run and commits the run's results.

The order of the commits is what makes a run visible all at once: the new rows, which nobody reads yet; then the
`decisions` rows, which make them the ones that count. A retry does all of it again. What no row of `decisions` names any
more, maintenance takes away.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, date, datetime
from typing import Any

from pyiceberg.catalog import Catalog

from exp_platform.aggregates import Aggregates, Block, pooled_to_json, read_aggregates
from exp_platform.analyses.missing_days import missing_days
from exp_platform.analyses.readings import plan_of, remembering
from exp_platform.analyses.row_codec import as_columns, read_rows
from exp_platform.analyses.rows import Row
from exp_platform.checks import CheckResult
from exp_platform.config.analyses import NAMES
from exp_platform.config.environment import load_environment
from exp_platform.decision import Decision, decide
from exp_platform.errors import DataError
from exp_platform.json_file import write_json
from exp_platform.stages.analyse import rows_path
from exp_platform.stages.graph import stages_of
from exp_platform.stages.quality import read_checks
from exp_platform.stages.run import Run, StageResult
from exp_platform.tables.audit import record
from exp_platform.tables.catalog import open_catalog
from exp_platform.tables.schemas import RESULT_TABLES
from exp_platform.tables.selection import selection
from exp_platform.tables.write import delete_rows, replace_rows

TableRows = dict[str, list[dict[str, Any]]]


def run(run: Run) -> StageResult:
    """Decide, commit, and leave `decision.json` in the run folder, one entry per as_of date.

    Raises DataError when a required analysis left no rows file; a best-effort one is a warning.
    """
    days = read_aggregates(run.path / "aggregates.json")
    checks = _checks(run, days)
    rows, warnings = _analysed(run)
    decisions = decided(run, rows, checks)
    results = _table_rows(days, rows, checks)
    snapshot = _commit(run, results, _decision_rows(run, days, decisions, checks, results))
    record(
        load_environment(run.environment),
        "decided",
        who=run.started_by,
        experiment_id=run.experiment.id,
        run_id=run.run_id,
        config_hash=run.config_hash,
        details={
            d.as_of_date.isoformat(): {
                "winner": d.winner,
                "action": d.action,
                "final": d.final,
                "refresh": (_published(run).get("refresh") or {}).get("kind"),
            }
            for d in decisions
        },
    )
    write_json(run.path / "decision.json", [decision.to_json() for decision in decisions])
    last = decisions[-1]
    return StageResult(
        rows_in=len(rows),
        rows_out=sum(len(of_table) for of_table in results.values()) + len(decisions),
        snapshots={"decisions": snapshot},
        warnings=tuple(warnings),
        details={
            "winner": last.winner,
            "action": last.action,
            "final": last.final,
            "as_of_date": last.as_of_date.isoformat(),
        },
    )


def _checks(run: Run, days: Sequence[Aggregates]) -> list[CheckResult]:
    """What `quality` found, and of each day what its series tell, which were not there yet; nothing where it was skipped."""
    checks = read_checks(run.path / "quality.json")
    return [*checks, *(missing_days(run.experiment, day) for day in days)] if checks else checks


def decided(run: Run, rows: Sequence[Row], checks: Sequence[CheckResult]) -> list[Decision]:
    """The decisions of a run's days, each in memory of those before it: of two final days the first is the reading.

    They follow from rows and checks alone: those that the run left, or the same as its tables hold them.
    """
    decisions: list[Decision] = []
    # A run that an older version froze has no plan in its state.
    state = began = replace(run.state, plan=run.state.plan or plan_of(run.experiment))
    for day in run.as_of_dates:
        if decisions:
            memory, read_on = decisions[-1].memory, began.read_on or day
            state = remembering(run.experiment, memory, began.data, read_on, began.edits)
        of_day = [row for row in rows if row.as_of_date == day]
        judged = [check for check in checks if check.as_of_date == day]
        decisions.append(decide(run.experiment, state, of_day, judged, run.skipped))
    return decisions


def _analysed(run: Run) -> tuple[list[Row], list[str]]:
    rows: list[Row] = []
    warnings = []
    for stage in stages_of(run.experiment):
        if stage.name not in NAMES:
            continue
        path = rows_path(run, stage.name)
        if path.is_file():
            rows += read_rows(path)
        elif stage.required:
            raise DataError(f"the required stage {stage.name} left no rows; run it before `decision`")
        else:
            warnings.append(f"{stage.name} left no rows: its results are missing from this run")
    return rows, warnings


def _of_day(results: TableRows, day: date) -> dict[str, int]:
    return {name: sum(row["as_of_date"] == day for row in results[name]) for name in RESULT_TABLES}


def _commit(run: Run, results: TableRows, decisions: Sequence[dict[str, Any]]) -> int:
    environment = load_environment(run.environment)
    catalog = open_catalog(environment)
    stamp = {"run_id": run.run_id, "computed_at": datetime.now(UTC)}
    for name in RESULT_TABLES:
        _replace_rows_of_run(catalog, name, run, [{**row, **stamp} for row in results[name]])
    days = [row["as_of_date"] for row in decisions]
    key = {"experiment_id": run.experiment.id, "as_of_date": days}
    # From here on these rows count, and no others of their days.
    return replace_rows(catalog, "decisions", key, [{**row, **stamp} for row in decisions], run.run_id)


def _replace_rows_of_run(catalog: Catalog, name: str, run: Run, rows: list[dict[str, Any]]) -> None:
    key = {"experiment_id": run.experiment.id, "run_id": run.run_id}
    if rows:
        replace_rows(catalog, name, key, rows, run.run_id)
    else:
        delete_rows(catalog, name, selection(key), run.run_id)  # of an earlier try; usually there are none


def _table_rows(days: Sequence[Aggregates], rows: Sequence[Row], checks: Sequence[CheckResult]) -> TableRows:
    results: TableRows = defaultdict(list)
    for row in rows:
        results[row.TABLE].append(as_columns(row))
    results[CheckResult.TABLE] = [as_columns(check) for check in checks]
    for day in days:
        results["metric_aggregates_overall"] += [_block_row(day.as_of_date, block) for block in day.blocks]
        results["metric_aggregates_daily"] += [
            {"as_of_date": day.as_of_date, **as_columns(row)} for row in day.daily
        ]
    return results


def _block_row(as_of_date: date, block: Block) -> dict[str, Any]:
    columns = {key: value for key, value in vars(block).items() if key != "moments"}
    moments = block.moments
    return {
        **columns,
        "as_of_date": as_of_date,
        "n": moments.n,
        "mean": moments.mean.tolist(),
        "m2": moments.m2.ravel().tolist(),
    }


def _decision_rows(
    run: Run,
    days: Sequence[Aggregates],
    decisions: Sequence[Decision],
    checks: Sequence[CheckResult],
    results: TableRows,
) -> list[dict[str, Any]]:
    published = _published(run)
    return [
        {
            "as_of_date": decision.as_of_date,
            "winner": decision.winner,
            "action": decision.action,
            "winning_variant": decision.winning_variant,
            "confidence": decision.confidence,
            "lift": decision.lift,
            "effect": decision.effect,
            "final": decision.final,
            "reasons": _json([asdict(reason) for reason in decision.reasons]),
            "decision": _json(decision.to_json()),
            "checks": _json([asdict(check) for check in checks if check.as_of_date == day.as_of_date]),
            "skipped": _json(decision.skipped),
            "too_large": _json(day.too_large),
            "definitions": _json({metric.id: metric.definition for metric in run.experiment.metrics}),
            "result_rows": _json(_of_day(results, day.as_of_date)),
            "assigned": _json(day.assigned),
            "crossovers": _json(day.crossovers),
            "caps": _json(day.caps),
            "periods": _json({start: asdict(counts) for start, counts in day.periods.items()}),
            "triggered": _json({start: asdict(counts) for start, counts in day.triggered.items()}),
            "thresholds": _json({segment: t.to_json() for segment, t in day.thresholds.items()}),
            "pooled": _json(pooled_to_json(day.pooled)),
            "rows": _json({table: asdict(account) for table, account in day.rows.items()}),
            "config_hash": run.config_hash,
            "input_fingerprint": run.input_fingerprint,
            "code_version": run.code_version,
            "refresh": _json(published.get("refresh")),
            "exposures_snapshot": published["snapshots"]["exposures"],
            "outcomes_snapshot": published["snapshots"]["outcomes"],
        }
        for day, decision in zip(days, decisions, strict=True)
    ]


def _published(run: Run) -> dict[str, Any]:
    published: dict[str, Any] = json.loads((run.path / "publish.json").read_text())
    return published


def _json(value: Any) -> str:
    return json.dumps(value, default=str, allow_nan=False)
