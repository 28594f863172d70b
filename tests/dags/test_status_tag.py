"""A DAG is tagged with where its experiment stood when its last memo was written, and is another version only where that changed."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from airflow.serialization.serialized_objects import DagSerialization

from exp_platform.config.environment import load_environment
from exp_platform.config.loading import load_all
from exp_platform.orchestration.dag import build_dags
from exp_platform.tables.status import Status, note_status
from orchestration.airflow_home import ROOT

HILLSTROM = load_all(ROOT / "configs").experiments["hillstrom"]


@pytest.fixture(autouse=True)
def no_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path))


def stored() -> dict[str, object]:
    """What Airflow keeps of the DAG."""
    (dag,), _ = build_dags([HILLSTROM])
    return dict(json.loads(json.dumps(DagSerialization.to_dict(dag)))["dag"])


@pytest.mark.parametrize("status", ["running", "ended", "decided"])
def test_the_status_is_a_tag_and_nothing_else_of_the_dag(status: Status) -> None:
    before = stored()
    note_status(load_environment(), "hillstrom", status)
    after = stored()
    assert {*after.pop("tags")} - {*before.pop("tags")} == {status}  # type: ignore[misc]
    assert after == before


def test_a_run_that_found_the_same_makes_no_other_version() -> None:
    note_status(load_environment(), "hillstrom", "running")
    first = stored()
    note_status(load_environment(), "hillstrom", "running")
    assert stored() == first


def test_without_a_run_no_status_is_claimed() -> None:
    tags = stored()["tags"]
    assert not {"running", "ended", "decided"} & {*tags}  # type: ignore[misc]
