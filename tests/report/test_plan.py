"""Plans on a terminal of 80 columns and as JSON."""

from __future__ import annotations

import io
import json
from dataclasses import replace

from rich.console import Console

from analyses.simulated import experiment, metric
from exp_platform.config.metrics import DayWindow, Effect, Guardrail, Role
from exp_platform.config.plans import DecisionPlan
from exp_platform.planning.arrivals import Arrivals
from exp_platform.planning.known import Known
from exp_platform.planning.metric_plan import MetricPlan, plan_metric
from exp_platform.report.plan import durations_table, plan_json, plan_lines, plan_table

BUYS = metric(
    "buys_in_a_week", "proportion", baseline=0.1, mde=Effect(0.1, "relative"), covariates=["x"],
    window=DayWindow(0, 7),
)  # fmt: skip
GUARD = metric("minutes", role=Role.GUARDRAIL, guardrail=Guardrail(Effect(0.05, "relative"), "critical"))
SPEC = experiment(BUYS, GUARD, shares=(0.5, 0.25, 0.25))


def plans() -> list[MetricPlan]:
    earlier = {
        "buys_in_a_week": Known(0.11, 0.3, {"cuped": 0.25}, "results"),
        "minutes": Known(4.0, 3.0, {}, "results"),
    }
    return [plan_metric(SPEC, m, known=earlier[m.id], arrivals=Arrivals(2000.0)) for m in SPEC.metrics]


def shown(*printed: object, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    for each in printed:
        console.print(each)
    return console.file.getvalue()  # type: ignore[attr-defined,no-any-return]


def test_a_plan_fits_eighty_columns_with_nothing_cut_off() -> None:
    made = plans()
    text = shown(plan_table(SPEC, made), durations_table(SPEC, made[0]))
    assert "…" not in text
    assert max(len(line) for line in text.splitlines()) <= 80
    row = next(line for line in text.splitlines() if line.strip().startswith("buys_in_a_week "))
    assert f"{made[0].required_users:,}" in row
    assert "10.00 %" in row
    assert "margin 5.0 %" in text


def test_every_number_of_a_duration_is_shown() -> None:
    made = plans()[0]
    row = made.durations[1]
    assert (row.days, row.users) == (14, 28_000)
    (line,) = (x for x in shown(durations_table(SPEC, made)).splitlines() if x.strip().startswith("14 "))
    assert str(row.read_on) in line
    assert f"{100 * row.finds.smallest_effect:+.2f} pp" in line
    assert f"{100 * row.finds.smallest_always_valid:+.2f} pp" in line
    assert f"{100 * row.finds.power:.1f} %" in line


def test_a_wide_terminal_has_levels_and_sources_too() -> None:
    text = shown(plan_table(SPEC, plans(), width=140), width=140)
    assert "0.0225" in text  # .045 shared by two treatments
    assert "spec" in text


def test_what_adjusting_gains_and_looking_costs_stands_below() -> None:
    made = plans()
    lines = plan_lines(SPEC, made)
    needed = made[0].required_by_estimate["cuped"]
    assert (
        f"buys_in_a_week: cuped takes 25 % off the variance, so {needed:,} users are needed where it decides"
        in lines
    )
    assert any("always-valid evidence alone would need" in line for line in lines)
    assert any(line.startswith("buys_in_a_week: users per arm: control ") for line in lines)
    holm = replace(SPEC, decision=DecisionPlan(correction="holm"))
    assert "Planned at Bonferroni's levels: holm finds as much or more." in plan_lines(holm, [])


def test_json_holds_all_of_it() -> None:
    made = plans()
    told = json.loads(json.dumps(plan_json(SPEC, made), default=str, allow_nan=False))
    assert (told["experiment_id"], told["power"], told["correction"]) == ("exp_test", 0.8, "bonferroni")
    buys, minutes = told["metrics"]
    assert buys["required_users"] == made[0].required_users
    assert buys["durations"][1]["read_on"] == "2025-03-21"
    assert (minutes["target"], minutes["effect"]) == ("margin", 0.2)
