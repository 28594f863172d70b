"""Tables on a terminal: what is asked for must exist, and numbers keep their line at 80 columns."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from exp_platform import cli
from exp_platform.errors import ConfigError
from exp_platform.report.tables import results_table
from report.reports import report


def test_an_unknown_method_is_refused_instead_of_an_empty_table() -> None:
    with pytest.raises(ConfigError, match="found 'zzz'; allowed are srm, ab, cuped, post_stratified, "):
        cli.results("any", None, "zzz", False)


def test_no_number_is_cut_at_80_columns() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(results_table(report()))
    assert "10.00%" in out.getvalue()
    assert "+50.0 %" in out.getvalue()
    assert "…" not in out.getvalue().replace("always-vali…", "")


@pytest.mark.parametrize("value", ["[/nope]", "[bold red]x", "[link=http://x]a[/link]", ":smile:", "a\\[b]"])
def test_values_of_the_data_are_no_markup(value: str) -> None:
    """`[/nope]` ended in a MarkupError, `[bold]` was not shown, and `:smile:` was another segment's name."""
    assert value in shown_with(value)


def test_values_of_the_data_are_no_orders_to_the_terminal() -> None:
    text = shown_with("a\x1b[31m\x07\u202eb")
    assert r"a\x1b[31m\x07\u202eb" in text
    assert not {"\x1b", "\x07", "\u202e"} & set(text)


def shown_with(value: str) -> str:
    """The table of segments, one of which has this name."""
    made = report()
    rows = tuple(
        replace(row, segment_value=value) if row.segment_value == "phone | tablet" else row
        for row in made.rows
    )
    out = io.StringIO()
    Console(file=out, width=160).print(results_table(replace(made, rows=rows), "segments", width=160))
    return out.getvalue()
