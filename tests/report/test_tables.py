"""Tables on a terminal: what is asked for must exist, and numbers keep their line at 80 columns."""

from __future__ import annotations

import io
from dataclasses import replace
from datetime import date

import pytest
from rich.console import Console

from exp_platform import cli
from exp_platform.analyses.rows import EventStudyRow, Status
from exp_platform.config.analyses import METHODS
from exp_platform.errors import ConfigError
from exp_platform.report.tables import results_table
from report.reports import report


def test_an_unknown_method_is_refused_instead_of_an_empty_table() -> None:
    with pytest.raises(ConfigError, match="found 'zzz'; allowed are srm, ab, cuped, post_stratified, "):
        cli.results("any", None, "zzz", False)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_has_its_rows_on_a_terminal(method: str) -> None:
    """SRM, DiD and the trends before exposure were refused."""
    made, out = report(), io.StringIO()
    Console(file=out, width=160).print(results_table(made, method, width=160))
    title, _, header, _, *lines = out.getvalue().splitlines()
    assert title.startswith(f"{method}, as of ")
    assert "Reading" in header or not made.of_method(method)
    assert len([line for line in lines if line.strip()]) >= len(made.of_method(method))


def test_an_effect_over_days_stands_beside_its_interval_and_days() -> None:
    key = (date(2026, 1, 18), "orders", "t1", "control", Status.OK)
    days = {"first_day": -3, "last_day": -3, "reference_first_day": -1, "reference_last_day": -1}
    row = EventStudyRow(*key, **days, estimate=0.25, ci_low=-0.5, ci_high=1.0, p_value=0.5)
    out = io.StringIO()
    Console(file=out, width=160).print(
        results_table(replace(report(), others=(row,)), "event_study", width=160)
    )
    text = " ".join(out.getvalue().split())
    assert "day -3 +0.25 0.500" in text
    assert "[-0.5, +1]" in text


def test_no_number_is_cut_at_80_columns() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(results_table(report()))
    assert "10.00 %" in out.getvalue()
    assert "+50.0 %" in out.getvalue()
    assert "…" not in out.getvalue()


def test_what_several_treatments_come_to_can_be_read_at_80_columns() -> None:
    """Beside the names of arms two letters were left of each reading."""
    made, name = report(), "free_delivery"
    first = made.experiment.treatments[0]
    other = replace(first, id=name)
    both = replace(made.experiment, variants=(*made.experiment.variants, other))
    rows = [row for row in made.rows if row.treatment_id == first.id]
    more = tuple(replace(row, treatment_id=name) for row in rows)
    out = io.StringIO()
    Console(file=out, width=80).print(
        results_table(replace(made, experiment=both, rows=(*made.rows, *more)), width=80)
    )
    assert "…" not in out.getvalue()
    readings = [line.split()[-1] for line in out.getvalue().splitlines() if " %  " in line]
    assert readings
    assert all(word.startswith(("significant", "not")) for word in readings), readings
    assert out.getvalue().count(name) == out.getvalue().count(f" {first.id} ") > 0


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
