"""The commands for whoever keeps the stored state, as they are typed."""

from __future__ import annotations

from pathlib import Path

from typer.testing import CliRunner

from exp_platform.cli import app
from exp_platform.config.environment import Environment
from exp_platform.results.reader import Results
from stages.frozen_runs import D3, a_run, carry_out
from tables.lost_state import forget_connections, lose_the_catalog


def exp(*words: str) -> str:
    said = CliRunner().invoke(app, list(words))
    assert said.exit_code == 0, (said.output, said.exception)
    forget_connections()
    return said.output


def test_a_catalog_is_backed_up_lost_restored_and_repaired(environment: Environment, tmp_path: Path) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    file = str(tmp_path / "then")
    assert "bytes" in exp("backup", file)
    carry_out(a_run(environment, "r2", (D3,)))
    lose_the_catalog(environment)
    assert "`exp repair --forward`" in exp("restore", file, "--yes")
    assert [d.run_id for d in Results(environment).decisions("exp_a")] == ["r1"]
    assert "left as it is" in exp("repair")
    assert "is registered instead of" in exp("repair", "--forward")
    assert [d.run_id for d in Results(environment).decisions("exp_a")] == ["r2"]
    assert "quarantined    0" in exp("maintain")


def test_a_restore_asks_and_changes_nothing_without_a_yes(environment: Environment, tmp_path: Path) -> None:
    carry_out(a_run(environment, "r1", (D3,)), "publish")
    exp("backup", str(tmp_path / "then"))
    carry_out(a_run(environment, "r2", (D3,)))
    said = CliRunner().invoke(app, ["restore", str(tmp_path / "then")], input="n\n")
    assert said.exit_code == 1
    assert [d.run_id for d in Results(environment).decisions("exp_a")] == ["r2"]
