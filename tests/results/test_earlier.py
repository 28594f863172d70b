"""A plan may expect what stored results show: of the experiment itself, or of another one with such metrics."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from analyses.simulated import experiment, metric
from exp_platform.config.environment import Environment
from exp_platform.errors import DataError
from exp_platform.planning.known import Earlier
from exp_platform.results.earlier import earlier_results
from exp_platform.results.reader import Results
from stages.frozen_runs import D3, a_run, an_aggregate, an_experiment, carry_out


def test_before_its_first_run_nothing_is_known(environment: Environment) -> None:
    assert earlier_results(Results(environment), an_experiment()) == Earlier()


def test_own_results_and_another_experiments(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    control = an_aggregate(D3).block("orders", "control")
    assert control is not None
    results, new = Results(environment), replace(an_experiment(), id="exp_new")
    own, other = earlier_results(results, an_experiment()), earlier_results(results, new, an_experiment())
    for found, source in ((own, "results"), (other, "exp_a")):
        known = found.metrics["orders"]
        assert known.mean == pytest.approx(control.moments.mean[0], rel=1e-12)
        assert known.sd == pytest.approx(np.sqrt(control.moments.covariance()[0, 0]), rel=1e-12)
        assert known.source == source
        assert set(found.metrics) == {"orders", "buys"}
    assert other.arrivals is not None
    assert (other.arrivals.users(14), other.arrivals.daily) == (14, 2.0)  # 7 an arm on the last of 14 days
    assert earlier_results(results, new).metrics == {}


def test_a_metric_that_another_experiment_has_no_result_of_is_told(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    spec = experiment(metric("orders"), metric("visits"))
    found = earlier_results(Results(environment), spec, an_experiment()).metrics
    assert found["orders"].told == ()
    (told,) = found["visits"].told
    assert told.startswith("exp_a: it has no result of a mean `visits`; plan it by --history")


def test_results_that_say_nothing_of_the_metrics_are_refused(environment: Environment) -> None:
    carry_out(a_run(environment, "r1", (D3,)))
    results = Results(environment)
    counted = experiment(metric("orders", "count"), metric("visits"))
    with pytest.raises(
        DataError, match=r"--like exp_a has results of buys, orders: none .* \(orders, visits\)"
    ):
        earlier_results(results, counted, an_experiment())
    with pytest.raises(
        DataError, match="--like exp_b has no stored results: run it first, with exp run exp_b"
    ):
        earlier_results(results, counted, an_experiment("exp_b"))
