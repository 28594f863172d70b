"""A file is one idea, which a reader takes in at one sitting."""

from __future__ import annotations

from pathlib import Path

from exp_platform.config.environment import project_root

MOST = 400  # lines
WRITTEN = {".py", ".sh", ".j2", ".yaml", ".yml", ".toml", ".in", ".md"}
ROOMS = (
    ".ci",
    ".github",
    "benchmarks",
    "configs",
    "dags",
    "deploy",
    "docker",
    "docs",
    "include",
    "jobs",
    "plugins",
    "scripts",
    "tests",
    "tools",
)


def lines(file: Path) -> int:
    return file.read_text().count("\n")


def test_no_file_of_code_and_no_page_is_longer_than_a_sitting() -> None:
    root = project_root()
    files = [file for file in root.iterdir() if file.is_file()]
    files += [file for room in ROOMS for file in (root / room).rglob("*") if file.is_file()]
    written = [file for file in files if file.suffix in WRITTEN or file.name == "Makefile"]
    assert len(written) > 500
    assert sum(file.suffix == ".md" for file in written) > 50
    long = {file.relative_to(root).as_posix(): lines(file) for file in written if lines(file) > MOST}
    assert not long
