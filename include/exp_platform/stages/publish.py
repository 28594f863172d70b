"""Stage publish: makes what ingest staged the experiment's exposures and outcomes, then says so in the registry.

Two commits and one row. Readers use only the two snapshots that the row names, so between the commits they still
see the last good pair. A retry does the same again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter

from exp_platform.config.environment import load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.errors import require_all
from exp_platform.json_file import write_json
from exp_platform.stages.run import Run, StageResult
from exp_platform.tables.catalog import open_catalog
from exp_platform.tables.write import replace_files, replace_rows, rows_at

_EXPERIMENT = TypeAdapter(Experiment)


def run(run: Run) -> StageResult:
    """Publish the staged files, and leave the snapshots in `publish.json` for the stages that read them."""
    catalog = open_catalog(load_environment(run.environment))
    ingested = json.loads((run.path / "ingest.json").read_text())
    snapshots, rows = {}, {}
    for name in ("exposures", "outcomes"):
        paths = ingested["staged"][name]
        snapshots[name] = replace_files(catalog, name, run.experiment.id, paths, run.run_id)
        rows[name] = rows_at(catalog, name, run.experiment.id, snapshots[name])
        require_all(name, rows[name], ingested["measured"]["rows_out"][name])
    entry = _registry_row(run, snapshots, rows, ingested)
    key = {"experiment_id": run.experiment.id}
    snapshots["experiment_registry"] = replace_rows(catalog, "experiment_registry", key, [entry], run.run_id)
    published = {
        "snapshots": {name: snapshots[name] for name in rows},
        "published": rows,
        "buckets": ingested["buckets"],
        "thresholds": ingested["thresholds"],
        "rows": {key: ingested["measured"].get(key, {}) for key in ("rows_in", "left_out", "in_series")},
    }
    write_json(run.path / "publish.json", published)
    return StageResult(
        rows_in=sum(rows.values()), rows_out=sum(rows.values()), snapshots=snapshots, details=rows
    )


def _registry_row(
    run: Run, snapshots: dict[str, int], rows: dict[str, int], ingested: dict[str, Any]
) -> dict[str, Any]:
    experiment = run.experiment
    return {
        "owner": experiment.owner,
        "window_start": experiment.window.start,
        "window_end": experiment.window.end,
        "timezone": experiment.window.timezone,
        "spec": _EXPERIMENT.dump_json(experiment).decode(),
        "edits": json.dumps([asdict(edit) for edit in run.state.edits], default=str),
        "config_hash": run.config_hash,
        "input_fingerprint": run.input_fingerprint,
        "exposures_snapshot": snapshots["exposures"],
        "outcomes_snapshot": snapshots["outcomes"],
        "exposures_rows": rows["exposures"],
        "outcomes_rows": rows["outcomes"],
        "buckets": ingested["buckets"],
        "thresholds": json.dumps(ingested["thresholds"]),
        "run_id": run.run_id,
        "published_at": datetime.now(UTC),
        "pseudonym_key": ingested.get("pseudonym_key"),
        "watermarks": json.dumps(run.watermarks) if run.watermarks else None,
    }
