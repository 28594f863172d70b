"""Files are read all at once or just one, no broken one hurts another, and every fault has its place."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from exp_platform.config import loading
from exp_platform.config.environment import project_root
from exp_platform.config.loading import (
    load_all,
    load_experiment,
    named_environment,
    spec_files,
)
from exp_platform.errors import ConfigError

GOOD = (Path(__file__).parent / "specs" / "valid" / "first_own.yaml").read_text()
BROKEN = "id: [\n"


def good(experiment_id: str) -> str:
    return GOOD.replace("id: first_own", f"id: {experiment_id}")


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    """Two entries and three files, all good."""
    (tmp_path / "experiments").mkdir()
    (tmp_path / "dev.yaml").write_text(
        "environment: embedded\n"
        "experiments:\n"
        "  first: {days: 14, n_users: 1000}\n"
        "  second: {days: 7, n_users: 500}\n"
    )
    write(tmp_path, "third", good("third"))
    write(tmp_path, "fourth", good("fourth"))
    write(tmp_path, "a_file_of_another_name", good("fifth"))
    return tmp_path


def write(configs: Path, name: str, text: str) -> Path:
    path = configs / "experiments" / f"{name}.yaml"
    path.write_text(text)
    return path


def test_reads_entries_and_files(configs: Path) -> None:
    write(configs, ".hidden", BROKEN)
    (configs / "experiments" / "notes.txt").write_text(BROKEN)

    loaded = load_all(configs)

    assert list(loaded.experiments) == ["first", "second", "fifth", "fourth", "third"]
    assert loaded.errors == ()
    assert loaded.experiments["fifth"].spec_file == str(
        configs / "experiments" / "a_file_of_another_name.yaml"
    )


def test_both_suffixes_of_yaml_count(configs: Path) -> None:
    (configs / "experiments" / "sixth.yml").write_text(good("sixth"))

    assert "sixth" in load_all(configs).experiments


def test_the_folder_of_configs_is_the_environments(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("EXP_CONFIG_DIR", str(configs))

    assert spec_files()[0] == configs / "dev.yaml"
    assert load_experiment("third").id == "third"


def test_an_empty_folder_has_no_experiments(tmp_path: Path) -> None:
    assert spec_files(tmp_path) == ()
    assert load_all(tmp_path).experiments == {}


def test_all_faults_of_all_files_are_told_and_the_rest_is_loaded(configs: Path) -> None:
    (configs / "dev.yaml").write_text(
        "environment: 5\n"
        "experiments:\n"
        "  first: {days: 14, n_users: 1000}\n"
        "  second: {days: 0, n_users: -1}\n"
        "comment: none\n"
    )
    write(configs, "third", good("third").replace("role: primary", "role: main"))
    write(configs, "fourth", BROKEN)
    write(configs, "empty", "")

    loaded = load_all(configs)

    assert list(loaded.experiments) == ["first", "fifth"]
    folder = configs / "experiments"
    roles = "'primary', 'secondary', 'guardrail' or 'informational'"
    assert [str(error) for error in loaded.errors] == [
        f"{configs}/dev.yaml:1: environment: found 5; allowed: the name of an environment",
        f"{configs}/dev.yaml:4: experiments.second.n_users: found -1; allowed: at least 1",
        f"{configs}/dev.yaml:4: experiments.second.days: found 0; allowed: at least 1",
        f"{configs}/dev.yaml:5: comment: found an unknown key; allowed: environment, experiments",
        f"{folder}/empty.yaml: found an empty file; a mapping of keys to values is required",
        f"{folder}/fourth.yaml:2: found text that is not YAML; did not find expected node content: "
        "a bracket or brace is never closed",
        f"{folder}/third.yaml:14: metrics[0].role: found 'main'; allowed: {roles}",
    ]


def test_the_line_of_an_absent_key_is_that_of_what_should_hold_it(configs: Path) -> None:
    write(configs, "third", good("third").replace("type: proportion, ", ""))

    (error,) = load_all(configs).errors

    assert (error.key, error.line, error.experiment_id) == ("metrics[0].type", 14, "third")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (
            "environment: embedded\n",
            "experiments: found nothing; a mapping of experiment ids to their keys is required",
        ),
        ("experiments:\n", "experiments: found None; a mapping of experiment ids to their keys is required"),
        (
            "experiments: [a]\n",
            "experiments: found ['a']; a mapping of experiment ids to their keys is required",
        ),
        (
            "experiments:\n  ../../x: {days: 14, n_users: 1000}\n",
            "experiments.../../x: found '../../x'; allowed: an id that matches ^[a-z0-9_]{1,64}$ (quote it if it is a number)",
        ),
        (
            "experiments:\n  7: {days: 14, n_users: 1000}\n",
            "experiments[7]: found 7; allowed: an id that matches ^[a-z0-9_]{1,64}$ (quote it if it is a number)",
        ),
        (
            "experiments:\n  x: {days: 14, n_users: 1000}\n  x: {days: 15, n_users: 1000}\n",
            "experiments.x: found this key twice; a key may stand once: the second would silently win",
        ),
        (
            "experiments: {}\nexperiments: {}\n",
            "experiments: found this key twice; a key may stand once: the second would silently win",
        ),
        ("experiments:\n  x:\n", "experiments.x: found None; a mapping of keys is required"),
        (
            "experiments:\n  x: {days: 14, n_users: 1000, 3: 4}\n",
            "experiments.x[3]: found 3; allowed: a key that is text",
        ),
    ],
)
def test_a_file_of_entries_is_checked_too(text: str, expected: str, tmp_path: Path) -> None:
    (tmp_path / "dev.yaml").write_text(text)

    loaded = load_all(tmp_path)

    assert [str(error).partition(": ")[2] for error in loaded.errors] == [expected]
    assert loaded.experiments == {}


def test_an_alias_that_holds_itself_is_a_fault_like_any_other(configs: Path) -> None:
    write(configs, "third", "id: third\nvariants: &v [*v]\n")
    write(configs, "fourth", "id: fourth\n" + "segments: " + "[" * 3000 + "]" * 3000 + "\n")

    loaded = load_all(configs)

    assert set(loaded.experiments) == {"first", "second", "fifth"}
    assert {Path(error.file).stem for error in loaded.errors} == {"third", "fourth"}


def test_aliases_that_stand_for_more_than_a_memory_holds_stop_no_other_spec(configs: Path) -> None:
    """Nine levels of nine aliases are 400 bytes of YAML and 400 million values."""
    lines = ["id: third", 'a0: &a0 ["x", "x"]']
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 9)}]" for n in range(1, 10)]
    write(configs, "third", "\n".join([*lines, "hypothesis: *a9"]))

    loaded = load_all(configs)

    assert {"first", "second"} <= set(loaded.experiments)
    (error,) = loaded.errors
    assert "found more than 50,000 keys and values, aliases written out; allowed: 50,000" in str(error)


def test_anchors_may_be_shared(configs: Path) -> None:
    text = good("third").replace("exposures: {path:", "exposures: &place {path:")
    write(configs, "third", text.replace('outcomes: {path: "${EXP_DATA_DIR}/outcomes"}', "outcomes: *place"))

    assert load_all(configs).errors == ()


def test_one_id_in_two_files_belongs_to_the_file_of_that_name(configs: Path) -> None:
    write(configs, "a_copy", good("third"))
    write(configs, "second", good("second"))

    loaded = load_all(configs)

    folder = configs / "experiments"
    assert [str(error) for error in loaded.errors] == [
        f"{configs}/dev.yaml:4: experiments.second: found 'second'; this id is taken by {folder}/second.yaml: "
        "ids are unique over all files",
        f"{folder}/a_copy.yaml:2: id: found 'third'; this id is taken by {folder}/third.yaml: "
        "ids are unique over all files",
    ]
    for experiment_id in ("second", "third"):
        assert loaded.experiments[experiment_id].spec_file == str(folder / f"{experiment_id}.yaml")
        assert load_experiment_of(configs)(experiment_id) == loaded.experiments[experiment_id]


def test_a_file_that_cannot_be_read_is_told(configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    unreadable = configs / "experiments" / "third.yaml"
    forbid_reading(monkeypatch, {unreadable})

    loaded = load_all(configs)

    assert set(loaded.experiments) == {"first", "second", "fourth", "fifth"}
    assert [str(error) for error in loaded.errors] == [
        f"{unreadable}: found Permission denied; a file that can be read is required"
    ]


def test_a_config_counts_with_the_folder_beside_it(configs: Path) -> None:
    other = configs / "other.yaml"
    other.write_text("experiments:\n  mine: {days: 14, n_users: 1000}\n")

    assert load_experiment("mine", other).id == "mine"
    assert load_experiment("third", other).id == "third"
    with pytest.raises(ConfigError, match="'first' is unknown; did you mean fifth"):
        load_experiment("first", other)


def test_a_config_may_be_one_full_spec(configs: Path) -> None:
    assert load_experiment("third", configs / "experiments" / "third.yaml").id == "third"


def test_a_missing_config_is_told(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"none\.yaml: there is no such file; the default is .*dev\.yaml"):
        load_experiment("x", tmp_path / "none.yaml")


def test_a_broken_experiment_is_told_with_its_own_faults_only(configs: Path) -> None:
    write(configs, "third", good("third").replace("type: proportion, ", "").replace("days: 14", "days: 0"))
    write(configs, "fourth", good("fourth").replace("days: 14", "days: x"))

    with pytest.raises(ConfigError) as told:
        load_experiment_of(configs)("third")
    assert [line.split(": ")[1] for line in str(told.value).splitlines()] == [
        "window.days",
        "metrics[0].type",
    ]


def test_a_broken_experiment_of_a_file_of_its_name_is_no_other_files(configs: Path) -> None:
    write(configs, "a_copy", good("third"))
    write(configs, "third", good("third").replace("days: 14", "days: 0"))

    with pytest.raises(ConfigError, match=r"window\.days: found 0"):
        load_experiment_of(configs)("third")


def test_an_unknown_id_is_told_with_the_known_ones_and_the_unread_files(configs: Path) -> None:
    write(configs, "fourth", BROKEN)

    with pytest.raises(ConfigError) as told:
        load_experiment_of(configs)("thirt")
    first, second = str(told.value).splitlines()
    assert first == "experiment 'thirt' is unknown; did you mean third? allowed: fifth, first, second, third"
    assert second.startswith(f"{configs}/experiments/fourth.yaml:2: found text that is not YAML")


@pytest.mark.parametrize("experiment_id", ["../../x", "a/b", "", "X", "a" * 65, "x\n"])
def test_an_id_that_tries_a_path_is_refused(experiment_id: str, configs: Path) -> None:
    with pytest.raises(ConfigError, match=r"allowed: an id that matches"):
        load_experiment_of(configs)(experiment_id)


def load_experiment_of(configs: Path):
    return lambda name: load_experiment(name, configs / "dev.yaml")


class TestOneOfMany:
    """Who wants one spec, as a command or a task's own parse, reads that one and no other."""

    @pytest.fixture(autouse=True)
    def _standing(self, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("EXP_CONFIG_DIR", str(configs))

    def test_reads_only_the_file_of_its_name(self, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        expected = load_all(configs).experiments["third"]
        own = configs / "experiments" / "third.yaml"
        forbid_reading(monkeypatch, {path for path in spec_files(configs) if path != own})

        assert load_experiment("third") == expected

    def test_parses_only_files_whose_text_holds_the_id(
        self, configs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        parsed: list[str] = []
        entries_of = loading.entries_of
        monkeypatch.setattr(
            loading, "entries_of", lambda path, text: parsed.append(path.name) or entries_of(path, text)
        )

        assert load_experiment("fifth").id == "fifth"
        assert parsed == ["a_file_of_another_name.yaml"]

    def test_checks_only_its_own_entry(self, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        checked: list[str] = []
        resolve = loading.resolve
        monkeypatch.setattr(loading, "resolve", lambda entry: checked.append(entry.id) or resolve(entry))

        assert load_experiment("second").id == "second"
        assert checked == ["second"]

    def test_goes_past_files_that_are_broken_or_only_mention_it(
        self, configs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        (configs / "dev.yaml").write_text("# fifth\n" + BROKEN)
        write(configs, "a_first", good("a_first") + "description: like fifth\n")
        forbid_reading(monkeypatch, {write(configs, "a_0", good("a_0"))})

        assert load_experiment("fifth").id == "fifth"

    def test_finds_what_another_file_of_its_name_does_not_hold(self, configs: Path) -> None:
        write(configs, "fifth", good("sixth"))

        assert load_experiment("fifth").id == "fifth"


def forbid_reading(monkeypatch: pytest.MonkeyPatch, paths: set[Path]) -> None:
    """Make these files unreadable, for any user."""
    open_file = Path.open

    def guarded(path: Path, *rest: Any, **more: Any) -> Any:
        if path in paths:
            raise PermissionError(13, "Permission denied", str(path))
        return open_file(path, *rest, **more)

    monkeypatch.setattr(Path, "open", guarded)


class TestNamedEnvironment:
    """A file of entries may name the environment that it is for."""

    def test_the_name_or_none(self, configs: Path) -> None:
        assert named_environment(configs / "dev.yaml") == "embedded"
        assert named_environment(configs / "experiments" / "third.yaml") is None

    @pytest.mark.parametrize("text", ["environment: [a]\n", BROKEN])
    def test_what_is_no_name_is_refused(self, text: str, tmp_path: Path) -> None:
        (tmp_path / "dev.yaml").write_text(text)

        with pytest.raises(ConfigError, match=r"dev\.yaml"):
            named_environment(tmp_path / "dev.yaml")

    def test_a_missing_file_is_refused(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="cannot be read"):
            named_environment(tmp_path / "none.yaml")


def test_loading_imports_nothing_heavy() -> None:
    program = (
        "import sys, exp_platform.config.loading\n"
        "print(sorted({'numpy', 'scipy', 'pandas', 'pyarrow', 'pyiceberg', 'pyspark', 'airflow'} & set(sys.modules)))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program],
        env={**os.environ, "PYTHONPATH": str(project_root() / "include")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.strip() == "[]"
