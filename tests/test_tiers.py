"""Tiers: what a folder's conftest says holds for every file below it, and nobody can be in two or in none."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from conftest import PLACES

HERE = Path(__file__).parent
MARKERS = re.findall(
    r'^    "(\w+): .*\(make ([\w-]+)\)",$', (HERE.parent / "pyproject.toml").read_text(), re.M
)
TELL = """
def pytest_collection_modifyitems(items):
    for item in items:
        print()
        print(item.name, "is of", *(mark.name for mark in item.iter_markers() if mark.name != "no_cover"))
"""
FOLDER = "def pytest_itemcollected(item):\n    item.add_marker('e2e')\n"


@pytest.fixture
def tests(tmp_path: Path) -> Path:
    """A folder of tests under this project's own conftest."""
    (tmp_path / "pytest.ini").write_text(
        "[pytest]\naddopts = --strict-markers --import-mode=importlib\nmarkers =\n"
        + "".join(f"    {name}\n" for name, _ in MARKERS)
    )
    (tmp_path / "conftest.py").write_text((HERE / "conftest.py").read_text() + TELL)
    (tmp_path / "whole_runs" / "deeper").mkdir(parents=True)
    (tmp_path / "whole_runs" / "conftest.py").write_text(FOLDER)
    (tmp_path / "whole_runs" / "deeper" / "test_new.py").write_text("def test_run(): pass\n")
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "test_room.py").write_text(
        "import pytest\n\ndef test_quick(): pass\n\n@pytest.mark.simulations\ndef test_counted(): pass\n"
    )
    return tmp_path


def collected(folder: Path) -> tuple[dict[str, list[str]], str]:
    """Each test's tiers, and all that pytest said."""
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    said = subprocess.run(
        [*command, "--rootdir", str(folder), str(folder)], capture_output=True, text=True, check=False
    )
    told = re.findall(r"^(test_\w+) is of (.*)$", said.stdout, re.M)
    return {test: tiers.split() for test, tiers in told}, said.stdout + said.stderr


def test_a_new_file_deep_in_a_tiers_folder_is_of_that_tier_and_any_other_is_a_unit_test(tests: Path) -> None:
    found, _ = collected(tests)
    assert found == {"test_run": ["e2e"], "test_quick": ["unit"], "test_counted": ["simulations"]}


def test_a_test_of_two_tiers_is_refused(tests: Path) -> None:
    path = tests / "whole_runs" / "deeper" / "test_new.py"
    path.write_text("import pytest\n\n@pytest.mark.simulations\ndef test_run(): pass\n")
    assert "test_new.py::test_run is of e2e and simulations" in collected(tests)[1]


def test_a_test_where_its_tiers_target_does_not_look_is_refused(tests: Path) -> None:
    (tests / "tools").rename(tests / "rooms")
    told = "test_room.py::test_counted is of simulations, whose target looks in notebooks and tools alone"
    assert told in collected(tests)[1]
    makefile = (HERE.parent / "Makefile").read_text()
    for tier, places in PLACES.items():
        assert f"-m {tier} {' '.join(f'tests/{place}' for place in places)} " in makefile


def test_every_tier_has_the_target_that_its_marker_names() -> None:
    makefile = (HERE.parent / "Makefile").read_text()
    assert len(MARKERS) == 5
    for tier, target in MARKERS:
        assert re.search(rf"^{target}: ", makefile, re.M), target
        assert f"-m {tier} " in makefile


def test_which_cases_hypothesis_draws_is_said_in_one_place() -> None:
    """A test that derandomises itself would draw nothing new in `make fuzz`; one with a deadline fails on a busy machine."""
    own = re.compile(r"settings\([^)]*\b(derandomize|deadline|database)\b")
    files = [path for path in HERE.rglob("*.py") if path not in (HERE / "conftest.py", Path(__file__))]
    assert [str(path.relative_to(HERE)) for path in files if own.search(path.read_text())] == []
