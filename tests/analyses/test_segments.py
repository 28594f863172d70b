"""Segments are tested as A/B is, on their own users, marked exploratory and corrected among themselves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy import stats

from analyses.simulated import BEFORE_END, aggregates, block, experiment, metric
from exp_platform.aggregates import Pooled
from exp_platform.analyses import segments
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.metrics import Role

SPEC = experiment(
    metric("orders"),
    metric("visits", role=Role.SECONDARY),
    metric("errors", role=Role.INFORMATIONAL),
    shares=(0.4, 0.3, 0.3),
    segments=("device", "tier"),
)
SIZES = {("device", "ios"): 400, ("device", "web"): 300, ("tier", "unknown"): 60}


def users() -> dict[tuple[str, str, str, str], np.ndarray]:
    rng = np.random.default_rng(3)
    return {
        (m, v, s, value): rng.normal(shift, 1, n)
        for m in ("orders", "visits", "errors")
        for shift, v in enumerate(("control", "t1", "t2"))
        for (s, value), n in SIZES.items()
    }


def of_values(rows: list[Any]) -> list[ResultRow]:
    """The rows of single values, not the joint ones."""
    return [r for r in rows if r.test != "interaction"]


def test_every_value_metric_of_the_family_and_treatment_has_a_row_that_agrees_with_scipy() -> None:
    values = users()
    rows = of_values(
        segments.analyse(
            SPEC, aggregates(block(m, v, x, segment=s, segment_value=w) for (m, v, s, w), x in values.items())
        )
    )
    assert len(rows) == 3 * 2 * 2
    for row in rows:
        assert isinstance(row, ResultRow)
        key = (row.segment, row.segment_value)
        control, treated = (
            values[row.metric_id, "control", *key],
            values[row.metric_id, row.treatment_id, *key],
        )
        test = stats.ttest_ind(treated, control, equal_var=False)
        assert row.status is Status.OK
        assert row.exploratory is True
        assert row.metric_id != "errors"
        assert row.p_value == pytest.approx(test.pvalue, rel=1e-9, abs=0)
        assert row.p_adjusted == pytest.approx(min(1.0, 12 * test.pvalue), rel=1e-9, abs=0)
        assert row.alpha == pytest.approx(0.045 / 12, rel=1e-12)
        assert row.significant is bool(test.pvalue < 0.045 / 12)
        assert row.always_valid_status is Status.NOT_APPLICABLE


def test_nothing_is_significant_before_the_planned_end() -> None:
    blocks = [block(m, v, x, segment=s, segment_value=w) for (m, v, s, w), x in users().items()]
    rows = segments.analyse(SPEC, aggregates(blocks, BEFORE_END))
    assert {r.significant for r in of_values(rows)} == {False}


@pytest.mark.parametrize("n_treatment", [0, 49])
def test_a_value_seen_in_one_arm_only_has_null_numbers(n_treatment: int) -> None:
    rng = np.random.default_rng(4)
    blocks = [block("orders", "control", rng.normal(size=500), segment="device", segment_value="tv")]
    if n_treatment:
        blocks.append(
            block("orders", "t1", rng.normal(size=n_treatment), segment="device", segment_value="tv")
        )
    (row,) = of_values(
        segments.analyse(experiment(metric("orders"), segments=("device",)), aggregates(blocks))
    )
    assert isinstance(row, ResultRow)
    assert (row.status, row.n_control, row.n_treatment) == (Status.INSUFFICIENT_DATA, 500, n_treatment)
    assert (row.estimate, row.p_value, row.significant) == (None, None, None)


def test_no_segment_makes_no_row() -> None:
    assert segments.analyse(experiment(metric("orders")), aggregates([])) == []


def test_pooled_values_are_one_more_and_their_rows_say_so() -> None:
    rng = np.random.default_rng(4)
    spec = experiment(metric("orders"), segments=("city", "tier"))
    sizes = {("city", "Rome"): 300, ("city", "(rarer values)"): 200, ("tier", "(rarer values)"): 150}
    blocks = [
        block("orders", v, rng.normal(size=n), segment=s, segment_value=w)
        for v in ("control", "t1")
        for (s, w), n in sizes.items()
    ]
    pooled = Pooled("(rarer values)", 59, 2441, False, 12345)
    made = aggregates(blocks, pooled={"city": {"city": pooled}})
    rows = {(r.segment, r.segment_value): r for r in segments.analyse(spec, made)}
    told = rows["city", "(rarer values)"].message
    assert told is not None
    for words in (
        "59 most frequent",
        "2,441 rarer ones of 12,345 users",
        "such as a region instead of a city",
    ):
        assert words in told
    joint = rows["city", "all"]
    assert joint.degrees_of_freedom == 1
    assert joint.message == "2,441 rarer values count as one, (rarer values)"
    others = [r for r in rows.values() if r.segment == "tier" or r.segment_value == "Rome"]
    assert all("rarer" not in (r.message or "") for r in others)
