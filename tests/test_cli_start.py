"""The commands of whoever begins, as they are typed."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from exp_platform.cli import app
from exp_platform.config.environment import project_root
from exp_platform.config.loading import load_experiment
from starting.data import users_csv


@pytest.fixture(autouse=True)
def configs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.copytree(project_root() / "configs" / "environments", tmp_path / "configs" / "environments")
    monkeypatch.setenv("EXP_CONFIG_DIR", str(tmp_path / "configs"))
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path / "state"))


def test_init_ends_with_the_two_next_commands_and_preview_shows_what_it_wrote(tmp_path: Path) -> None:
    said = CliRunner().invoke(app, ["init", str(users_csv(tmp_path / "signup.csv")), "--yes"])
    assert said.exit_code == 0, (said.output, said.exception)
    assert said.output.splitlines()[-2:] == ["  exp preview signup", "  exp run signup"]
    shown = CliRunner().invoke(app, ["preview", "signup"])
    assert shown.exit_code == 0, (shown.output, shown.exception)
    assert "All checks pass." in shown.output
    assert "3,000" in shown.output


def test_init_asks_and_asks_again(tmp_path: Path) -> None:
    said = CliRunner().invoke(
        app, ["init", str(users_csv(tmp_path / "signup.csv"))], input="blue\nshort_form\nrevenue\nmine\n"
    )
    assert said.exit_code == 0, (said.output, said.exception)
    assert "blue is none of these." in said.output
    experiment = load_experiment("mine")
    assert (experiment.control.id, experiment.metrics[0].id) == ("short_form", "revenue")


def test_a_preview_of_what_a_run_would_refuse_ends_with_one(tmp_path: Path) -> None:
    path = users_csv(tmp_path / "signup.csv")
    CliRunner().invoke(app, ["init", str(path), "--yes"])
    path.unlink()
    shown = CliRunner().invoke(app, ["preview", "signup"])
    assert shown.exit_code == 1
    assert "no csv file at" in shown.output
