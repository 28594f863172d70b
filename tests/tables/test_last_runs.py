"""What is noted of an experiment's last run goes with the experiment, and after the longest wait that a spec may ask for."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from exp_platform.config.environment import Environment, load_environment
from exp_platform.tables.deletion import delete_experiment
from exp_platform.tables.last_runs import ids_run, last_runs, note_run, run_json_of
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
