"""A changed word is another wording and no other number; whatever may make a number is another code."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import grimp
import pytest

import exp_platform
from exp_platform import code_version as versions
from exp_platform.code_version import NEITHER, WORDS, code_version, wording_version


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A copy of the package's files, which the versions are made of."""
    copy = tmp_path / "exp_platform"
    shutil.copytree(Path(exp_platform.__file__).parent, copy, ignore=shutil.ignore_patterns("__pycache__"))
    monkeypatch.setattr(versions, "_root", lambda: copy)
    _forget()
    yield copy
    _forget()


def _forget() -> None:
    versions._files.cache_clear()
    versions._version.cache_clear()


def changed(file: Path) -> tuple[bool, bool]:
    """Whether another line in a file makes another code, and another wording."""
    before = code_version(), wording_version()
    file.parent.mkdir(exist_ok=True)
    file.write_text((file.read_text() if file.exists() else "") + "\n# another line\n")
    _forget()
    return code_version() != before[0], wording_version() != before[1]


@pytest.mark.parametrize(
    ("file", "numbers", "words"),
    [
        ("report/templates/memo/page.md.j2", False, True),
        ("report/wording.py", False, True),
        ("stages/memo.py", False, True),
        ("stages/decision.py", True, False),
        ("stats/welch.py", True, False),
        ("kernels/aggregate.py", True, False),
        ("config/defaults_to_come.py", True, False),
        ("escaping.py", True, False),  # words too, and reasons that are stored
        ("a_room_to_come/rule.py", True, False),
        ("orchestration/dag.py", False, False),
        ("cli.py", False, False),
    ],
)
def test_what_a_changed_file_makes_out_of_date(package: Path, file: str, numbers: bool, words: bool) -> None:
    assert changed(package / file) == (numbers, words)


def test_compiled_files_are_no_other_code(package: Path) -> None:
    (package / "stats" / "__pycache__").mkdir()
    assert changed(package / "stats" / "__pycache__" / "welch.pyc") == (False, False)


def test_the_rooms_that_make_no_number_are_there() -> None:
    """A renamed one would be forgotten here."""
    root = Path(exp_platform.__file__).parent
    assert [room for room in (*WORDS, *NEITHER) if not (root / room).exists()] == []


def test_what_makes_numbers_rests_on_nothing_that_is_said_to_make_none() -> None:
    """Else a changed file there would change numbers, and stored ones would pass for up to date."""
    root = Path(exp_platform.__file__).parent
    graph = grimp.build_graph(exp_platform.__name__)

    def file_of(module: str) -> str:
        path = module.removeprefix(exp_platform.__name__).lstrip(".").replace(".", "/")
        return f"{path}.py" if (root / f"{path}.py").is_file() else path

    def room_of(module: str) -> str | None:
        within = (room for room in (*WORDS, *NEITHER) if versions._within(file_of(module), (room,)))
        return next(within, None)

    counted = [module for module in graph.modules if room_of(module) is None]
    assert len(counted) > 100
    rests_on = {
        (file_of(module), room)
        for module in counted
        for other in graph.find_modules_directly_imported_by(module)
        if (room := room_of(other)) is not None
    }
    assert rests_on == {
        ("results/earlier.py", "planning"),  # what `exp plan` is told of earlier users
        ("tables/retention.py", "report"),  # words the memo anew whose users are gone
    }
