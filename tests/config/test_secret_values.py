"""Secrets from a variable or from the file that its `_FILE` names."""

from __future__ import annotations

from pathlib import Path

import pytest

from exp_platform.config.database import Database
from exp_platform.config.secret_values import secret
from exp_platform.errors import ConfigError

NAME = "EXP_TEST_SECRET"


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    path = tmp_path / "secret"
    monkeypatch.delenv(NAME, raising=False)
    monkeypatch.setenv(f"{NAME}_FILE", str(path))
    return path


def told() -> str:
    with pytest.raises(ConfigError) as raised:
        secret(NAME, "password_env")
    return str(raised.value)


@pytest.mark.parametrize("written", ["p@ss word ", "p@ss word \n"], ids=["bare", "with the line's end"])
def test_a_password_in_a_file_is_all_of_its_line(file: Path, written: str) -> None:
    file.write_text(written)
    assert Database(uri="postgresql://db/x", password_env=NAME).password == "p@ss word "


def test_the_variable_itself_wins(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file.write_text("of the file")
    monkeypatch.setenv(NAME, "of the variable")
    assert secret(NAME, "password_env") == "of the variable"


def test_neither_is_told_with_both_names(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(NAME, raising=False)
    assert told().startswith(f"password_env: the variable {NAME} is not set, nor is {NAME}_FILE")


def test_a_file_that_tells_nothing_is_named_and_its_content_is_not(file: Path) -> None:
    assert told().startswith(f"password_env: {NAME}_FILE: {file} cannot be read (No such file or directory)")
    file.touch()
    assert told() == f"password_env: {NAME}_FILE: {file} is empty: write the secret into it"
    file.write_bytes(b"hidden\xff")
    assert "no UTF-8 text" in told()
    assert "hidden" not in told()
