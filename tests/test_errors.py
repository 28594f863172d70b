"""No message is longer than a person reads, whatever it quotes, and its remedy is not what is cut."""

from __future__ import annotations

from datetime import date

from exp_platform.checks import CheckResult
from exp_platform.diagnosis import told
from exp_platform.errors import LONGEST, MOST_LINES, ConfigError, DataError, bounded

MEGABYTE = "v" * 1_000_000


def test_a_message_that_quotes_a_megabyte_keeps_its_beginning_and_its_remedy() -> None:
    said = str(DataError(f"unknown variant {MEGABYTE}: correct the spec"))
    assert len(said) < LONGEST + 100
    assert said.startswith("unknown variant vvv")
    assert said.endswith("vvv: correct the spec")
    assert "(998,034 characters left out)" in said


def test_a_short_message_is_left_as_it_is() -> None:
    said = "\n".join(f"line {i}" for i in range(MOST_LINES))
    assert str(ConfigError(said)) == said


def test_of_thousands_of_lines_the_first_are_told_and_the_rest_counted() -> None:
    lines = str(ConfigError("\n".join(f"key_{i}: unknown key" for i in range(600_000)))).split("\n")
    assert lines[0] == "key_0: unknown key"
    assert len(lines) == MOST_LINES + 1
    assert lines[-1] == "... and 599,800 lines more"


def test_what_libraries_say_is_bounded_too() -> None:
    assert len(told(OSError(28, MEGABYTE)) or MEGABYTE) < LONGEST + 100
    assert len(told(NotADirectoryError(20, MEGABYTE)) or MEGABYTE) < LONGEST + 100


def test_a_check_that_quotes_data_is_bounded_wherever_it_is_written() -> None:
    check = CheckResult(date(2026, 3, 1), "unknown_variants", "error", "failed", 1.0, 0.0, MEGABYTE)
    assert len(check.message) < LONGEST + 100


def test_a_line_of_just_the_length_is_whole() -> None:
    assert bounded("x" * LONGEST) == "x" * LONGEST


def test_orders_to_a_terminal_and_hidden_characters_are_written_out() -> None:
    """Values of the data and words of libraries stand in messages: they may neither colour nor reverse nor hide a line."""
    said = str(DataError("arm \x1b[2J\ufeff\u202e\x00\udcff: rename it\nand again"))
    assert said == "arm \\x1b[2J\\ufeff\\u202e\\x00\\udcff: rename it\nand again"
