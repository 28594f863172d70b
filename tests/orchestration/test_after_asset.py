"""A run that an asset starts: what the DAG is scheduled on, and that runs outside of the experiment's days end green."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime
from types import SimpleNamespace

import pytest
from airflow.sdk.definitions.asset import AssetNameRef, AssetUriRef
from airflow.sdk.definitions.timetables.simple import NullTimetable

from config.test_asset import TAKEN
from config.test_awaited import LAKE, table
from exp_platform.config.experiment import Window
from exp_platform.config.loading import load_all
from exp_platform.config.plans import Schedule
from exp_platform.orchestration.after_asset import asset_before, out_of_season
from exp_platform.orchestration.dag import build_dag
from orchestration.airflow_home import ROOT

BASE = load_all(ROOT / "configs").experiments["exp_checkout_button_001"]
WINDOW = Window(date(2026, 3, 2), date(2026, 3, 15), "Europe/Berlin")


def after(asset: str | None, **schedule):
    return replace(BASE, window=WINDOW, schedule=Schedule(cron=None, after=asset, **schedule))


@pytest.mark.parametrize("asset", TAKEN)
def test_whatever_a_spec_may_name_makes_a_dag(asset: str) -> None:
    dag = build_dag(after(asset))
    assert dag.timetable.asset_condition == asset_before(after(asset))
    assert "starts a run" in dag.doc_md


def test_a_dag_that_is_kept_for_its_last_run_is_started_by_nothing_and_has_the_same_tasks() -> None:
    on_s3 = replace(LAKE, exposures=table("s3://lake/exposures"))
    experiment = replace(after("lake"), source=on_s3)
    kept = build_dag(experiment, scheduled=False)
    assert isinstance(kept.timetable, NullTimetable)
    assert kept.task_ids == build_dag(experiment).task_ids


def test_a_uri_is_found_as_airflow_writes_it() -> None:
    assert asset_before(after("s3://lake/exports/")) == AssetUriRef("s3://lake/exports")
    assert asset_before(after("lake exports")) == AssetNameRef("lake exports")
    assert asset_before(after(None)) is None


@pytest.mark.parametrize(
    ("updated", "says"),
    [
        (
            "2026-03-01T12:00",
            "begins on 2026-03-02 (Europe/Berlin), and lake was updated before the end of that day",
        ),
        ("2026-03-02T22:59", "begins on 2026-03-02"),
        ("2026-03-02T23:00", None),  # midnight in Berlin
        ("2026-03-17T23:00", None),
        ("2026-03-17T23:01", "the last day that counts for exp_checkout_button_001 was 2026-03-15"),
        ("2030-01-01T00:00", "updates of lake start runs until 2 days after (schedule.grace_days)"),
    ],
)
def test_updates_before_and_after_the_experiment_start_nothing(updated: str, says: str | None) -> None:
    moment = datetime.fromisoformat(updated).replace(tzinfo=UTC)
    experiment = after("lake", grace_days=2)
    run = SimpleNamespace(run_type="asset_triggered", run_after=moment)
    told = out_of_season({"dag_run": run}, experiment)  # type: ignore[typeddict-item]
    assert told is None if says is None else says in (told or "")
    by_hand = SimpleNamespace(run_type="manual", run_after=moment)
    assert out_of_season({"dag_run": by_hand}, experiment) is None  # type: ignore[typeddict-item]
