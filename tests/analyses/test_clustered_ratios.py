"""Ratios whose analysis unit lies below the randomised one: cluster-robust regression gives the same numbers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from exp_platform.aggregates import Aggregates
from exp_platform.analyses import ab, guardrails, segments
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.experiment import Experiment, Variant
from exp_platform.config.metrics import Effect, Guardrail, Measure
from exp_platform.config.plans import DecisionPlan
from kernels.cases import Data, Exposure, Outcome, aggregates_of, events_experiment, local, metric

REFERENCE = json.loads((Path(__file__).parents[1] / "references/clustered_ratios/values.json").read_text())
ARMS: dict[str, list[list[float]]] = REFERENCE["arms"]  # households of each arm, each with its orders


def spec(agg: str = "count") -> Experiment:
    """The value of an order (or of a buying household), randomised by household: one look, so plain intervals."""
    value = metric(
        "order_value",
        "ratio",
        Measure("order", "sum"),
        denominator=Measure("order", agg),  # type: ignore[arg-type]
        guardrail=Guardrail(Effect(0.05, "relative"), "warning"),
    )
    return events_experiment(
        metrics=(value,),
        segments=("region",),
        variants=(Variant("control", 0.5), Variant("blue", 0.5)),
        decision=DecisionPlan(sequential_share=0),
    )


def aggregated(experiment: Experiment, buckets: int = 3) -> Aggregates:
    """Households as users: every member's orders stand under the household's id, over several days."""
    data = Data()
    for arm, households in ARMS.items():
        for i, orders in enumerate(households):
            data.exposures.append(Exposure(f"{arm}{i}", arm, local(experiment, 0), {"region": "north"}))
            for k, value in enumerate(orders):
                data.outcomes.append(Outcome(f"{arm}{i}", "order", local(experiment, k % 4 + 1, k), value))
    (day,) = aggregates_of(data, experiment, [experiment.window.end], buckets)
    return day


def only(rows: list[object]) -> ResultRow:
    (row,) = rows
    assert isinstance(row, ResultRow)
    assert row.status is Status.OK
    return row


def test_a_ratio_over_households_is_a_regression_of_orders_clustered_by_household() -> None:
    row = only(ab.analyse(spec(), aggregated(spec())))
    assert (row.n_control, row.n_treatment) == (160, 120)  # households, those without an order included
    for column, value in REFERENCE["expected"].items():
        assert getattr(row, column) == pytest.approx(value, rel=1e-9, abs=0), column


def test_one_regression_of_both_arms_differs_by_its_small_sample_factor_alone() -> None:
    row, both = only(ab.analyse(spec(), aggregated(spec()))), REFERENCE["regression_of_both_arms"]
    assert row.estimate == pytest.approx(both["coefficient"], rel=1e-9)
    assert row.sd_control is not None
    assert row.sd_treatment is not None
    without = np.sqrt(row.sd_control**2 * 159 / 160**2 + row.sd_treatment**2 * 119 / 120**2)
    assert without == pytest.approx(both["clustered_error_without_factor"], rel=1e-9)


def test_orders_of_a_household_do_not_count_as_independent() -> None:
    """As if 676 orders had been randomised, the error would be little more than half of what it is."""
    row = only(ab.analyse(spec(), aggregated(spec())))
    assert row.standard_error is not None
    assert row.standard_error > 1.7 * REFERENCE["regression_of_both_arms"]["error_if_orders_were_independent"]


def test_guardrails_and_segments_are_clustered_alike() -> None:
    expected = REFERENCE["expected"]
    for rows in (
        guardrails.analyse(spec(), aggregated(spec())),
        segments.analyse(spec(), aggregated(spec()))[:1],
    ):
        row = only(rows)  # type: ignore[arg-type]
        assert row.estimate == pytest.approx(expected["estimate"], rel=1e-9)
        assert row.standard_error == pytest.approx(expected["standard_error"], rel=1e-9)


def test_revenue_per_converter_is_over_converters_and_never_over_all_users() -> None:
    """Revenue over buyers: the mean of those who bought, with the error of such a mean, whoever else was exposed."""
    row = only(ab.analyse(spec("any"), aggregated(spec("any"))))
    for side, households in zip(("control", "treatment"), ARMS.values(), strict=True):
        bought = np.array([sum(orders) for orders in households if orders])
        n = len(households)
        assert len(bought) < n
        assert getattr(row, f"mean_{side}") == pytest.approx(bought.mean(), rel=1e-12)
        error = np.sqrt(((bought - bought.mean()) ** 2).sum() * n / (n - 1)) / len(bought)
        assert getattr(row, f"sd_{side}") / np.sqrt(n) == pytest.approx(error, rel=1e-9)


def test_a_household_that_buys_on_several_days_is_one_converter() -> None:
    """Distinct users of days never add up: a household with orders on four days is one in the denominator."""
    day = aggregated(spec("any"))
    for arm, households in ARMS.items():
        block = day.block("order_value", arm)
        assert block is not None
        converters = sum(bool(orders) for orders in households)
        assert block.moments.n * block.moments.mean[1] == pytest.approx(converters, rel=1e-12)
        rows = [row for row in day.daily if row.variant_id == arm]
        assert sum(row.denominator_sum or 0 for row in rows) == converters
        assert sum(row.active_users for row in rows) > converters  # what adding up days would have counted
