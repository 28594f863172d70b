"""Triggered analysis where the truth is known: its error rate, a trigger that the treatment moves, and the effect on everybody."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import binomtest, ttest_ind

from decision.cases import PASSED, before_any_run
from exp_platform.aggregates import ALL, Aggregates, Arrivals, Block
from exp_platform.analyses.registry import analyse_all
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.experiment import Experiment, Variant
from exp_platform.config.metrics import Metric, Role
from exp_platform.config.trigger import Trigger
from exp_platform.decision import decide
from exp_platform.stats.moments import Moments
from kernels.cases import REVENUE, events_experiment

USERS = 2000  # an arm
RATE = 0.3  # of them reach the trigger
RUNS = 400
METRIC = Metric("revenue", "mean", Role.PRIMARY, 1, REVENUE)
SPEC = events_experiment(
    metrics=(METRIC,),
    segments=(),
    variants=(Variant("control", 0.5), Variant("blue", 0.5)),
    trigger=Trigger("checkout", 3),
)


def block(kind: str, variant: str, values: np.ndarray) -> Block:
    moments = Moments.of(values[:, None])
    return Block(kind, "revenue", variant, ALL, ALL, ("value",), moments, successes=int((values != 0).sum()))  # type: ignore[arg-type]


def drawn(
    rng: np.random.Generator, effect: float = 0.0, rate: float = RATE
) -> tuple[Aggregates, dict[str, np.ndarray]]:
    """Both arms' users: who would buy anyhow, and what the treatment adds to those who reach the trigger."""
    blocks, reached, values = [], {}, {}
    for variant, share in (("control", RATE), ("blue", rate)):
        there = rng.random(USERS) < share
        spent = rng.exponential(10, USERS) * (rng.random(USERS) < 0.5) + 5 * there
        spent += effect * (variant == "blue") * there
        reached[variant], values[variant] = int(there.sum()), spent
        blocks += [block("total", variant, spent[there]), block("exposed", variant, spent)]
    day = Aggregates(
        as_of_date=SPEC.decision_date,
        assigned={v.id: USERS for v in SPEC.variants},
        crossovers={},
        blocks=tuple(blocks),
        triggered={SPEC.window.start.isoformat(): Arrivals(reached, {})},
    )
    return day, values


def rows_of(day: Aggregates, experiment: Experiment = SPEC) -> dict[tuple[str, str], ResultRow]:
    found = analyse_all(experiment, day, ["srm", "ab", "diluted"])
    return {(r.method, r.segment_value): r for r in found if isinstance(r, ResultRow)}


def test_the_diluted_row_is_the_t_test_of_all_exposed_users() -> None:
    day, values = drawn(np.random.default_rng(3), effect=2.0)
    row = rows_of(day)["diluted", ALL]
    expected = ttest_ind(values["blue"], values["control"], equal_var=False)
    assert row.estimate == pytest.approx(values["blue"].mean() - values["control"].mean(), rel=1e-12)
    assert row.p_value == pytest.approx(expected.pvalue, rel=1e-9)
    assert (row.n_control, row.n_treatment) == (USERS, USERS)
    low, high = expected.confidence_interval(row.ci_level)
    assert (row.ci_low, row.ci_high) == (pytest.approx(low), pytest.approx(high))
    assert (row.exploratory, row.significant, row.correction) == (True, False, "none")


def test_a_trigger_that_the_treatment_leaves_alone_keeps_the_error_rates() -> None:
    """Of true nulls 5 % are found by `ab`, and .1 % at most fail the split of those who reached it."""
    rng = np.random.default_rng(14)
    found = [rows_of(drawn(rng)[0]) for _ in range(RUNS)]
    false = sum(rows["ab", ALL].p_value < 0.05 for rows in found)
    assert binomtest(false, RUNS, 0.05).pvalue > 0.001
    assert sum(rows["srm", "triggered"].verdict == "mismatch" for rows in found) <= 3
    covered = sum(rows["diluted", ALL].ci_low <= 0 <= rows["diluted", ALL].ci_high for rows in found)
    assert binomtest(covered, RUNS, found[0]["diluted", ALL].ci_level).pvalue > 0.001


def test_a_trigger_that_the_treatment_moves_fails_trust() -> None:
    """A third more users reach it: the split of those who did is no longer the planned one, and nothing is shipped."""
    rng = np.random.default_rng(15)
    caught = 0
    for _ in range(50):
        day, _ = drawn(rng, rate=RATE * 4 / 3)
        rows = analyse_all(SPEC, day, ["srm", "ab", "evidence", "diluted"])
        split = {r.segment_value: r for r in rows if isinstance(r, ResultRow) and r.method == "srm"}
        assert split["assigned"].verdict == "ok", "all exposed users are as planned"
        caught += split["triggered"].verdict == "mismatch"
        decision = decide(SPEC, before_any_run(SPEC), rows, [PASSED])
        if split["triggered"].verdict == "mismatch":
            (reason,) = (r for r in decision.reasons if r.code == "SRM_MISMATCH")
            assert "triggered users" in reason.text
            assert decision.action != "ship"
    assert caught >= 48


def test_the_diluted_estimate_is_unbiased_and_the_triggered_one_sees_more() -> None:
    """An effect of 2 on three of ten is one of 0.6 on all; both intervals cover their truth."""
    rng, effect = np.random.default_rng(16), 2.0
    found = [rows_of(drawn(rng, effect)[0]) for _ in range(RUNS)]
    diluted = [rows["diluted", ALL] for rows in found]
    estimates = np.array([row.estimate for row in diluted])
    error = estimates.std(ddof=1) / np.sqrt(RUNS)
    assert abs(estimates.mean() - RATE * effect) < 4 * error
    assert error < 0.02  # so that a bias of a tenth would be seen
    covered = sum(row.ci_low <= RATE * effect <= row.ci_high for row in diluted)
    assert binomtest(covered, RUNS, diluted[0].ci_level).pvalue > 0.001
    seen = {m: np.mean([rows[m, ALL].p_value < 0.05 for rows in found]) for m in ("ab", "diluted")}
    assert seen["ab"] > seen["diluted"] + 0.2


def test_without_a_trigger_there_are_no_rows_and_of_a_quantile_none_is_made() -> None:
    day, _ = drawn(np.random.default_rng(1))
    assert ("diluted", ALL) not in rows_of(day, replace(SPEC, trigger=None))
    median = replace(METRIC, kind="quantile", q=0.5)
    assert rows_of(day, replace(SPEC, metrics=(median,)))["diluted", ALL].status is Status.NOT_APPLICABLE
