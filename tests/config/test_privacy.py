"""Keys and rules of an environment about people's data: where they may stand, and what is refused."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from exp_platform.config.environment import load_environment
from exp_platform.config.privacy import KeySource, made_key
from exp_platform.errors import ConfigError

KEY = "0123456789abcdef0123456789abcdef"
REST = "raw_dir: raw\nwarehouse: warehouse\nruns_dir: runs\nmemos_dir: memos\ncatalog: {kind: sqlite, uri: catalog.db}\n"


def environment_of(folder: Path, monkeypatch: pytest.MonkeyPatch, text: str) -> object:
    (folder / "environments").mkdir(exist_ok=True)
    (folder / "environments" / "here.yaml").write_text(f"name: here\n{REST}{text}")
    monkeypatch.setenv("EXP_CONFIG_DIR", str(folder))
    monkeypatch.setenv("EXP_STATE_DIR", str(folder / "state"))
    return load_environment("here")


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (
            "retention: {user_level_days: 0}",
            "retention.user_level_days: Input should be greater than or equal to 1",
        ),
        ("retention: {user_level_days: 36501}", "less than or equal to 36500"),
        ("retention: {days: 5}", "retention.days: Extra inputs are not permitted"),
        ("pseudonyms: {}", "pseudonyms: Value error, give key_env"),
        ("pseudonyms: {key_env: A, key_file: b}", "pseudonyms: Value error, give key_env"),
        ("forgotten: {key_env: 'A B'}", "forgotten.key_env: String should match"),
    ],
)
def test_what_an_environment_cannot_mean_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    with pytest.raises(ConfigError) as refused:
        environment_of(tmp_path, monkeypatch, text)
    assert said in str(refused.value)


def test_a_key_is_read_from_its_variable_or_its_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PSEUDONYM_KEY", f" {KEY}\n")
    assert KeySource(key_env="PSEUDONYM_KEY").read("pseudonyms").secret == KEY.encode()
    made = environment_of(
        tmp_path, monkeypatch, "pseudonyms: {key_file: keys/p}\nretention: {user_level_days: 90}"
    )
    file = tmp_path / "state" / "keys" / "p"
    assert made.pseudonyms.key_file == str(file)  # type: ignore[attr-defined]
    file.parent.mkdir(parents=True)
    file.write_text(KEY)
    file.chmod(0o600)
    assert made.pseudonyms.read("pseudonyms").secret == KEY.encode()  # type: ignore[attr-defined]


def test_a_key_that_is_absent_short_or_open_is_refused_and_never_quoted(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("PSEUDONYM_KEY", raising=False)
    source = KeySource(key_env="PSEUDONYM_KEY")
    with pytest.raises(
        ConfigError,
        match=r"pseudonyms.key_env: the variable PSEUDONYM_KEY is not set, nor is PSEUDONYM_KEY_FILE",
    ):
        source.read("pseudonyms")
    monkeypatch.setenv("PSEUDONYM_KEY", "hush-hush")
    with pytest.raises(ConfigError, match="has 9 characters; at least 32 are needed") as refused:
        source.read("pseudonyms")
    assert "hush" not in str(refused.value)
    file = tmp_path / "key"
    in_file = KeySource(key_file=str(file))
    with pytest.raises(ConfigError, match=r"pseudonyms.key_file: .* cannot be read \(No such file"):
        in_file.read("pseudonyms")
    file.write_text(KEY)
    file.chmod(0o604)
    with pytest.raises(ConfigError, match=f"open to every user of this machine: chmod 600 {file}") as refused:
        in_file.read("pseudonyms")
    assert KEY not in str(refused.value)


def test_a_key_is_made_once_whoever_makes_it_and_for_its_owner_alone(tmp_path: Path) -> None:
    file = tmp_path / "state" / "forgotten.key"
    threads = [threading.Thread(target=made_key, args=(file,)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    first = file.read_text()
    made_key(file)
    assert file.read_text() == first
    assert len(first.strip()) == 64
    assert file.stat().st_mode & 0o777 == 0o600
    assert [path.name for path in file.parent.iterdir()] == ["forgotten.key"]
