"""Tails agree with scipy.stats where it has digits, and with 60-digit arithmetic where p underflows."""

from __future__ import annotations

import json
import math
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from exp_platform.stats.intervals import (
    chi2_sf,
    f_sf,
    normal_critical,
    normal_quantile,
    normal_two_sided,
    t_critical,
    t_quantile,
    t_two_sided,
)

# Made by tests/references/joint_tests/make.py.
F_TAILS = json.loads((Path(__file__).parents[1] / "references/joint_tests/values.json").read_text())[
    "f_tails"
]

PROPERTY = settings(max_examples=200)


@pytest.mark.parametrize("df", [1, 2.5, 10, 98.3, 1e4, 1e6])
@pytest.mark.parametrize("t", [0.0, 1e-3, 0.5, 1.96, -1.96, 4, 9, 25])
def test_t_tail_equals_scipy(t: float, df: float) -> None:
    tail = t_two_sided(t, df)
    assert tail.p == pytest.approx(2 * stats.t.sf(abs(t), df), rel=1e-9, abs=0)
    assert tail.log10_p == pytest.approx(math.log10(tail.p), rel=1e-12, abs=0)


# mpmath 1.3, 60 digits: log10 of the t density integrated from t to infinity, twice.
FAR_T = [
    (60, 5, -7.61374406496209),
    (60, 30, -32.08033053901751),
    (60, 200, -129.112856711421),
    (60, 5000, -590.5797064546071),
    (60, 1e6, -782.2018728110651),
    (60, 1e9, -783.6049912760821),
    (60, 1e14, -783.6063991543678),
    (60, math.inf, -783.6063991684467),
    (100, 1e5, -2071.711666010653),
    (40, 1e4, -323.958118884415),
    (1000, 150, -287.9848382630996),
    (1e6, 60, -307.6444075295599),
    (38, 3e5, -314.4854943256815),
    (1e4, math.inf, -21714728.19322253),
]


@pytest.mark.parametrize("t, df, log10_p", FAR_T)
def test_peer_defect_p_underflows_far_out(t: float, df: float, log10_p: float) -> None:
    """`2 * (1 - cdf)` is 0 from 8 sigma on; the logarithm keeps eleven digits at 60 sigma and beyond."""
    for signed in (t, -t):
        tail = t_two_sided(signed, df)
        assert tail.log10_p == pytest.approx(log10_p, rel=1e-11, abs=0)
        assert tail.p == pytest.approx(10**log10_p, rel=1e-9, abs=0)


# The same, by quadrature from t on; here the t of very many degrees of freedom must not lose digits.
@pytest.mark.parametrize(
    "t, df, p",
    [
        (0.01, 1e12, 0.99202128737073879),
        (1.96, 1e12, 0.049995790296718161),
        (5, 1e9, 5.7330324039516284e-7),
        (3, 1e7, 0.0026998027110371613),
    ],
)
def test_t_tail_keeps_its_digits_at_huge_degrees_of_freedom(t: float, df: float, p: float) -> None:
    assert t_two_sided(t, df).p == pytest.approx(p, rel=1e-11, abs=0)


@PROPERTY
@given(st.floats(0.5, 1e8), st.floats(0, 1e6))
def test_log_of_the_t_tail_is_finite_and_falls(df: float, t: float) -> None:
    """Also where the formula changes, beyond p = 1e-250."""
    near, far = t_two_sided(t, df), t_two_sided(t * 1.001 + 1e-6, df)
    assert math.isfinite(near.log10_p)
    assert near.log10_p >= far.log10_p


def test_t_of_any_finite_size_has_a_tail() -> None:
    assert t_two_sided(1e300, 3).log10_p == pytest.approx(-3 * 300, abs=2)
    assert math.isfinite(t_two_sided(1e300, 1e6).log10_p)


@pytest.mark.parametrize("z", [0.0, 0.3, -1.96, 8, 30])
def test_normal_tail_equals_scipy(z: float) -> None:
    tail = normal_two_sided(z)
    assert tail.p == pytest.approx(2 * stats.norm.sf(abs(z)), rel=1e-12, abs=0)
    assert tail.log10_p == pytest.approx(math.log10(tail.p), abs=1e-12)


@pytest.mark.parametrize("x, df", [(0.0, 1), (0.2, 1), (3.84, 1), (12, 5), (900, 1000), (600, 2)])
def test_chi_square_tail_equals_scipy(x: float, df: float) -> None:
    tail = chi2_sf(x, df)
    assert tail.p == pytest.approx(stats.chi2.sf(x, df), rel=1e-12, abs=0)
    assert tail.log10_p == pytest.approx(stats.chi2.logsf(x, df) / math.log(10), rel=1e-12, abs=1e-15)


# mpmath 1.3: log10(gammainc(df / 2, x / 2, inf, regularized=True))
@pytest.mark.parametrize(
    "x, df, log10_p",
    [
        (3000, 1, -653.2784880651405),
        (3000, 3, -649.8010774735185),
        (4000, 500, -536.6864326465149),
        (1e5, 10, -21697.30839164271),
        (2e4, 9999, -668.7217779146714),
        (1e9, 2, -217147240.9516259),
    ],
)
def test_chi_square_tail_is_finite_far_out(x: float, df: float, log10_p: float) -> None:
    tail = chi2_sf(x, df)
    assert tail.log10_p == pytest.approx(log10_p, rel=1e-11, abs=0)
    assert tail.p == 0.0


@pytest.mark.parametrize("df2", [1, 2.5, 40.7, 1e4, 1e6])
@pytest.mark.parametrize("x, df1", [(0.0, 3), (1e-3, 1), (0.7, 6), (2.2, 6), (9.0, 13)])
def test_f_tail_equals_scipy(x: float, df1: float, df2: float) -> None:
    tail = f_sf(x, df1, df2)
    assert tail.p == pytest.approx(stats.f.sf(x, df1, df2), rel=1e-9, abs=0)
    assert tail.log10_p == pytest.approx(math.log10(tail.p), rel=1e-12, abs=0)


@pytest.mark.parametrize(("x", "df1", "df2", "log10_p"), F_TAILS)
def test_f_tail_is_finite_far_out(x: float, df1: float, df2: float, log10_p: float) -> None:
    """Against mpmath; one degree of freedom is Student's t, squared."""
    assert f_sf(x, df1, df2).log10_p == pytest.approx(log10_p, rel=1e-11, abs=1e-15)


@pytest.mark.parametrize("t, df", [(0.3, 4.0), (2.0, 98.3), (60, 200), (60, 1e6), (1e3, 150)])
def test_f_of_one_degree_of_freedom_is_t_squared(t: float, df: float) -> None:
    assert f_sf(t * t, 1, df).log10_p == pytest.approx(t_two_sided(t, df).log10_p, rel=1e-10, abs=0)


def test_f_with_a_known_variance_is_chi_square() -> None:
    assert f_sf(2.0, 6, math.inf) == chi2_sf(12.0, 6)


@pytest.mark.parametrize("df", [1, 4.2, 30, 5841.742, 1e7])
@pytest.mark.parametrize("level", [0.5, 0.95, 0.99, 0.99995])
def test_critical_values_equal_scipy(level: float, df: float) -> None:
    assert t_critical(level, df) == pytest.approx(stats.t.isf((1 - level) / 2, df), rel=1e-9, abs=0)
    assert t_quantile(1 - level, df) == pytest.approx(stats.t.ppf(1 - level, df), rel=1e-9, abs=1e-15)
    assert normal_critical(level) == pytest.approx(stats.norm.isf((1 - level) / 2), rel=1e-12, abs=0)


def test_infinite_degrees_of_freedom_are_the_normal() -> None:
    assert (
        t_critical(0.95, math.inf)
        == normal_critical(0.95)
        == pytest.approx(1.959963984540054, rel=1e-14, abs=0)
    )
    assert (
        t_quantile(0.025, math.inf)
        == normal_quantile(0.025)
        == pytest.approx(-1.959963984540054, rel=1e-14, abs=0)
    )


@PROPERTY
@given(st.floats(1e-9, 0.999), st.floats(1, 1e9))
def test_the_tail_of_a_critical_value_is_its_level(alpha: float, df: float) -> None:
    critical = t_critical(1 - alpha, df)
    assert t_two_sided(critical, df).p == pytest.approx(1 - (1 - alpha), rel=1e-8, abs=0)


@pytest.mark.parametrize(
    "call",
    [
        lambda: t_two_sided(math.nan, 5),
        lambda: t_two_sided(math.inf, 5),
        lambda: t_two_sided(1, 0),
        lambda: t_two_sided(1, math.nan),
        lambda: normal_two_sided(math.nan),
        lambda: chi2_sf(-1, 2),
        lambda: chi2_sf(math.nan, 2),
        lambda: chi2_sf(1, 0),
        lambda: f_sf(-1, 2, 9),
        lambda: f_sf(math.nan, 2, 9),
        lambda: f_sf(1, 0, 9),
        lambda: f_sf(1, 2, 0),
        lambda: t_critical(1.0, 5),
        lambda: t_critical(95, 5),
        lambda: t_quantile(0.5, -1),
        lambda: normal_critical(0.0),
        lambda: normal_quantile(1.0),
    ],
)
def test_nonsense_raises_instead_of_giving_nan(call: object) -> None:
    with pytest.raises(ValueError):
        call()  # type: ignore[operator]


def test_statistics_load_neither_scipy_stats_nor_optimize() -> None:
    """A stage that analyses starts in a second only if these stay out."""
    code = (
        "import importlib, pkgutil, sys, exp_platform.stats as s\n"
        "[importlib.import_module(f'exp_platform.stats.{m.name}') for m in pkgutil.iter_modules(s.__path__)]\n"
        "print(sorted(m for m in sys.modules if m in ('scipy.stats', 'scipy.optimize', 'pandas', 'pyarrow', 'pydantic')))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"


def test_numbers_are_plain_floats() -> None:
    """NumPy scalars would not go into JSON."""
    for tail in (
        t_two_sided(np.float64(2), np.float64(9)),
        normal_two_sided(2),
        chi2_sf(3, 2),
        f_sf(3, 2, 9),
        t_two_sided(99, 900),
    ):
        assert {type(v) for v in tail} == {float}
