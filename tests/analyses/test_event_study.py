"""The event study has a row a day and a week; the sensitivity asks for three whole weeks before exposure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analyses.simulated import aggregates, block, experiment, metric
from exp_platform.aggregates import Block
from exp_platform.analyses import did
from exp_platform.analyses.rows import DidSensitivityRow, EventStudyRow, Status
from exp_platform.config.plans import AnalysisPlan

REFERENCE = Path(__file__).parents[1] / "references" / "did_sensitivity" / "expected.json"


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


def days_block(variant_id: str, values: np.ndarray, before: int) -> Block:
    names = [f"day{day}" for day in range(-before, values.shape[1] - before)]
    return block("orders", variant_id, values, names, kind="daily")


def analyse(
    control: np.ndarray, treated: np.ndarray, before: int
) -> tuple[list[EventStudyRow], list[DidSensitivityRow]]:
    plan = AnalysisPlan(did_days=control.shape[1] - before, did_pre_days=before)
    blocks = [days_block("control", control, before), days_block("t1", treated, before)]
    rows = did.analyse(experiment(metric(), analyses=plan), aggregates(blocks))
    return [r for r in rows if isinstance(r, EventStudyRow)], [
        r for r in rows if isinstance(r, DidSensitivityRow)
    ]


def users(rng: np.random.Generator, n: int, days: int) -> np.ndarray:
    return rng.poisson(rng.gamma(2.0, 1.0, (n, 1)), (n, days)).astype(float)


def test_days_are_held_against_the_day_before_exposure() -> None:
    rng = np.random.default_rng(3)
    control, treated = users(rng, 300, 9), users(rng, 260, 9)
    study, (short,) = analyse(control, treated, before=5)
    assert [(r.first_day, r.last_day) for r in study] == [(d, d) for d in range(-5, 4)]
    for i, row in enumerate(study):
        assert (row.reference_first_day, row.reference_last_day) == (-1, -1)
        assert (row.n_control, row.n_treatment) == (300, 260)
        assert (row.mean_control, row.mean_treatment) == (
            near(control[:, i].mean()),
            near(treated[:, i].mean()),
        )
        if row.first_day == -1:
            assert (row.estimate, row.standard_error, row.p_value) == (0.0, 0.0, None)
            continue
        test = stats.ttest_ind(treated[:, i] - treated[:, 4], control[:, i] - control[:, 4], equal_var=False)
        low, high = test.confidence_interval(0.95)
        assert (row.p_value, row.degrees_of_freedom) == (near(test.pvalue), near(test.df))
        assert (row.ci_low, row.ci_high) == (near(low), near(high))
    assert (short.status, short.estimate, short.breakdown) == (Status.INSUFFICIENT_DATA, None, None)
    assert "21 before (did_pre_days)" in str(short.message)


@pytest.mark.parametrize("before, after", [(20, 7), (21, 6)])
def test_less_than_three_weeks_before_or_one_after_is_insufficient(before: int, after: int) -> None:
    rng = np.random.default_rng(1)
    study, (row,) = analyse(users(rng, 80, before + after), users(rng, 80, before + after), before)
    assert (row.status, row.m_bar, row.ci_low) == (Status.INSUFFICIENT_DATA, None, None)
    assert len(study) == before + after


def test_weeks_give_the_numbers_of_the_reference() -> None:
    """Each week's count falls on one of its days, so that a day's mean over the week is a seventh of it."""
    expected = json.loads(REFERENCE.read_text())
    arms = []
    for values in expected["weeks"].values():
        weekly = np.array(values, dtype=float)
        days = np.zeros((len(weekly), 42))
        days[:, np.arange(6) * 7 + np.array([0, 3, 6, 2, 5, 1])] = weekly
        arms.append(days)
    study, sensitivity = analyse(arms[0], arms[1], before=28)
    weeks = [r for r in study if r.last_day > r.first_day]
    assert [(r.first_day, r.last_day) for r in weeks] == [(7 * w, 7 * w + 6) for w in range(-4, 2)]
    others = [r for r in weeks if r.first_day != -7]
    assert [r.estimate for r in others] == [near(e / 7) for e in expected["event_study"]["estimates"]]
    errors = np.sqrt(np.diag(expected["event_study"]["covariance"]))
    assert [r.standard_error for r in others] == [near(e / 7) for e in errors]
    assert [r.m_bar for r in sensitivity] == [0.0, 0.5, 1.0, 1.5, 2.0]
    for row, case in zip(sensitivity, expected["sensitivity"], strict=True):
        assert row.status is Status.OK
        assert (row.identified_low, row.identified_high) == (
            near(case["identified"][0] / 7),
            near(case["identified"][1] / 7),
        )
        assert (row.ci_low, row.ci_high) == (near(case["interval"][0] / 7), near(case["interval"][1] / 7))
        assert row.breakdown == near(expected["breakdown"])
        assert (row.blocks_before, row.blocks_after, row.block_days) == (4, 2, 7)
        assert (row.n_control, row.n_treatment, row.ci_level) == (60, 80, 0.95)


def test_an_effect_that_is_the_same_for_all_is_degenerate_only_where_nothing_varies() -> None:
    rng = np.random.default_rng(2)
    values = np.repeat(users(rng, 100, 1), 28, axis=1)
    # The estimate over all days varies, the weeks' effect does not
    values[:, :7] += rng.poisson(1.0, (100, 7))
    study, (row,) = analyse(values, values, before=21)
    assert (row.status, row.estimate, row.breakdown) == (Status.DEGENERATE, None, None)
    assert {r.status for r in study if r.first_day > -14 and r.first_day not in (-1, -7)} == {
        Status.DEGENERATE
    }
