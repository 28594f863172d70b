"""Plans against statsmodels' power calculations, and what they say where an input is missing."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import date
from pathlib import Path

import pytest
from scipy import optimize, stats
from statsmodels.stats.power import tt_ind_solve_power

from analyses.simulated import END, START, UNITS, experiment, metric
from exp_platform.analyses.planned import Expected
from exp_platform.analyses.rows import ResultRow, Status
from exp_platform.config.metrics import DayWindow, Effect, Guardrail, Role, Winsorise
from exp_platform.config.plans import DecisionPlan
from exp_platform.planning.arrivals import Arrivals
from exp_platform.planning.known import Known, known_of
from exp_platform.planning.metric_plan import plan_metric

REFERENCE = json.loads((Path(__file__).parents[1] / "references" / "planning" / "values.json").read_text())
ONCE = DecisionPlan(sequential_share=0.0)  # all of alpha for the one look
SPEND = Known(10.0, 10.0, {"cuped": 0.4}, "results")


def test_users_for_the_mde_of_a_mean_are_those_of_the_t_test_at_the_corrected_level() -> None:
    m = metric("spend", mde=Effect(0.5, "absolute"))
    spec = experiment(m, metric("other", role=Role.SECONDARY))
    found = plan_metric(spec, m, given=Expected(10.0, 10.0), arrivals=Arrivals(100.0))
    per_arm = tt_ind_solve_power(effect_size=0.05, alpha=0.045 / 2, power=0.8)
    assert found.required_users == pytest.approx(2 * per_arm, abs=2)
    assert found.required_days == pytest.approx(2 * per_arm / 100, abs=1)
    assert found.alpha == pytest.approx(0.0225)


def test_of_several_treatments_the_smallest_decides_at_the_level_that_all_share() -> None:
    expected = REFERENCE["several"]
    m = metric("spend", mde=Effect(expected["effect"], "absolute"))
    spec = experiment(m, metric("other", role=Role.SECONDARY), shares=list(expected["shares"].values()))
    found = plan_metric(spec, m, given=Expected(3.0, expected["sd"]))
    # statsmodels pools the variances: with 710 users in the smallest arm that is worth 0.2 %.
    assert found.required_users == pytest.approx(expected["users"], rel=2e-3)
    assert found.required_by_variant == {
        name: pytest.approx(found.required_users * share, abs=0.5)
        for name, share in expected["shares"].items()
    }


def test_primaries_that_come_first_have_alpha_of_their_own() -> None:
    m = metric("spend", mde=Effect(0.5, "absolute"))
    second = metric("other", role=Role.SECONDARY, mde=Effect(0.5, "absolute"))
    spec = experiment(m, second, decision=replace(ONCE, family="primary_first"))
    first, gated = (plan_metric(spec, x, given=Expected(10.0, 10.0)) for x in (m, second))
    assert (first.alpha, gated.alpha) == (0.05, 0.05)
    assert first.notes == ()
    assert "where every primary metric is too" in gated.notes[0]


def test_the_smallest_effect_is_found_with_the_planned_power() -> None:
    m = metric("spend")
    found = plan_metric(experiment(m), m, users=12560, given=Expected(10.0, 10.0))
    assert found.finds.smallest_effect is not None
    power = tt_ind_solve_power(effect_size=found.finds.smallest_effect / 10, alpha=0.045, nobs1=6280)
    assert power == pytest.approx(0.8, abs=1e-6)


def test_the_power_of_given_users() -> None:
    m = metric("spend", mde=Effect(0.5, "absolute"))
    found = plan_metric(experiment(m), m, users=6000, given=Expected(10.0, 10.0))
    expected = tt_ind_solve_power(effect_size=0.05, alpha=0.045, nobs1=3000)
    assert found.finds.power == pytest.approx(expected, rel=1e-9)


def test_a_decrease_is_planned_where_a_decrease_is_good() -> None:
    m = metric("errors", "proportion", direction=-1)
    found = plan_metric(experiment(m), m, users=10000, given=Expected(0.2))
    assert found.finds.smallest_effect is not None
    assert found.finds.smallest_effect < 0


@pytest.mark.parametrize("kind", ["proportion", "retention"])
def test_the_score_test_at_unequal_arms_is_planned_as_it_is_tested(kind: str) -> None:
    """statsmodels: 180,000 and 20,000 users find 0.5 % + 0.16 points with 82.33 %."""
    baseline, effect, n0, n1, alpha, expected = REFERENCE["score"][3]
    m = metric("buys", kind, test="score", mde=Effect(effect, "absolute"), baseline=baseline)
    spec = experiment(m, shares=(0.9, 0.1), decision=replace(ONCE, alpha=alpha))
    assert plan_metric(spec, m, users=n0 + n1).finds.power == pytest.approx(expected, rel=1e-9)
    by_welch = replace(m, test="welch")
    unlike = plan_metric(replace(spec, metrics=(by_welch,)), by_welch, users=n0 + n1).finds.power
    assert unlike is not None
    assert unlike < expected - 0.05


def test_what_cuped_is_known_to_gain_is_told_and_counts_where_it_decides() -> None:
    m = metric("spend", mde=Effect(0.5, "absolute"), covariates=["before"])
    per_arm = tt_ind_solve_power(effect_size=0.05, alpha=0.045, power=0.8)
    plain = plan_metric(experiment(m), m, known=SPEND)
    assert plain.required_users == pytest.approx(2 * per_arm, abs=2)
    assert plain.gains == {"cuped": 0.4}
    assert plain.required_by_estimate["cuped"] == pytest.approx(2 * per_arm * 0.6, abs=3)
    decides = experiment(m, decision=DecisionPlan(estimate="cuped"))
    adjusted = plan_metric(decides, m, known=SPEND)
    assert adjusted.required_users == plain.required_by_estimate["cuped"]
    assert adjusted.expected.variance_reduction == 0.4
    unknown = plan_metric(decides, m, given=Expected(10.0, 10.0))
    assert unknown.required_users == pytest.approx(2 * per_arm, abs=2)
    assert "what it gains is not known" in unknown.notes[0]
    given = plan_metric(decides, m, known=SPEND, given=Expected(variance_reduction=0.5))
    assert given.required_users == pytest.approx(2 * per_arm * 0.5, abs=3)


def test_an_adjusted_proportion_is_planned_by_welch_as_it_is_tested() -> None:
    m = metric("buys", "proportion", test="score", covariates=["before"], baseline=0.1)
    m = replace(m, mde=Effect(0.02, "absolute"))
    adjusted = experiment(m, shares=(0.9, 0.1), decision=DecisionPlan(estimate="cuped"))
    welch = experiment(replace(m, test="welch"), shares=(0.9, 0.1))
    nothing_gained = plan_metric(adjusted, m, given=Expected(variance_reduction=0.0))
    assert nothing_gained.required_users == plan_metric(welch, welch.metrics[0]).required_users


def test_a_guardrail_is_planned_to_be_proven_within_its_margin_if_nothing_changes() -> None:
    """The limit is 0.95 control, with 0.95^2 of its variance; two-sided at the uncorrected level."""
    guard = Guardrail(Effect(0.05, "relative"), "critical")
    m = metric("minutes", role=Role.GUARDRAIL, guardrail=guard)
    spec = experiment(metric("orders"), m, shares=(0.5, 0.5))
    found = plan_metric(spec, m, given=Expected(4.0, 3.0))
    z = stats.norm.isf(0.045 / 2) + stats.norm.isf(0.2)
    expected = 2 * z**2 * 9 * (1 + 0.95**2) / 0.2**2
    assert (found.target, found.effect) == ("margin", pytest.approx(0.2))
    assert found.required_users == pytest.approx(expected, rel=1e-3)


def test_users_are_at_least_those_that_are_compared_at_all() -> None:
    huge = metric("spend", mde=Effect(50.0, "absolute"))
    found = plan_metric(experiment(huge, shares=(0.8, 0.2)), huge, users=240, given=Expected(10.0, 10.0))
    assert found.required_users == 250  # 50 in the smaller arm
    assert (found.finds.power, found.finds.smallest_effect) == (None, None)  # 48 there are INSUFFICIENT_DATA


class TestDurations:
    """100 users a day, a week's window."""

    M = metric("spend", mde=Effect(2.0, "absolute"), window=DayWindow(0, 7))
    PLAN = plan_metric(experiment(M), M, given=Expected(10.0, 10.0), arrivals=Arrivals(100.0))

    def test_days_of_exposure_are_followed_by_the_metrics_window(self) -> None:
        rows = {row.days: row for row in self.PLAN.durations}
        assert set(rows) >= {7, 14, 28, 56}
        assert rows[14].read_on == date(2025, 3, 21)  # START is 1 March; the last users come on the 14th
        assert (rows[14].users, self.PLAN.users) == (1400, 1400)

    def test_more_days_find_less(self) -> None:
        effects = [row.finds.smallest_effect or 0 for row in self.PLAN.durations]
        assert effects == sorted(effects, reverse=True)
        powers = [row.finds.power or 0 for row in self.PLAN.durations]
        assert powers == sorted(powers)

    def test_the_day_on_which_the_planned_size_is_reached_is_among_them(self) -> None:
        (row,) = (r for r in self.PLAN.durations if r.days == self.PLAN.required_days)
        assert row.finds.power >= 0.8
        day_before = plan_metric(
            experiment(self.M), self.M, given=Expected(10.0, 10.0), users=row.users - 100
        )
        assert day_before.finds.power < 0.8

    def test_always_valid_evidence_finds_less_than_the_one_look(self) -> None:
        for row in self.PLAN.durations:
            assert row.finds.smallest_effect is not None
            assert row.finds.smallest_always_valid is not None
            assert row.finds.smallest_always_valid > 1.3 * row.finds.smallest_effect

    def test_none_without_arrivals(self) -> None:
        alone = plan_metric(experiment(self.M), self.M, given=Expected(10.0, 10.0))
        assert (alone.durations, alone.required_days) == ((), None)


def test_looks_of_a_group_sequential_test_cost_users_and_power() -> None:
    """Pocock type spending at 5 even looks; Jennison and Turnbull 2000 have 1.228 for Pocock's test itself."""
    m = metric("buys", "proportion", window=DayWindow(0, 1), baseline=0.1, mde=Effect(0.02, "absolute"))
    looks = tuple(date(2025, 3, 3 * i) for i in (1, 2, 3, 4))  # and on the 15th: every third day
    grouped = DecisionPlan(
        sequential="group_sequential", sequential_share=0.0, spending="pocock", looks=looks
    )
    once, often = (experiment(m, decision=decision) for decision in (ONCE, grouped))
    plain, looked = (plan_metric(spec, m, users=8000) for spec in (once, often))
    assert looked.required_users / plain.required_users == pytest.approx(1.228, rel=0.02)
    assert (looked.required_always_valid, looked.finds.smallest_always_valid) == (None, None)
    at_size = plan_metric(often, m, users=looked.required_users)
    assert at_size.finds.power == pytest.approx(0.8, abs=1e-3)
    assert looked.finds.power < plain.finds.power - 0.05


def test_looks_count_the_users_whose_window_is_over_not_the_days_that_are() -> None:
    """14 days of users and a window of 7: on day 14 half of them are observed, though two thirds of the days are over.

    The bound of the half-way look of O'Brien and Fleming's spending is 2.9626 (gsDesign, sfLDOF, 0.025, timing 0.5), and the
    inflation of such a design with its last look at 1.9686 follows from a bivariate normal law by hand.
    """
    m = metric("buys", "proportion", window=DayWindow(0, 7), baseline=0.1, mde=Effect(0.02, "absolute"))
    looked = DecisionPlan(sequential="group_sequential", sequential_share=0.0, looks=(date(2025, 3, 14),))
    plain, often = (plan_metric(experiment(m, decision=d), m) for d in (ONCE, looked))

    def power(drift: float) -> float:
        upper = stats.multivariate_normal(
            [drift * math.sqrt(0.5), drift], [[1, math.sqrt(0.5)], [math.sqrt(0.5), 1]]
        )
        return 1 - float(upper.cdf([2.9626, 1.9686]))

    drift = optimize.brentq(lambda d: power(d) - 0.8, 2, 4, xtol=1e-6)
    expected = (drift / (stats.norm.ppf(0.975) + stats.norm.ppf(0.8))) ** 2
    assert often.required_users / plain.required_users == pytest.approx(expected, abs=5e-4)


def test_a_look_before_any_window_is_over_costs_nothing() -> None:
    m = metric("buys", "proportion", window=DayWindow(0, 7), baseline=0.1, mde=Effect(0.02, "absolute"))
    early = DecisionPlan(sequential="group_sequential", sequential_share=0.0, looks=(date(2025, 3, 5),))
    plain, looked = (plan_metric(experiment(m, decision=d), m) for d in (ONCE, early))
    assert looked.required_users == plain.required_users


def test_users_whose_window_has_not_opened_are_not_planned_with() -> None:
    """Without to_day a window from day 7 on closes with the experiment: of 14 days the users of 7 are in it."""
    m = metric("late", "proportion", window=DayWindow(7), baseline=0.1, mde=Effect(0.02, "absolute"))
    all_days = replace(m, window=DayWindow())
    late, whole = (
        plan_metric(experiment(x, decision=ONCE), x, arrivals=Arrivals(700.0)) for x in (m, all_days)
    )
    assert (whole.users, late.users) == (9800, 4900)
    assert late.required_users == whole.required_users
    assert late.required_days == whole.required_days + 7
    assert [d.users for d in late.durations if d.days == 7] == [0]


def test_evidence_at_any_look_needs_more_users() -> None:
    m = metric("spend", mde=Effect(0.5, "absolute"))
    found = plan_metric(experiment(m), m, given=Expected(10.0, 10.0))
    assert found.required_always_valid > 1.5 * found.required_users
    assert (
        plan_metric(experiment(m, decision=ONCE), m, given=Expected(10.0, 10.0)).required_always_valid is None
    )


@pytest.mark.parametrize(
    ("m", "given", "named"),
    [
        (
            metric("x", mde=Effect(0.1, "relative")),
            Expected(None, 1.0),
            ["no baseline", "--baseline", "--like"],
        ),
        (
            metric("x", mde=Effect(0.1, "relative")),
            Expected(9.0),
            ["no standard deviation (of a user)", "--sd"],
        ),
        (
            metric("x", winsorise=Winsorise(upper=0.99), mde=Effect(1.0, "absolute")),
            Expected(9.0),
            ["capped values"],
        ),
        (metric("x", "ratio", mde=Effect(1.0, "absolute")), Expected(9.0), ["linearised"]),
        (metric("x", "quantile", q=0.5, mde=Effect(1.0, "absolute")), Expected(9.0), ["root of n"]),
        (
            metric("x", "proportion", mde=Effect(0.5, "absolute")),
            Expected(0.7),
            ["cannot have an effect"],
        ),
        (metric("x", mde=Effect(1.0, "absolute")), Expected(9.0, 0.0), ["does not vary", "or --sd"]),
        (
            metric("x", mde=Effect(1.0, "absolute")),
            Expected(9.0, 1e200),
            ["1e+200 is too large", "larger unit"],
        ),
        (
            metric("x", mde=Effect(1.0, "absolute")),
            Expected(1e200, 1.0),
            ["1e+200 is too large", "larger unit"],
        ),
        (
            metric("x", mde=Effect(0.1, "relative")),
            Expected(1e-17, 3.0),
            ["more than 1e+15 users", "absolute"],
        ),
        (metric("x", "proportion", mde=Effect(0.5, "absolute")), Expected(1.5), ["between 0 and 1"]),
    ],
)
def test_what_is_missing_is_named_with_its_remedy(m: object, given: Expected, named: list[str]) -> None:
    found = plan_metric(experiment(m), m, given=given, users=1000)  # type: ignore[arg-type]
    assert found.required_users is None
    assert all(words in " ".join(found.notes) for words in named), found.notes


def test_too_few_outcomes_for_the_normal_law_are_told() -> None:
    m = metric("buys", "proportion", test="score", baseline=0.005, mde=Effect(0.05, "absolute"))
    found = plan_metric(experiment(m, shares=(0.9, 0.1)), m, users=20_000)
    assert found.notes == ("an arm of 2,000 expects 10.0 successes or failures: the exact test finds less",)


def row_of(method: str, kind: str = "mean", **more: object) -> ResultRow:
    key = (END, method, "spend", str(kind), "primary", "t1", "control", "all", "all")
    return ResultRow(*key, Status.OK, mean_control=10.0, sd_control=4.0, **more)  # type: ignore[arg-type]


class TestKnown:
    M = metric("spend", covariates=["before"])

    def test_is_what_stored_rows_show(self) -> None:
        rows = [
            row_of("ab"),
            row_of("cuped", variance_reduction=0.3),
            row_of("cuped", variance_reduction=0.2),
        ]
        assert known_of(self.M, rows, "exp_x") == Known(10.0, 4.0, {"cuped": 0.2}, "exp_x")

    def test_a_metric_of_another_kind_is_another_metric(self) -> None:
        assert known_of(self.M, [row_of("ab", "count")], "exp_x") is None

    @pytest.mark.parametrize(
        ("status", "message", "told"),
        [
            (Status.DEGENERATE, "the metric does not vary", "exp_x: the metric does not vary"),
            (
                Status.INSUFFICIENT_DATA,
                "9 users in control",
                "exp_x: 9 users in control; run it again once more users",
            ),
        ],
    )
    def test_rows_without_numbers_say_why(self, status: Status, message: str, told: str) -> None:
        silent = replace(row_of("ab"), status=status, message=message, mean_control=None, sd_control=None)
        found = known_of(self.M, [silent], "exp_x")
        assert found is not None
        assert (found.mean, found.sd) == (None, None)
        plan = plan_metric(experiment(self.M), self.M, known=found)
        assert plan.notes[0].startswith(told)
        assert not [note for note in plan.notes if "no baseline" in note]
        assert not plan.possible

    def test_the_specs_baseline_comes_before_it_and_a_given_one_before_that(self) -> None:
        m = replace(self.M, baseline=12.0)
        spec = experiment(m, source=UNITS)
        assert plan_metric(spec, m, known=SPEND).expected.mean == 12.0
        given = plan_metric(spec, m, known=SPEND, given=Expected(11.0))
        assert (given.expected.mean, given.expected.sd, given.source) == (11.0, 10.0, "given, results")


def test_the_planned_window_says_how_many_users_come() -> None:
    m = metric("spend")
    assert (END - START).days + 1 == 14
    assert plan_metric(experiment(m), m, arrivals=Arrivals(50.0)).users == 700
