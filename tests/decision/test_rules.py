"""Each rule of the decision, reached from hand-made rows; the earlier rule wins where two hold."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

import pytest

from decision.cases import (
    BEFORE_END,
    END,
    TWO,
    Given,
    codes,
    early,
    effect,
    experiment,
    metric,
    nothing,
    outcome,
    unread,
)
from exp_platform.analyses.rows import Status
from exp_platform.config.metrics import Effect, Role
from exp_platform.config.plans import DecisionPlan


class TestShip:
    """Rule 3."""

    def test_significant_better_and_large_enough(self) -> None:
        d = Given([effect(estimate=0.5, p=0.002)]).decide()
        assert outcome(d) == ("treatment", "ship", "t1")
        assert (d.confidence, d.lift, d.effect) == (pytest.approx(0.998), pytest.approx(0.05), 0.5)
        assert (d.decisive_metric, d.estimate, d.final, d.trust) == ("orders", "ab", True, "ok")
        assert codes(d) == ["SIGNIFICANTLY_BETTER", "NO_PLANNED_SIZE"]

    def test_treatment_two_wins_and_its_lift_is_the_one_reported(self) -> None:
        d = Given([effect("t1", 0.3, p=1e-9), effect("t2", 0.8, p=0.01)], TWO).decide()
        assert outcome(d) == ("treatment", "ship", "t2")
        assert (d.reported_variant, d.lift, d.effect) == ("t2", pytest.approx(0.08), 0.8)
        assert d.confidence == pytest.approx(0.99)

    def test_a_larger_effect_that_is_not_significant_does_not_win(self) -> None:
        d = Given([effect("t1", 0.3), nothing("t2", 0.8)], TWO).decide()
        assert outcome(d) == ("treatment", "ship", "t1")

    def test_a_metric_whose_decrease_is_good(self) -> None:
        spec = experiment(metric("errors", direction=-1), shares=(0.4, 0.3, 0.3))
        rows = [effect("t1", -0.3, metric_id="errors"), effect("t2", -0.8, metric_id="errors")]
        d = Given(rows, spec).decide()
        assert outcome(d) == ("treatment", "ship", "t2")
        assert (d.effect, d.lift) == (-0.8, pytest.approx(-0.08))  # the sign of the change, as in every row

    def test_a_rise_of_such_a_metric_is_worse(self) -> None:
        d = Given(
            [effect(estimate=0.8, metric_id="errors")], experiment(metric("errors", direction=-1))
        ).decide()
        assert outcome(d) == ("control", "investigate", "control")
        assert d.lift == pytest.approx(0.08)

    def test_a_negative_baseline_says_the_same_in_decision_and_reasons(self) -> None:
        """From -10 to -8.5: control's size is 10, so it is +15 %, in the lift and in the words."""
        row = effect(estimate=1.5, mean_control=-10.0, mean_treatment=-8.5, relative=0.15)
        d = Given([row]).decide()
        assert (d.action, d.lift) == ("ship", 0.15)
        (told,) = [r.text for r in d.reasons if r.code == "SIGNIFICANTLY_BETTER"]
        assert told == "t1 is significantly better than control on orders (+15.0 %)."

    def test_nothing_relative_where_control_is_zero(self) -> None:
        row = effect(mean_control=0.0, relative=None, relative_low=None, relative_high=None)
        spec = experiment(metric("orders", min_practical_effect=Effect(0.5, "relative")))
        d = Given([row], spec).decide()
        assert (d.action, d.lift, d.effect) == ("ship", None, 0.5)

    def test_always_valid_evidence_ships_before_the_end(self) -> None:
        d = Given([early(effect(), always_valid=True)], as_of=BEFORE_END).decide()
        assert outcome(d) == ("treatment", "ship", "t1")
        assert (d.final, d.confidence) == (False, pytest.approx(0.995))  # all that is spent is .005
        assert "BEFORE_PLANNED_END" in codes(d)

    def test_a_fixed_horizon_p_does_not_even_where_a_row_claims_it(self) -> None:
        claims = replace(early(effect()), significant=True)
        d = Given([claims], as_of=BEFORE_END).decide()
        assert outcome(d) == ("inconclusive", "extend", None)
        assert d.confidence == 0.0

    def test_always_valid_evidence_counts_after_the_end_as_well(self) -> None:
        d = Given([effect(p=0.06, always_valid_significant=True)]).decide()
        assert (d.action, d.confidence) == ("ship", pytest.approx(0.995))

    def test_cuped_decides_where_it_is_declared(self) -> None:
        spec = experiment(metric("orders", covariates=["before"]), decision=DecisionPlan(estimate="cuped"))
        d = Given([nothing(), effect(method="cuped", estimate=0.4)], spec).decide()
        assert (d.action, d.lift, d.estimate) == ("ship", pytest.approx(0.04), "cuped")
        assert Given([effect(), nothing(method="cuped")], spec).decide().action == "stop"

    def test_the_unadjusted_estimate_decides_where_no_covariate_can_be_used(self) -> None:
        spec = experiment(metric("orders", covariates=["before"]), decision=DecisionPlan(estimate="cuped"))
        useless = unread(Status.NOT_APPLICABLE, method="cuped")
        d = Given([effect(), useless], spec).decide()
        assert d.action == "ship"
        assert "UNADJUSTED_ESTIMATE" in codes(d)


class TestWorse:
    """Rule 5."""

    def test_significant_and_worse(self) -> None:
        d = Given([effect(estimate=-0.5, p=0.001)]).decide()
        assert outcome(d) == ("control", "investigate", "control")
        assert (d.reported_variant, d.lift, d.confidence) == (
            "t1",
            pytest.approx(-0.05),
            pytest.approx(0.999),
        )
        assert codes(d)[0] == "SIGNIFICANTLY_WORSE"

    def test_before_the_end_by_always_valid_evidence(self) -> None:
        assert (
            Given([early(effect(estimate=-0.5), always_valid=True)], as_of=BEFORE_END).decide().winner
            == "control"
        )
        assert Given([early(effect(estimate=-0.5))], as_of=BEFORE_END).decide().winner == "inconclusive"

    def test_a_better_treatment_beside_it_is_shipped(self) -> None:
        d = Given([effect("t1", -0.5), effect("t2", 0.5)], TWO).decide()
        assert outcome(d) == ("treatment", "ship", "t2")

    def test_small_harm_is_harm(self) -> None:
        spec = experiment(metric("orders", min_practical_effect=Effect(1.0, "absolute")))
        assert Given([effect(estimate=-0.1)], spec).decide().winner == "control"


class TestSeveralPrimaries:
    """Any significant gain ships unless another primary is significantly worse."""

    SPEC = experiment(metric("orders"), metric("revenue"))

    def test_the_second_primary_may_decide_and_is_named(self) -> None:
        d = Given([nothing(), effect(estimate=0.7, metric_id="revenue")], self.SPEC).decide()
        assert outcome(d) == ("treatment", "ship", "t1")
        assert (d.decisive_metric, d.lift) == ("revenue", pytest.approx(0.07))

    def test_the_first_that_was_won_decides_between_treatments(self) -> None:
        spec = experiment(metric("orders"), metric("revenue"), shares=(0.4, 0.3, 0.3))
        rows = [
            *(effect("t1", 0.2), nothing("t1", metric_id="revenue")),
            *(nothing("t2", 0.3), effect("t2", 5.0, metric_id="revenue")),
        ]
        d = Given(rows, spec).decide()
        assert (d.winning_variant, d.decisive_metric) == ("t1", "orders")

    def test_one_that_is_worse_overrules_one_that_is_better(self) -> None:
        d = Given([effect(), effect(estimate=-0.5, metric_id="revenue")], self.SPEC).decide()
        assert outcome(d) == ("control", "investigate", "control")
        assert d.decisive_metric == "revenue"
        assert "PRIMARY_METRICS_DISAGREE" in codes(d)


class TestBelowPractical:
    """A significant gain that is too small is told, and decided by size."""

    @pytest.mark.parametrize("smallest", [Effect(0.6, "absolute"), Effect(0.06, "relative")])
    def test_inconclusive_with_its_reason(self, smallest: Effect) -> None:
        d = Given(
            [effect(estimate=0.5)], experiment(metric("orders", min_practical_effect=smallest))
        ).decide()
        assert outcome(d) == ("inconclusive", "stop", None)
        assert codes(d)[0] == "BELOW_PRACTICAL"
        assert d.treatments[0].outcome == "below_practical"

    @pytest.mark.parametrize("smallest", [Effect(0.5, "absolute"), Effect(0.04, "relative")])
    def test_the_smallest_effect_itself_is_enough(self, smallest: Effect) -> None:
        d = Given(
            [effect(estimate=0.5)], experiment(metric("orders", min_practical_effect=smallest))
        ).decide()
        assert d.action == "ship"

    def test_before_the_end_it_goes_on(self) -> None:
        spec = experiment(metric("orders", min_practical_effect=Effect(0.6, "absolute")))
        d = Given([early(effect(), always_valid=True)], spec, as_of=BEFORE_END).decide()
        assert outcome(d) == ("inconclusive", "extend", None)


class TestNoEffect:
    """Rules 6, 7 and 8."""

    def test_stop_at_the_end_and_the_mde_is_excluded(self) -> None:
        spec = experiment(metric("orders", mde=Effect(0.5, "absolute")))  # 3,144 users per arm of sd 5
        d = Given([nothing(estimate=0.1)], spec).decide()
        assert outcome(d) == ("inconclusive", "stop", None)
        assert codes(d) == ["NOT_SIGNIFICANT", "NO_EFFECT_OF_MDE", "PLANNED_SIZE_REACHED"]
        assert (d.reported_variant, d.lift, d.confidence) == ("t1", pytest.approx(0.01), 0.0)

    def test_stop_at_the_end_where_the_interval_still_holds_the_mde(self) -> None:
        spec = experiment(metric("orders", mde=Effect(0.5, "absolute")))
        d = Given([nothing(estimate=0.1, error=0.3)], spec).decide()
        assert outcome(d) == ("inconclusive", "stop", None)
        assert "NO_EFFECT_OF_MDE" not in codes(d)

    def test_extend_at_the_end_with_too_few_users(self) -> None:
        spec = experiment(metric("orders", mde=Effect(0.1, "absolute")))
        d = Given([nothing(estimate=0.05)], spec).decide()
        assert outcome(d) == ("inconclusive", "extend", None)
        assert codes(d) == ["NOT_SIGNIFICANT", "PLANNED_SIZE_NOT_REACHED", "AFTER_PLANNED_END"]

    @pytest.mark.parametrize(("as_of", "days"), [(BEFORE_END, "; about 30 days more"), (END, "")])
    def test_days_are_told_until_the_planned_end_and_not_after_it(self, as_of: date, days: str) -> None:
        """Who comes after it is not of the plan, so that waiting for so many more users would be no remedy."""
        plan = DecisionPlan(required_sample_size=13_000, daily_users=100.0)
        rows = [nothing() if as_of == END else early(nothing())]
        d = Given(rows, experiment(metric("orders"), decision=plan), as_of=as_of).decide()
        (told,) = [r for r in d.reasons if r.code == "PLANNED_SIZE_NOT_REACHED"]
        assert told.text == f"10,000 users of 13,000 planned ones are observed{days}."
        assert told.data["days_remaining"] == 30  # as it follows from the size

    def test_extend_before_the_end_even_with_enough_users(self) -> None:
        spec = experiment(metric("orders", mde=Effect(0.5, "absolute")))
        d = Given([early(nothing())], spec, as_of=BEFORE_END).decide()
        assert outcome(d) == ("inconclusive", "extend", None)
        assert d.adequacy.planned_size_reached is True
        assert codes(d) == ["NOT_SIGNIFICANT", "PLANNED_SIZE_REACHED", "BEFORE_PLANNED_END"]

    def test_too_few_users_for_any_estimate_extend(self) -> None:
        row = unread(Status.INSUFFICIENT_DATA)
        d = Given([row]).decide()
        assert outcome(d) == ("inconclusive", "extend", None)
        assert (codes(d)[0], d.reported_variant, d.lift, d.effect) == ("NO_ESTIMATE", None, None, None)

    @pytest.mark.parametrize(("as_of_end", "action"), [(True, "investigate"), (False, "extend")])
    def test_a_primary_metric_that_never_varies_is_investigated_at_the_end(
        self, as_of_end: bool, action: str
    ) -> None:
        row = unread(Status.DEGENERATE)
        d = (Given([row]) if as_of_end else Given([early(row)], as_of=BEFORE_END)).decide()
        assert (d.winner, d.action) == ("inconclusive", action)
        assert d.reasons[0].data["status"] == "DEGENERATE"

    def test_one_treatment_without_an_estimate_keeps_the_experiment_from_stopping(self) -> None:
        tiny = unread(Status.INSUFFICIENT_DATA, "t2")
        assert Given([nothing("t1"), tiny], TWO).decide().action == "extend"


def test_no_reason_words_confidence_as_a_chance_of_being_better() -> None:
    for d in (
        Given([effect()]).decide(),
        Given([effect(estimate=-0.5)]).decide(),
        Given([nothing()]).decide(),
    ):
        words = " ".join(r.text for r in d.reasons).lower()
        assert not any(w in words for w in ("probab", "chance", "likely", "sure", "certain"))


@pytest.mark.parametrize(
    ("status", "action"), [(Status.INSUFFICIENT_DATA, "extend"), (Status.DEGENERATE, "investigate")]
)
def test_a_primary_metric_without_a_number_holds_back_what_another_one_would_ship(
    status: Status, action: str
) -> None:
    spec = experiment(metric("orders"), metric("revenue"))
    missing = replace(unread(status), metric_id="revenue")
    d = Given([effect(), missing], spec).decide()
    assert outcome(d) == ("inconclusive", action, None)
    assert {"SIGNIFICANTLY_BETTER", "NO_ESTIMATE"} <= set(codes(d))
    assert [t.outcome for t in d.treatments] == ["unread"]


SECONDARY = experiment(metric("orders"), metric("refunds", role=Role.SECONDARY, direction=-1))


def test_a_significantly_worse_secondary_metric_is_named_beside_a_ship() -> None:
    rows = [effect(), effect(estimate=2.0, p=4e-81, metric_id="refunds")]
    d = Given(rows, SECONDARY).decide()
    assert outcome(d) == ("treatment", "ship", "t1")
    (told,) = [r for r in d.reasons if r.code == "SECONDARY_WORSE"]
    assert told.text == "t1 is significantly worse than control on refunds (+20.0 %)."
    assert told.data["metric_id"] == "refunds"
    assert told.data["p_adjusted"] == 4e-81


def test_it_is_told_before_the_planned_end_where_the_evidence_is_always_valid() -> None:
    rows = [early(nothing()), early(effect(estimate=2.0, metric_id="refunds"), always_valid=True)]
    assert "SECONDARY_WORSE" in codes(Given(rows, SECONDARY, as_of=BEFORE_END).decide())


@pytest.mark.parametrize("change", [{"estimate": -2.0}, {"estimate": 2.0, "p": 0.2}])
def test_a_better_or_unproven_secondary_metric_is_no_reason(change: dict[str, float]) -> None:
    rows = [effect(), effect(metric_id="refunds", **change)]  # type: ignore[arg-type]
    assert "SECONDARY_WORSE" not in codes(Given(rows, SECONDARY).decide())
