"""No test is taken twice: what was read, when and by which plan is remembered, whatever becomes of the spec or the data.

p is that of SciPy's Welch test of the same arrays; what it may claim follows from the plan of the first look.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from datetime import date, timedelta

import numpy as np
import pytest
from scipy import stats

from analyses.simulated import BEFORE_END, END, START, UNITS, aggregates, block, experiment, metric
from decision.cases import PASSED, codes
from exp_platform.analyses.readings import remembering
from exp_platform.analyses.registry import analyse_all
from exp_platform.checks import CheckResult
from exp_platform.config.experiment import Experiment, Window
from exp_platform.config.metrics import Effect, Guardrail, Role
from exp_platform.config.plans import DecisionPlan, QualityThresholds
from exp_platform.config.readings import Memory
from exp_platform.decision import Decision, decide

SPEC = experiment(metric("orders"))
N = 400


def users(p: float) -> np.ndarray:
    """Values of a treatment that beats `CONTROL` with this p by Welch's two-sided test."""
    x = np.linspace(-1.7, 1.7, N)
    error = x.std(ddof=1) * np.sqrt(2 / N)
    return x + stats.t.isf(p / 2, 2 * N - 2) * error


CONTROL = users(1.0)
NOTHING, SMALL, LARGE = (users(p) for p in (0.5, 0.02, 1e-12))


@dataclass
class Diary:
    """Readings one after another, each in memory of those before it, as runs make them."""

    memory: Memory = field(default_factory=Memory)
    on: date = END

    def read(
        self,
        spec: Experiment = SPEC,
        treated: np.ndarray = NOTHING,
        as_of: date = END,
        data: str = "first delivery",
        failed: bool = False,
    ) -> Decision:
        self.on += timedelta(days=1)
        state = remembering(spec, self.memory, data, self.on)
        blocks = [block(m.id, v, x) for m in spec.metrics for v, x in (("control", CONTROL), ("t1", treated))]
        day = aggregates(blocks, as_of=as_of)
        rows = analyse_all(spec, day, state=state)
        check = replace(PASSED, as_of_date=as_of, status="failed" if failed else "passed")
        decision = decide(spec, state, rows, [check])
        self.memory = Decision.from_json(decision.to_json()).memory
        assert self.memory == decision.memory
        return decision


def told(decision: Decision, code: str = "PLAN_CHANGED") -> str:
    (text,) = [r.text for r in decision.reasons if r.code == code]
    return text


def ending(day: date, spec: Experiment = SPEC) -> Experiment:
    return replace(spec, window=Window(START, day))


def deciding(**plan: object) -> Experiment:
    return replace(SPEC, decision=DecisionPlan(**plan))  # type: ignore[arg-type]


def test_what_the_tests_rest_on() -> None:
    assert stats.ttest_ind(SMALL, CONTROL, equal_var=False).pvalue == pytest.approx(0.02, rel=1e-9)
    assert Diary().read(treated=SMALL).action == "ship", "a first reading at the planned end ships it"
    assert Diary().read(treated=SMALL, as_of=BEFORE_END).action == "extend"


def test_days_shortened_after_the_final_reading_buy_no_second_test() -> None:
    diary = Diary()
    assert diary.read().action == "stop"
    again = diary.read(ending(BEFORE_END), SMALL, as_of=BEFORE_END)
    assert (again.action, again.final) == ("extend", False)
    assert {"PLAN_CHANGED", "FIXED_HORIZON_READ"} <= set(codes(again))
    assert "window.end 2025-03-14 -> 2025-03-10" in told(again)
    assert "Only always-valid evidence counts until it is set back." in told(again)


def test_an_end_moved_to_today_after_daily_looks_is_no_planned_end() -> None:
    diary = Diary()
    for back in (3, 2, 1):
        diary.read(as_of=BEFORE_END - timedelta(days=back))
    moved = diary.read(ending(BEFORE_END), SMALL, as_of=BEFORE_END)
    assert (moved.action, moved.final) == ("extend", False)
    assert "the first look (as of 2025-03-07, read on 2025-03-15)" in told(moved)


def test_always_valid_evidence_still_counts_after_the_plan_was_changed() -> None:
    diary = Diary()
    diary.read(as_of=BEFORE_END)
    spec = ending(END + timedelta(days=14))
    assert diary.read(spec, LARGE, as_of=END + timedelta(days=2)).action == "ship"


def test_a_plan_that_is_set_back_before_the_end_is_the_plan_again() -> None:
    diary = Diary()
    diary.read(as_of=BEFORE_END)
    diary.read(ending(END + timedelta(days=14)), as_of=BEFORE_END + timedelta(days=1))
    back = diary.read(treated=SMALL)
    assert (back.action, back.final) == ("ship", True)
    assert "PLAN_CHANGED" not in codes(back)


def test_a_change_before_anybody_has_looked_is_free() -> None:
    first = Diary().read(ending(BEFORE_END), SMALL, as_of=BEFORE_END)
    assert (first.action, "PLAN_CHANGED" in codes(first)) == ("ship", False)


@pytest.mark.parametrize(("alpha", "share"), [(0.6, 0.1), (0.6, 0.9), (0.2, 0.0)])
def test_alpha_raised_after_the_final_reading_ships_nothing(alpha: float, share: float) -> None:
    diary = Diary()
    treated = users(0.1)
    assert diary.read(treated=treated).action == "stop"
    again = diary.read(deciding(alpha=alpha, sequential_share=share), treated)
    assert again.action == "stop"
    assert f"decision.alpha 0.05 -> {alpha}" in told(again)
    assert "Each comparison has the smaller of both levels." in told(again)


def test_a_metric_that_was_not_primary_is_not_made_so_by_its_numbers() -> None:
    spec = experiment(metric("orders"), metric("visits", role=Role.INFORMATIONAL))
    diary = Diary()
    diary.read(spec, as_of=BEFORE_END)
    roles = {"orders": Role.INFORMATIONAL, "visits": Role.PRIMARY}
    swapped = replace(spec, metrics=tuple(replace(m, role=roles[m.id]) for m in spec.metrics))
    for treated, as_of in ((SMALL, END), (LARGE, BEFORE_END + timedelta(days=1))):
        d = Diary(diary.memory).read(swapped, treated, as_of=as_of)
        assert d.action != "ship"
        assert "visits: no share of alpha was kept for this" in told(d)


def test_a_metric_that_is_renamed_is_known_again() -> None:
    diary = Diary()
    diary.read(as_of=BEFORE_END)
    renamed = replace(SPEC, metrics=(replace(SPEC.metrics[0], id="sales"),))
    d = diary.read(renamed, SMALL)
    assert d.action == "ship"
    assert "metrics.orders.id orders -> sales" in told(d)


@pytest.mark.parametrize(
    ("change", "key"),
    [
        ({"decision": DecisionPlan(estimate="cuped")}, "decision.estimate ab -> cuped"),
        ({"window": Window(START + timedelta(days=3), END)}, "window.start 2025-03-01 -> 2025-03-04"),
        ({"window": Window(START, END, "Asia/Tokyo")}, "window.timezone UTC -> Asia/Tokyo"),
    ],
)
def test_another_comparison_chosen_after_a_look_counts_for_nothing(
    change: dict[str, object], key: str
) -> None:
    diary = Diary()
    diary.read(as_of=BEFORE_END)
    d = diary.read(replace(SPEC, **change), LARGE)  # type: ignore[arg-type]
    assert d.action != "ship"
    assert key in told(d)
    assert "nothing counts until it is set back" in told(d)


def test_another_definition_of_the_primary_metric_counts_for_nothing() -> None:
    diary = Diary()
    diary.read(as_of=BEFORE_END)
    turned = replace(SPEC, metrics=(replace(SPEC.metrics[0], direction=-1),))
    assert diary.read(turned, -LARGE).action != "ship"


def test_a_practical_effect_that_is_lowered_after_a_look_is_held_against_both() -> None:
    worth = Effect(0.5, "absolute")
    spec = replace(SPEC, metrics=(replace(SPEC.metrics[0], min_practical_effect=worth),))
    diary = Diary()
    assert diary.read(spec, SMALL).treatments[0].outcome == "below_practical"
    d = diary.read(SPEC, SMALL)
    assert d.treatments[0].outcome == "below_practical"
    assert "min_practical_effect" in told(d)


def test_a_table_that_grows_is_read_once() -> None:
    spec = replace(SPEC, source=UNITS)
    diary = Diary()
    assert diary.read(spec).action == "stop"
    later = diary.read(spec, SMALL, data="second delivery")
    assert later.action == "stop"
    said = told(later, "FIXED_HORIZON_READ")
    assert "with other data" in said
    assert "not counted: orders of t1" in said


def test_a_later_reading_may_take_back_and_confirm_what_the_first_found() -> None:
    diary = Diary()
    assert diary.read(treated=SMALL).action == "ship"
    back = diary.read(treated=NOTHING, data="late rows")
    assert back.action == "stop"
    assert "taken back: orders of t1" in told(back, "FIXED_HORIZON_READ")
    assert diary.read(treated=SMALL, data="more late rows").action == "ship"
    assert diary.read(treated=-SMALL, data="turned").action != "ship"


def test_what_a_first_reading_found_of_a_secondary_metric_stands_when_late_rows_come() -> None:
    """That it got worse is told on every later day: who ships by the second reading must know it too."""
    spec = experiment(metric("orders"), metric("visits", role=Role.SECONDARY))
    diary = Diary()
    assert "SECONDARY_WORSE" in codes(diary.read(spec, -SMALL))
    assert "SECONDARY_WORSE" in codes(diary.read(spec, -SMALL, data="late rows"))
    back = diary.read(spec, NOTHING, data="more late rows")
    assert "SECONDARY_WORSE" not in codes(back)
    assert "taken back: orders of t1, visits of t1" in told(back, "FIXED_HORIZON_READ")

    other = Diary()
    other.read(spec, NOTHING)
    late = other.read(spec, -SMALL, data="late rows")
    assert "SECONDARY_WORSE" not in codes(late), "a second reading adds nothing"
    assert "not counted: orders of t1, visits of t1" in told(late, "FIXED_HORIZON_READ")


def test_the_same_data_give_the_same_decision_however_often_they_are_read() -> None:
    diary = Diary()
    first = diary.read(treated=SMALL)
    again = diary.read(treated=SMALL)
    assert (again.action, codes(again)) == (first.action, codes(first))


def test_an_older_day_that_is_run_again_after_the_end_shows_no_more_than_it_did() -> None:
    diary = Diary()
    diary.read()
    assert diary.read(treated=SMALL, as_of=BEFORE_END).action == "extend"
    assert diary.memory.final is not None
    assert diary.memory.final.as_of_date == END


def test_a_delivery_that_failed_its_checks_is_repaired_and_then_read() -> None:
    diary = Diary()
    assert diary.read(failed=True).action == "investigate"
    assert diary.read(treated=SMALL, data="repaired").action == "ship"


def test_thresholds_that_are_loosened_do_not_make_a_reading_of_what_had_failed() -> None:
    diary = Diary()
    diary.read(treated=SMALL, failed=True)
    loose = replace(SPEC, quality=QualityThresholds(max_duplicate_share=1.0))
    d = diary.read(loose, SMALL)
    assert d.action != "ship"
    assert "quality.max_duplicate_share 0.01 -> 1.0" in told(d)


GROUPED = DecisionPlan(
    sequential="group_sequential", sequential_share=0.0, looks=(BEFORE_END,), required_sample_size=2 * N
)


def test_a_look_added_on_a_day_that_was_seen_never_counts() -> None:
    spec = replace(SPEC, decision=GROUPED)
    seen = BEFORE_END + timedelta(days=1)
    diary = Diary()
    diary.read(spec, as_of=BEFORE_END)
    diary.read(spec, LARGE, as_of=seen)
    added = replace(spec, decision=replace(GROUPED, looks=(BEFORE_END, seen)))
    d = diary.read(added, LARGE, as_of=seen)
    assert (d.action, d.look) == ("extend", None)
    assert "decision.looks" in told(d)


def test_another_spending_function_after_a_look_leaves_no_look() -> None:
    spec = replace(SPEC, decision=GROUPED)
    diary = Diary()
    diary.read(spec, as_of=BEFORE_END)
    d = diary.read(replace(spec, decision=replace(GROUPED, spending="pocock")), LARGE)
    assert (d.action, d.look) == ("extend", None)
    assert "No look counts until it is set back." in told(d)


def test_a_guardrail_that_a_first_reading_did_not_prove_is_not_proven_by_a_second() -> None:
    guard = Guardrail(Effect(0.1, "absolute"), "critical")
    spec = experiment(metric("orders"), metric("latency", role=Role.GUARDRAIL, guardrail=guard))
    diary = Diary()
    assert "GUARDRAIL_UNPROVEN" in codes(diary.read(spec, users(0.999)))
    assert "GUARDRAIL_UNPROVEN" not in codes(Diary().read(spec, SMALL)), "a first reading would"
    assert "GUARDRAIL_UNPROVEN" in codes(diary.read(spec, SMALL, data="late rows"))


def test_failed_checks_and_their_thresholds_are_data_of_the_memory() -> None:
    diary = Diary()
    d = diary.read(failed=True)
    assert isinstance(PASSED, CheckResult)
    assert d.memory.refused is not None
    assert d.memory.refused.quality["max_duplicate_share"] == SPEC.quality.max_duplicate_share
    assert d.memory.final is None
