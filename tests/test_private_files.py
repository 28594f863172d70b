"""What the platform writes is its user's and its group's to read, whatever umask the shell has that starts it."""

from __future__ import annotations

import os
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from exp_platform.cli import app
from exp_platform.config.environment import Environment
from exp_platform.doctor.installation import readers
from exp_platform.pipelines.run_end_to_end import run_cli
from exp_platform.private_files import keep_private, open_to_others
from exp_platform.tables.backup import backup
from exp_platform.tables.files import task_writer
from stages.frozen_runs import D3, a_run, carry_out
from tables.test_files import outcomes

ROOT = Path(__file__).parents[1]


@pytest.fixture(autouse=True)
def careless() -> Iterator[None]:
    """A shell that hides nothing."""
    before = os.umask(0)
    yield
    os.umask(before)


def umask() -> int:
    now = os.umask(0)
    os.umask(now)
    return now


@pytest.mark.parametrize(
    ("before", "after"),
    [(0, 0o027), (0o022, 0o027), (0o002, 0o027), (0o077, 0o077), (0o027, 0o027), (0o007, 0o027)],
)
def test_nothing_is_for_others_and_a_stricter_umask_stays(before: int, after: int) -> None:
    os.umask(before)
    keep_private()
    assert umask() == after


def test_every_command_and_every_stage_begins_with_it(environment: Environment) -> None:
    with pytest.raises(SystemExit):
        run_cli(lambda: exit(0))  # type: ignore[arg-type]
    assert umask() == 0o027
    os.umask(0)
    carry_out(a_run(environment, "r1", (D3,)))
    assert umask() == 0o027


def test_a_task_on_somebody_elses_worker_begins_with_it_too(environment: Environment) -> None:
    writer = task_writer(environment, "outcomes", "exp_a", "r1")
    os.umask(0)
    written = Path(writer.write(0, outcomes(["a"])).removeprefix("file://"))
    assert stat.S_IMODE(written.stat().st_mode) == 0o640
    assert stat.S_IMODE(written.parent.stat().st_mode) == 0o750


def test_a_shell_that_reads_airflows_settings_hides_logs_and_databases() -> None:
    """The password file, airflow.cfg and airflow.db were for everybody to read, and Airflow sets its logs' rights itself."""
    said = subprocess.run(
        [
            "bash",
            "-c",
            "umask 0002; . scripts/airflow-env.sh; umask; env; umask 0077; . scripts/airflow-env.sh; umask",
        ],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
        env={"PATH": os.environ["PATH"], "HOME": "/nowhere"},
    ).stdout.splitlines()
    assert (said[0], said[-1]) == ("0027", "0077")
    assert "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FILE_PERMISSIONS=0o640" in said
    assert "AIRFLOW__LOGGING__FILE_TASK_HANDLER_NEW_FOLDER_PERMISSIONS=0o750" in said


class TestDoctor:
    @pytest.fixture
    def state(self, environment: Environment, monkeypatch: pytest.MonkeyPatch) -> Path:
        """A state folder to which every user may come."""
        monkeypatch.setattr("exp_platform.doctor.installation._is_reached", lambda place: True)
        environment.state_dir.mkdir(parents=True, exist_ok=True)
        environment.state_dir.chmod(0o755)
        return environment.state_dir

    def test_an_old_state_is_told_with_its_remedy(self, state: Path, environment: Environment) -> None:
        for name in ("catalog.db", "catalog.db-wal", "runs/exp_a/r1/ingest.json"):
            (state / name).parent.mkdir(parents=True, exist_ok=True)
            (state / name).write_text("x")
        found = readers(environment)
        assert (found.state, found.check) == ("warning", "readers")
        assert "every user of this machine may read 3 of the stored files, such as" in found.found
        subprocess.run(found.remedy, shell=True, check=True)
        assert readers(environment).state == "ok"

    def test_what_is_written_now_is_none(self, state: Path, environment: Environment, tmp_path: Path) -> None:
        keep_private()  # as every command does before anything is written
        carry_out(a_run(environment, "r1", (D3,)))
        backup(environment, state / "catalog.backup")
        assert readers(environment).state == "ok"
        assert len(list(state.rglob("*.parquet"))) > 3

    def test_nobody_comes_to_what_lies_below_a_closed_folder(self, tmp_path: Path) -> None:
        (tmp_path / "closed" / "open").mkdir(parents=True)
        (tmp_path / "closed" / "open" / "file").write_text("x")
        assert [path.name for path in open_to_others(tmp_path / "closed")] == ["file"]
        (tmp_path / "closed").chmod(0o750)
        assert list(open_to_others(tmp_path / "closed")) == []


def test_the_doctor_says_it_on_its_own(environment: Environment) -> None:
    environment.prepare()
    assert "readers" in CliRunner().invoke(app, ["doctor"]).stdout
