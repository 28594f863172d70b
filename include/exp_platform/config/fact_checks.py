"""What no part of a spec sees alone of facts: that metrics name facts, values and dimensions that the source has."""

from __future__ import annotations

from collections.abc import Iterator

from exp_platform.config.faults import NOTHING, Fault, Key, Words, suggest
from exp_platform.config.kinds import VALUED
from exp_platform.config.sources import DAY, Series
from exp_platform.config.spec import ExperimentSpec
from exp_platform.config.spec_metrics import RESERVED_EVENT, MeasureSpec, MetricSpec, OfFact
from exp_platform.config.spec_sources import SYNTHETIC_EVENTS, EventsSpec
from exp_platform.config.spec_tables import FactSpec

_TAKEN = {RESERVED_EVENT, "exposures", "outcomes", "units", "identities", "users"}


def fact_faults(spec: ExperimentSpec) -> Iterator[Fault]:
    """What metrics name of facts and the source does not have; nothing of metrics that name none."""
    facts = spec.source.facts if isinstance(spec.source, EventsSpec) else {}
    for name in sorted(facts.keys() & _TAKEN):
        yield Fault(("source", "facts", name), name, "this name is taken by another table: rename the fact")
    for position, metric in enumerate(spec.metrics):
        key: Key = ("metrics", position)
        for side, measured in _measured(metric):
            if measured.of is not None:
                yield from measured_faults((*key, *side), measured, facts, spec.source.kind)
            elif facts and metric.measure_keys:
                yield Fault((*key, *side, "of"), NOTHING, f"which fact it is of; {suggest('', facts)}")


def trigger_faults(spec: ExperimentSpec) -> Iterator[Fault]:
    """What is wrong with the trigger: rows that are not there, or a source that has none."""
    trigger = spec.trigger
    if trigger is None:
        return
    facts = spec.source.facts if isinstance(spec.source, EventsSpec) else {}
    if spec.source.kind == "units":
        remedy = "a units source has no events that users could reach: leave it out"
        yield Fault(("trigger",), Words("a trigger"), remedy)
    elif trigger.of is not None:
        yield from measured_faults(("trigger",), trigger, facts, spec.source.kind)
    elif facts:
        yield Fault(("trigger", "of"), NOTHING, f"which fact it is of; {suggest('', facts)}")
    elif trigger.event is None:
        yield Fault(("trigger", "event"), NOTHING, "this key is required: what users must reach")
    elif trigger.event == RESERVED_EVENT:
        remedy = "this name is taken by the exposures themselves: rename the event"
        yield Fault(("trigger", "event"), RESERVED_EVENT, remedy)
    elif spec.source.kind == "synthetic" and trigger.event not in SYNTHETIC_EVENTS:
        remedy = f"allowed in a synthetic source: {', '.join(SYNTHETIC_EVENTS)}"
        yield Fault(("trigger", "event"), trigger.event, remedy)


def _measured(metric: MetricSpec) -> Iterator[tuple[Key, OfFact]]:
    if metric.traits.agg is not None:
        yield (), metric
        return
    for name in ("numerator", "denominator"):
        side: MeasureSpec | None = getattr(metric, name)
        if side is not None:
            yield (name,), side


def measured_faults(key: Key, measured: OfFact, facts: dict[str, FactSpec], kind: str) -> Iterator[Fault]:
    """What one measure, filter or trigger names of facts that are not there."""
    fact = facts.get(measured.of or "")
    if not facts:
        remedy = f"the {kind} source has no facts: name them under source.facts, or a source that has them under source.use"
        yield Fault((*key, "of"), measured.of, remedy)
    elif fact is None:
        yield Fault((*key, "of"), measured.of, f"no fact has this name; {suggest(measured.of or '', facts)}")
    else:
        event = getattr(measured, "event", None)
        if event is not None and "event" not in fact.columns:
            remedy = (
                f"{measured.of} is one kind of event: leave it out, or name the column `event` of the fact"
            )
            yield Fault((*key, "event"), event, remedy)
        series = measured.series_of(event)
        if series is not None:
            yield from _column_faults(key, series, fact)
        if isinstance(measured, MetricSpec) and measured.value is None and measured.traits.agg in VALUED:
            remedy = f"a {measured.type} is of a value: {suggest('', fact.values)}"
            yield Fault((*key, "value"), NOTHING, remedy)


def _column_faults(key: Key, series: Series, fact: FactSpec) -> Iterator[Fault]:
    columns = fact.dimensions | fact.values
    if series.value is not None and series.value not in fact.values:
        remedy = f"no value of {series.fact} has this name; {suggest(series.value, fact.values)}"
        yield Fault((*key, "value"), series.value, remedy)
    if series.item is not None and series.item not in columns:
        remedy = f"no dimension of {series.fact} has this name; {suggest(series.item, [*columns, DAY])}"
        yield Fault((*key, "distinct"), series.item, remedy)
    for condition in series.where:
        place = (*key, "where", condition.column)
        if condition.column not in columns:
            remedy = (
                f"no dimension or value of {series.fact} has this name; {suggest(condition.column, columns)}"
            )
            yield Fault(place, Words("an unknown column"), remedy)
            continue
        said = "number" if condition.column in fact.values else columns[condition.column].read_as
        if said and condition.of and said != condition.of:
            remedy = f"{condition.column} is read as {said}: compare it with {'texts' if said == 'text' else 'numbers'}"
            yield Fault(place, Words(condition.told), remedy)
