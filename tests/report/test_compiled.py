"""Templates are compiled once, and again when they, their settings or Jinja change; where nothing can be stored, each time."""

from __future__ import annotations

from pathlib import Path

import jinja2
import pytest

from exp_platform.report import compiled
from exp_platform.report.compiled import CompiledBeside


def rendered(folder: Path) -> str:
    """The one template, by an environment of its own as a new process has it."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(folder), bytecode_cache=CompiledBeside(folder)
    )
    return environment.get_template("memo.md").render(name="you")


@pytest.fixture
def compiling(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is compiled from now on."""
    found: list[str] = []
    generate = jinja2.Environment._generate

    def generating(
        self: jinja2.Environment, source: object, name: str, *more: object, **given: object
    ) -> str:
        found.append(name)
        return generate(self, source, name, *more, **given)  # type: ignore[arg-type]

    monkeypatch.setattr(jinja2.Environment, "_generate", generating)
    monkeypatch.setattr("sys.dont_write_bytecode", False)
    monkeypatch.setattr("sys.pycache_prefix", None)
    return found


@pytest.fixture
def template(tmp_path: Path) -> Path:
    file = tmp_path / "memo.md"
    file.write_text("Dear {{ name }}")
    return file


def test_a_template_is_compiled_once_until_it_changes(
    template: Path, compiling: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert [rendered(template.parent) for _ in range(3)] == ["Dear you"] * 3
    assert len(compiling) == 1
    template.write_text("Dearest {{ name }}")
    assert [rendered(template.parent) for _ in range(2)] == ["Dearest you"] * 2
    assert len(compiling) == 2
    monkeypatch.setattr(compiled, "wording_version", lambda: "another")
    assert [rendered(template.parent) for _ in range(2)] == ["Dearest you"] * 2
    assert len(compiling) == 3


@pytest.mark.parametrize("stored", [b"", b"j2", b"\0" * 200])
def test_what_is_no_code_is_made_anew(template: Path, compiling: list[str], stored: bytes) -> None:
    rendered(template.parent)
    (file,) = (template.parent / "__pycache__").iterdir()
    whole = file.read_bytes()
    file.write_bytes(stored or whole[:60])
    assert rendered(template.parent) == "Dear you"
    assert file.read_bytes() == whole
    assert len(compiling) == 2


def test_where_nothing_can_be_stored_it_is_compiled_each_time(template: Path, compiling: list[str]) -> None:
    (template.parent / "__pycache__").write_text("a file where the folder would be")
    assert [rendered(template.parent) for _ in range(2)] == ["Dear you"] * 2
    assert len(compiling) == 2


def test_nothing_is_stored_where_python_shall_store_nothing(
    template: Path, compiling: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.dont_write_bytecode", True)
    assert rendered(template.parent) == "Dear you"
    assert [file.name for file in template.parent.iterdir()] == ["memo.md"]
