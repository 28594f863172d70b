"""SRM rows agree with SciPy; while users arrive the sequential evidence decides, afterwards Pearson's test."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import numpy as np
import pytest
from scipy import special, stats

from analyses.ramped import STARTS, day_of, ramped, users_of
from analyses.simulated import BEFORE_END, END, aggregates, block, experiment, metric
from exp_platform.aggregates import Arrivals
from exp_platform.analyses import srm
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Role
from exp_platform.config.plans import AnalysisPlan

PLAN = experiment(metric(), shares=(0.5, 0.3, 0.2))


def analyse(
    assigned: dict[str, int], crossovers: dict[str, int], as_of: date = END, spec: Experiment = PLAN
) -> dict[str, ResultRow]:
    rows = srm.analyse(spec, aggregates([], as_of, assigned=assigned, crossovers=crossovers))
    return {r.segment_value: r for r in rows if isinstance(r, ResultRow)}


def test_assigned_and_analysed_users_against_the_plan_and_crossovers_against_the_assigned() -> None:
    rows = analyse({"control": 5030, "t1": 2960, "t2": 2010}, {"control": 60, "t1": 20, "t2": 25})
    expected = {
        "assigned": stats.chisquare([5030, 2960, 2010], [5000, 3000, 2000]),
        "analysed": stats.chisquare([4970, 2940, 1985], np.array([0.5, 0.3, 0.2]) * 9895),
        "crossovers": stats.chisquare([60, 20, 25], np.array([5030, 2960, 2010]) * 105 / 10000),
    }
    assert rows.keys() == expected.keys()
    for value, row in rows.items():
        assert row.statistic == pytest.approx(expected[value].statistic, rel=1e-9, abs=0)
        assert row.p_value == pytest.approx(expected[value].pvalue, rel=1e-9, abs=0)
        assert (row.degrees_of_freedom, row.verdict, row.alpha) == (2, "ok", 0.001)
    assert (rows["assigned"].n_control, rows["assigned"].n_treatment) == (5030, 4970)
    assert "control: 5,030 (50.30 %, expected 50.00 %)" in str(rows["assigned"].message)


def test_the_e_value_is_the_bayes_factor_of_a_uniform_prior() -> None:
    row = analyse({"control": 260, "t1": 150, "t2": 90}, {})["assigned"]
    n, shares = np.array([260, 150, 90]), np.array([0.5, 0.3, 0.2])
    log_marginal = special.gammaln(3) + special.gammaln(n + 1).sum() - special.gammaln(n.sum() + 3)
    assert row.e_value == pytest.approx(np.exp(log_marginal - n @ np.log(shares)), rel=1e-9, abs=0)


def test_p_below_a_thousandth_is_a_mismatch_once_all_users_are_in_and_not_before() -> None:
    counts = {"control": 5190, "t1": 2910, "t2": 1900}
    late, early = analyse(counts, {}, END)["assigned"], analyse(counts, {}, BEFORE_END)["assigned"]
    assert late.p_value == early.p_value
    assert late.p_value is not None
    assert late.e_value is not None
    assert late.p_value < 0.001
    assert late.e_value < 1000
    assert (late.verdict, early.verdict) == ("mismatch", "ok")


def test_overwhelming_evidence_is_a_mismatch_at_any_time() -> None:
    assert (
        analyse({"control": 6000, "t1": 2500, "t2": 1500}, {}, BEFORE_END)["assigned"].verdict == "mismatch"
    )


def test_losing_crossovers_of_one_arm_shows_after_exclusion() -> None:
    rows = analyse({"control": 5000, "t1": 3000, "t2": 2000}, {"control": 500})
    assert [r.verdict for r in rows.values()] == ["ok", "mismatch", "mismatch"]


def test_crossovers_that_are_kept_are_not_taken_away() -> None:
    spec = experiment(metric(), shares=(0.5, 0.3, 0.2), analyses=AnalysisPlan(crossovers="first"))
    rows = analyse({"control": 5000, "t1": 3000, "t2": 2000}, {"control": 5}, spec=spec)
    assert list(rows) == ["assigned", "crossovers"]


def ramp(*periods: dict[str, int], crossovers: tuple[dict[str, int], ...] = ({}, {})) -> list[ResultRow]:
    """90 : 10 to 5 March, then 50 : 50."""
    spec = ramped(metric(), shares=((0.9, 0.1), (0.5, 0.5)))
    total = {arm: sum(p[arm] for p in periods) for arm in ("control", "t1")}
    came = {str(s): Arrivals(p, x) for s, p, x in zip(STARTS, periods, crossovers, strict=False)}
    lost = {arm: sum(x.get(arm, 0) for x in crossovers) for arm in total}
    day = replace(aggregates([], assigned=total, crossovers=lost), periods=came)
    return [r for r in srm.analyse(spec, day) if isinstance(r, ResultRow)]


def test_a_ramp_raises_no_alarm_though_pooled_counts_are_far_from_any_share() -> None:
    rows = {
        (r.segment, r.segment_value): r
        for r in ramp({"control": 8977, "t1": 1023}, {"control": 2010, "t1": 1990})
    }
    row = rows["users", "assigned"]
    first = stats.chisquare([8977, 1023], [9000, 1000]).statistic
    second = stats.chisquare([2010, 1990], [2000, 2000]).statistic
    assert row.statistic == pytest.approx(first + second, rel=1e-9, abs=0)
    assert row.p_value == pytest.approx(stats.chi2.sf(first + second, 2), rel=1e-9, abs=0)
    assert (row.verdict, row.degrees_of_freedom) == ("ok", 2)
    assert "control: 10,987 (78.48 %, expected 78.57 %)" in str(row.message)
    part = rows["allocation_period × users", "2025-03-01 × assigned"]
    assert part.statistic == pytest.approx(first, rel=1e-9, abs=0)
    assert part.verdict is None  # it says where, the joint test says whether


def test_a_broken_period_is_found_where_totals_look_fine() -> None:
    """The second allocation never took effect, and the first one was the second's: 50 : 50, then 90 : 10."""
    rows = ramp({"control": 5000, "t1": 5000}, {"control": 9000, "t1": 1000})
    assert rows[0].n_control == pytest.approx(10_000 * 1.4, abs=0)  # as planned
    assert rows[0].verdict == "mismatch"


def test_crossovers_are_compared_within_periods() -> None:
    """Most of control's users came in the first period, when users crossed over three times as often."""
    counts = ({"control": 9000, "t1": 1000}, {"control": 5000, "t1": 5000})
    alike = ramp(*counts, crossovers=({"control": 270, "t1": 30}, {"control": 50, "t1": 50}))
    uneven = ramp(*counts, crossovers=({"control": 240, "t1": 60}, {"control": 50, "t1": 50}))
    verdicts = [[r.verdict for r in rows if r.segment_value == "crossovers"] for rows in (alike, uneven)]
    assert verdicts == [["ok"], ["mismatch"]]


def within(*segments: dict[str, tuple[int, int]], as_of: date = END) -> list[ResultRow]:
    """The rows of segments `s0`, `s1`, ... whose values have so many users in control and treatment, 50 : 50 planned."""
    blocks = [
        block("orders", arm, np.arange(n[i]), segment=f"s{position}", segment_value=value)
        for position, segment in enumerate(segments)
        for value, n in segment.items()
        for i, arm in enumerate(("control", "t1"))
    ]
    names = tuple(f"s{position}" for position in range(len(segments)))
    everybody = {arm: sum(n[i] for n in segments[0].values()) for i, arm in enumerate(("control", "t1"))}
    spec = experiment(metric("orders"), segments=names)
    rows = srm.analyse(spec, aggregates(blocks, as_of, assigned=everybody))
    return [r for r in rows if isinstance(r, ResultRow) and r.segment in names]


def test_an_assignment_that_depends_on_a_segment_is_found_though_all_together_are_split_as_planned() -> None:
    (row,) = within({"phone": (3000, 7000), "desktop": (6990, 3010), "tablet": (40, 40)})
    expected = sum(stats.chisquare(n).statistic for n in ([3000, 7000], [6990, 3010], [40, 40]))
    assert row.statistic == pytest.approx(expected, rel=1e-9, abs=0)
    assert (row.segment_value, row.degrees_of_freedom, row.verdict) == ("all", 3, "mismatch")
    assert (row.n_control, row.n_treatment) == (10_030, 10_050)
    assert "furthest from the plan is phone: control: 3,000 (30.00 %, expected 50.00 %)" in str(row.message)


def test_segments_share_the_level() -> None:
    odd = {"a": (4855, 5145), "b": (5120, 4880)}
    p = stats.chi2.sf(sum(stats.chisquare(n).statistic for n in odd.values()), 2)
    assert 0.0005 < p < 0.001
    assert [r.verdict for r in within(odd)] == ["mismatch"]
    assert [r.verdict for r in within(odd, {"c": (5000, 5000)})] == ["ok", "ok"]


def test_while_users_arrive_one_broken_value_among_many_is_enough() -> None:
    many = {f"c{i}": (500, 500) for i in range(50)}
    (fine,) = within(many, as_of=BEFORE_END)
    (broken,) = within(many | {"x": (300, 700), "y": (700, 300)}, as_of=BEFORE_END)
    assert (fine.verdict, broken.verdict) == ("ok", "mismatch")


def test_the_mean_of_the_values_evidence_rarely_calls_a_random_split_a_mismatch() -> None:
    rng = np.random.default_rng(5)
    alarms = 0
    for _ in range(300):
        n = rng.multinomial(2000, [0.5, 0.3, 0.15, 0.05])
        treated = rng.binomial(n, 0.5)
        (row,) = within({f"v{i}": (a - b, b) for i, (a, b) in enumerate(zip(n, treated, strict=True))})
        alarms += row.verdict == "mismatch"
    assert alarms <= 3  # .001 each: more than 3 of 300 happen once in three thousand times


def test_values_under_a_ramp_are_held_against_their_periods_shares() -> None:
    shares = ((0.9, 0.1), (0.5, 0.5))
    frame = users_of(3, (4000, 4000), shares, (1.0, 2.0))
    spec = ramped(metric("orders"), shares=shares, segments=("tier",))
    found = [r for r in srm.analyse(spec, day_of(frame, "orders", ["y"], ("value",))) if r.segment == "tier"]  # type: ignore[union-attr]
    assert [r.verdict for r in found] == ["ok"]  # type: ignore[union-attr]
    assert found[0].degrees_of_freedom == 4  # type: ignore[union-attr]


def test_small_counts_are_tested_exactly() -> None:
    spec = experiment(metric(), shares=(0.9, 0.1))
    row = analyse({"control": 12, "t1": 8}, {}, spec=spec)["assigned"]
    assert row.p_value == pytest.approx(stats.binomtest(8, 20, 0.1).pvalue, rel=1e-9, abs=0)


def test_an_arm_without_users_is_a_mismatch_and_has_no_crossovers_to_compare() -> None:
    rows = analyse({"control": 500}, {})
    assert rows["assigned"].verdict == "mismatch"
    assert "crossovers" not in rows


def test_nobody_is_no_evidence() -> None:
    rows = analyse({}, {})
    assert {r.status for r in rows.values()} == {Status.INSUFFICIENT_DATA}
    assert {(r.p_value, r.verdict) for r in rows.values()} == {(None, None)}


def test_no_crossovers_are_no_evidence_about_crossovers() -> None:
    row = analyse({"control": 5000, "t1": 3000, "t2": 2000}, {})["crossovers"]
    assert (row.status, row.verdict) == (Status.INSUFFICIENT_DATA, None)


def with_value(
    kept: tuple[int, int], users: tuple[int, int] = (10033, 9967), as_of: date = END, **more: object
) -> ResultRow | None:
    """The row of a metric that these of the users have a value of."""
    m = metric("revenue", **{"missing": "exclude", **more})  # type: ignore[arg-type]
    blocks = [block("revenue", v, np.arange(n)) for v, n in zip(("control", "t1"), kept, strict=True)]
    assigned = dict(zip(("control", "t1"), users, strict=True))
    rows = srm.analyse(experiment(m), aggregates(blocks, as_of, assigned=assigned))
    return next((r for r in rows if isinstance(r, ResultRow) and r.metric_id == "revenue"), None)


def test_values_lost_in_one_arm_are_a_mismatch_although_users_were_split_as_planned() -> None:
    row = with_value((10033, 9263))
    assert row is not None
    expected = stats.chi2_contingency([[0, 704], [10033, 9263]], correction=False)
    assert row.statistic == pytest.approx(expected.statistic, rel=1e-9)
    assert row.log10_p == pytest.approx(np.log10(expected.pvalue), rel=1e-9)
    assert (row.verdict, row.segment_value) == ("mismatch", "with_value")
    assert row.message == (
        "control: 10,033 of 10,033 users have a value; t1: 9,263 of 9,967 users have a value"
    )
    early = with_value((10033, 9263), as_of=BEFORE_END)
    assert early is not None
    assert early.verdict == "mismatch"  # no need to wait for the end


@pytest.mark.parametrize("kept", [(9530, 9470), (950, 1010)])
def test_values_lost_alike_are_none(kept: tuple[int, int]) -> None:
    row = with_value(kept)
    assert row is not None
    assert row.verdict == "ok"


def test_the_value_of_most_users_may_be_missing_and_the_arms_still_differ() -> None:
    """5 % against 7 % of users have a value: 95 and 93 % without one are much the same."""
    row = with_value((500, 700))
    assert row is not None
    assert row.verdict == "mismatch"


@pytest.mark.parametrize(
    "more", [{"missing": "zero"}, {"role": Role.SECONDARY}, {"role": Role.INFORMATIONAL}]
)
def test_only_metrics_that_decide_and_leave_users_out_are_asked(more: dict[str, object]) -> None:
    assert with_value((10033, 9263), **more) is None


def test_a_metric_that_everybody_has_a_value_of_has_nothing_to_test() -> None:
    row = with_value((10033, 9967))
    assert row is not None
    assert (row.status, row.verdict) == (Status.NOT_APPLICABLE, None)


@pytest.mark.parametrize("as_of", [BEFORE_END, END])
@pytest.mark.parametrize("share", [0.003, 0.05, 0.5, 0.97])
def test_values_lost_by_chance_are_hardly_ever_a_mismatch(share: float, as_of: date) -> None:
    """At .001: more than 8 of 1,000 have a chance below 1e-5 (binomial)."""
    rng = np.random.default_rng(3)
    found = [with_value(tuple(rng.binomial((400, 400), 1 - share)), (400, 400), as_of) for _ in range(1000)]
    assert sum(row is not None and row.verdict == "mismatch" for row in found) <= 8
