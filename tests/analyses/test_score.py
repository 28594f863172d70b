"""Proportions that ask for the score test: its numbers reach the rows, and the exact test stands in for few outcomes."""

from __future__ import annotations

from itertools import product

import numpy as np
import pytest
from scipy import stats

from analyses.simulated import aggregates, block, experiment, metric
from exp_platform.analyses import ab, cuped, guardrails, segments
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.metrics import Effect, Guardrail, Role
from exp_platform.config.plans import DecisionPlan

LEVEL_95 = DecisionPlan(sequential_share=0.0)  # one comparison, all of alpha on one look


def users(successes: int, n: int) -> np.ndarray:
    return np.repeat([1.0, 0.0], [successes, n - successes])


def one_row(control: tuple[int, int], treatment: tuple[int, int], **of_metric: object) -> ResultRow:
    m = metric("conversion", of_metric.pop("kind", "proportion"), test="score", **of_metric)  # type: ignore[arg-type]
    blocks = [block("conversion", "control", users(*control)), block("conversion", "t1", users(*treatment))]
    (row,) = ab.analyse(experiment(m, decision=LEVEL_95), aggregates(blocks))
    assert isinstance(row, ResultRow)
    return row


@pytest.mark.parametrize("kind", ["proportion", "retention"])
def test_published_numbers_reach_the_row(kind: str) -> None:
    """500 and 560 of 10,000: Miettinen and Nurminen, Koopman and the pooled z of other programs."""
    row = one_row((500, 10_000), (560, 10_000), kind=kind)
    assert (row.status, row.test, row.ci_level) == (Status.OK, "score", 0.95)
    assert (row.ci_low, row.ci_high) == (
        pytest.approx(-0.000210097708, abs=5e-13),
        pytest.approx(0.0122260710, abs=5e-11),
    )
    assert (row.relative, row.relative_kind) == (pytest.approx(0.12, rel=1e-12), "BOUNDED")
    assert (row.relative_low, row.relative_high) == (
        pytest.approx(-0.003949668, abs=5e-10),
        pytest.approx(0.25940291, abs=5e-9),
    )
    expected = stats.chi2_contingency([[500, 9500], [560, 9440]], correction=False)
    assert row.p_value == pytest.approx(expected.pvalue, rel=1e-9, abs=0)
    assert row.statistic == pytest.approx(np.sqrt(expected.statistic), rel=1e-9, abs=0)
    assert (row.degrees_of_freedom, row.significant) == (None, False)
    wilson = stats.binomtest(500, 10_000).proportion_ci(0.95, method="wilson")
    assert (row.mean_control_low, row.mean_control_high) == pytest.approx((wilson.low, wilson.high), rel=1e-9)


def test_few_outcomes_are_tested_exactly() -> None:
    row = one_row((2, 4000), (12, 4000))
    expected = stats.fisher_exact([[12, 3988], [2, 3998]], alternative="greater").pvalue
    assert (row.status, row.test) == (Status.OK, "exact")
    assert row.p_value == pytest.approx(2 * expected, rel=1e-9, abs=0)
    assert (row.statistic, row.standard_error, row.degrees_of_freedom) == (None, None, None)
    assert row.ci_low is not None
    assert row.relative_low is not None
    assert row.ci_low > 0
    assert row.relative_low > 0
    assert row.significant is True


def test_without_a_success_in_control_nothing_bounds_the_relative_effect() -> None:
    row = one_row((0, 4000), (12, 4000))
    assert (row.relative, row.relative_low, row.relative_high) == (None, None, None)
    assert (row.relative_kind, row.significant) == ("UNBOUNDED", True)
    assert row.mean_control_high == pytest.approx(1 - 0.025 ** (1 / 4000), rel=1e-9)


def test_what_is_the_same_for_all_users_is_degenerate_and_two_opposite_arms_are_not() -> None:
    assert one_row((0, 4000), (0, 4000)).status is Status.DEGENERATE
    assert one_row((4000, 4000), (4000, 4000)).status is Status.DEGENERATE
    opposite = one_row((0, 300), (300, 300))
    assert (opposite.status, opposite.estimate, opposite.ci_high) == (Status.OK, 1.0, 1.0)
    assert opposite.log10_p == pytest.approx(np.log10(2) - logchoose(600, 300) / np.log(10), rel=1e-9)


def logchoose(n: int, k: int) -> float:
    return float(np.log(np.arange(n - k + 1, n + 1)).sum() - np.log(np.arange(1, k + 1)).sum())


def test_adjusted_arms_are_no_counts_so_welch_tests_them() -> None:
    rng = np.random.default_rng(1)
    m = metric("conversion", "proportion", test="score", covariates=["x"])
    arms = {}
    for arm in ("control", "t1"):
        x = rng.normal(size=500)
        arms[arm] = np.column_stack([(x + rng.normal(size=500) > 0).astype(float), x])
    blocks = [block("conversion", arm, values, ("value", "x")) for arm, values in arms.items()]
    spec, day = experiment(m), aggregates(blocks)
    (adjusted,), (plain,) = cuped.analyse(spec, day), ab.analyse(spec, day)
    assert isinstance(adjusted, ResultRow)
    assert isinstance(plain, ResultRow)
    assert (adjusted.test, plain.test) == ("welch", "score")


def test_each_segment_value_is_tested_by_its_own_counts() -> None:
    m = metric("conversion", "proportion", test="score")
    blocks = [
        block("conversion", arm, users(x, n), segment="device", segment_value=value)
        for value, counts in {"phone": ((90, 900), (120, 900)), "tablet": ((3, 200), (9, 200))}.items()
        for arm, (x, n) in zip(("control", "t1"), counts, strict=True)
    ]
    rows = segments.analyse(experiment(m, segments=("device",)), aggregates(blocks))
    assert [r.test for r in rows if isinstance(r, ResultRow)] == ["score", "exact", "interaction"]


@pytest.mark.parametrize("scale", ["absolute", "relative"])
def test_a_guardrails_verdict_is_where_the_rows_interval_lies_to_the_margin(scale: str) -> None:
    seen = set()
    arms = [((300, 3000), (260, 3000)), ((8, 3000), (4, 3000)), ((300, 3000), (500, 3000))]
    sizes = (0.0005, 0.005, 0.02, 0.05, 0.2, 0.4, 0.6, 0.9)
    for size, direction, (control, treatment) in product(sizes, (1, -1), arms):
        row = guarded(Effect(size, scale), direction, control, treatment)  # type: ignore[arg-type]
        ends = (row.ci_low, row.estimate, row.ci_high)
        if scale == "relative":
            ends = (row.relative_low, row.relative, row.relative_high)
        # Harm is what the margin is a limit of: the effect turned so that more is worse.
        least, found, most = sorted(-direction * e for e in ends if e is not None)
        if least > size:
            expected = "proven_breach"
        elif found > size:
            expected = "observed_breach"
        else:
            expected = "non_inferior" if most < size else "unproven"
        assert row.verdict == expected
        seen.add(expected)
    assert len(seen) == 4


def guarded(
    margin: Effect, direction: int, control: tuple[int, int], treatment: tuple[int, int]
) -> ResultRow:
    guard = Guardrail(margin, "critical")
    m = metric("crash", "proportion", Role.GUARDRAIL, direction=direction, guardrail=guard, test="score")
    blocks = [block("crash", "control", users(*control)), block("crash", "t1", users(*treatment))]
    (row,) = guardrails.analyse(experiment(metric("orders"), m, decision=LEVEL_95), aggregates(blocks))
    assert isinstance(row, ResultRow)
    return row
