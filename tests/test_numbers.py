"""Numbers as people read them: signs, units, and what stands for nothing."""

from __future__ import annotations

import pytest

from exp_platform import numbers


@pytest.mark.parametrize(
    ("value", "kind", "written"),
    [
        (0.0312, "proportion", "+3.12 pp"),
        (-0.5, "mean", "-0.5"),
        (1234.5, "count", "+1,234"),
        (None, "mean", "–"),
    ],
)
def test_an_absolute_effect_has_a_sign_and_its_unit(value: float | None, kind: str, written: str) -> None:
    assert numbers.change(value, kind) == written


def test_an_open_side_of_an_interval_is_infinite() -> None:
    assert numbers.interval(-0.25, None, "mean") == "[-0.25, +∞]"
    assert numbers.percent_interval(None, 0.1) == "[-∞, +10.0 %]"
    assert numbers.interval(None, None, "mean") == "–"


@pytest.mark.parametrize(
    ("p", "log10_p", "written"),
    [(0.0213, -1.67, "0.021"), (2.2e-16, -15.66, "2.2e-16"), (0.0, -784.2, "1e-784"), (None, None, "–")],
)
def test_a_p_value_never_reads_as_zero(p: float | None, log10_p: float | None, written: str) -> None:
    assert numbers.p_value(p, log10_p) == written


def test_an_effect_that_is_not_there_is_one_dash() -> None:
    assert numbers.with_interval(None, None, None, "mean") == "–"
    assert numbers.with_interval(0.02, 0.01, 0.03, "proportion") == "+2.00 pp [+1.00 pp, +3.00 pp]"
