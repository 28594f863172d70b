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


@pytest.mark.parametrize(
    ("value", "kind", "unit", "written"),
    [
        (0.0947, "proportion", "", "9.47 %"),
        (
            0.0947,
            "retention",
            "EUR",
            "9.47 %",
        ),  # nobody can declare it, and an older row may be of another kind
        (7.4, "mean", "EUR", "7.4 EUR"),
        (1234.56, "mean", "", "1,235"),
        (9999.4, "mean", "", "9,999"),
        (9999.5, "mean", "", "10,000"),
        (123456.7, "mean", "EUR", "123,457 EUR"),
        (-123456.7, "", "", "-123,457"),
        (1.5e15, "", "", "1.5e+15"),
        (0.00001234, "", "min", "1.234e-05 min"),
        (None, "mean", "EUR", "–"),
    ],
)
def test_a_level_has_four_digits_at_least_its_sign_behind_a_space_and_its_unit(
    value: float | None, kind: str, unit: str, written: str
) -> None:
    assert numbers.level(value, kind, unit) == written


def test_an_effect_says_its_unit_once_and_per_cent_at_each_number() -> None:
    assert numbers.with_interval(0.31, 0.1, None, "mean", "EUR") == "+0.31 EUR [+0.1, +∞]"
    assert numbers.interval(0.1, 0.5, "mean", "EUR") == "[+0.1, +0.5] EUR"
    assert numbers.interval(0.01, 0.02, "proportion", "EUR") == "[+1.00 pp, +2.00 pp]"
    assert numbers.change(-25_000.4, "mean", "EUR") == "-25,000 EUR"
    assert numbers.size(0.02, "proportion") == "2.00 pp"
    assert numbers.size(-1.5, "mean", "min") == "1.5 min"


def test_an_estimated_count_has_three_digits() -> None:
    assert [numbers.about(n) for n in (39_120, 999, 1_234_567, 0)] == [
        "about 39,100",
        "about 999",
        "about 1,230,000",
        "about 0",
    ]


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
