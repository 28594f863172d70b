"""`exp validate`: all errors of all files at once, and none of what the project ships."""

from __future__ import annotations

from pathlib import Path

from end_to_end.installation import Installation
from exp_platform.cli import main as exp


def test_validate_tells_all_errors_of_all_files(tmp_path: Path) -> None:
    made = Installation(tmp_path)
    made.entries(good={"days": 3, "n_users": 10}, bad={"days": 0, "n_users": 10, "colour": "green"})
    assert made.call(exp, "validate").code == 1
    (made.configs / "experiments" / "worse.yaml").write_text("id: worse\nowner: [")
    said = made.call(exp, "validate")
    assert said.code == 1
    for words in (
        "dev.yaml",
        "days",
        "colour",
        "worse.yaml",
        "1 experiments in 1 files are valid, 3 errors.",
    ):
        assert words in said.out
    assert not made.state.exists()


def test_validate_accepts_what_the_project_ships() -> None:
    import subprocess
    import sys

    command = [sys.executable, "-m", "exp_platform.cli", "validate"]
    done = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert "0 errors" in done.stdout
