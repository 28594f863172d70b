"""One file that is too large, too deep or no file at all is its own error, and costs no other experiment anything."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from exp_platform.config import entries, faults, spec_file
from exp_platform.config.environment import project_root
from exp_platform.config.loading import load_all, load_experiment, named_environment
from exp_platform.config.yaml_file import Document
from exp_platform.errors import ConfigError

GOOD = (Path(__file__).parent / "specs" / "valid" / "first_own.yaml").read_text()
BAD = GOOD.replace("id: first_own", "id: bad")

# What ended the process, or took gigabytes or minutes, and what is told now.
ATTACKS = {
    "brackets": ("id: " + "[" * 100_000, "more than 20 deep within each other"),
    "braces": ("id: " + "{a: " * 100_000, "more than 20 deep within each other"),
    "dashes": ("- " * 100_000, "more than 20 deep within each other"),
    "question_marks": ("? " * 100_000, "more than 20 deep within each other"),
    "steps": ("".join(" " * n + "a:\n" for n in range(2_000)), "more than 20 deep within each other"),
    "keys": ("".join(f"key_{n}: 1\n" for n in range(600_000)), "a file of more than 4 MB"),
    "keys_in_little": ("".join(f"k{n}: 1\n" for n in range(20_000)), "more than 5,000 keys in one mapping"),
    "items": (f"id: bad\ntags: [{'x,' * 20_000}]", "more than 1,000 items in one list"),
    "values": (
        "id: bad\ntags: [" + ("[" + "x," * 900 + "],") * 100 + "]",
        "more than 50,000 keys and values",
    ),
    "comments": ("# nothing\n" * 500_000, "a file of more than 4 MB"),
    "directives": (
        "".join(f"%TAG !a{n}! x\n" for n in range(100_000)) + "---\n" + BAD,
        "more than 10 lines that begin with %",
    ),
    "digits": (BAD.replace("days: 14", f"days: {'9' * 5_000}"), "window.days: found 9999"),
    "a_long_value": (BAD.replace("owner: growth", f"owner: {'o' * 1_000_000}"), "at most 500 characters"),
    "a_long_key": (f"{BAD}? {'k' * 1_000_000}\n: 1\n", "found an unknown key"),
    "long_names": (
        BAD.replace("event: signup", f"event: {'e' * 1_000_000}, covariates: [{'f' * 1_000_000}]"),
        "at most 2000 characters",
    ),
}


@pytest.fixture
def configs(tmp_path: Path) -> Path:
    (tmp_path / "experiments").mkdir()
    (tmp_path / "experiments" / "good.yaml").write_text(GOOD.replace("id: first_own", "id: good"))
    (tmp_path / "dev.yaml").write_text("experiments:\n  first: {days: 14, n_users: 1000}\n")
    return tmp_path


@pytest.mark.parametrize("attack", ATTACKS)
def test_a_file_without_bounds_is_one_bounded_line_and_the_others_live(attack: str, configs: Path) -> None:
    text, told = ATTACKS[attack]
    (configs / "experiments" / "bad.yaml").write_text(text)

    loaded = load_all(configs)

    assert set(loaded.experiments) == {"first", "good"}
    assert told in " ".join(map(str, loaded.errors))
    assert all(str(error).startswith(f"{configs}/experiments/bad.yaml") for error in loaded.errors)
    assert all(len(str(error)) < 1_000 and str(error).isprintable() for error in loaded.errors)


def test_all_of_them_together_are_told_in_seconds_and_in_a_small_memory(configs: Path) -> None:
    """In a process of its own, as some ended the process: 300 MB of address space more than it has, 20 s of processor."""
    for name, (text, _) in ATTACKS.items():
        (configs / "experiments" / f"{name}.yaml").write_text(text)
    program = (
        "import resource, sys; from pathlib import Path\n"
        "from exp_platform.config.loading import load_all\n"
        "used = int(Path('/proc/self/statm').read_text().split()[0]) * resource.getpagesize()\n"
        "resource.setrlimit(resource.RLIMIT_AS, (used + (300 << 20),) * 2)\n"
        "resource.setrlimit(resource.RLIMIT_CPU, (20, 20))\n"
        "loaded = load_all(Path(sys.argv[1]))\n"
        "print(*loaded.experiments, len({error.file for error in loaded.errors}))"
    )
    told = subprocess.run(
        [sys.executable, "-c", program, str(configs)],
        env={**os.environ, "PYTHONPATH": str(project_root() / "include")},
        capture_output=True,
        text=True,
        check=True,
    )

    assert told.stdout.split() == ["first", "good", str(len(ATTACKS))]


def test_a_flaw_of_one_entry_costs_no_other_entry_of_the_file(configs: Path) -> None:
    (configs / "dev.yaml").write_text(
        "experiments:\n"
        "  first: {days: 14, n_users: 1000}\n"
        "  octal: {days: 010, n_users: 1000}\n"
        "  tagged: {days: 14, n_users: !!int abc}\n"
        "  yes: {days: 14, n_users: 1000}\n"
        "  huge: {days: 14, n_users: 1000, seed: " + "9" * 5_000 + "}\n"
    )

    loaded = load_all(configs)

    assert set(loaded.experiments) == {"first", "good"}
    assert [(error.line, error.key, error.experiment_id) for error in loaded.errors] == [
        (3, "experiments.octal.days", "octal"),
        (4, "experiments.tagged.n_users", "tagged"),
        (5, "experiments.yes", "yes"),
        (6, "experiments.huge.seed", "huge"),
    ]
    with pytest.raises(ConfigError, match=r"YAML 1\.1 reads it as 8"):
        load_experiment("octal", configs / "dev.yaml")


def test_a_flaw_outside_of_the_entries_is_told_of_the_file(configs: Path) -> None:
    (configs / "dev.yaml").write_text(
        "environment: 010\nexperiments:\n  <<: {other: {days: 1:30, n_users: 1000}}\n"
        "  first: {days: 14, n_users: 1000}\n"
    )

    told = [str(error) for error in load_all(configs).errors]

    assert any(": environment: found 010" in line for line in told)
    assert any("days: found 1:30" in line for line in told)
    assert "first" in load_all(configs).experiments


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"id: \xff", "unacceptable character #x00ff: invalid leading UTF-8 octet: leave it out"),
        (b"id: \xc3", "incomplete UTF-8 octet sequence: leave it out"),
        (b"id: \x00", "unacceptable character #x0000: control characters are not allowed: leave it out"),
        (b"id: \xed\xa0\x80", "unacceptable character #xd800: invalid Unicode character: leave it out"),
        (b"\x89PNG\r\n\x1a\n\x00", "unacceptable character"),
    ],
)
def test_bytes_that_are_no_text_are_told(text: bytes, told: str, configs: Path) -> None:
    (configs / "experiments" / "bad.yaml").write_bytes(text)

    (error,) = load_all(configs).errors

    assert told in str(error)


class TestNoFile:
    """What has a spec's name and is no file is told: it was passed over, or waited for."""

    def test_a_pipe_is_not_opened(self, configs: Path) -> None:
        os.mkfifo(configs / "experiments" / "pipe.yaml")

        assert told_of(configs) == [
            "pipe.yaml: found a pipe or a device; a file that can be read is required"
        ]
        with pytest.raises(ConfigError, match="pipe or a device"):
            load_experiment("pipe", configs / "dev.yaml")

    def test_a_folder(self, configs: Path) -> None:
        (configs / "experiments" / "folder.yaml").mkdir()

        assert told_of(configs) == ["folder.yaml: found a folder; a file that can be read is required"]

    def test_links_that_lead_nowhere_or_in_a_circle(self, configs: Path) -> None:
        (configs / "experiments" / "circle.yaml").symlink_to("circle.yaml")
        (configs / "experiments" / "gone.yaml").symlink_to("no_such_file")

        assert [line.partition(": ")[2] for line in told_of(configs)] == [
            "found Too many levels of symbolic links; a file that can be read is required",
            "found No such file or directory; a file that can be read is required",
        ]

    def test_a_folder_of_specs_that_this_user_may_not_read(
        self, configs: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        def closed(folder: Path) -> object:
            raise PermissionError(13, "Permission denied", str(folder))

        monkeypatch.setattr(Path, "iterdir", closed)

        loaded = load_all(configs)

        assert set(loaded.experiments) == {"first"}
        assert [str(error) for error in loaded.errors] == [
            f"{configs}/experiments: found a folder that cannot be read; let the user that runs this read it"
        ]

    def test_a_name_that_is_no_utf_8(self, configs: Path) -> None:
        (configs / "experiments" / os.fsdecode(b"odd\xff\n.yaml")).write_text("[]")

        assert told_of(configs) == [
            "odd\\udcff\\n.yaml: found a list; a mapping of keys to values is required"
        ]

    def test_a_main_file_that_is_a_folder(self, configs: Path) -> None:
        (configs / "dev.yaml").unlink()
        (configs / "dev.yaml").mkdir()

        assert told_of(configs) == [
            f"{configs}/dev.yaml: found a folder; a file that can be read is required"
        ]
        assert "good" in load_all(configs).experiments
        with pytest.raises(ConfigError, match="cannot be read: a folder"):
            named_environment(configs / "dev.yaml")


def told_of(configs: Path) -> list[str]:
    loaded = load_all(configs)
    assert "good" in loaded.experiments
    return [str(error).removeprefix(f"{configs}/experiments/") for error in loaded.errors]


class TestNotForeseen:
    """An exception that no check foresaw is the error of its own file or experiment."""

    def test_of_an_experiment(self, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        resolve = entries._resolve

        def fails(entry: entries.Entry) -> object:
            if entry.id == "bad":
                raise OverflowError("x" * 1_000_000)
            return resolve(entry)

        monkeypatch.setattr(entries, "_resolve", fails)
        (configs / "experiments" / "bad.yaml").write_text(BAD)

        loaded = load_all(configs)

        assert set(loaded.experiments) == {"first", "good"}
        (error,) = loaded.errors
        assert "bad.yaml: found what cannot be read (OverflowError: xxx" in str(error)
        assert "a fault of the platform's: report it with the file" in str(error)
        assert len(str(error)) < 1_000
        with pytest.raises(ConfigError, match="OverflowError"):
            load_experiment("bad", configs / "dev.yaml")

    def test_of_a_file(self, configs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def fails(text: bytes) -> Document:
            if b"bad" in text:
                raise RecursionError("too deep")
            return Document(text)

        monkeypatch.setattr(spec_file, "Document", fails)
        (configs / "experiments" / "bad.yaml").write_text(BAD)

        loaded = load_all(configs)

        assert set(loaded.experiments) == {"first", "good"}
        assert "RecursionError: too deep" in str(loaded.errors[0])


def test_many_unknown_keys_are_told_by_the_first(configs: Path) -> None:
    (configs / "experiments" / "bad.yaml").write_text(BAD + "".join(f"key_{n}: 1\n" for n in range(4_000)))

    errors = load_all(configs).errors

    assert len(errors) == 51
    assert sum("found more than 50 faults; mend those above first" in str(error) for error in errors) == 1


def test_merged_keys_may_be_overridden(configs: Path) -> None:
    """`<<` gives what the mapping does not say itself; a key that it overrides is no duplicate."""
    (configs / "dev.yaml").write_text(
        "experiments:\n"
        "  first: &first {days: 14, n_users: 1000, seed: 3}\n"
        "  second: {<<: *first, days: 7}\n"
        "  third: {<<: [{days: 5}, *first], n_users: 9}\n"
    )

    loaded = load_all(configs)

    assert loaded.errors == ()
    lengths = {id: (e.window.end - e.window.start).days + 1 for id, e in loaded.experiments.items()}
    assert lengths == {"first": 14, "second": 7, "third": 5, "good": 14}


def test_the_limits_are_those_of_the_page() -> None:
    from exp_platform.config import yaml_file, yaml_traps

    page = (project_root() / "docs" / "02_spec.md").read_text()
    for limit in (
        f"{yaml_file.LARGEST_FILE >> 20} MB",
        f"{yaml_file.DEEPEST} levels",
        f"{yaml_file.MOST_VALUES:,} keys and values",
        f"{yaml_file.MOST_KEYS:,} keys",
        f"{yaml_file.MOST_ITEMS:,} items",
        f"{yaml_traps.MOST_DIGITS} digits",
        f"{faults.MOST_FAULTS} faults",
    ):
        assert limit in page
