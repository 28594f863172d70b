"""A file is one idea, which a reader takes in at one sitting."""

from __future__ import annotations

from pathlib import Path

from exp_platform.config.environment import project_root

MOST = 400  # lines
CODE = {".py", ".sh", ".j2", ".yaml", ".yml", ".toml", ".in"}
ROOMS = (
    ".ci",
    ".github",
    "benchmarks",
    "configs",
    "dags",
    "deploy",
    "docker",
    "include",
    "jobs",
    "plugins",
    "scripts",
    "tests",
    "tools",
)


def lines(file: Path) -> int:
    return file.read_text().count("\n")


def test_no_file_of_code_is_longer_than_a_sitting() -> None:
    root = project_root()
    files = [file for file in root.iterdir() if file.is_file()]
    files += [file for room in ROOMS for file in (root / room).rglob("*") if file.is_file()]
    code = [file for file in files if file.suffix in CODE or file.name == "Makefile"]
    assert len(code) > 500
    long = {file.relative_to(root).as_posix(): lines(file) for file in code if lines(file) > MOST}
    assert not long
