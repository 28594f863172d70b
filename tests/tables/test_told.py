"""What was told of an experiment is kept whole, goes with the experiment, and when it is damaged counts for nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from exp_platform.config.environment import Environment, load_environment
from exp_platform.tables.deletion import delete_experiment
from exp_platform.tables.told import heard_of, note_told, told_of

TOLD = frozenset({("srm", "assigned"), ("guardrail_breached", 'latency "of"\nt1 ☕')})


@pytest.fixture
def environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Environment:
    monkeypatch.setenv("EXP_STATE_DIR", str(tmp_path))
    return load_environment("embedded")


def test_it_is_read_as_it_was_noted_of_each_experiment_by_itself(environment: Environment) -> None:
    assert told_of(environment, "one") == frozenset()
    note_told(environment, "one", TOLD)
    note_told(environment, "other", frozenset())
    assert (told_of(environment, "one"), told_of(environment, "other")) == (TOLD, frozenset())


def test_who_heard_what_some_have_missed_is_kept_with_it(environment: Environment) -> None:
    some = {("srm", "assigned"): frozenset({"a", "b"})}
    note_told(environment, "one", TOLD, some)
    assert (told_of(environment, "one"), heard_of(environment, "one")) == (TOLD, some)
    note_told(environment, "one", TOLD)
    assert (told_of(environment, "one"), heard_of(environment, "one")) == (TOLD, {})


def test_a_file_of_before_this_was_kept_is_read(environment: Environment) -> None:
    note_told(environment, "one", TOLD)
    (environment.runs_dir / ".told" / "one").write_text('[["srm", "assigned"]]')
    assert (told_of(environment, "one"), heard_of(environment, "one")) == ({("srm", "assigned")}, {})


def test_it_goes_with_a_deleted_experiment(environment: Environment) -> None:
    note_told(environment, "one", TOLD)
    note_told(environment, "other", TOLD)
    delete_experiment(environment, "one")
    assert (told_of(environment, "one"), told_of(environment, "other")) == (frozenset(), TOLD)


@pytest.mark.parametrize("content", [b"", b"[1]", b'{"a": 1}', b"\xff", b"null"])
def test_a_damaged_file_is_as_if_nothing_had_been_told(
    environment: Environment, content: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    note_told(environment, "one", TOLD)
    (environment.runs_dir / ".told" / "one").write_bytes(content)
    assert told_of(environment, "one") == frozenset()
    assert "what was told of one cannot be read" in caplog.text
