"""Edits of a spec in the middle of its experiment: told with their day, and nothing that was final is undone by one."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field, replace
from datetime import date, timedelta
from typing import Any

import pytest

from analyses.simulated import BEFORE_END, END, aggregates, block, experiment, metric
from decision.cases import PASSED, codes
from decision.test_readings import CONTROL, LARGE, NOTHING, SMALL, SPEC, users
from exp_platform.analyses.readings import remembering
from exp_platform.analyses.registry import analyse_all
from exp_platform.config.edits import edits_since
from exp_platform.config.experiment import Experiment, Window
from exp_platform.config.metrics import Effect, Guardrail, Role
from exp_platform.config.plans import DecisionPlan
from exp_platform.config.readings import Memory
from exp_platform.decision import Decision, decide


@dataclass
class Runs:
    """Runs one after another, each of which finds what `experiment_registry` and `decisions` hold of those before it."""

    memory: Memory = field(default_factory=Memory)
    on: date = END
    published: dict[str, Any] | None = None

    def run(
        self,
        spec: Experiment = SPEC,
        treated: Any = NOTHING,
        as_of: date = END,
        data: str = "first",
        failed: bool = False,
        worse: Any = None,
    ) -> Decision:
        self.on += timedelta(days=1)
        edits = edits_since(self.published, spec, self.on)
        state = remembering(spec, self.memory, data, self.on, edits)
        self.published = {"edits": _json([asdict(e) for e in edits]), "spec": _json(asdict(spec))}
        blocks = [
            block(m.id, v, x)
            for m in spec.metrics
            for v, x in (
                ("control", CONTROL),
                ("t1", treated if worse is None or m.id != "latency" else worse),
            )
        ]
        day = aggregates(blocks, as_of=as_of)
        rows = analyse_all(spec, day, state=state)
        decision = decide(
            spec,
            state,
            rows,
            [replace(PASSED, as_of_date=as_of, status="failed" if failed else "passed")],
        )
        self.memory = Decision.from_json(decision.to_json()).memory
        assert self.memory == decision.memory
        return decision


def _json(value: Any) -> str:
    return json.dumps(value, default=str)


def said(decision: Decision, code: str) -> str:
    (text,) = [r.text for r in decision.reasons if r.code == code]
    return text


def deciding(**plan: Any) -> Experiment:
    return replace(SPEC, decision=DecisionPlan(**plan))


GUARD = Guardrail(Effect(0.1, "absolute"), "critical")
GUARDED = experiment(metric("orders"), metric("latency", role=Role.GUARDRAIL, guardrail=GUARD))


def guarded(guardrail: Guardrail | None) -> Experiment:
    role = Role.INFORMATIONAL if guardrail is None else Role.GUARDRAIL
    return replace(
        GUARDED, metrics=(GUARDED.metrics[0], replace(GUARDED.metrics[1], role=role, guardrail=guardrail))
    )


def test_an_edit_is_told_with_its_day_and_so_is_setting_it_back() -> None:
    runs = Runs()
    assert "SPEC_CHANGED" not in codes(runs.run(as_of=BEFORE_END))
    assert said(runs.run(deciding(alpha=0.1), as_of=BEFORE_END), "SPEC_CHANGED") == (
        "The spec was changed after its first run, on 2025-03-16: decision.alpha 0.05 -> 0.1."
    )
    back = runs.run(as_of=BEFORE_END)
    assert "on 2025-03-17: decision.alpha 0.1 -> 0.05" in said(back, "SPEC_CHANGED")
    assert "PLAN_CHANGED" not in codes(back)


def test_a_key_that_an_older_version_did_not_know_makes_no_metric_another_one() -> None:
    runs = Runs()
    runs.run(as_of=BEFORE_END)
    first = runs.memory.first
    assert first is not None
    older = json.loads(json.dumps(first.plan))
    for found in older["metrics"].values():
        for part in (found["definition"], found["definition"]["numerator"]):
            for key in [key for key, value in part.items() if value is None]:
                del part[key]
    assert older != first.plan
    runs.memory = replace(runs.memory, first=replace(first, plan=older))

    decision = runs.run(treated=LARGE)

    assert decision.action == "ship"
    assert "PLAN_CHANGED" not in codes(decision)


@pytest.mark.parametrize(
    ("edited", "change"),
    [
        (
            replace(SPEC, variants=(replace(SPEC.variants[0], share=0.4), *SPEC.variants[1:])),
            "variants.control.share",
        ),
        (replace(SPEC, window=Window(SPEC.window.start, END + timedelta(days=7))), "window.end"),
        (
            replace(SPEC, metrics=(replace(SPEC.metrics[0], direction=-1),)),
            "metrics.orders.direction 1 -> -1",
        ),
        (replace(SPEC, metrics=(*SPEC.metrics, metric("visits", role=Role.PRIMARY))), "metrics.visits added"),
        (replace(SPEC, hypothesis="what was found"), "hypothesis"),
        (replace(SPEC, segments=("country",)), "segments"),
        (
            replace(SPEC, quality=replace(SPEC.quality, max_duplicate_share=0.5)),
            "quality.max_duplicate_share 0.01",
        ),
    ],
)
def test_whatever_is_edited_is_told(edited: Experiment, change: str) -> None:
    runs = Runs()
    runs.run(as_of=BEFORE_END)
    assert change in said(runs.run(edited, as_of=BEFORE_END), "SPEC_CHANGED")


def test_what_no_number_depends_on_is_no_edit() -> None:
    runs = Runs()
    runs.run()
    words = replace(SPEC, owner="another", tags=("new",), description="longer", spec_file="moved.yaml")
    assert "SPEC_CHANGED" not in codes(runs.run(words))


def test_a_field_that_the_platform_has_got_since_is_no_edit() -> None:
    runs = Runs()
    runs.run()
    assert runs.published is not None
    spec = json.loads(runs.published["spec"])
    del spec["decision"]["family"], spec["behaviours"], spec["metrics"][0]["covariates"]
    runs.published |= {"spec": _json(spec), "edits": None}  # as a row of an older version has it
    assert "SPEC_CHANGED" not in codes(runs.run())


EDITS = [
    pytest.param(deciding(alpha=0.001), id="alpha"),
    pytest.param(deciding(estimate="cuped"), id="another comparison"),
    pytest.param(
        replace(SPEC, window=Window(SPEC.window.start, END + timedelta(days=7))), id="the end put off"
    ),
    pytest.param(replace(SPEC, window=Window(SPEC.window.start + timedelta(days=1), END)), id="the start"),
    pytest.param(replace(SPEC, metrics=(metric("visits"),)), id="the primary metric"),
    pytest.param(replace(SPEC, metrics=(replace(SPEC.metrics[0], direction=-1),)), id="the direction"),
    pytest.param(
        replace(SPEC, variants=(replace(SPEC.variants[0], share=0.1), *SPEC.variants[1:])), id="the split"
    ),
    pytest.param(replace(SPEC, metrics=(replace(SPEC.metrics[0], mde=Effect(0.001, "absolute")),)), id="mde"),
]


@pytest.mark.parametrize("edited", EDITS)
@pytest.mark.parametrize(("treated", "action"), [(SMALL, "ship"), (NOTHING, "stop")])
def test_no_edit_undoes_a_final_decision(edited: Experiment, treated: Any, action: str) -> None:
    runs = Runs()
    final = runs.run(treated=treated)
    assert (final.action, final.final) == (action, True)
    later = runs.run(edited, treated)
    for name in ("winner", "action", "winning_variant", "decisive_metric", "lift", "confidence", "final"):
        assert getattr(later, name) == getattr(final, name), name
    assert f"The final decision of {END} (read on 2025-03-15) stands: {action}" in said(later, "FINAL_STANDS")
    assert "SPEC_CHANGED" in codes(later)
    assert runs.run(treated=treated).reasons[0].code != "FINAL_STANDS", (
        "set back, the reading is its own again"
    )


def test_a_final_stop_does_not_become_a_ship_by_an_edit() -> None:
    runs = Runs()
    assert runs.run().action == "stop"
    longer = replace(SPEC, window=Window(SPEC.window.start, END + timedelta(days=14)))
    assert runs.run(longer, CONTROL + 5, as_of=END + timedelta(days=2), data="more").action == "stop"


def test_an_open_question_stays_open_after_the_end() -> None:
    planned = deciding(required_sample_size=100_000)
    runs = Runs()
    assert runs.run(planned).action == "extend"
    longer = replace(planned, window=Window(SPEC.window.start, END + timedelta(days=14)))
    assert runs.run(longer, CONTROL + 5, as_of=END + timedelta(days=2), data="more").action == "ship"


def test_broken_data_take_a_final_ship_back_though_the_spec_was_edited_too() -> None:
    runs = Runs()
    assert runs.run(treated=SMALL).action == "ship"
    edited = replace(SPEC, segments=("country",))
    assert runs.run(edited, SMALL, data="late rows", failed=True).action == "investigate"
    assert runs.run(edited, SMALL).action == "ship"


def test_a_breach_in_other_data_takes_a_final_ship_back_though_the_spec_was_edited_too() -> None:
    runs = Runs()
    assert runs.run(GUARDED, SMALL, worse=NOTHING).action == "ship"
    edited = replace(GUARDED, segments=("country",))
    assert runs.run(edited, SMALL, data="late rows", worse=-LARGE - 1).action != "ship"


@pytest.mark.parametrize(
    "loosened",
    [
        Guardrail(Effect(50.0, "absolute"), "critical"),
        Guardrail(Effect(0.1, "absolute"), "warning"),
        Guardrail(Effect(5.0, "relative"), "critical"),
        None,
    ],
)
def test_a_critical_guardrail_that_is_loosened_after_a_look_still_holds(loosened: Guardrail | None) -> None:
    runs = Runs()
    held = runs.run(GUARDED, LARGE, as_of=BEFORE_END, worse=-LARGE - 1)
    assert (held.winner, held.action) == ("guardrail-violated", "stop")
    again = runs.run(guarded(loosened), LARGE, worse=-LARGE - 1)
    assert (again.winner, again.action) == ("guardrail-violated", "stop")


def test_a_guardrail_may_become_stricter() -> None:
    runs = Runs()
    slightly = users(0.5) - 0.15
    loose = guarded(Guardrail(Effect(50.0, "absolute"), "critical"))
    assert runs.run(loose, LARGE, as_of=BEFORE_END, worse=slightly).action == "ship"
    assert runs.run(GUARDED, LARGE, worse=slightly).action != "ship"


def test_a_critical_guardrail_that_is_taken_out_after_a_look_leaves_nothing_to_ship() -> None:
    runs = Runs()
    runs.run(GUARDED, LARGE, as_of=BEFORE_END, worse=-LARGE - 1)
    d = runs.run(replace(GUARDED, metrics=GUARDED.metrics[:1]), LARGE)
    assert d.action == "investigate"
    assert "The critical guardrail latency was in the plan of the first look" in said(
        d, "GUARDRAIL_NOT_TESTED"
    )


def test_other_defaults_of_a_new_version_of_the_platform_do_not_pass_for_an_edit_alone() -> None:
    published = {"edits": None, "spec": _json(asdict(SPEC))}
    now = replace(SPEC, hypothesis="as a new version words it")
    (edit,) = edits_since(published, now, END, upgraded=True)
    again = {"edits": _json([asdict(edit)]), "spec": _json(asdict(now))}
    assert edits_since(again, now, END) == (edit,)
    state = remembering(now, Memory(), "first", END, (edit,))
    day = aggregates([block(m.id, v, CONTROL) for m in SPEC.metrics for v in ("control", "t1")], as_of=END)
    (text,) = [
        r.text
        for r in decide(now, state, analyse_all(now, day, state=state), [PASSED]).reasons
        if r.code == "SPEC_CHANGED"
    ]
    assert f"on {END} (the platform was upgraded too, and may have other defaults): hypothesis" in text
