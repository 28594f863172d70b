"""The relative interval that a spec chooses: published numbers in the row, and no verdict that follows it."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from scipy import stats

from analyses.simulated import aggregates, block, experiment, metric
from decision.cases import PASSED, before_any_run, codes
from exp_platform.aggregates import ALL, Aggregates, Block
from exp_platform.analyses import ab, cuped, guardrails, segments
from exp_platform.analyses.registry import analyse_all
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Effect, Guardrail, Metric, Role
from exp_platform.config.plans import AnalysisPlan, DecisionPlan, RelativeMethod
from exp_platform.decision import decide
from exp_platform.stats.moments import Moments

REFERENCES = Path(__file__).parents[1] / "references" / "variance_reduction"
METHODS: tuple[RelativeMethod, ...] = ("fieller", "delta", "log")
ONCE = DecisionPlan(sequential_share=0.0)  # intervals of 95 %


def chosen(by: RelativeMethod, *metrics: Metric, **more: object) -> Experiment:
    return experiment(*metrics, analyses=AnalysisPlan(relative_interval=by), **more)  # type: ignore[arg-type]


def results(rows: Iterable[Row]) -> list[ResultRow]:
    return [row for row in rows if isinstance(row, ResultRow)]


def of_moments(variant: str, n: int, mean: float, m2: float) -> Block:
    moments = Moments(n, np.array([mean]), np.array([[m2]]))
    return Block("total", "orders", variant, ALL, ALL, ("value",), moments, successes=n)


def exactly(mean: float, sd: float, n: int = 1000) -> np.ndarray:
    spread = np.tile([-1.0, 1.0], n // 2)
    return mean + sd * spread / spread.std(ddof=1)


@pytest.mark.parametrize(
    ("by", "low", "high", "kind"),
    [
        ("fieller", 0.0699871179, 0.1308583278, "BOUNDED"),
        ("log", 0.0699901377, 0.1308515446, "APPROXIMATE"),
        ("delta", 0.0695731767, 0.1304268233, "APPROXIMATE"),
    ],
)
def test_each_method_gives_its_numbers(by: RelativeMethod, low: float, high: float, kind: str) -> None:
    """Means 50 and 55 with variances .25 and .30, computed outside this project with the normal critical value.

    At a thousand million users per arm the t distribution is the normal one to the digits shown.
    """
    n = 10**9
    arms = (of_moments("control", n, 50.0, 0.25 * n * (n - 1)), of_moments("t1", n, 55.0, 0.30 * n * (n - 1)))
    (row,) = results(ab.analyse(chosen(by, metric(), decision=ONCE), aggregates(arms)))
    assert (row.status, row.relative_kind, row.ci_level) == (Status.OK, kind, 0.95)
    assert (row.relative, row.relative_low, row.relative_high) == pytest.approx((0.1, low, high), abs=6e-11)
    beside = (None, None) if by == "fieller" else pytest.approx((0.0699871179, 0.1308583278), abs=6e-11)
    assert (row.fieller_low, row.fieller_high) == beside


def test_delta_may_contradict_the_test_and_decides_nothing() -> None:
    """gbstats on the same sums: p .0201584 of the difference, and a relative interval that holds no effect."""
    sums = {"control": (1396.87, 52377.9767, 3407), "t1": (2422.7, 134698.29, 3461)}
    arms = [of_moments(v, n, total / n, squares - total**2 / n) for v, (total, squares, n) in sums.items()]
    found = {
        by: results(ab.analyse(chosen(by, metric(), decision=ONCE), aggregates(arms)))[0] for by in METHODS
    }
    delta = found["delta"]
    assert (delta.relative_low, delta.relative_high) == pytest.approx((-0.0352600891, 1.44989424), abs=5e-9)
    assert delta.p_value == pytest.approx(0.0201584, abs=5e-8)
    assert delta.significant is True
    assert (delta.fieller_low, delta.fieller_high) == pytest.approx((0.0942, 1.708), abs=1e-3)
    for row in found.values():
        same = ("estimate", "ci_low", "ci_high", "p_value", "p_adjusted", "significant", "relative")
        assert [getattr(row, name) for name in same] == [getattr(delta, name) for name in same]


@pytest.mark.parametrize("by", ["delta", "log"])
def test_adjusted_rows_count_the_covariance_of_their_means(by: RelativeMethod) -> None:
    """Means and covariance of three adjusted arms by statsmodels, from regressions on the same users."""
    with (REFERENCES / "users.csv").open() as file:
        users = list(csv.DictReader(file))
    names = ("x1", "x2", "x3")
    blocks = [
        block(
            "orders",
            v,
            np.array([[float(u[c]) for c in ("y", *names)] for u in users if u["arm"] == arm]),
            ("value", *names),
        )
        for arm, v in (("0", "control"), ("1", "t1"), ("2", "t2"))
    ]
    spec = chosen(by, metric(covariates=names), shares=(0.5, 0.3, 0.2))
    rows = results(cuped.analyse(spec, aggregates(blocks)))
    expected = json.loads((REFERENCES / "values.json").read_text())["adjusted"]["mean three pooled whole"]
    mean, covariance = np.array(expected["mean"]), np.array(expected["covariance"])
    for arm, row in enumerate(rows, start=1):
        assert row.alpha is not None
        critical = stats.t(row.degrees_of_freedom).ppf(1 - row.alpha / 2)
        ratio = mean[arm] / mean[0]
        gradient = np.array([-ratio, 1.0]) / mean[0]
        v = covariance[np.ix_([0, arm], [0, arm])]
        error = np.sqrt(gradient @ v @ gradient)
        assert error < 0.99 * np.sqrt(gradient**2 @ np.diag(v))  # the covariance counts
        if by == "delta":
            ends = (ratio - 1 - critical * error, ratio - 1 + critical * error)
        else:
            ends = (
                ratio * np.exp(-critical * error / ratio) - 1,
                ratio * np.exp(critical * error / ratio) - 1,
            )
        assert (row.method, row.relative_kind) == ("cuped", "APPROXIMATE")
        assert (row.relative_low, row.relative_high) == pytest.approx(ends, rel=1e-8, abs=0)


def test_segments_follow_the_choice_and_guardrails_keep_fieller() -> None:
    guard = Guardrail(Effect(0.27, "relative"), "critical")
    arms = {"control": exactly(10, 31.6), "t1": exactly(10, 31.6)}
    blocks = [block("orders", v, a) for v, a in arms.items()]
    blocks += [block("orders", v, a, segment="device", segment_value="phone") for v, a in arms.items()]
    m = metric(guardrail=guard)
    spec = {by: chosen(by, m, segments=("device",)) for by in METHODS}
    phone = results(segments.analyse(spec["log"], aggregates(blocks)))[0]
    assert phone.relative_kind == "APPROXIMATE"
    rows = {by: guardrails.analyse(spec[by], aggregates(blocks)) for by in METHODS}
    assert rows["fieller"] == rows["delta"] == rows["log"]
    (row,) = results(rows["delta"])
    (shown,) = results(ab.analyse(spec["delta"], aggregates(blocks)))
    assert (row.relative_kind, row.verdict) == ("BOUNDED", "non_inferior")
    assert shown.relative_low is not None
    assert shown.relative_low < -0.27  # delta would not have proven it


@pytest.mark.parametrize(("direction", "mde", "excluded"), [(1, 0.3, False), (-1, 0.27, True)])
def test_no_decision_follows_the_choice(direction: int, mde: float, excluded: bool) -> None:
    """Both means 10 with an error of 1 at critical 2: Fieller (-.25, .33), delta and its answer to the mde differ."""
    m = metric(direction=direction, mde=Effect(mde, "relative"))
    day = aggregates([block("orders", v, exactly(10, 31.6)) for v in ("control", "t1")])
    decisions = {by: decided(chosen(by, m, decision=DecisionPlan(power=0.4)), day) for by in METHODS}
    assert ("NO_EFFECT_OF_MDE" in codes(decisions["fieller"])) is excluded
    assert decisions["fieller"] == decisions["delta"] == decisions["log"]
    (shown,) = results(ab.analyse(chosen("delta", m), day))
    assert shown.relative_high is not None
    assert (shown.relative_high < mde) is not excluded


def decided(spec: Experiment, day: Aggregates) -> object:
    return decide(spec, before_any_run(spec), analyse_all(spec, day), [PASSED])


def test_a_log_of_two_signs_is_undefined_and_a_test_of_counts_keeps_its_own() -> None:
    values = {"control": exactly(1, 2), "t1": exactly(-1, 2)}
    day = aggregates(block("orders", v, a) for v, a in values.items())
    (row,) = results(ab.analyse(chosen("log", metric()), day))
    assert (row.status, row.relative_kind, row.significant) == (Status.OK, "UNDEFINED", True)
    assert (row.relative, row.relative_low, row.relative_high) == (pytest.approx(-2.0), None, None)
    assert row.fieller_low is not None
    m = metric("buys", "proportion", Role.PRIMARY, test="score")
    counts = aggregates(
        block("buys", v, np.repeat([1.0, 0.0], [k, 1000 - k])) for v, k in (("control", 90), ("t1", 120))
    )
    (own,) = results(ab.analyse(chosen("delta", m), counts))
    assert (own.test, own.relative_kind, own.fieller_low) == ("score", "BOUNDED", None)
    assert [own] == results(ab.analyse(chosen("fieller", m), counts))
