"""The Bayesian reading: GrowthBook's numbers, rows only for who asked, and no say in the decision."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import special

from analyses.simulated import BEFORE_END, END, aggregates, block, experiment, metric
from decision.cases import before_any_run
from exp_platform.aggregates import Aggregates
from exp_platform.analyses import ab, bayes, cuped, evidence
from exp_platform.analyses.registry import analyse_all
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.checks import CheckResult
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect
from exp_platform.config.plans import AnalysisPlan, DecisionPlan
from exp_platform.config.readings import NOTHING_READ
from exp_platform.decision import decide
from exp_platform.stats.bayes import posterior

REFERENCE = json.loads((Path(__file__).parents[1] / "references/bayesian_reading/values.json").read_text())
ARMS = {name: np.array(values) for name, values in REFERENCE["arms"].items()}
PASSED = CheckResult(END, "schema", "error", "passed", 0.0, 0.0, "all columns are there")


def asked(value: float = 0.3, scale: str = "relative", **more: Any) -> Experiment:
    plan = AnalysisPlan(bayes_prior_sd=Effect(value, scale))  # type: ignore[arg-type]
    listed = more.pop("metrics", (metric(direction=more.pop("direction", 1)),))
    return experiment(*listed, analyses=plan, **more)


def blocks_of(arms: dict[str, np.ndarray], metric_id: str = "orders") -> list[Any]:
    return [block(metric_id, arm, values) for arm, values in arms.items()]


def believed(spec: Experiment, day: Aggregates) -> list[Row]:
    """Its rows, made of those of the tests."""
    tested = [*ab.analyse(spec, day), *cuped.analyse(spec, day)]
    return bayes.analyse(spec, day, NOTHING_READ, evidence.analyse(spec, day, NOTHING_READ, tested))


def only(rows: list[Any]) -> ResultRow:
    (row,) = rows
    assert isinstance(row, ResultRow)
    return row


@pytest.mark.parametrize("name", REFERENCE["cases"])
def test_rows_are_those_of_gbstats(name: str) -> None:
    case, expected = REFERENCE["cases"][name]["case"], REFERENCE["cases"][name]["expected"]
    spec = asked(case["sd"], case["prior_type"], direction=-1 if case["inverse"] else 1)
    row = only(believed(spec, aggregates(blocks_of(ARMS))))
    assert row.status is Status.OK
    for column, value in expected.items():
        assert getattr(row, column) == pytest.approx(value, rel=1e-9, abs=0), column
    assert row.ci_level == 0.95
    untold = (row.p_value, row.p_adjusted, row.alpha, row.significant, row.always_valid_status, row.relative)
    assert untold == (None,) * 6


def test_nothing_is_said_to_who_did_not_ask() -> None:
    assert believed(experiment(metric()), aggregates(blocks_of(ARMS))) == []


def test_it_never_decides() -> None:
    """The same decision with and without, on data whose chance to be better is 99 % before the planned end."""
    control = 10 + 3 * special.ndtri((np.arange(800) + 0.5) / 800)
    arms = {"control": control, "t1": control + 0.4}
    day = aggregates(blocks_of(arms), as_of=BEFORE_END)
    decisions = []
    for spec in (asked(), experiment(metric())):
        rows = analyse_all(spec, day)
        decisions.append(decide(spec, before_any_run(spec), rows, [PASSED]))
    chance = only(believed(asked(), day)).chance_better
    assert chance is not None
    assert chance > 0.99
    assert decisions[0] == decisions[1]
    assert decisions[0].action == "extend"


def test_it_reads_the_estimate_that_decides() -> None:
    rng = np.random.default_rng(9)
    before = rng.gamma(2.0, 3.0, (2, 600))
    values = 0.8 * before + rng.normal(5, 1, (2, 600))
    blocks = [
        block("orders", arm, np.column_stack([values[i], before[i]]), ("value", "x"))
        for i, arm in enumerate(("control", "t1"))
    ]
    spec = asked(metrics=(metric(covariates=["x"]),), decision=DecisionPlan(estimate="cuped"))
    row, adjusted = (only(a(spec, aggregates(blocks))) for a in (believed, cuped.analyse))
    assert adjusted.estimate is not None
    assert adjusted.standard_error is not None
    assert adjusted.adjusted_mean_control is not None
    belief = posterior(adjusted.estimate, adjusted.standard_error, 0.3 * adjusted.adjusted_mean_control)
    assert (row.estimate, row.standard_error) == (
        pytest.approx(belief.mean, rel=1e-12),
        pytest.approx(belief.sd, rel=1e-12),
    )
    # No covariate: as the decision does
    unadjusted = asked(metrics=(metric(),), decision=DecisionPlan(estimate="cuped"))
    plain = only(ab.analyse(unadjusted, aggregates(blocks_of(ARMS))))
    assert plain.estimate is not None
    found = only(believed(unadjusted, aggregates(blocks_of(ARMS))))
    assert found.estimate is not None
    assert found.estimate / plain.estimate == pytest.approx(
        (found.standard_error / plain.standard_error) ** 2, rel=1e-9
    )  # type: ignore[operator]


def test_what_cannot_be_compared_is_a_status_here_too() -> None:
    few = {"control": ARMS["control"][:40], "t1": ARMS["t1"]}
    row = only(believed(asked(), aggregates(blocks_of(few))))
    assert (row.status, row.n_control, row.chance_better) == (Status.INSUFFICIENT_DATA, 40, None)
    constant = {arm: np.full(200, 3.0) for arm in ("control", "t1")}
    assert only(believed(asked(), aggregates(blocks_of(constant)))).status is Status.DEGENERATE


def test_a_relative_prior_says_nothing_where_control_is_zero() -> None:
    arms = {"control": np.zeros(500), "t1": np.repeat([1.0, 0.0], [20, 480])}
    spec = asked(metrics=(metric(kind="proportion"),))
    row = only(believed(spec, aggregates(blocks_of(arms))))
    assert (row.status, row.message) == (
        Status.DEGENERATE,
        "control is zero, so the prior relative to it says nothing",
    )
    absolute = asked(0.05, "absolute", metrics=(metric(kind="proportion"),))
    assert only(believed(absolute, aggregates(blocks_of(arms)))).status is Status.OK


def test_a_proportion_tested_on_its_counts_has_the_error_at_its_estimate() -> None:
    """The score test's error is that of no effect; a likelihood is not. With a few outcomes it is not normal either."""
    buys = metric(kind="proportion", test="score")
    arms = {"control": np.repeat([1.0, 0.0], [100, 900]), "t1": np.repeat([1.0, 0.0], [160, 840])}
    row = only(believed(asked(metrics=(buys,)), aggregates(blocks_of(arms))))
    error = np.sqrt(0.1 * 0.9 / 999 + 0.16 * 0.84 / 999)
    belief = posterior(0.06, error, 0.03)
    assert (row.estimate, row.standard_error) == (
        pytest.approx(belief.mean, rel=1e-9),
        pytest.approx(belief.sd, rel=1e-9),
    )
    few = {arm: values[95:] for arm, values in arms.items()}
    rare = only(believed(asked(metrics=(buys,)), aggregates(blocks_of(few))))
    assert (rare.status, rare.chance_better) == (Status.NOT_APPLICABLE, None)
