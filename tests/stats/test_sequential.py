"""Confidence sequences: published widths, the mixture they come from, and coverage at every look."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import integrate, optimize, stats

from exp_platform.stats.sequential import half_width, rho


def test_widths_from_an_independent_package() -> None:
    """gbstats at alpha .05, tuned for 5,000 users, variance 1."""
    tuned = rho(0.05, 5000)
    assert tuned == pytest.approx(0.03984006677, abs=5e-12)
    assert half_width(1000, 1.0, tuned, 0.05) == pytest.approx(0.10637547006557, abs=1e-14)
    assert half_width(5000, 1.0, tuned, 0.05) == pytest.approx(0.04292433718827, abs=1e-14)
    assert half_width(5000, 9.0, tuned, 0.05) == pytest.approx(3 * 0.04292433718827, rel=1e-12, abs=0)


def mixture(total: float, n: float, tuned: float, *, one_sided: bool) -> float:
    """The martingale: exp(s S - n s^2 / 2) averaged over slopes s of a (half-)normal law, by quadrature."""
    law = stats.halfnorm(scale=tuned) if one_sided else stats.norm(scale=tuned)
    value, _ = integrate.quad(
        lambda s: math.exp(s * total - n * s * s / 2) * law.pdf(s),
        0 if one_sided else -1,
        1,
        limit=200,
        points=[total / n],
    )
    return float(value)


@pytest.mark.parametrize("alpha", [0.05, 0.001])
@pytest.mark.parametrize("n", [200, 5000, 60_000])
def test_the_bound_is_where_the_mixture_reaches_one_over_alpha(n: float, alpha: float) -> None:
    tuned = rho(alpha, 5000)
    at_bound = mixture(n * half_width(n, 1.0, tuned, alpha), n, tuned, one_sided=False)
    assert at_bound * alpha == pytest.approx(1.0, rel=1e-6, abs=0)
    tuned = rho(alpha, 5000, one_sided=True)
    at_bound = mixture(n * half_width(n, 1.0, tuned, alpha, one_sided=True), n, tuned, one_sided=True)
    assert 1.0 <= at_bound * alpha < 1.09  # the closed form is a little wider than need be


@pytest.mark.parametrize("alpha", [0.05, 0.005])
@pytest.mark.parametrize("n", [200, 5000, 60_000])
def test_the_one_sided_bound_is_a_little_wider_than_the_mixtures_own(n: float, alpha: float) -> None:
    """The half-normal mixture is 2 exp(r^2 S^2 / 2(n r^2 + 1)) Phi(r S / sqrt(n r^2 + 1)) / sqrt(n r^2 + 1): its root, by SciPy."""
    tuned = rho(alpha, 5000, one_sided=True)
    root = math.sqrt(n * tuned**2 + 1)

    def excess(total: float) -> float:
        x = tuned * total / root
        return math.log(2) + x * x / 2 + float(stats.norm.logcdf(x)) - math.log(root) + math.log(alpha)

    exact = float(optimize.brentq(excess, 0.0, n)) / n
    assert 1.0 <= half_width(n, 1.0, tuned, alpha, one_sided=True) / exact < 1.025


def test_the_one_sided_sequence_errs_at_most_as_it_says_over_daily_looks() -> None:
    """4,000 A/A tests of 300 looks: 5 % at most pass the one bound, more than pass the same side of the two-sided one."""
    rng, looks = np.random.default_rng(4), np.arange(100, 30_001, 100)
    means = np.cumsum(10 * rng.standard_normal((4_000, len(looks))), axis=1) / looks
    passed = []
    for one_sided in (False, True):
        tuned = rho(0.05, 5000, one_sided=one_sided)
        widths = np.array([half_width(float(n), 1.0, tuned, 0.05, one_sided=one_sided) for n in looks])
        passed.append(float((means > widths).any(axis=1).mean()))
    assert 0.01 < passed[0] < passed[1] <= 0.05


@pytest.mark.parametrize("one_sided", [False, True])
def test_rho_makes_the_sequence_narrowest_at_the_tuned_size(one_sided: bool) -> None:
    def width(r: float) -> float:
        return half_width(5000, 1.0, r, 0.05, one_sided=one_sided)

    best = optimize.minimize_scalar(width, bounds=(1e-3, 1.0), method="bounded", options={"xatol": 1e-10})
    assert width(rho(0.05, 5000, one_sided=one_sided)) <= best.fun * 1.005


def test_peer_defect_peeking_every_day_does_not_inflate_the_error() -> None:
    """2,000 A/A tests of skewed data, looked at every 50 users from 200 to 20,000: at most 5 % ever alarm.

    (An O'Brien-Fleming rule for the wrong number of looks gave 6 to 8 %; a fixed-horizon p gives above 30 % here.)
    """
    rng, tuned, alarmed, naive = np.random.default_rng(3), rho(0.05, 5000), 0, 0
    looks = np.arange(200, 20_001, 50)
    widths = np.array([half_width(float(n), 1.0, tuned, 0.05) for n in looks])
    for _ in range(2000):
        x = rng.exponential(size=20_000) - 1
        total, squares = np.cumsum(x)[looks - 1], np.cumsum(x * x)[looks - 1]
        mean = np.abs(total / looks)
        sd = np.sqrt(squares / looks - mean**2)
        alarmed += bool((mean > widths * sd).any())
        naive += bool((mean > 1.96 * sd / np.sqrt(looks)).any())
    assert alarmed / 2000 <= 0.05
    assert naive / 2000 > 0.3


def test_one_sided_bound_is_nearer_than_the_two_sided() -> None:
    two = half_width(5000, 1.0, rho(0.05, 5000), 0.05)
    one = half_width(5000, 1.0, rho(0.05, 5000, one_sided=True), 0.05, one_sided=True)
    assert 0.85 * two < one < two


def test_no_variance_gives_no_width() -> None:
    assert half_width(100, 0.0, 0.1, 0.05) == 0.0


@pytest.mark.parametrize(
    "alpha, one_sided", [(0, False), (1, False), (0.5, True), (math.nan, False), (-0.1, True)]
)
def test_levels_out_of_range_raise(alpha: float, one_sided: bool) -> None:
    with pytest.raises(ValueError, match="alpha"):
        rho(alpha, 5000, one_sided=one_sided)
    with pytest.raises(ValueError, match="alpha"):
        half_width(100, 1.0, 0.1, alpha, one_sided=one_sided)


@pytest.mark.parametrize(
    "n, variance, tuned",
    [(0, 1, 0.1), (100, -1, 0.1), (100, 1, 0), (100, math.nan, 0.1), (100, math.inf, 0.1)],
)
def test_sizes_out_of_range_raise(n: float, variance: float, tuned: float) -> None:
    with pytest.raises(ValueError, match="need n > 0"):
        half_width(n, variance, tuned, 0.05)


def test_the_tuned_size_must_be_positive() -> None:
    for size in (0, -5, math.inf, math.nan):
        with pytest.raises(ValueError, match="tuned_n"):
            rho(0.05, size)
