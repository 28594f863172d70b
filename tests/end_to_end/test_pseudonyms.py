"""Pseudonyms stand for ids in all that is stored, change no number, and need the same key throughout."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest

from end_to_end.installation import OF_THE_RUN, Installation
from end_to_end.people import GONE, PEOPLE, deliver
from end_to_end.state_bytes import files_with
from exp_platform.checks import CheckResult
from exp_platform.cli import main as exp
from exp_platform.config.privacy import Key
from exp_platform.pipelines.runner import StageFailedError
from exp_platform.results.reader import Results
from exp_platform.tables.catalog import open_catalog, table
from exp_platform.tables.schemas import RESULT_TABLES

KEY, OTHER = "0123456789abcdef" * 3, "fedcba9876543210" * 3
# What tells who, or quotes: compared by its own tests.
WORDS = {"message", "caution", "check"} | OF_THE_RUN


def with_keys(folder: Path) -> Installation:
    made = Installation(folder)
    path = made.configs / "environments" / "embedded.yaml"
    path.write_text(path.read_text() + "\npseudonyms: {key_env: EXP_PSEUDONYM_KEY}\n")
    return made


@pytest.fixture(scope="module")
def both(tmp_path_factory: pytest.TempPathFactory) -> tuple[Installation, Installation]:
    """The same delivery, read with plain ids and with pseudonyms."""
    plain, hidden = (
        Installation(tmp_path_factory.mktemp("plain")),
        with_keys(tmp_path_factory.mktemp("hidden")),
    )
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("EXP_PSEUDONYM_KEY", KEY)
        for made in (plain, hidden):
            deliver(made, "exp_one")
            made.run("exp_one")
    return plain, hidden


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXP_PSEUDONYM_KEY", KEY)


def results(made: Installation) -> list[dict[str, Any]]:
    with made.here():
        found = [
            {"table": name, **{k: v for k, v in row.items() if k not in WORDS}}
            for name in RESULT_TABLES
            for row in table(open_catalog(), name).scan().to_arrow().to_pylist()
        ]
    return sorted(
        found, key=lambda row: str({k: v for k, v in row.items() if isinstance(v, (str, int, type(None)))})
    )


def test_no_number_differs(both: tuple[Installation, Installation]) -> None:
    plain, hidden = map(results, both)
    assert len(plain) == len(hidden) > 50
    for before, after in zip(plain, hidden, strict=True):
        assert before.keys() == after.keys()
        for column, value in before.items():
            assert alike(value, after[column]), (before["table"], column, value, after[column])


def alike(one: Any, other: Any) -> bool:
    if isinstance(one, list):
        return len(one) == len(other) and all(map(alike, one, other))
    if isinstance(one, float):
        return isinstance(other, float) and math.isclose(one, other, rel_tol=1e-12, abs_tol=1e-12)
    return bool(one == other)


def test_neither_an_id_nor_the_key_is_written_anywhere(both: tuple[Installation, Installation]) -> None:
    plain, hidden = both
    assert files_with(plain.state, GONE) != []
    for secret in (GONE, PEOPLE[7], KEY):
        assert files_with(hidden.state, secret) == []
    pseudonym = Key(KEY.encode()).hashes([GONE])[0]
    with hidden.here():
        (told,) = [
            check.message
            for check in Results().rows(CheckResult, "exp_one")
            if check.check == "dominant_user"
        ]
    assert told.startswith(f"'{pseudonym}' has 400 of ")


def test_another_key_in_mid_test_is_refused_and_may_be_declared(
    both: tuple[Installation, Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, made = both
    environment = made.configs / "environments" / "embedded.yaml"
    before, text = Key(KEY.encode()).fingerprint, environment.read_text()
    monkeypatch.setenv("EXP_PSEUDONYM_KEY", OTHER)
    with pytest.raises(
        StageFailedError, match=f"was published with {before}, so every user would get another pseudonym"
    ):
        made.run("exp_one", force=True)
    monkeypatch.delenv("EXP_PSEUDONYM_KEY")
    with pytest.raises(
        StageFailedError, match="the variable EXP_PSEUDONYM_KEY is not set, nor is EXP_PSEUDONYM_KEY_FILE"
    ):
        made.run("exp_one", force=True)
    try:
        environment.write_text(text.replace("pseudonyms: {key_env: EXP_PSEUDONYM_KEY}\n", ""))
        with pytest.raises(
            StageFailedError, match="pseudonyms: absent, but exp_one was published with pseudonyms of the key"
        ):
            made.run("exp_one", force=True)
        monkeypatch.setenv("EXP_PSEUDONYM_KEY", OTHER)
        environment.write_text(text.replace("KEY}", f"KEY, replaces: [{before}]}}"))
        made.run("exp_one", force=True)
        with made.here():
            (row,) = Results().experiments()
        assert row["pseudonym_key"] == Key(OTHER.encode()).fingerprint
    finally:
        environment.write_text(text)


def test_a_pseudonymous_user_is_forgotten_by_his_id(
    both: tuple[Installation, Installation], monkeypatch: pytest.MonkeyPatch
) -> None:
    _, made = both
    with made.here():
        (row,) = Results().experiments()
    key = next(k for k in (KEY, OTHER) if Key(k.encode()).fingerprint == row["pseudonym_key"])
    monkeypatch.setenv("EXP_PSEUDONYM_KEY", key)
    pseudonym = Key(key.encode()).hashes([GONE])[0]
    assert files_with(made.state, pseudonym) != []
    said = made.call(exp, "forget", "--user-id", GONE, "--yes")
    assert (said.code, said.err) == (0, "")
    assert files_with(made.state, pseudonym) == []
    made.run("exp_one", force=True)
    assert files_with(made.state, pseudonym) == []
    with made.here():
        stored = Results().latest_decision("exp_one")
    assert stored is not None
    assert stored.rows["outcomes"].left_out["of users who are to be forgotten"] == 400
