"""What Airflow's own pages show of a result: the button, the end of the log, the asset's extra."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk import BaseOperator
from airflow.sdk.configuration import conf
from airflow.serialization.serialized_objects import DagSerialization

from exp_platform.checks import CheckResult
from exp_platform.config.environment import Environment
from exp_platform.config.loading import load_experiment
from exp_platform.orchestration.dag import build_dag, results_asset
from exp_platform.orchestration.operators import StageOperator
from exp_platform.orchestration.shown import ResultLink, refused, told
from exp_platform.stages.quality import write_checks
from exp_platform.stages.run import Manifest
from orchestration.deployment import EXPERIMENT, Deployment
from stages.frozen_runs import D2, D3, a_run

DAG_ID, RUN_ID = f"exp__{EXPERIMENT}", "manual__2026-01-05T00:49:00+00:00"
PAGE = f"/dags/{DAG_ID}/runs/manual__2026-01-05T00%3A49%3A00%2B00%3A00/plugin/run-results"
DECIDED = {"as_of_date": "2026-01-04", "winner": "treatment", "action": "ship", "final": True}


def address(monkeypatch: pytest.MonkeyPatch, base_url: str) -> str:
    monkeypatch.setenv("AIRFLOW__API__BASE_URL", base_url)
    return ResultLink().get_link(
        BaseOperator(task_id="memo"), ti_key=SimpleNamespace(dag_id=DAG_ID, run_id=RUN_ID)
    )


def test_the_button_leads_to_the_tab_of_the_run_also_behind_a_prefix(monkeypatch: pytest.MonkeyPatch) -> None:
    assert address(monkeypatch, "https://airflow.example.com") == "https://airflow.example.com" + PAGE
    assert address(monkeypatch, "https://example.com/air/") == "https://example.com/air" + PAGE
    assert conf.get("api", "base_url") == "https://example.com/air/"


def test_decision_and_memo_have_the_button_and_no_other_task_does(deployment: Deployment) -> None:
    stored = DagSerialization.to_dict(build_dag(load_experiment(EXPERIMENT)))["dag"]["tasks"]
    buttons = {task["__var"]["task_id"]: task["__var"].get("_operator_extra_links") for task in stored}
    assert {name: found for name, found in buttons.items() if found} == {
        "decision": {"Result": "_link_ResultLink"},
        "memo": {"Result": "_link_ResultLink"},
    }


def test_a_log_ends_with_the_decision_in_words_and_the_address() -> None:
    in_words = {"decided": "button_test as of 2026-01-04: ship treatment", "why": "orders went from 1 to 2."}
    assert told(DECIDED | in_words, PAGE) == [*in_words.values(), f"Result: {PAGE}"]
    assert told(DECIDED, PAGE) == ["as of 2026-01-04: treatment, ship", f"Result: {PAGE}"]
    assert told({"buckets": 3}, PAGE) == []


@pytest.mark.parametrize("decided", [DECIDED, None])
def test_the_event_of_the_asset_says_what_was_decided(
    deployment: Deployment, decided: dict[str, Any] | None
) -> None:
    """By the run, which may be of an earlier day than the memo; by a run of the memo alone, what that is of."""
    dag = build_dag(load_experiment(EXPERIMENT))
    event = SimpleNamespace(extra={})
    asset = results_asset(EXPERIMENT)
    pulled = {"decision": decided and {"details": decided | {"snapshots": 5}}}
    ti = SimpleNamespace(
        dag_id=DAG_ID, run_id=RUN_ID, try_number=1, xcom_pull=lambda task_ids: pulled[task_ids]
    )
    context: Any = {"ti": ti, "outlet_events": {asset: event}}
    newest = {"as_of_date": "2026-01-07", "winner": "control", "action": "stop", "events": []}
    manifest = Manifest(
        "r", EXPERIMENT, "memo", 1, "success", "2026-01-08T00:00:00+00:00", 1.0, details=newest
    )
    task = dag.get_task("memo")
    assert isinstance(task, StageOperator)
    task._show(context, manifest)
    assert event.extra["link"].endswith(PAGE)
    said = decided or {name: newest[name] for name in ("as_of_date", "winner", "action")}
    assert {**event.extra, "link": ""} == said | {"link": ""}


def test_each_check_that_refused_the_data_has_a_line_of_its_own(environment: Environment) -> None:
    run = a_run(environment, "r1", days=(D2, D3))
    found = [
        CheckResult(D3, "nulls", "error", "failed", 0.2, 0.01, "20 % without user_id; deliver them"),
        CheckResult(D3, "duplicates", "error", "failed", 0.3, 0.01, "30 % stand twice\nor more; set dedupe"),
        CheckResult(D3, "late", "warning", "failed", 0.3, 0.01, "only told"),
        CheckResult(D2, "nulls", "error", "failed", 0.2, 0.01, "of a day before"),
    ]
    write_checks(run.path / "quality.json", found)
    lines = ["nulls: 20 % without user_id; deliver them", "duplicates: 30 % stand twice or more; set dedupe"]
    assert refused(run, "quality") == refused(run, "ingest") == lines
    assert refused(run, "ab") == []
    (run.path / "quality.json").unlink()
    assert refused(run, "quality") == []
