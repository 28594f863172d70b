"""How a spark-submit ended is told by its exit code or signal, and never by a line that means nothing."""

from __future__ import annotations

import re

import pytest

from exp_platform.config.environment import project_root
from exp_platform.orchestration.submit_end import HARMLESS, how_it_ended, last_words

BANNER = "WARNING: Using incubator modules: jdk.incubator.vector"


@pytest.mark.parametrize(
    ("code", "how", "remedy"),
    [
        pytest.param(-9, "was killed by signal 9 (SIGKILL)", "Memory is likely", id="the kernel, or kill -9"),
        pytest.param(
            137, "was killed by signal 9 (SIGKILL)", "Memory is likely", id="a child of it, by a shell's word"
        ),
        pytest.param(-15, "was killed by signal 15 (SIGTERM)", "asked it to end", id="a shutdown"),
        pytest.param(143, "was killed by signal 15 (SIGTERM)", "asked it to end", id="a container's"),
        pytest.param(134, "was killed by signal 6 (SIGABRT)", "hs_err", id="a crash of Java"),
        pytest.param(1, "ended with exit code 1", "See the log above", id="an error"),
        pytest.param(255, "ended with exit code 255", "See the log above", id="no signal"),
        pytest.param(None, "ended", "See the log above", id="unknown"),
    ],
)
def test_a_killed_jvm_is_told_by_its_signal_and_not_by_a_harmless_line(code, how, remedy) -> None:
    told = how_it_ended(code, [BANNER, ""])
    assert told.startswith(f"spark-submit {how} before the stage was done, saying nothing of why. ")
    assert remedy in told
    assert "incubator" not in told


def test_what_means_something_is_told_though_harmless_lines_come_last() -> None:
    lines = [
        "java.io.IOException: no route to host",
        *(f"26/01/05 10:00:00 WARN {words}" for words in HARMLESS),
    ]
    assert last_words(lines) == "java.io.IOException: no route to host"
    assert "saying java.io.IOException: no route to host. See" in how_it_ended(1, lines)


def test_a_want_of_memory_is_told_as_one_whatever_the_code() -> None:
    assert "Memory is likely" in how_it_ended(52, ["java.lang.OutOfMemoryError: Java heap space"])


def test_what_an_error_of_the_machinery_means_comes_first() -> None:
    assert how_it_ended(1, ["java.net.BindException: Address already in use"]).startswith(
        "spark-submit ended with exit code 1 before the stage was done: a port is in use"
    )


def test_a_megabyte_in_a_line_is_told_in_a_few_words() -> None:
    assert len(how_it_ended(1, ["x" * 1_000_000])) < 10_000


def test_every_harmless_line_is_on_the_page_with_its_reason() -> None:
    page = (project_root() / "docs" / "10_operations" / "failures.md").read_text("utf-8")
    section = page.partition("## Harmless words")[2].partition("\n## ")[0]
    listed = re.findall(r"^\| `(.+?)` \|", section, re.MULTILINE)
    assert [words for words in HARMLESS if not any(words in line for line in listed)] == []
    assert [line for line in listed if not any(words in line for words in HARMLESS)] == []
