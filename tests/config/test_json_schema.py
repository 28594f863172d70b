"""The JSON Schemas by which editors check files: what the platform reads passes, what is wrong in form does not."""

from __future__ import annotations

import re
from collections.abc import Iterator
from datetime import date
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator, FormatChecker
from typer.testing import CliRunner

from exp_platform.cli import app
from exp_platform.config.environment import project_root
from exp_platform.config.json_schema import NAMES, schema, text
from exp_platform.config.yaml_file import Document

CONFIGS, SPECS = project_root() / "configs", Path(__file__).parent / "specs"
VALID = sorted(
    [*SPECS.glob("valid/*.yaml"), *CONFIGS.glob("experiments/*.yaml"), *CONFIGS.glob("examples/**/*.yaml")]
)
# What a message says where the file's form is wrong, and not what it means
FORM = re.compile(
    r"found an unknown key|; this key is required$|allowed: ((true or false|a whole number|a mapping of keys|a list)$|"
    r"(at most|at least|less than|more than) -?[\d.]+$|text that |a date such as |a positive size |a value, a list )"
)
# A day that no editor knows to be none, and keys that YAML itself gives a meaning
BEYOND_FORM = {"year_mistyped"}


def plain(value: Any) -> Any:
    """As an editor reads YAML (1.2): days are text, keys too."""
    if isinstance(value, dict):
        return {str(key): plain(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [plain(inner) for inner in value]
    return value.isoformat() if isinstance(value, date) else value


@cache
def validator(name: str) -> Any:
    return Draft202012Validator(schema(name), format_checker=FormatChecker())


def faults(name: str, content: Any) -> list[str]:
    return [f"{error.json_path}: {error.message}" for error in validator(name).iter_errors(plain(content))]


def of_form() -> Iterator[Any]:
    for path in sorted(SPECS.glob("invalid/*.yaml")):
        expected = [line for line in path.read_text().splitlines() if line.startswith("# expects: ")]
        if any(FORM.search(line) for line in expected) and path.stem not in BEYOND_FORM:
            yield pytest.param(path, id=path.stem)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_schema_of_the_draft_that_it_names(name: str) -> None:
    Draft202012Validator.check_schema(schema(name))


@pytest.mark.parametrize("name", NAMES)
def test_the_committed_copy_is_what_exp_schema_writes(name: str) -> None:
    assert (CONFIGS / "schemas" / f"{name}.schema.json").read_text("utf-8") == text(name), (
        "the files' keys have changed: exp schema --out configs/schemas"
    )


def kind_of(path: Path) -> str:
    return {"sources": "source", "metrics": "metrics"}.get(path.parent.name, "spec")


@pytest.mark.parametrize("path", VALID, ids=lambda path: path.stem)
def test_every_file_that_is_read_passes(path: Path) -> None:
    assert faults(kind_of(path), yaml.safe_load(path.read_text())) == []


@pytest.mark.parametrize("path", [*of_form()])
def test_what_is_wrong_in_form_is_refused(path: Path) -> None:
    assert faults("spec", Document(path.read_bytes()).data) != []


def test_there_are_enough_of_them() -> None:
    assert len(list(of_form())) >= 30


def test_every_key_is_explained() -> None:
    def keys(value: Any) -> Iterator[tuple[str, Any]]:
        if isinstance(value, dict):
            if "additionalProperties" in value and "description" in value:
                yield from value.get("properties", {}).items()
            for inner in value.values():
                yield from keys(inner)
        elif isinstance(value, list):
            for inner in value:
                yield from keys(inner)

    found = [(name, key, said) for name in NAMES for key, said in keys(schema(name))]
    assert len(found) > 100
    assert [(name, key) for name, key, said in found if not said.get("description")] == []


@pytest.mark.parametrize("path", [p for p in VALID if p.is_relative_to(CONFIGS)], ids=lambda path: path.stem)
def test_a_shipped_file_names_its_schema_in_its_first_line(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    named = first.removeprefix("# yaml-language-server: $schema=")
    assert (path.parent / named).resolve() == CONFIGS / "schemas" / f"{kind_of(path)}.schema.json"


def test_the_command_prints_one_and_writes_all(tmp_path: Path) -> None:
    run = CliRunner().invoke

    assert run(app, ["schema", "spec"]).output == text("spec")
    assert run(app, ["schema", "--out", str(tmp_path / "new")]).exit_code == 0
    assert {p.name for p in (tmp_path / "new").iterdir()} == {f"{name}.schema.json" for name in NAMES}
    assert run(app, ["schema"]).exit_code != 0
    (tmp_path / "file").write_text("")
    assert run(app, ["schema", "--out", str(tmp_path / "file")]).exit_code != 0
