"""What is noted of an experiment's last run goes with the experiment, and after the longest wait that a spec may ask for."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exp_platform.config.environment import Environment, load_environment
from exp_platform.tables.deletion import delete_experiment
from exp_platform.tables.last_runs import (
    ids_run,
    last_runs,
    note_run,
    note_seconds,
    run_json_of,
    seconds_of,
)
from exp_platform.tables.leftovers import remove_leftovers
from exp_platform.tables.maintenance import KEEP


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path))
    return load_environment("embedded")


def test_a_deleted_experiment_has_no_dag_left(environment: Environment) -> None:
    note_run(environment, "one", "/runs/one/run.json")
    note_run(environment, "other")
    delete_experiment(environment, "one")
    assert ids_run(environment) == ("other",)


def test_maintenance_forgets_a_run_only_when_none_of_it_can_still_wait(environment: Environment) -> None:
    now = datetime.now(UTC)
    for id, days in (("young", 8), ("old", 11)):
        note_run(environment, id)
        moment = (now - timedelta(days=days)).timestamp()
        os.utime(last_runs(environment) / id, (moment, moment))
    assert remove_leftovers(environment, now - KEEP) == 1
    assert ids_run(environment) == ("young",)


def test_a_folder_that_cannot_be_seen_is_as_if_nothing_had_been_run(environment: Environment) -> None:
    assert (ids_run(environment), run_json_of(environment, "one")) == ((), "")
    last_runs(environment).parent.mkdir(parents=True)
    last_runs(environment).write_text("a file")
    assert (ids_run(environment), run_json_of(environment, "one")) == ((), "")


def test_what_a_run_took_stays_beside_the_newest_run(environment: Environment) -> None:
    assert seconds_of(environment, "one") is None
    note_run(environment, "one", "/runs/one/1/run.json")
    assert seconds_of(environment, "one") is None
    note_seconds(environment, "one", 60)
    note_run(environment, "one", "/runs/one/2/run.json")
    assert (run_json_of(environment, "one"), seconds_of(environment, "one")) == ("/runs/one/2/run.json", 60)


@pytest.mark.parametrize(("seconds", "remembered"), [(89, 60), (41, 60), (91, 91), (39, 39)])
def test_a_small_change_of_what_a_run_took_changes_no_dag(
    environment: Environment, seconds: float, remembered: float
) -> None:
    note_seconds(environment, "one", 60)
    note_seconds(environment, "one", seconds)
    assert seconds_of(environment, "one") == remembered


def test_a_file_of_an_older_version_says_nothing_of_seconds(environment: Environment) -> None:
    last_runs(environment).mkdir(parents=True)
    (last_runs(environment) / "one").write_text("/runs/one/run.json")
    assert (run_json_of(environment, "one"), seconds_of(environment, "one")) == ("/runs/one/run.json", None)
