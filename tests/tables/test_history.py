"""Copies of a table's metadata share its history and nothing that anybody changes."""

from __future__ import annotations

from copy import deepcopy
from datetime import date

from exp_platform.config.environment import Environment
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.history import sharing_history
from exp_platform.tables.write import replace_rows

NAME = "did_results"


def test_a_commit_copies_no_snapshot_and_changes_none_of_those_before(environment: Environment) -> None:
    catalog = open_catalog(environment)
    for run in ("r1", "r2"):
        row = {"as_of_date": date(2026, 3, 1), "metric_id": "m", "status": "OK"}
        replace_rows(catalog, NAME, {"experiment_id": "e", "run_id": run}, [row], run)
    before = table(catalog, NAME).metadata
    told = before.model_dump_json()
    copied = deepcopy(before)
    assert copied == before
    assert copied.snapshots is not before.snapshots
    assert all(a is b for a, b in zip(copied.snapshots, before.snapshots, strict=True))
    longer = before.snapshots + before.snapshots[:1]
    assert all(a is b for a, b in zip(deepcopy(longer), longer, strict=True))
    stored = table(catalog, NAME)
    with stored.transaction() as change:
        change.set_properties({"owner": "growth"})
    stored.maintenance.expire_snapshots().by_id(before.snapshots[0].snapshot_id).commit()
    assert before.model_dump_json() == told
    assert len(table(catalog, NAME).metadata.snapshots) == len(before.snapshots) - 1
    assert sharing_history(table(catalog, NAME).metadata) == table(catalog, NAME).metadata
