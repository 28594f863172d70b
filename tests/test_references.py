"""The reference values: every folder is whole, used and counted."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

HERE = Path(__file__).parent
FOLDERS = sorted(p for p in (HERE / "references").iterdir() if p.is_dir() and not p.name.startswith("__"))
README = (HERE / "references" / "README.md").read_text()

# Data and settings that stand beside the values they led to; rows of `f_tails` mix both and are not counted.
INPUTS = {
    "alpha", "arms", "before", "case", "control", "f_tails", "information", "level", "m_bar", "treatment", "users", "weeks",
}  # fmt: skip


def values(found: Any) -> Iterator[float]:
    """The expected numbers of a file of references."""
    if isinstance(found, dict):
        for key, inner in found.items():
            if key not in INPUTS:
                yield from values(inner)
    elif isinstance(found, list):
        for inner in found:
            yield from values(inner)
    elif isinstance(found, (int, float)) and not isinstance(found, bool):
        yield found


def in_folder(folder: Path) -> int:
    """How many expected numbers a folder holds."""
    (file,) = folder.glob("*.json")
    return sum(1 for _ in values(json.loads(file.read_text())))


@pytest.mark.parametrize("folder", FOLDERS, ids=lambda folder: folder.name)
def test_a_folder_holds_the_script_its_requirements_and_values_that_a_test_reads(folder: Path) -> None:
    assert (folder / "make.py").is_file()
    pinned = (folder / "requirements.txt").read_text().split()
    assert pinned
    assert all("==" in line for line in pinned)
    assert any(folder.name in test.read_text() for test in HERE.glob("*/test_*.py"))


def test_the_readme_counts_them_and_there_are_enough() -> None:
    told = {
        name: int(n) for name, n in re.findall(r"^\| \[(\w+)\]\(\w+\) \|.*\| (\d+) \|", README, re.MULTILINE)
    }
    assert told == {folder.name: in_folder(folder) for folder in FOLDERS}, (
        "write them into references/README.md"
    )
    total = sum(told.values())
    assert f"{total} values" in README
    assert total >= 80
