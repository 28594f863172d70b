"""The weight of a task: how far its run has come, whose night it is, how long its experiment takes; and what each is read from."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest

from exp_platform.config.experiment import Window
from exp_platform.config.loading import load_experiment
from exp_platform.orchestration.operators import seconds_of_run
from exp_platform.orchestration.priority import SIZES, night_of, priority, size_of
from exp_platform.stages.run import Manifest

EXPERIMENT = load_experiment("hillstrom")


def _days_since_1970(day: date) -> int:
    return (day - date(1970, 1, 1)).days


@pytest.mark.parametrize(
    ("run_id", "day"),
    [
        ("scheduled__2026-03-02T23:00:00+00:00", date(2026, 3, 3)),  # midnight in Berlin and
        ("scheduled__2026-03-03T08:00:00+00:00", date(2026, 3, 3)),  # in Los Angeles: one night
        ("backfill__2026-03-03T00:00:00+00:00", date(2026, 3, 3)),
        ("manual__2026-03-03T11:59:15.123456+00:00", date(2026, 3, 3)),
        ("asset_triggered__2026-03-03T12:00:00+00:00_a7Kq", date(2026, 3, 4)),
    ],
)
def test_a_night_is_from_noon_to_noon(run_id: str, day: date) -> None:
    assert night_of(run_id) == _days_since_1970(day)


@pytest.mark.parametrize("run_id", ["by hand", "manual__2026-13-45T99:00:00", "", "2026-03-03"])
def test_a_run_with_another_id_is_of_the_present_night(run_id: str) -> None:
    now = (datetime.now(UTC) + timedelta(hours=12)).date()
    assert night_of(run_id) in (_days_since_1970(now), _days_since_1970(now) - 1)


def test_sizes_grow_with_the_seconds_and_fit_beside_the_progress() -> None:
    seconds = [0, 1, 5, 60, 300, 3600, 86_400, 1e9]
    sizes = [size_of(EXPERIMENT, s) for s in seconds]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == len(sizes)
    window = EXPERIMENT.window
    longest = replace(EXPERIMENT, window=Window(window.start, window.start + timedelta(days=3000)))
    for size in (*sizes, size_of(EXPERIMENT, None), size_of(longest, None)):
        assert divmod(priority("check", size), SIZES) == (1, size)
    assert sizes[-1] < size_of(EXPERIMENT, None) < size_of(longest, None)


def _manifest(folder: Path, stage: str, attempt: int, status: str, seconds: float) -> None:
    manifest = Manifest("r1", "one", stage, attempt, status, "2026-03-03T00:00:00+00:00", seconds)  # type: ignore[arg-type]
    path = folder / "manifests" / f"{stage}.{attempt}.json"
    path.parent.mkdir(exist_ok=True)
    path.write_text(json.dumps(manifest.to_json()))


def test_a_run_is_as_long_as_the_tries_that_ended_well(tmp_path: Path) -> None:
    run_json = str(tmp_path / "run.json")
    assert seconds_of_run(run_json) is None
    _manifest(tmp_path, "ingest", 1, "failed", 100)
    _manifest(tmp_path, "ingest", 2, "success", 20)
    _manifest(tmp_path, "decision", 1, "failed", 3)
    assert seconds_of_run(run_json) is None  # it came to no decision
    _manifest(tmp_path, "decision", 2, "success", 4)
    assert seconds_of_run(run_json) == 24
