"""Plans as tables on a terminal, and as JSON for programs."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich import box
from rich.table import Table
from rich.text import Text

from exp_platform import numbers
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import MetricScale
from exp_platform.config.readings import NOTHING_READ
from exp_platform.escaping import line
from exp_platform.planning.metric_plan import MetricPlan


def plan_table(experiment: Experiment, plans: Sequence[MetricPlan], *, width: int = 80) -> Table:
    """One row for each planned metric; below 120 columns without standard deviations, levels and sources."""
    wide = width >= 120
    users = next((plan.users for plan in plans if plan.users is not None), None)
    title = f"{experiment.id}: users of all arms for a power of {numbers.share(experiment.decision.power, 0)}"
    if users is not None:
        title += f"; what {users:,} find"
    table = _table(title)
    extra = ("SD", "Alpha", "From") if wide else ()
    found = () if users is None else ("Finds", "Power")
    for name in ("Metric", "Baseline", *extra, "MDE", "Users", "Days", *found):
        # Numbers keep their line; a margin with its unit gives way where the terminal is narrow
        table.add_column(name, justify="left" if name == "Metric" else "right", no_wrap=name != "MDE")
    for plan in plans:
        scale = experiment.scale(plan.metric.id, plan.metric.kind)
        sd = numbers.level(plan.expected.sd, unit=scale.unit)
        more = (sd, f"{plan.alpha:.4f}", plan.source) if wide else ()
        power = (numbers.change(plan.finds.smallest_effect, *scale), numbers.share(plan.finds.power))
        _add(
            table,
            plan.metric.id,
            numbers.level(plan.expected.mean, *scale),
            *more,
            _wanted(plan, scale),
            numbers.count(plan.required_users),
            numbers.count(plan.required_days),
            *(power if found else ()),
        )
    return table


def durations_table(experiment: Experiment, plan: MetricPlan) -> Table:
    """What one metric finds after so many days of exposure."""
    scale, mean = experiment.scale(plan.metric.id, plan.metric.kind), plan.expected.mean
    table = _table(f"{plan.metric.id}, by days of exposure")
    always = plan.sequential_alpha > 0
    for name in (
        "Days",
        "Read on",
        "Users",
        "Finds",
        "of baseline",
        "Power",
        *(("Always valid",) if always else ()),
    ):
        table.add_column(name, justify="right", no_wrap=True)
    for row in plan.durations:
        relative = (
            None if row.finds.smallest_effect is None or not mean else row.finds.smallest_effect / abs(mean)
        )
        _add(
            table,
            numbers.count(row.days),
            str(row.read_on),
            numbers.count(row.users),
            numbers.change(row.finds.smallest_effect, *scale),
            numbers.percent(relative),
            numbers.share(row.finds.power),
            *((numbers.change(row.finds.smallest_always_valid, *scale),) if always else ()),
        )
    return table


def plan_lines(experiment: Experiment, plans: Sequence[MetricPlan]) -> list[str]:
    """What stands below the tables: levels, what adjusting and always-valid evidence cost or gain, what is missing."""
    decision = experiment.decision
    lines = []
    if decision.sequential == "group_sequential":
        lines.append(
            f"Group sequential, {len(NOTHING_READ.look_dates(experiment))} looks: what looking costs is in the users."
        )
    else:
        always = (
            f", {decision.sequential_alpha:g} for always-valid evidence" if decision.sequential_alpha else ""
        )
        lines.append(
            f"Alpha: {decision.fixed_alpha:g} at the planned end{always}; metrics and treatments of a family share it."
        )
    if decision.correction != "bonferroni":
        lines.append(f"Planned at Bonferroni's levels: {decision.correction} finds as much or more.")
    for plan in plans:
        lines += [f"{plan.metric.id}: {line}" for line in (*_costs(experiment, plan), *plan.notes)]
    return lines


def plan_json(experiment: Experiment, plans: Sequence[MetricPlan]) -> dict[str, Any]:
    """The same for programs: users of all arms together, effects in the metrics' units."""
    return {
        "experiment_id": experiment.id,
        "power": experiment.decision.power,
        "correction": experiment.decision.correction,
        "estimate": experiment.decision.estimate,
        "metrics": [_as_json(experiment, plan) for plan in plans],
    }


def _as_json(experiment: Experiment, plan: MetricPlan) -> dict[str, Any]:
    told = ("metric", "expected", "finds", "durations")
    same = {key: value for key, value in vars(plan).items() if key not in told}
    return {
        "metric_id": plan.metric.id,
        "metric_kind": plan.metric.kind,
        "unit": experiment.units.get(plan.metric.id),
        "role": str(plan.metric.role),
        "baseline": plan.expected.mean,
        "sd": plan.expected.sd,
        "variance_reduction": plan.expected.variance_reduction,
        **same,
        **plan.finds._asdict(),
        "durations": [
            {"days": row.days, "read_on": row.read_on, "users": row.users, **row.finds._asdict()}
            for row in plan.durations
        ],
    }


def _costs(experiment: Experiment, plan: MetricPlan) -> list[str]:
    lines = []
    if len(experiment.variants) > 2 or len({v.share for v in experiment.variants}) > 1:
        arms = ", ".join(f"{v} {n:,}" for v, n in plan.required_by_variant.items())
        lines += [f"users per arm: {arms}"] if arms else []
    for method, gain in plan.gains.items():
        needed = plan.required_by_estimate.get(method)
        users = "" if needed is None else f", so {needed:,} users are needed where it decides"
        lines.append(f"{method} takes {numbers.share(gain, 0)} off the variance{users}")
    if plan.required_always_valid is not None:
        lines.append(
            f"always-valid evidence alone would need {plan.required_always_valid:,} users at one look"
        )
    return lines


def _wanted(plan: MetricPlan, scale: MetricScale) -> str:
    """The mde as the spec writes it, or the margin of a guardrail that has none."""
    guardrail = plan.metric.guardrail
    size = plan.metric.mde if plan.metric.mde is not None or guardrail is None else guardrail.margin
    if size is None:
        return numbers.DASH
    said = numbers.share(size.value) if size.scale == "relative" else numbers.size(size.value, *scale)
    return f"margin {said}" if plan.target == "margin" else said


def _add(table: Table, *cells: str) -> None:
    """A row of cells as they are: a source's name or a unit such as `[/a]` is no markup."""
    table.add_row(*(Text(line(cell)) for cell in cells))


def _table(title: str) -> Table:
    return Table(title=title, title_justify="left", box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
