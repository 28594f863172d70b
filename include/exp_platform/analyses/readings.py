"""The statistical plan of a spec, and what is left of it once numbers were seen by another one."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from datetime import date
from typing import Any

from exp_platform.analyses.family import level_of
from exp_platform.analyses.planned import tuned_size
from exp_platform.config.analyses import METHODS
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric, Role
from exp_platform.config.readings import NOTHING_READ, Change, Edit, FirstLook, Memory, Plan, RunState

_SHARING = (Role.PRIMARY, Role.SECONDARY)  # the roles that share alpha
_NO_PART_OF_A_DEFINITION = ("id", "role", "mde", "baseline", "guardrail", "min_practical_effect")


def plan_of(experiment: Experiment) -> Plan:
    """All of a spec that the chance of a wrong decision depends on, as plain JSON.

    `compared`: which users and which estimate; `end`: when the test is taken; `levels`: how alpha is shared; `metrics` by
    id; `told`: what may change, but not in silence.
    """
    spec, decision = experiment, experiment.decision
    plan = {
        "compared": _compared(spec),
        "end": _end(spec),
        "levels": {
            "decision.alpha": decision.alpha,
            "decision.sequential_share": decision.sequential_share,
            "decision.correction": decision.correction,
            "decision.family": decision.family,
        },
        "metrics": {metric.id: _metric(spec, metric) for metric in spec.metrics},
        "told": {
            "variants": {v.id: v.share for v in spec.variants},
            "ramp": [[a.start, a.shares] for a in spec.ramp],
            "decision.looks": decision.looks,
        },
        "decision_date": spec.decision_date,
        "treatments": [t.id for t in spec.treatments],
        "looks": [day for day in NOTHING_READ.look_dates(spec) if day < spec.decision_date],
        "quality": asdict(spec.quality),
    }
    return _plain(plan)  # type: ignore[no-any-return]


def _compared(spec: Experiment) -> Plan:
    by = spec.decision.estimate
    compared: Plan = {
        "window.start": spec.window.start,
        "window.timezone": spec.window.timezone,
        "variants.control": spec.control.id,
        "decision.estimate": by,
        "analyses.crossovers": spec.analyses.crossovers,
    } | ({"trigger": spec.trigger.told} if spec.trigger else {})
    if METHODS[by].covariates:
        compared |= {
            "analyses.slopes": spec.analyses.slopes,
            "analyses.pre_period_days": spec.analyses.pre_period_days,
            "analyses.anchor": spec.analyses.anchor,
        }
    return compared | ({"analyses.strata": spec.analyses.strata} if METHODS[by].strata else {})


def _end(spec: Experiment) -> Plan:
    decision = spec.decision
    end: Plan = {"window.end": spec.window.end, "planned decision date": spec.decision_date}
    if decision.sequential == "group_sequential":
        end |= {
            "decision.spending": decision.spending,
            "decision.spending_exponent": decision.spending_exponent,
            "decision.required_sample_size": decision.required_sample_size,
        }
    return end


def _metric(spec: Experiment, metric: Metric) -> Plan:
    left_out = set(_NO_PART_OF_A_DEFINITION)
    if not METHODS[spec.decision.estimate].covariates:
        left_out.add("covariates")
    shares = metric.role in _SHARING
    return {
        "role": metric.role,
        "definition": {key: value for key, value in asdict(metric).items() if key not in left_out},
        "min_practical_effect": metric.min_practical_effect and asdict(metric.min_practical_effect),
        "guardrail": metric.guardrail and asdict(metric.guardrail),
        "family_size": level_of(spec, metric).size if shares else 0,
        "tuned": {t.id: tuned_size(spec, metric, t.id) for t in spec.treatments},
    }


def _plain(value: Any) -> Any:
    return json.loads(json.dumps(value, default=str))


def remembering(
    experiment: Experiment, memory: Memory, data: str, read_on: date, edits: Sequence[Edit] = ()
) -> RunState:
    """What a run that reads `data` on the day `read_on` finds, after what `memory` says was read.

    `edits`: those of the spec since its first run.
    """
    now, first = plan_of(experiment), memory.first
    state = RunState(memory, now, data, read_on, tuple(edits), moved=_end_moved_after(experiment, memory))
    if memory.refused is not None and memory.final is None and now["quality"] != memory.refused.quality:
        before = {f"quality.{key}": value for key, value in memory.refused.quality.items()}
        after = {f"quality.{key}": value for key, value in now["quality"].items()}
        changed = tuple(_differences(before, after))
        state = replace(state, moved=True, lenient=True, changes=changed)
    return state if first is None else _against(state, first, now)


def _end_moved_after(experiment: Experiment, memory: Memory) -> bool:
    """Whether the test of an earlier end was read by a version of the platform that did not keep its plan."""
    unknown = memory.first is None and memory.final is not None
    return unknown and memory.final.as_of_date < experiment.decision_date  # type: ignore[union-attr]


def _against(state: RunState, first: FirstLook, now: Plan) -> RunState:
    """What follows from the difference between the plan of the first look and the present one."""
    then = first.plan
    names = {id: found for id, metric in now["metrics"].items() if (found := _same(then, id, metric))}
    known = {id: then["metrics"][name] for id, name in names.items()}
    new = tuple(t for t in now["treatments"] if t not in then["treatments"])
    sizes = {id: metric["family_size"] for id, metric in known.items()}
    sizes_now = {id: now["metrics"][id]["family_size"] for id in now["metrics"]}
    same_levels = then["levels"] == now["levels"] and all(
        sizes.get(id, n) == n for id, n in sizes_now.items()
    )
    alpha, share = then["levels"]["decision.alpha"], then["levels"]["decision.sequential_share"]
    return replace(
        state,
        changes=(*_changes(then, now, names), *state.changes),
        moved=state.moved or _said(then["end"]) != _said(now["end"]),
        incomparable=_said(then["compared"]) != _said(now["compared"]),
        fixed_alpha=None if same_levels else alpha * (1 - share),
        sequential_alpha=None if same_levels else alpha * share,
        sizes=sizes,
        names={id: name for id, name in names.items() if id != name},
        unplanned=tuple(id for id, m in now["metrics"].items() if not _shared(then, known.get(id), m)),
        new_treatments=new,
        guardrails={id: metric["guardrail"] for id, metric in known.items()},
        unguarded=tuple(
            id
            for id, metric in then["metrics"].items()
            if id not in names.values() and (metric["guardrail"] or {}).get("severity") == "critical"
        ),
        practical={id: metric["min_practical_effect"] for id, metric in known.items()},
        tuned={id: metric["tuned"] for id, metric in known.items()},
        looks=tuple(date.fromisoformat(day) for day in then["looks"]),
    )


def _same(then: Plan, metric_id: str, metric: Plan) -> str | None:
    """The metric of the first look that is measured alike: of the same id, else one that was renamed."""
    now = _said(metric["definition"])
    alike = [id for id, m in then["metrics"].items() if _said(m["definition"]) == now]
    return metric_id if metric_id in alike else alike[0] if alike else None


def _said(plan: Any) -> Any:
    """A part of a plan without what it does not say: an older version does not know the keys that this one has got since."""
    if not isinstance(plan, dict):
        return plan
    return {key: _said(value) for key, value in plan.items() if value is not None}


def _shared(then: Plan, known: Plan | None, metric: Plan) -> bool:
    """Whether a metric that claims something now had a share of alpha for it at the first look."""
    if metric["role"] not in _SHARING:
        return known is not None or not metric["guardrail"]
    if known is None:
        return False
    together = then["levels"]["decision.family"] == "all"
    return (
        known["role"] == metric["role"]
        or (together and known["role"] in _SHARING)
        or known["role"] == Role.PRIMARY
    )


def _changes(then: Plan, now: Plan, names: dict[str, str]) -> Iterator[Change]:
    for part in ("compared", "end", "levels", "told"):
        yield from _differences(then[part], now[part])
    for id, metric in now["metrics"].items():
        before = then["metrics"].get(names.get(id, id))
        if before is None:
            yield Change(f"metrics.{id}", None, metric["role"])
            continue
        if names.get(id, id) != id:
            yield Change(f"metrics.{names[id]}.id", names[id], id)
        yield from _differences(_told_of(id, before), _told_of(id, metric))
    kept = {*now["metrics"], *names.values()}
    for id, metric in then["metrics"].items():
        if id not in kept:
            yield Change(f"metrics.{id}", metric["role"], None)


def _told_of(metric_id: str, metric: Plan) -> Plan:
    told = {"role": metric["role"], **metric["definition"]}
    told |= {key: metric[key] for key in ("min_practical_effect", "guardrail")}
    return {f"metrics.{metric_id}.{key}": value for key, value in told.items()}


def _differences(before: Any, now: Any, key: str = "") -> Iterator[Change]:
    """The leaves in which two JSON values differ, with their keys."""
    if isinstance(before, dict) and isinstance(now, dict):
        for name in dict.fromkeys((*before, *now)):
            yield from _differences(before.get(name), now.get(name), f"{key}.{name}" if key else name)
    elif before != now:
        yield Change(key, before, now)
