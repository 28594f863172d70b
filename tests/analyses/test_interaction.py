"""The joint rows of segments: regression's interaction test, corrected apart, calibrated in small values, and its statuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analyses.simulated import BEFORE_END, END, aggregates, block, experiment, metric
from exp_platform.aggregates import ALL, Aggregates, Block
from exp_platform.analyses import segments
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.plans import DecisionPlan

# Made by tests/references/interaction/make.py: statsmodels' regression with treatment x segment and HC2 errors.
VALUES: dict[str, Any] = json.loads(
    (Path(__file__).parents[1] / "references/interaction/values.json").read_text()
)
SPEC = experiment(
    metric("minutes"),
    metric("bought", "proportion"),
    segments=("device",),
    decision=DecisionPlan(correction="holm"),
)


def of_users(users: dict[str, dict[str, list[Any]]]) -> list[Block]:
    return [
        block(m, v, np.array(arm), segment="device", segment_value=value)
        for m, values in users.items()
        for value, arms in values.items()
        for v, arm in zip(("control", "t1"), arms, strict=True)
    ]


def joint_rows(spec: Experiment, day: Aggregates) -> list[ResultRow]:
    rows = segments.analyse(spec, day)
    return [r for r in rows if isinstance(r, ResultRow) and r.test == "interaction"]


def one(values: dict[str, list[Any]], **more: Any) -> ResultRow:
    (row,) = joint_rows(
        experiment(metric("minutes", **more), segments=("device",)), aggregates(of_users({"minutes": values}))
    )
    return row


@pytest.mark.parametrize("name", ["minutes", "bought"])
def test_it_is_regressions_wald_test_of_treatment_by_segment(name: str) -> None:
    rows = {r.metric_id: r for r in joint_rows(SPEC, aggregates(of_users(VALUES["users"])))}
    row, expected = rows[name], VALUES["expected"][name]
    assert {key: getattr(row, key) for key in expected} == pytest.approx(expected, rel=1e-9, abs=0)
    arms = VALUES["users"][name].values()
    assert (row.n_control, row.n_treatment) == tuple(sum(len(a[side]) for a in arms) for side in (0, 1))
    assert (row.segment, row.segment_value, row.status, row.exploratory) == ("device", ALL, Status.OK, True)
    assert (row.correction, row.family_size, row.significant, row.verdict) == ("holm", 2, True, "different")


def test_before_the_planned_end_nothing_is_called_different() -> None:
    for row in joint_rows(SPEC, aggregates(of_users(VALUES["users"]), BEFORE_END)):
        assert row.p_value is not None
        assert (row.significant, row.significant_uncorrected, row.verdict) == (False, False, None)


def test_its_family_is_its_own() -> None:
    """Rows of single values are corrected for one another only, as if there were no joint rows."""
    day = aggregates(of_users(VALUES["users"]))
    sizes = {(r.test, r.family_size) for r in segments.analyse(SPEC, day) if isinstance(r, ResultRow)}
    assert sizes == {("welch", 8), ("interaction", 2)}


def test_a_lift_that_is_the_same_in_percent_differs_in_units_only(rng: np.random.Generator) -> None:
    means = {"small": 2.0, "large": 20.0}
    values = {
        name: [rng.normal(m * (1 + 0.2 * side), m / 10, 500) for side in (0, 1)] for name, m in means.items()
    }
    row = one(values)
    assert row.verdict == "different"
    assert row.p_relative is not None
    assert row.p_relative > 0.05


@pytest.fixture(name="rng")
def _rng() -> np.random.Generator:
    return np.random.default_rng(77)


def test_values_without_a_test_are_left_out_and_told(rng: np.random.Generator) -> None:
    good = {name: [rng.normal(size=80), rng.normal(size=80)] for name in "ab"}
    alone = one(good)
    row = one(
        {**good, "few": [rng.normal(size=80), rng.normal(size=49)], "still": [np.ones(80), np.ones(80)]}
    )
    assert (row.p_value, row.n_control) == (alone.p_value, 160)
    assert row.message == "2 of 4 values left out, as too few users or nothing that varies is in them"
    assert alone.message is None


def test_fewer_than_two_values_are_no_comparison(rng: np.random.Generator) -> None:
    row = one(
        {"a": [rng.normal(size=80), rng.normal(size=80)], "b": [rng.normal(size=9), rng.normal(size=9)]}
    )
    assert (row.status, row.p_value, row.verdict, row.significant) == (
        Status.INSUFFICIENT_DATA,
        None,
        None,
        None,
    )
    assert row.message == "1 of 2 values can be tested: a comparison needs two"
    constant = one({name: [np.ones(80), np.ones(80)] for name in "ab"})
    assert (constant.status, constant.p_value) == (Status.DEGENERATE, None)


def test_few_outcomes_are_a_caution(rng: np.random.Generator) -> None:
    def bought(successes: int) -> list[float]:
        return [1.0] * successes + [0.0] * (100 - successes)

    good, few = [bought(30), bought(40)], [bought(3), bought(9)]
    day = aggregates(of_users({"minutes": {"a": good, "b": good, "c": few}}))
    (row,) = joint_rows(experiment(metric("minutes", "proportion"), segments=("device",)), day)
    assert row.caution == "the arms of c have few or skewed outcomes: it may be found different too often"
    day = aggregates(of_users({"minutes": {"a": good, "b": good}}))
    (row,) = joint_rows(experiment(metric("minutes", "proportion"), segments=("device",)), day)
    assert row.caution is None


def test_quantiles_and_ratios_are_tested_too(rng: np.random.Generator) -> None:
    spec = experiment(metric("wait", "quantile", q=0.5), segments=("device",))
    found = [
        block(
            "wait", v, np.ones(400), segment="device", segment_value=name, quantile=q, quantile_error=1.0,
            quantile_low=q - 2, quantile_high=q + 2,
        )
        for name, effect in (("a", 0.0), ("b", 10.0))
        for v, q in (("control", 30.0), ("t1", 30.0 + effect))
    ]  # fmt: skip
    (row,) = joint_rows(spec, aggregates(found))
    assert row.statistic == pytest.approx(25.0)  # ten over the root of four
    assert row.verdict == "different"
    ratio = experiment(metric("a_visit", "ratio"), segments=("device",))
    cells = [
        block("a_visit", v, rng.poisson([3, 2], (300, 2)), ("value", "denominator"), "device", name)
        for name in "ab"
        for v in ("control", "t1")
    ]
    (row,) = joint_rows(ratio, aggregates(cells, END))
    assert (row.status, row.verdict) == (Status.OK, "equal")


def test_a_value_named_all_is_not_taken_for_the_joint_row(rng: np.random.Generator) -> None:
    values = {name: [rng.normal(size=80), rng.normal(size=80)] for name in ("all", "some")}
    spec = experiment(metric("minutes"), segments=("device",))
    rows = segments.analyse(spec, aggregates(of_users({"minutes": values})))
    assert [(r.segment_value, r.test) for r in rows if isinstance(r, ResultRow)] == [
        ("all", "welch"), ("some", "welch"), ("all", "interaction"),
    ]  # fmt: skip
