"""Planning: users, days and smallest effects against statsmodels' power calculations."""

from __future__ import annotations

import pytest
from statsmodels.stats.power import tt_ind_solve_power

from analyses.simulated import experiment, metric
from exp_platform.config.experiment import Effect, MetricKind, Role
from exp_platform.planning import plan_metric


def test_users_for_the_mde_of_a_mean_are_those_of_the_t_test_at_the_corrected_level() -> None:
    m = metric("spend", mde=Effect(0.5, "absolute"))
    plan = experiment(m, metric("other", role=Role.SECONDARY))
    found = plan_metric(plan, m, users=None, daily_users=100, baseline=10, sd=10)
    per_arm = tt_ind_solve_power(effect_size=0.05, alpha=0.045 / 2, power=0.8)
    assert found.required_users == pytest.approx(2 * per_arm, abs=2)
    assert found.required_days == pytest.approx(2 * per_arm / 100, abs=1)


def test_the_smallest_effect_is_found_with_the_planned_power() -> None:
    m = metric("spend")
    found = plan_metric(experiment(m), m, users=12560, daily_users=None, baseline=10, sd=10)
    assert found.smallest_effect is not None
    power = tt_ind_solve_power(effect_size=found.smallest_effect / 10, alpha=0.045, nobs1=6280)
    assert power == pytest.approx(0.8, abs=1e-6)


def test_a_decrease_is_planned_where_a_decrease_is_good() -> None:
    m = metric("errors", MetricKind.PROPORTION, direction=-1)
    found = plan_metric(experiment(m), m, users=10000, daily_users=None, baseline=0.2)
    assert found.smallest_effect is not None
    assert found.smallest_effect < 0


@pytest.mark.parametrize(("baseline", "sd", "named"), [(None, 1.0, "--baseline"), (10.0, None, "--sd")])
def test_a_missing_input_is_named(baseline: float | None, sd: float | None, named: str) -> None:
    m = metric("spend", mde=Effect(0.1, "relative"))
    found = plan_metric(experiment(m), m, users=1000, daily_users=None, baseline=baseline, sd=sd)
    assert found.required_users is None
    assert named in found.note
