"""Percentages in a spec are plain numbers: what Python would read beside them is refused."""

from __future__ import annotations

import pytest

from exp_platform.config.spec_base import percent


@pytest.mark.parametrize(
    ("written", "value"),
    [("10%", 0.1), ("2.5%", 0.025), (".5%", 0.005), ("5 %", 0.05), ("+3%", 0.03), ("-3%", -0.03), ("1_0%", None),
     ("\uff11\uff10%", None), ("nan%", None), ("inf%", None), ("1e1%", None), ("%", None), ("1,5%", None), ("10", None)],
)  # fmt: skip
def test_a_percentage_is_a_plain_number(written: str, value: float | None) -> None:
    """`1_0%` was 10 %, and so were digits of other scripts."""
    assert percent(written) == (None if value is None else pytest.approx(value, rel=1e-15))
