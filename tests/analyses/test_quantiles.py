"""Quantile effects: SciPy's numbers from users to rows, ties and small arms as statuses, and what does not apply."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analyses.simulated import BEFORE_END, END, experiment
from exp_platform.aggregates import ALL, Aggregates, Block
from exp_platform.analyses import ab, cuped, did, guardrails, pretrends, segments
from exp_platform.analyses.estimators import estimator_of
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect, Guardrail, Measure, Metric, Role
from exp_platform.config.plans import DecisionPlan
from exp_platform.kernels.order_statistics import Bracket, Bracketed, quantile_numbers
from exp_platform.planning.known import known_of
from exp_platform.planning.metric_plan import plan_metric
from exp_platform.stats.moments import Moments

REFERENCE = json.loads((Path(__file__).parents[1] / "references/quantile_effects/values.json").read_text())
ONE_LOOK = DecisionPlan(sequential_share=0)


def quantile(q: float, **more: object) -> Metric:
    return Metric("wait", "quantile", Role.PRIMARY, -1, Measure("wait", "sum"), q=q, **more)  # type: ignore[arg-type]


def block(variant: str, values: np.ndarray, q: float, segment: str = ALL, value: str = ALL) -> Block:
    values = np.asarray(values, float)
    numbers = quantile_numbers(Bracketed.of(values, Bracket(values.min(), values.max())), len(values), q)
    columns = {} if numbers is None else numbers._asdict()
    nonzero = int(np.count_nonzero(values))
    return Block(
        "total", "wait", variant, segment, value, ("value",), Moments.of(values), successes=nonzero, **columns
    )


def aggregates(
    control: np.ndarray, treated: np.ndarray, q: float, as_of: object = END, **where: str
) -> Aggregates:
    blocks = (block("control", control, q, **where), block("t1", treated, q, **where))
    return Aggregates(as_of, {"control": len(control), "t1": len(treated)}, {}, blocks)  # type: ignore[arg-type]


def row_of(spec: Experiment, day: Aggregates) -> ResultRow:
    (row,) = ab.analyse(spec, day)
    assert isinstance(row, ResultRow)
    return row


@pytest.mark.parametrize("q", [0.1, 0.5, 0.75, 0.9])
def test_rows_are_quantile_regression_with_an_outer_interval_error(q: float) -> None:
    control, treated = (np.array(values) for values in REFERENCE["arms"].values())
    row = row_of(experiment(quantile(q), decision=ONE_LOOK), aggregates(control, treated, q))
    assert row.status is Status.OK
    for column, value in REFERENCE["expected"][str(q)].items():
        assert getattr(row, column) == pytest.approx(value, rel=1e-9, abs=0), column
    assert row.relative_kind == "BOUNDED"
    assert (row.median_control, row.p95_treatment) == (None, None)
    assert row.always_valid_status is Status.NOT_APPLICABLE


def test_a_tie_over_the_rank_interval_of_either_arm_is_degenerate() -> None:
    """Nine of ten wait 3: the median cannot be told from its neighbours, however many users there are."""
    rng = np.random.default_rng(1)
    tied = np.where(rng.random(2000) < 0.9, 3.0, rng.gamma(2.0, 3.0, 2000))
    free = rng.gamma(2.0, 3.0, 2000)
    for control, treated in ((tied, free), (free, tied), (tied, tied)):
        row = row_of(experiment(quantile(0.5)), aggregates(control, treated, 0.5))
        assert row.status is Status.DEGENERATE
        assert row.message == (
            "the 0.5 quantile lies within a tie at 3 that covers its whole rank interval: choose another q, a proportion "
            "(who is above a value), or a mean"
        )
        assert (row.estimate, row.p_value, row.relative, row.mean_control) == (None, None, None, None)


def test_a_partly_tied_rank_interval_is_conservative_where_jumps_look_significant() -> None:
    """Both arms wait a whole number of seconds and the median is on the edge of 34 and 35: it jumps by chance alone."""
    control = np.repeat([33.0, 34.0, 35.0, 36.0], [2000, 3010, 2990, 2000])
    treated = np.repeat([33.0, 34.0, 35.0, 36.0], [2000, 2990, 3010, 2000])
    row = row_of(experiment(quantile(0.5), decision=ONE_LOOK), aggregates(control, treated, 0.5))
    assert (row.mean_control, row.mean_treatment, row.estimate) == (34.0, 35.0, 1.0)
    assert (row.mean_control_low, row.mean_control_high) == (34.0, 35.0)
    # With the plain distance of the ends, 1, the statistic would be 2.8: ten users in ten thousand, and significant.
    assert row.standard_error == pytest.approx(np.sqrt(2), rel=1e-12)
    assert row.significant is False
    assert row.caution is not None
    assert row.caution.startswith("values jump beside the 0.5 quantile (between 34 and 35)")


def minimum_spend(rng: np.random.Generator, n: int, zeros: float) -> np.ndarray:
    """Users of whom this share spends nothing, the others 5 and more: a minimum spend."""
    return np.where(rng.random(n) < zeros, 0.0, 5 + rng.lognormal(size=n))


@pytest.mark.parametrize(("q", "sizes"), [(0.9, (5000, 5000)), (0.5, (500, 500)), (0.9, (9000, 1000))])
def test_a_quantile_beside_a_mass_of_equal_values_is_not_significant_by_its_jump(
    q: float, sizes: tuple[int, int]
) -> None:
    """One arm's quantile is 0 and the other's beyond the minimum spend, as chance alone has it in half of all tests."""
    rng, jumped = np.random.default_rng(10), 0
    for _ in range(40):
        control, treated = (minimum_spend(rng, n, q) for n in sizes)
        if (np.quantile(control, q) == 0) == (np.quantile(treated, q) == 0):
            continue
        row = row_of(experiment(quantile(q), decision=ONE_LOOK), aggregates(control, treated, q))
        if row.status is Status.OK:
            jumped += 1
            assert row.p_value is not None
            assert row.p_value > 0.05
            assert row.caution is not None
    assert jumped > 5, "else this tests nothing"


def test_a_smooth_quantile_has_no_caution_and_the_error_of_its_rank_interval() -> None:
    rng = np.random.default_rng(5)
    control, treated = rng.gamma(8.0, 1.0, 20_000), rng.gamma(8.0, 1.0, 20_000)
    row = row_of(experiment(quantile(0.5), decision=ONE_LOOK), aggregates(control, treated, 0.5))
    assert row.caution is None
    # sqrt(q (1 - q) / n) / f at the median, twice.
    known = np.sqrt(2 * 0.25 / 20_000) / stats.gamma(8).pdf(stats.gamma(8).ppf(0.5))
    assert row.standard_error == pytest.approx(known, rel=0.1)


def test_too_few_users_for_a_rank_interval_are_insufficient() -> None:
    rng = np.random.default_rng(2)
    row = row_of(
        experiment(quantile(0.99)), aggregates(rng.gamma(2.0, 3.0, 400), rng.gamma(2.0, 3.0, 367), 0.99)
    )
    assert row.status is Status.INSUFFICIENT_DATA
    assert row.message == (
        "400 users in control and 367 in treatment: an interval of the 0.99 quantile needs 368 an arm"
    )
    assert (row.n_control, row.estimate) == (400, None)


def test_aggregates_of_an_older_version_are_degenerate_with_the_remedy() -> None:
    rng = np.random.default_rng(2)
    blocks = tuple(
        Block("total", "wait", v, ALL, ALL, ("value",), Moments.of(rng.gamma(2.0, 3.0, 400)), successes=400)
        for v in ("control", "t1")
    )
    row = row_of(experiment(quantile(0.5)), Aggregates(END, {"control": 400, "t1": 400}, {}, blocks))
    assert row.message == "the aggregates hold no 0.5 quantile: run again without skipping them"


def test_always_valid_evidence_waits_for_fifty_users_beyond_the_quantile() -> None:
    rng = np.random.default_rng(3)
    spec = experiment(quantile(0.9))
    few = row_of(spec, aggregates(rng.gamma(2.0, 3.0, 499), rng.gamma(2.0, 3.0, 600), 0.9, BEFORE_END))
    assert (few.status, few.always_valid_status) == (Status.OK, Status.NOT_YET)
    enough = row_of(spec, aggregates(rng.gamma(2.0, 3.0, 501), rng.gamma(2.0, 3.0, 600), 0.9, BEFORE_END))
    assert enough.always_valid_status is Status.OK
    assert enough.always_valid_low is not None
    assert enough.ci_low is not None
    assert enough.always_valid_low < enough.ci_low
    assert (enough.significant, enough.always_valid_significant) == (False, False)


def test_a_guardrail_on_a_quantile_is_non_inferiority_of_that_quantile() -> None:
    """The 90th percentile of waiting may rise by 10 %: twice as long is proven to be more, the same is proven not to."""
    rng = np.random.default_rng(4)
    guarded = quantile(0.9, guardrail=Guardrail(Effect(0.1, "relative"), "critical"))
    control = rng.gamma(8.0, 1.0, 20_000)
    for factor, verdict in ((2.0, "proven_breach"), (1.0, "non_inferior"), (1.11, "observed_breach")):
        day = aggregates(control, factor * rng.permutation(control), 0.9)
        (row,) = guardrails.analyse(experiment(guarded, decision=ONE_LOOK), day)
        assert isinstance(row, ResultRow)
        assert row.verdict == verdict
        assert row.margin == pytest.approx(0.1 * np.quantile(control, 0.9), rel=1e-9)


def test_segments_compare_quantiles_within_each_value() -> None:
    control, treated = (np.array(values) for values in REFERENCE["arms"].values())
    day = aggregates(control, treated, 0.5, segment="device", value="mobile")
    row, _ = segments.analyse(experiment(quantile(0.5), segments=("device",), decision=ONE_LOOK), day)
    assert isinstance(row, ResultRow)
    assert (row.segment_value, row.status, row.exploratory) == ("mobile", Status.OK, True)
    assert row.estimate == pytest.approx(REFERENCE["expected"]["0.5"]["estimate"], rel=1e-9)


def test_what_takes_means_apart_does_not_apply_to_quantiles() -> None:
    control, treated = (np.array(values) for values in REFERENCE["arms"].values())
    spec, day = experiment(quantile(0.5)), aggregates(control, treated, 0.5)
    told = {}
    for analyse in (cuped.analyse, did.analyse, pretrends.analyse):
        (row,) = analyse(spec, day)
        told[analyse.__module__.rpartition(".")[2]] = (row.status, row.message)  # type: ignore[union-attr]
    reason = "a quantile of users' differences is not a difference of their quantiles"
    assert told == {
        "cuped": (Status.NOT_APPLICABLE, "quantile metrics are not adjusted"),
        "did": (Status.NOT_APPLICABLE, reason),
        "pretrends": (Status.NOT_APPLICABLE, reason),
    }


def test_a_plan_rests_on_the_spread_that_the_interval_found() -> None:
    """The spread per user is that of the linearised quantile, so that standard error = spread / sqrt(n)."""
    control, treated = (np.array(values) for values in REFERENCE["arms"].values())
    metric = quantile(0.5, mde=Effect(0.05, "relative"))
    spec, day = experiment(metric), aggregates(control, treated, 0.5)
    plan = plan_metric(spec, metric, known=known_of(metric, ab.analyse(spec, day), "results"))
    arm = estimator_of(metric).arm(day.blocks[0])
    assert (plan.expected.mean, plan.expected.sd) == (arm.mean, arm.sd)
    assert plan.expected.sd == pytest.approx(np.sqrt(arm.variance_of_mean * 401), rel=1e-12)
    assert plan.required_users is not None
