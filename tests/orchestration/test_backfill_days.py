"""Which days the first run of a backfill computes: those of its other runs that are still to come and whose data are there."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta
from types import SimpleNamespace
from typing import Any

import pytest
from airflow.sdk.execution_time.comms import GetPreviousDagRun, PreviousDagRunResult

from exp_platform.config.awaited import Awaited
from exp_platform.config.loading import load_experiment
from exp_platform.orchestration import backfill, s3_arrival
from exp_platform.orchestration.backfill import other_days

EXPERIMENT = load_experiment("exp_checkout_button_001")
FIRST = EXPERIMENT.window.start


def _moment(number: int) -> datetime:
    """The midnight after the window's day of this number, from 1."""
    return datetime(FIRST.year, FIRST.month, FIRST.day, tzinfo=UTC) + timedelta(days=number)


def _day(number: int) -> date:
    return FIRST + timedelta(days=number - 1)


class Airflow:
    """Answers which run is before a moment, of runs by moment: state and type."""

    def __init__(self, runs: dict[datetime, tuple[str, str]]) -> None:
        self.runs = runs

    def send(self, message: GetPreviousDagRun) -> PreviousDagRunResult:
        assert message.dag_id == "exp__x"
        before = [
            m for m, (state, _) in self.runs.items() if m < message.logical_date and state == message.state
        ]
        if not before:
            return PreviousDagRunResult(dag_run=None)
        run = SimpleNamespace(
            logical_date=max(before), run_after=max(before), run_type=self.runs[max(before)][1]
        )
        return PreviousDagRunResult.model_construct(dag_run=run)


def _other_days(
    monkeypatch, runs: dict[datetime, tuple[str, str]], run_type: str = "backfill", **params: Any
):
    import airflow.sdk.execution_time.task_runner as runner

    monkeypatch.setattr(runner, "SUPERVISOR_COMMS", Airflow(runs), raising=False)
    context: Any = {"dag_run": SimpleNamespace(dag_id="exp__x", run_type=run_type), "params": params}
    return other_days(context, EXPERIMENT)


RUNS = {
    _moment(1): ("running", "backfill"),
    _moment(2): ("running", "backfill"),
    _moment(3): ("queued", "backfill"),
    _moment(4): ("success", "backfill"),
    _moment(5): ("running", "manual"),
    _moment(6): ("failed", "backfill"),
    _moment(7): ("queued", "backfill"),
}


def test_they_are_those_of_its_runs_that_run_or_wait_in_the_queue(monkeypatch) -> None:
    assert _other_days(monkeypatch, RUNS) == (_day(1), _day(2), _day(3), _day(7))


def test_runs_before_the_first_day_are_left_to_fail_and_those_after_the_last_count_once(monkeypatch) -> None:
    runs = {_moment(number): ("queued", "backfill") for number in (-3, 14, 15, 16)}
    assert _other_days(monkeypatch, runs) == (EXPERIMENT.last_as_of,)


@pytest.mark.parametrize(
    "asked",
    [
        {"run_type": "scheduled"},
        {"run_type": "manual"},
        {"as_of": "2026-01-06"},
        {"force": True},
        {"full": True},
    ],
)
def test_no_other_run_and_none_that_was_asked_for_something_takes_days_along(monkeypatch, asked: Any) -> None:
    assert _other_days(monkeypatch, RUNS, **asked) == ()


def test_a_day_whose_data_have_not_come_is_left_to_its_own_run(monkeypatch) -> None:
    marker = Awaited("schedule.wait_for", "s3://lake/{as_of}/_SUCCESS", None)
    monkeypatch.setattr(backfill, "awaited", lambda experiment, rules: (marker,))
    here = f"s3://lake/{_day(2)}/_SUCCESS"
    store = SimpleNamespace(missing=lambda items: [item for item in items if item.location != here])
    monkeypatch.setattr(s3_arrival.S3, "of", lambda connection: store)
    assert _other_days(monkeypatch, RUNS) == (_day(2),)
