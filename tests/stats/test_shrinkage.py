"""Effects shrunken by all that were measured: against integration by brute force, at its limits, and where it has no answer."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy import stats

from exp_platform.stats import shrinkage
from exp_platform.stats.arms import Arm
from exp_platform.stats.intervals import t_critical
from exp_platform.stats.relative import fieller
from exp_platform.stats.shrinkage import FEWEST, Beliefs, log_effect, shrink

RNG = np.random.default_rng(11)
ERRORS = 0.01 * np.exp(RNG.normal(0, 0.4, 25))
EFFECTS = 0.004 + 0.012 * RNG.standard_normal(25)
ESTIMATES = EFFECTS + ERRORS * RNG.standard_normal(25)


def each(n: int) -> list[str]:
    return [f"e{i}" for i in range(n)]


def believed(y: np.ndarray, s: np.ndarray) -> Beliefs:
    return shrink(y.tolist(), s.tolist(), each(len(y)))


def by_brute_force(y: np.ndarray, s: np.ndarray, chosen: list[int]) -> tuple[float, float]:
    """Mean and standard deviation of the sum of the chosen, from Student's own density on a grid, of all three tails.

    None of the means that the method takes: no mixture for the t, no EM, no quadrature; effects, means and spreads are sums
    over fine even grids.
    """
    middling2 = len(s) / (1 / s**2).sum()
    means = np.linspace(-0.03, 0.03, 61)
    spreads = np.exp(np.linspace(math.log(2e-4), math.log(0.2), 61))
    theta = np.linspace(-0.15, 0.15, 1501)
    likelihood = np.exp(-((y[:, None] - theta) ** 2) / (2 * s[:, None] ** 2)) / s[:, None]
    moments = np.stack([likelihood, likelihood * theta, likelihood * theta**2])  # moment, effect, theta
    total = first = second = 0.0
    for tail in (2.0, 4.0, np.inf):
        for spread in spreads:
            law = stats.norm(0, spread) if np.isinf(tail) else stats.t(tail, 0, spread)
            density = np.array([law.pdf(theta - mean) for mean in means])  # mean, theta
            density /= density.sum(axis=1, keepdims=True)
            evidence, one, two = (moments @ density.T).transpose(0, 2, 1)  # mean, effect
            # d(spread) on its logarithm, and the share uniform: spread^2 / (middling2 + spread^2)^2
            log_weight = np.log(evidence).sum(axis=1) + math.log(spread**2 / (middling2 + spread**2) ** 2)
            mean_of = (one / evidence)[:, chosen].sum(axis=1)
            variance = (two / evidence - (one / evidence) ** 2)[:, chosen].sum(axis=1)
            weight = np.exp(log_weight - SHIFT)
            total += weight.sum()
            first += (weight * mean_of).sum()
            second += (weight * (variance + mean_of**2)).sum()
    mean = first / total
    return mean, math.sqrt(second / total - mean**2)


SHIFT = 100.0  # keeps the weights of brute force within floats


@pytest.mark.parametrize("outlier", [None, 0.09])
def test_it_is_what_brute_force_finds(outlier: float | None) -> None:
    """To a few per cent of the standard deviation: the t is taken as eight normals, whose tails end somewhere."""
    y = ESTIMATES.copy()
    if outlier is not None:
        y[3] = outlier
    for chosen in ([3], [0], [1, 3, 7, 12]):
        mean, sd = by_brute_force(y, ERRORS, chosen)
        found = believed(y, ERRORS).of(chosen)
        assert found.mean == pytest.approx(mean, abs=0.05 * sd)
        assert found.sd == pytest.approx(sd, rel=0.05)


def test_the_interval_holds_its_share_of_a_mixture_that_is_drawn() -> None:
    beliefs = believed(ESTIMATES, ERRORS)
    chosen = [1, 3, 7]
    rng = np.random.default_rng(5)
    law = rng.choice(len(beliefs.weights), 400_000, p=beliefs.weights)
    drawn = sum(rng.normal(beliefs.means[law, at], np.sqrt(beliefs.variances[law, at])) for at in chosen)
    for level in (0.5, 0.95):
        found = beliefs.of(chosen, level)
        assert np.mean((drawn > found.low) & (drawn < found.high)) == pytest.approx(level, abs=0.004)
        assert found.mean == pytest.approx(np.mean(drawn), abs=0.02 * found.sd)


def test_winners_are_shrunken_and_the_less_the_more_precise_they_are() -> None:
    y, s = ESTIMATES.copy(), ERRORS.copy()
    y[:2], s[:2] = 0.05, (0.001, 0.02)
    beliefs = believed(y, s)
    precise, vague = beliefs.of([0]), beliefs.of([1])
    assert 0.049 < precise.mean < 0.05
    assert beliefs.mean < vague.mean < 0.035
    assert vague.sd < 0.02


def test_effects_that_are_all_alike_leave_nothing_but_their_mean() -> None:
    """Of 200 equal estimates the spread is all but ruled out, and what is expected of each is the mean that all have."""
    found = believed(np.full(200, 0.01), np.full(200, 0.01))
    one = found.of([0])
    assert one.mean == pytest.approx(0.01, abs=1e-6)
    assert one.sd < 0.004
    assert found.typical[0] > 0.005


def test_one_large_win_stays_large_and_hardly_moves_the_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a law that may have tails the outlier is one; a normal alone takes all effects for that large, and shrinks none."""
    others = [at for at in range(25) if at != 3]

    def moved() -> float:
        y = ESTIMATES.copy()
        before = believed(y, ERRORS)
        y[3] = 0.2
        after = believed(y, ERRORS)
        assert after.of([3]).mean > 0.16
        return float(np.mean([abs(after.of([at]).mean - before.of([at]).mean) for at in others]))

    with_tails = moved()
    monkeypatch.setattr(shrinkage, "TAILS", (math.inf,))
    assert with_tails < 0.5 * moved()


def test_the_shared_law_makes_a_sum_less_sure_than_effects_that_know_nothing_of_one_another() -> None:
    beliefs = believed(ESTIMATES, ERRORS)
    chosen = list(range(25))
    alone = math.sqrt(sum(beliefs.of([at]).sd ** 2 for at in chosen))
    assert beliefs.of(chosen).sd != pytest.approx(alone, rel=0.02)
    assert beliefs.of([]).mean == 0.0


def test_another_unit_is_the_same_in_that_unit() -> None:
    per_cent = believed(100 * ESTIMATES, 100 * ERRORS).of([1, 2])
    fraction = believed(ESTIMATES, ERRORS).of([1, 2])
    assert [*per_cent[:4]] == pytest.approx([100 * n for n in fraction[:4]], rel=1e-6)


def test_signs_are_symmetric_and_order_does_not_matter() -> None:
    found, mirrored = believed(ESTIMATES, ERRORS).of([4]), believed(-ESTIMATES, ERRORS).of([4])
    assert (mirrored.mean, mirrored.low) == pytest.approx((-found.mean, -found.high), abs=2e-5)
    backwards = believed(ESTIMATES[::-1], ERRORS[::-1]).of([20])
    assert backwards.mean == pytest.approx(found.mean, rel=1e-9)


def test_arms_of_one_experiment_count_as_one() -> None:
    """The same arm twice in each experiment says of the law no more than once, while as many experiments would."""
    y, s = ESTIMATES.tolist(), ERRORS.tolist()
    once = shrink(y, s, each(25))
    twice = shrink([*y, *y], [*s, *s], [*each(25), *each(25)])
    doubled = shrink([*y, *y], [*s, *s], each(50))
    assert twice.of([4])[:4] == pytest.approx(once.of([4])[:4], rel=1e-6)
    assert doubled.of([4]).sd < 0.99 * once.of([4]).sd


@pytest.mark.parametrize(
    ("y", "s", "experiments", "told"),
    [
        ([0.1] * 19, [0.1] * 19, each(19), "19 experiments say too little"),
        ([0.1] * 20, [0.1] * 20, ["same"] * 20, "1 experiments"),
        ([0.1] * 20, [0.1] * 19, each(20), "as many"),
        ([math.nan] * 20, [0.1] * 20, each(20), "finite"),
        ([0.1] * 20, [0.0] * 20, each(20), "positive"),
    ],
)
def test_it_says_nothing_where_it_knows_nothing(
    y: list[float], s: list[float], experiments: list[str], told: str
) -> None:
    assert FEWEST == 20
    with pytest.raises(ValueError, match=told):
        shrink(y, s, experiments)


@pytest.mark.parametrize("size", [1e-6, 1.0, 1e6])
def test_whatever_the_sizes_numbers_are_finite(size: float) -> None:
    rng = np.random.default_rng(2)
    y, s = size * rng.standard_cauchy(40), size * 10.0 ** rng.uniform(-4, 2, 40)
    with np.errstate(all="raise", under="ignore"):
        found = believed(y, s).of(range(40))
    assert all(map(math.isfinite, found))
    assert found.low < found.mean < found.high


@pytest.mark.parametrize(
    ("control", "treatment"), [((10.0, 0.04), (11.0, 0.05)), ((0.1, 1e-6), (0.09, 2e-6))]
)
def test_a_relative_interval_gives_back_the_error_of_the_logarithm(
    control: tuple[float, float], treatment: tuple[float, float]
) -> None:
    """Delta method of two independent means: var(log m) = v / m^2 each."""
    arms = [Arm(1000, mean, variance, 999.0) for mean, variance in (control, treatment)]
    critical = t_critical(0.99, 1998)
    found = fieller(arms[0], arms[1], critical)
    assert found.point is not None
    assert found.low is not None
    assert found.high is not None
    got = log_effect(found.point, found.low, found.high, critical)
    assert got is not None
    assert got.estimate == pytest.approx(math.log(treatment[0] / control[0]))
    expected = math.sqrt(sum(variance / mean**2 for mean, variance in (control, treatment)))
    assert got.standard_error == pytest.approx(expected, rel=0.005)


def test_an_interval_that_reaches_a_mean_of_nothing_has_no_logarithm() -> None:
    assert log_effect(-0.5, -1.0, 0.2, 2.0) is None
    assert log_effect(-0.5, -1.3, 0.2, 2.0) is None
    assert log_effect(0.1, 0.1, 0.1, 2.0) is None


def test_the_normals_of_a_t_are_nearly_a_t() -> None:
    """By the share beyond its quantiles: a few in a hundred of it, and in the far tail a seventh."""
    for tail in (2.0, 4.0):
        scales, shares = shrinkage._parts_of(tail)
        assert shares.sum() == pytest.approx(1)
        for p, most in ((0.75, 0.03), (0.95, 0.05), (0.995, 0.15)):
            at = stats.t(tail).ppf(p)
            below = float(shares @ stats.norm.cdf(at / np.sqrt(scales)))
            assert (1 - below) == pytest.approx(1 - p, rel=most)
