"""Stage publish: makes what ingest staged the experiment's rows, beside those it was added to, then says so in the registry.

A commit per table and one row. Readers use only the snapshots that the row names, so between the commits they still
see the last good state; and what an increment was added to is what the row named when `ingest` read it, whatever a run that
died has left in the tables since. A retry does the same again.
"""

from __future__ import annotations

import json
from dataclasses import asdict
from datetime import UTC, datetime
from typing import Any

from pydantic import TypeAdapter
from pyiceberg.catalog import Catalog

from exp_platform.config.environment import load_environment
from exp_platform.config.experiment import Experiment
from exp_platform.errors import require_all
from exp_platform.json_file import write_json
from exp_platform.kernels.measured import Measured
from exp_platform.stages.last_publication import known
from exp_platform.stages.run import Run, StageResult
from exp_platform.tables.catalog import open_catalog
from exp_platform.tables.published import INGESTED, NO_BASE, files_at, ingested_at
from exp_platform.tables.selection import selection
from exp_platform.tables.write import delete_rows, replace_files, replace_rows, rows_at

PAIR = ("exposures", "outcomes")
STAGED = (*PAIR, "outcomes_aside", "outcomes_seen")
# What an `ingest` of an older version did not leave
_WITHOUT_REFRESH: dict[str, Any] = {
    "base": {},
    "anew": {},
    "ingest_key": {NO_BASE: "an older version of the platform read it"},
    "refresh": None,
}

_EXPERIMENT = TypeAdapter(Experiment)


def run(run: Run) -> StageResult:
    """Publish the staged files, and leave the snapshots in `publish.json` for the stages that read them."""
    catalog = open_catalog(load_environment(run.environment))
    ingested = _WITHOUT_REFRESH | json.loads((run.path / "ingest.json").read_text())
    base: dict[str, int] = ingested["base"]
    snapshots, rows = {}, {}
    for name in STAGED:
        paths = list(ingested["staged"].get(name, []))
        if name in base:
            anew = ingested["anew"].get(name, [])  # buckets
            paths = [*files_at(catalog, name, run.experiment.id, base[name], but=anew), *paths]
        snapshots[name] = replace_files(catalog, name, run.experiment.id, paths, run.run_id)
        rows[name] = rows_at(catalog, name, run.experiment.id, snapshots[name])
    for name in PAIR:
        require_all(name, rows[name], ingested["measured"]["rows_out"][name])
    snapshots |= _ingested_files(catalog, run, ingested)
    entry = _registry_row(run, snapshots, rows, ingested)
    key = {"experiment_id": run.experiment.id}
    snapshots["experiment_registry"] = replace_rows(catalog, "experiment_registry", key, [entry], run.run_id)
    published = {
        "snapshots": {name: snapshots[name] for name in PAIR},
        "published": {name: rows[name] for name in PAIR},
        "buckets": ingested["buckets"],
        "thresholds": ingested["thresholds"],
        "rows": {key: ingested["measured"].get(key, {}) for key in ("rows_in", "left_out", "in_series")},
        "refresh": ingested["refresh"],
    }
    write_json(run.path / "publish.json", published)
    return StageResult(
        rows_in=sum(rows[name] for name in PAIR),
        rows_out=sum(rows[name] for name in PAIR),
        snapshots=snapshots,
        details={**rows, "refresh": ingested["refresh"]},
    )


def _ingested_files(catalog: Catalog, run: Run, ingested: dict[str, Any]) -> dict[str, int]:
    """What the published rows were read from; nothing where no later run may add to them."""
    key = {"experiment_id": run.experiment.id}
    if NO_BASE in ingested["ingest_key"]:
        delete_rows(catalog, INGESTED, selection(key), run.run_id)
        return {}
    base: dict[str, int] = ingested["base"]
    before = ingested_at(catalog, run.experiment.id, base[INGESTED]) if base else []
    new = [{**file, "run_id": run.run_id} for file in ingested["files"]]
    if before and not new:
        return {INGESTED: base[INGESTED]}
    return {INGESTED: replace_rows(catalog, INGESTED, key, [*before, *new], run.run_id)}


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
        "outcomes_aside_snapshot": snapshots["outcomes_aside"],
        "outcomes_aside_rows": rows["outcomes_aside"],
        "outcomes_seen_snapshot": snapshots["outcomes_seen"],
        "outcomes_seen_rows": rows["outcomes_seen"],
        "ingested_files_snapshot": snapshots.get(INGESTED),
        "ingest_key": json.dumps(ingested["ingest_key"]),
        "measured": json.dumps(ingested["counts"]) if INGESTED in snapshots else None,
        "days": json.dumps(known(Measured.from_json(ingested["measured"]))),
    }
