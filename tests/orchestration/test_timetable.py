"""The timetable fires within the experiment's days, in its zone, and never after."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta

import pendulum
import pytest
from airflow.timetables.base import DataInterval, TimeRestriction

from exp_platform.config.experiment import Experiment, Window
from exp_platform.config.loading import load_all
from exp_platform.config.metrics import DayWindow
from exp_platform.config.plans import Schedule
from exp_platform.orchestration.timetable import ExperimentTimetable, timetable_of
from orchestration.airflow_home import ROOT

ANY = TimeRestriction(earliest=None, latest=None, catchup=False)
ALL = TimeRestriction(earliest=None, latest=None, catchup=True)


def _experiment(**changes) -> Experiment:
    base = load_all(ROOT / "configs").experiments["exp_checkout_button_001"]
    window = Window(date(2026, 3, 1), date(2026, 3, 14), "UTC")
    return replace(base, window=window, schedule=Schedule(cron="@daily", grace_days=2), **changes)


def _runs(timetable: ExperimentTimetable) -> list[datetime]:
    """Every run of a scheduler that never sleeps."""
    runs, last = [], None
    while (
        info := timetable.next_dagrun_info(last_automated_data_interval=last, restriction=ALL)
    ) is not None:
        runs.append(info.run_after)
        last = DataInterval.exact(info.run_after)
    return runs


def test_the_first_run_is_when_the_first_day_is_over_and_the_last_after_the_grace() -> None:
    runs = _runs(timetable_of(_experiment()))
    assert runs[0] == datetime(2026, 3, 2, tzinfo=UTC)
    # The 14th is over at 00:00 of the 15th; two days of grace
    assert runs[-1] == datetime(2026, 3, 17, tzinfo=UTC)
    assert len(runs) == 16


def test_the_end_waits_for_the_longest_metric_window() -> None:
    experiment = _experiment()
    retention = replace(experiment.metrics[0], window=DayWindow(0, 7))
    assert _runs(timetable_of(replace(experiment, metrics=(retention,))))[-1] == datetime(
        2026, 3, 24, tzinfo=UTC
    )


def test_days_are_those_of_the_experiments_zone() -> None:
    window = Window(date(2026, 3, 28), date(2026, 3, 29), "Europe/Berlin")  # clocks go forward on the 29th
    runs = _runs(timetable_of(replace(_experiment(), window=window)))
    assert [run.astimezone(UTC).isoformat() for run in runs] == [
        "2026-03-28T23:00:00+00:00",
        "2026-03-29T22:00:00+00:00",
        "2026-03-30T22:00:00+00:00",
        "2026-03-31T22:00:00+00:00",
    ]


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        ("2026-02-01T12:00", "2026-03-02T00:00"),  # before it begins: the first
        ("2026-03-08T12:00", "2026-03-08T00:00"),  # within: the newest one alone, none of the missed
        ("2026-03-16T12:00", "2026-03-16T00:00"),  # within the grace
        ("2026-03-18T12:00", None),  # over
        ("2030-01-01T00:00", None),
    ],
)
def test_a_dag_without_runs_gets_at_most_the_newest_one(now: str, expected: str | None, monkeypatch) -> None:
    monkeypatch.setattr("airflow.timetables.trigger.utcnow", lambda: pendulum.parse(now))
    info = timetable_of(_experiment()).next_dagrun_info(last_automated_data_interval=None, restriction=ANY)
    found = None if info is None else info.run_after.strftime("%Y-%m-%dT%H:%M")
    assert found == expected


def test_no_run_follows_the_last_one(monkeypatch) -> None:
    monkeypatch.setattr("airflow.timetables.trigger.utcnow", lambda: pendulum.datetime(2026, 3, 17, 1))
    last = DataInterval.exact(pendulum.datetime(2026, 3, 17))
    timetable = timetable_of(_experiment())
    assert timetable.next_dagrun_info(last_automated_data_interval=last, restriction=ANY) is None


def test_a_backfill_asks_for_its_own_days() -> None:
    restriction = TimeRestriction(pendulum.datetime(2026, 3, 5), pendulum.datetime(2026, 3, 6), catchup=True)
    info = timetable_of(_experiment()).next_dagrun_info(
        last_automated_data_interval=None, restriction=restriction
    )
    assert info is not None
    assert info.run_after == datetime(2026, 3, 5, tzinfo=UTC)


def test_without_cron_there_is_no_timetable() -> None:
    assert timetable_of(replace(_experiment(), schedule=Schedule(cron=None))) is None


def test_it_survives_serialisation() -> None:
    timetable = timetable_of(_experiment())
    copy = ExperimentTimetable.deserialize(timetable.serialize())
    assert copy == timetable
    assert _runs(copy) == _runs(timetable)
    later = ExperimentTimetable.deserialize(timetable.serialize() | {"last": "2026-03-20T00:00:00+00:00"})
    assert later != timetable
    assert _runs(later)[-1] - _runs(timetable)[-1] == timedelta(days=3)
