"""Tables on a terminal: what is asked for must exist, and numbers keep their line at 80 columns."""

from __future__ import annotations

import io

import pytest
from rich.console import Console

from exp_platform import cli
from exp_platform.errors import ConfigError
from exp_platform.report.tables import results_table
from report.reports import report


def test_an_unknown_method_is_refused_instead_of_an_empty_table() -> None:
    with pytest.raises(ConfigError, match="found 'zzz'; allowed are ab, cuped, post_stratified, "):
        cli.results("any", None, "zzz", False)


def test_no_number_is_cut_at_80_columns() -> None:
    out = io.StringIO()
    Console(file=out, width=80).print(results_table(report()))
    assert "10.00%" in out.getvalue()
    assert "+50.0 %" in out.getvalue()
    assert "…" not in out.getvalue().replace("always-vali…", "")
