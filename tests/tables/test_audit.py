"""Who did what is written down, once, and nothing but the loss of the database takes it away."""

from __future__ import annotations

import dataclasses
import sqlite3
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from rich.console import Console

from exp_platform.code_version import code_version
from exp_platform.config.environment import Environment
from exp_platform.report.log import log_table
from exp_platform.tables import audit
from exp_platform.tables.audit import events, person, record
from exp_platform.tables.backup import backup, restore
from exp_platform.tables.catalog import open_catalog
from exp_platform.tables.deletion import delete_experiment


def test_an_event_says_when_who_and_by_which_code(environment: Environment) -> None:
    record(environment, "unlocked", experiment_id="exp_a", details={"holder": "host pid 1", "forced": True})
    (event,) = events(environment)
    assert datetime.now(UTC) - datetime.fromisoformat(event.at) < timedelta(minutes=5)
    assert (event.what, event.who, event.code_version) == ("unlocked", person(), code_version())
    assert event.details == {"holder": "host pid 1", "forced": True}


def test_a_retried_stage_writes_its_event_once(environment: Environment) -> None:
    for _ in range(2):
        record(environment, "decided", experiment_id="exp_a", run_id="run 1")
    record(environment, "decided", experiment_id="exp_a", run_id="run 2")
    assert [event.run_id for event in events(environment)] == ["run 1", "run 2"]


def test_events_are_found_by_experiment_and_the_newest_first_of_all(environment: Environment) -> None:
    for number in range(5):
        record(environment, "unlocked", experiment_id=f"exp_{number % 2}", details={"number": number})
    assert [event.details["number"] for event in events(environment, "exp_1")] == [1, 3]
    assert [event.details["number"] for event in events(environment, newest=2)] == [3, 4]


def test_reading_makes_no_database(environment: Environment) -> None:
    assert events(environment) == []
    assert not Path(environment.catalog.uri).exists()


def test_a_user_without_a_name_is_a_number(monkeypatch: pytest.MonkeyPatch) -> None:
    def nobody() -> str:
        raise KeyError("getpwuid(): uid not found: 50000")

    monkeypatch.setattr(audit.getpass, "getuser", nobody)
    assert person().startswith("uid ")


def test_a_deletion_stays_written_down(environment: Environment) -> None:
    (environment.runs_dir / "exp_a" / "run").mkdir(parents=True)
    record(environment, "run", experiment_id="exp_a", run_id="run 1")
    told = delete_experiment(environment, "exp_a")
    assert any("exp log exp_a" in line for line in told)
    assert [event.what for event in events(environment, "exp_a")] == ["run", "deleted"]
    delete_experiment(environment, "exp_a")  # there is nothing any more
    assert len(events(environment, "exp_a")) == 2


def test_a_restore_takes_no_event_away(environment: Environment, tmp_path: Path) -> None:
    open_catalog(environment)
    record(environment, "run", experiment_id="exp_a", run_id="before")
    backup(environment, tmp_path / "backup.db")
    record(environment, "deleted", experiment_id="exp_a", details={"what": ["all"]})
    restore(environment, tmp_path / "backup.db")
    assert [event.what for event in events(environment)] == ["run", "deleted"]


def test_a_backup_of_before_there_was_an_audit_takes_no_event_away(
    environment: Environment, tmp_path: Path
) -> None:
    open_catalog(environment)
    record(environment, "run", experiment_id="exp_a", run_id="before")
    backup(environment, tmp_path / "backup.db")
    with sqlite3.connect(tmp_path / "backup.db") as database:
        database.execute("DROP TABLE exp_audit")
    restore(environment, tmp_path / "backup.db")
    assert [event.run_id for event in events(environment)] == ["before"]
    record(environment, "run", experiment_id="exp_a", run_id="after")


def test_a_terminal_shows_every_kind_of_event_and_obeys_none() -> None:
    of = {
        "run": {
            "as_of": ["2026-01-01", "2026-01-02"],
            "forced": True,
            "skipped": ["did"],
            "input_fingerprint": "x",
        },
        "spec changed": {"changes": [{"key": "decision.alpha", "before": 0.05, "now": "\x1b[31m[/]"}]},
        "decided": {"2026-01-01": {"winner": "treatment", "action": "ship", "final": True}},
        "deleted": {"what": ["3 rows of decisions", "[bold]"]},
    }
    blank = audit.Event("1", "2026-01-03T04:05:06.000+00:00", "", "me\x1b[2J", "exp_a", "", "", "0.1", {})
    found = [dataclasses.replace(blank, what=what, details=details) for what, details in of.items()]
    console = Console(width=200, record=True, markup=False)
    console.print(log_table(found))
    shown = console.export_text()
    assert "\x1b" not in shown
    for text in (
        "2026-01-03 04:05:06",
        "as of 2026-01-01 to 2026-01-02 (2 days), forced, without did",
        "decision.alpha 0.05 -> \\x1b[31m[/]",
        "as of 2026-01-01: treatment, ship, final",
        "[bold]",
    ):
        assert text in shown, text
