"""DiD agrees with a regression of unit differences on the treatment with HC2 errors, and with its group means."""

from __future__ import annotations

import math

import numpy as np
import pytest
import statsmodels.api as sm
from scipy import stats

from analyses.simulated import UNITS, aggregates, daily_block, experiment, metric
from exp_platform.analyses import did
from exp_platform.analyses.rows import DidRow, Status
from exp_platform.config.plans import AnalysisPlan


def near(value: float) -> object:
    return pytest.approx(value, rel=1e-9, abs=1e-12)


@pytest.fixture(name="rng")
def _rng() -> np.random.Generator:
    return np.random.default_rng(11)


def days_of_users(rng: np.random.Generator, n: int, days: int, after: float = 0.0) -> np.ndarray:
    """Users with a level of their own, so that their days go together; `after` is added on days 0 and later."""
    level = rng.gamma(2.0, 1.0, (n, 1))
    values = rng.poisson(level, (n, 2 * days)).astype(float)
    values[:, days:] += after * rng.random((n, days))
    return values


def analyse(control: np.ndarray, treated: np.ndarray, days: int = 7, **more: object) -> DidRow:
    spec = experiment(metric(**more), analyses=AnalysisPlan(did_days=days))  # type: ignore[arg-type]
    day = aggregates([daily_block("orders", "control", control), daily_block("orders", "t1", treated)])
    row, *_ = did.analyse(spec, day)
    assert isinstance(row, DidRow)
    return row


@pytest.mark.parametrize("days", [1, 7])
def test_regression_of_unit_differences_with_hc2_errors(rng: np.random.Generator, days: int) -> None:
    control, treated = days_of_users(rng, 900, days), days_of_users(rng, 700, days, after=0.4)
    row = analyse(control, treated, days)
    change = [x[:, days:].mean(axis=1) - x[:, :days].mean(axis=1) for x in (control, treated)]
    outcome, arm = np.concatenate(change), np.repeat([0.0, 1.0], [900, 700])
    fit = sm.OLS(outcome, sm.add_constant(arm)).fit(cov_type="HC2")
    test = stats.ttest_ind(change[1], change[0], equal_var=False)
    low, high = test.confidence_interval(0.95)
    assert row.status is Status.OK
    assert row.estimate == near(fit.params[1])
    assert row.standard_error == near(fit.bse[1])
    assert row.statistic == near(fit.tvalues[1])
    assert (row.degrees_of_freedom, row.p_value) == (near(test.df), near(test.pvalue))
    assert (row.ci_low, row.ci_high, row.ci_level) == (near(low), near(high), near(0.95))
    assert row.pre_mean_control == near(control[:, :days].mean())
    assert row.post_mean_treatment == near(treated[:, days:].mean())
    assert (row.pre_days, row.post_days, row.n_control, row.n_treatment) == (days, days, 900, 700)
    assert row.estimate == near(
        (row.post_mean_treatment - row.pre_mean_treatment) - (row.post_mean_control - row.pre_mean_control)  # type: ignore[operator]
    )


def test_pairing_of_a_users_days_makes_it_narrower_than_four_independent_means(
    rng: np.random.Generator,
) -> None:
    control, treated = days_of_users(rng, 500, 7), days_of_users(rng, 500, 7)
    means = [x[:, half].mean(axis=1) for x in (control, treated) for half in (slice(0, 7), slice(7, 14))]
    unpaired = math.sqrt(sum(m.var(ddof=1) / 500 for m in means))
    row = analyse(control, treated)
    assert row.standard_error is not None
    assert row.standard_error < 0.6 * unpaired


def test_the_units_of_a_source_without_days_make_it_not_applicable(rng: np.random.Generator) -> None:
    (row,) = did.analyse(experiment(metric(), source=UNITS), aggregates([]))
    assert (row.status, row.message) == (
        Status.NOT_APPLICABLE,
        "a source of one row per user has no days before first exposure",
    )


@pytest.mark.parametrize("kind", ["ratio", "retention"])
def test_kinds_without_a_value_a_day_are_not_applicable(kind: str) -> None:
    (row,) = did.analyse(experiment(metric(kind=kind)), aggregates([]))
    assert row.status is Status.NOT_APPLICABLE


def test_too_few_users_leave_null_numbers(rng: np.random.Generator) -> None:
    row = analyse(days_of_users(rng, 300, 7), days_of_users(rng, 49, 7))
    assert (row.status, row.n_treatment, row.estimate) == (Status.INSUFFICIENT_DATA, 49, None)
    (nobody,) = did.analyse(experiment(metric()), aggregates([]))
    assert (nobody.status, nobody.estimate) == (Status.INSUFFICIENT_DATA, None)


def test_no_activity_before_exposure_is_not_applicable(rng: np.random.Generator) -> None:
    values = days_of_users(rng, 200, 7)
    values[:, :7] = 0.0
    assert analyse(values, values).status is Status.NOT_APPLICABLE


def test_the_same_change_for_every_user_is_degenerate() -> None:
    values = np.repeat(np.arange(100.0)[:, None] % 5, 14, axis=1)
    row = analyse(values, values)
    assert (row.status, row.estimate) == (Status.DEGENERATE, None)
