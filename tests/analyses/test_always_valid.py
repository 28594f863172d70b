"""Always-valid evidence keeps the level that is spent on it where arms are unequal and values skewed.

Truths are known by construction: users of both arms come from one law. A half width that used each arm's own variance alone
is wrong in 2 to 3 % of such experiments instead of .5 %, and one side of a guardrail in 3 to 4 %.
"""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import numpy as np
import pytest

from analyses.ramped import day_of, ramped, users_of
from analyses.simulated import BEFORE_END, aggregates, block, experiment, metric
from exp_platform.analyses import ab, guardrails
from exp_platform.analyses.comparison import arms_of, pair_of
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.metrics import Effect, Guardrail
from exp_platform.stats.adjustment import adjust
from exp_platform.stats.arms import Arms, arm_mean
from exp_platform.stats.moments import Moments
from exp_validation.cells import cells
from exp_validation.sequences import confidence_sequence

LEVEL, REPLICATES, LOOKS = 0.005, 300, 14
TOO_MANY = 7  # of 300 at .005: more have a chance of 1 in 7,000


def lognormal(rng: np.random.Generator, n: int) -> np.ndarray:
    return np.exp(1.5 * rng.standard_normal(n))


def looks(draw: Callable[[np.random.Generator, int], np.ndarray], daily: tuple[int, int], seed: int):  # type: ignore[no-untyped-def]
    """Both arms' values at every look, replicate by replicate."""
    rng = np.random.default_rng(seed)
    for _ in range(REPLICATES):
        arms = [draw(rng, n * LOOKS) for n in daily]
        yield [[arm[: n * day] for arm, n in zip(arms, daily, strict=True)] for day in range(1, LOOKS + 1)]


@pytest.mark.parametrize("daily", [(180, 20), (20, 180)])
def test_skewed_values_in_unequal_arms_are_wrong_at_any_look_no_more_often_than_is_spent(
    daily: tuple[int, int],
) -> None:
    spec, wrong = experiment(metric(), shares=(daily[0] / 200, daily[1] / 200)), 0
    for replicate in looks(lognormal, daily, seed=5):
        found = False
        for control, treated in replicate:
            day = aggregates(
                [block("orders", "control", control), block("orders", "t1", treated)], BEFORE_END
            )
            (row,) = ab.analyse(spec, day)
            assert isinstance(row, ResultRow)
            found = found or bool(row.always_valid_significant)
        wrong += found
    assert wrong <= TOO_MANY


@pytest.mark.parametrize(("daily", "claim"), [((180, 20), "proven_breach"), ((20, 180), "non_inferior")])
def test_a_guardrail_at_its_margin_makes_no_false_claim_more_often_than_is_spent(
    daily: tuple[int, int], claim: str
) -> None:
    """The treatment's values are nine tenths of control's, the margin is 10 %: both claims are false."""
    guarded = metric(guardrail=Guardrail(Effect(0.1, "relative"), "critical"))
    spec, wrong = experiment(guarded, shares=(daily[0] / 200, daily[1] / 200)), 0
    for replicate in looks(lognormal, daily, seed=6):
        verdicts = []
        for control, treated in replicate:
            arms = [block("orders", "control", control), block("orders", "t1", 0.9 * treated)]
            (row,) = guardrails.analyse(spec, aggregates(arms, BEFORE_END))
            assert isinstance(row, ResultRow)
            verdicts.append(row.verdict)
        wrong += claim in verdicts
    assert wrong <= TOO_MANY


@pytest.mark.parametrize(
    "name",
    [
        "everybody spends, heavy tail, 180 and 20",
        "everybody spends, heavy tail, 194 and 6",
        "spend, heavy tail, 20 and 180",
        "amount of a purchase, 180 and 20",
        "amount of a purchase, 20 and 180",
        "binary 10 %, 180 and 20",
        "rare binary 0.5 %, 1,800 and 200",
    ],
)
def test_cells_of_skewed_values_stay_inside_their_bands_at_the_levels_spent(name: str) -> None:
    (cell,) = [c for c in cells() if c.name == f"confidence sequence: {name} a day, 28 looks"]
    checks = cell.checks(10_000)
    assert {c.promised for c in checks} == {0.005, 0.001}
    assert [c for c in checks if not c.holds(20)] == []


def test_equal_arms_pay_nothing() -> None:
    rng = np.random.default_rng(1)
    arms = Arms(*(arm_mean(Moments.of(lognormal(rng, 700))) for _ in range(2)))
    assert arms.careful_variance == arms.variance_of_difference


def naive(control: np.ndarray, treated: np.ndarray) -> float:
    """By users: either arm's variance over the other's users, where that is more than over its own."""
    v0, v1 = control.var(ddof=1), treated.var(ddof=1)
    n0, n1 = len(control), len(treated)
    return float(max(v0 / n0 + v1 / n1, v0 / n1 + v1 / n0))


@pytest.mark.parametrize("sizes", [(900, 100), (100, 900), (1_000, 970)])
def test_the_larger_arms_spread_counts_for_the_smaller(sizes: tuple[int, int]) -> None:
    rng = np.random.default_rng(2)
    for _ in range(20):
        users = [lognormal(rng, n) for n in sizes]
        arms = Arms(*(arm_mean(Moments.of(x)) for x in users))
        assert arms.careful_variance == pytest.approx(naive(*users), rel=1e-12, abs=0)


@pytest.mark.parametrize("slopes", ["pooled", "per_arm"])
def test_adjusted_arms_exchange_their_users_within_strata(slopes: str) -> None:
    """Of what strata and covariates leave, from users: sum_s w_s^2 s_as^2 (1 / n_bs - 1 / n_as), both arms' together."""
    rng = np.random.default_rng(3)
    sizes, strata = ((400, 300), (60, 90)), []
    for arm in sizes:
        x = [rng.gamma(2.0, 1.0, n) for n in arm]
        strata.append([np.column_stack([lognormal(rng, len(v)) + v, v]) for v in x])
    cells_ = [[Moments.of(users) for users in arm] for arm in strata]
    adjusted = adjust(cells_, 0, (1,), slopes)  # type: ignore[arg-type]
    arms = adjusted.pair(0, 1)
    total = sum(map(sum, sizes))
    gained = 0.0
    for s in range(2):
        weight = sum(arm[s] for arm in sizes) / total
        for a in range(2):
            left = strata[a][s][:, 0] - adjusted.theta[a, 0] * strata[a][s][:, 1]
            of_users = ((left - left.mean()) ** 2).sum() / adjusted.own_df[a, s]
            gained += weight**2 * of_users * (1 / sizes[1 - a][s] - 1 / sizes[a][s])
    expected = max(arms.variance_of_difference, arms.variance_of_difference + gained)
    assert expected > 1.2 * arms.variance_of_difference or gained < 0
    assert arms.careful_variance == pytest.approx(expected, rel=1e-12, abs=0)


def test_under_a_ramp_users_are_exchanged_within_periods() -> None:
    spec = ramped(metric("y"), shares=((0.95, 0.05), (0.5, 0.5)))
    frame = users_of(4, (3_000, 1_000), ((0.95, 0.05), (0.5, 0.5)), (1.0, 2.0))
    pair = pair_of(day_of(frame, "y", ["y"], ["value"]), spec.metrics[0], "control", "t1")
    arms = arms_of(spec.metrics[0], pair)
    gained = 0.0
    for _, period in frame.groupby("period"):
        users = [period.y[period.arm == arm] for arm in ("control", "t1")]
        for a, b in (users, users[::-1]):
            gained += (len(period) / len(frame)) ** 2 * a.var(ddof=1) * (1 / len(b) - 1 / len(a))
    own = arms.variance_of_difference
    assert abs(gained) > 0.1 * own
    assert arms.careful_variance == pytest.approx(max(own, own + gained), rel=1e-9, abs=0)


def test_the_validation_judges_the_platforms_own_interval() -> None:
    rng = np.random.default_rng(8)
    control, treated = lognormal(rng, 1_800), lognormal(rng, 200)
    day = aggregates([block("orders", "control", control), block("orders", "t1", treated)], BEFORE_END)
    (row,) = ab.analyse(experiment(metric()), day)
    assert isinstance(row, ResultRow)
    variances = np.array([control.var(ddof=1)]), np.array([treated.var(ddof=1)])
    (half,) = confidence_sequence(LEVEL)((1_800, 200), variances)
    assert row.always_valid_high is not None
    assert row.estimate is not None
    assert row.always_valid_high - row.estimate == pytest.approx(half, rel=1e-12, abs=0)


def test_a_small_arm_that_has_seen_no_large_value_yet_decides_nothing() -> None:
    """180 of 1,800 users spent 10 in control; the 200 of the treatment spent 1 or 2, by luck: z by Welch is -7."""
    control = np.repeat([0.0, 1.0, 2.0, 30.0], [900, 450, 400, 50])
    treated = np.repeat([0.0, 1.0, 2.0], [100, 55, 45])
    day = aggregates([block("orders", "control", control), block("orders", "t1", treated)], BEFORE_END)
    (row,) = ab.analyse(experiment(metric(), shares=(0.9, 0.1)), day)
    assert isinstance(row, ResultRow)
    assert row.statistic is not None
    assert row.statistic < -4.5
    assert (row.always_valid_status, row.always_valid_significant) == (Status.OK, False)


def test_an_effect_is_found_as_soon_in_unequal_arms_of_mild_values() -> None:
    """Normal values, 180 and 20 a day, 6 % more: the median look is that of the arms' own variances, to a look."""
    rng = np.random.default_rng(9)
    spec, first = experiment(metric(kind="mean"), shares=(0.9, 0.1)), []
    for _ in range(60):
        c, t = rng.normal(10, 3, 180 * 28), rng.normal(10.8, 3, 20 * 28)
        for own in (False, True):
            ends = [self_look(spec, c[: 180 * d], t[: 20 * d], own=own) for d in range(5, 29)]
            first.append(ends.index(True) if True in ends else 99)
    pairs = list(pairwise(first))[::2]
    assert np.median([b for b, _ in pairs]) - np.median([a for _, a in pairs]) <= 1


def self_look(spec: object, control: np.ndarray, treated: np.ndarray, *, own: bool) -> bool:
    """Whether always-valid evidence says better; `own`: by the arms' own variances alone."""
    day = aggregates([block("orders", "control", control), block("orders", "t1", treated)], BEFORE_END)
    (row,) = ab.analyse(spec, day)  # type: ignore[arg-type]
    assert isinstance(row, ResultRow)
    assert row.always_valid_low is not None
    assert row.estimate is not None
    assert row.standard_error is not None
    if not own:
        return row.always_valid_low > 0
    v0, v1 = control.var(ddof=1), treated.var(ddof=1)
    shrink = row.standard_error / np.sqrt(naive(control, treated))
    assert v0 > 0
    assert v1 > 0
    return bool(row.estimate - (row.estimate - row.always_valid_low) * shrink > 0)
