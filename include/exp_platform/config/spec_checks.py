"""What no part of a spec sees alone: that source, metrics, guardrails, segments and analyses fit together."""

from __future__ import annotations

from collections.abc import Iterator

from exp_platform.config.allocation import CROSS
from exp_platform.config.analyses import ANALYSES, METHODS
from exp_platform.config.asset import results_of
from exp_platform.config.fact_checks import fact_faults, trigger_faults
from exp_platform.config.faults import NOTHING, Fault, Words, suggest
from exp_platform.config.kinds import IN_UNITS, OF_ONE_USER, OF_ROWS, PICKED
from exp_platform.config.ramp_checks import ramp_faults
from exp_platform.config.spec import ExperimentSpec, repeated
from exp_platform.config.spec_metrics import RESERVED_EVENT, CovariateSpec, MetricSpec
from exp_platform.config.spec_segments import SEGMENT_REMEDY, SegmentSpec
from exp_platform.config.spec_sources import (
    SYNTHETIC_EVENTS,
    SyntheticSpec,
    UnitsSpec,
)

_ALL = "all"  # the results' name for the segment of everybody
_BLOCK_COLUMNS = ("value", "denominator")  # columns that the Moments have anyway


def spec_faults(spec: ExperimentSpec) -> Iterator[Fault]:
    """All that does not fit together, found as it is asked for; nothing for a spec that may be resolved."""
    yield from _variant_values(spec)
    yield from ramp_faults(spec)
    yield from _measures(spec)
    yield from fact_faults(spec)
    yield from trigger_faults(spec)
    yield from _windows(spec)
    yield from _covariates(spec)
    yield from _guardrails(spec)
    yield from _segments(spec)
    yield from _analyses(spec)
    yield from _sequential(spec)
    yield from _after(spec)
    yield from _synthetic(spec)


def _variant_values(spec: ExperimentSpec) -> Iterator[Fault]:
    seen: set[str] = set()
    for position, variant in enumerate(spec.variants):
        key = ("variants", position, "value")
        if variant.value and isinstance(spec.source, SyntheticSpec):
            yield Fault(key, list(variant.value), "generated data hold the variant's id: leave it out")
        for value in variant.values:
            if value in seen:
                yield Fault(key, value, "it is there already: each may occur once")
            seen.add(value)


def _windows(spec: ExperimentSpec) -> Iterator[Fault]:
    for position, metric in enumerate(spec.metrics):
        window = metric.window
        if window is not None and window.to_day is None and window.from_day >= spec.window.length:
            remedy = (
                f"without to_day the window closes with the experiment, after {spec.window.length} days: nobody's would "
                f"open. Give to_day, or a from_day below {spec.window.length}"
            )
            yield Fault(("metrics", position, "window", "from_day"), window.from_day, remedy)


def _measures(spec: ExperimentSpec) -> Iterator[Fault]:
    units = isinstance(spec.source, UnitsSpec)
    wanted, other = ("column", "event") if units else ("event", "column")
    for position, metric in enumerate(spec.metrics):
        key = ("metrics", position)
        takes = metric.traits.keys
        if other in takes and getattr(metric, other) is not None:
            yield Fault(
                (*key, other),
                getattr(metric, other),
                f"the {spec.source.kind} source takes `{wanted}` instead",
            )
        elif wanted in takes and getattr(metric, wanted) is None and metric.of is None:
            yield Fault((*key, wanted), NOTHING, "this key is required: what the metric measures")
        for side, measure in zip(metric.measure_keys, metric.measures, strict=True):
            if measure.event == RESERVED_EVENT:
                remedy = "this name is taken by the exposures themselves: rename the event"
                yield Fault((*key, side), RESERVED_EVENT, remedy)
            elif isinstance(spec.source, SyntheticSpec) and measure.event not in SYNTHETIC_EVENTS:
                remedy = f"allowed in a synthetic source: {', '.join(SYNTHETIC_EVENTS)}"
                yield Fault((*key, side), measure.event, remedy)
        if units:
            yield from _under(key, _units_metric(metric))
        elif metric.missing == "error" or (metric.missing and metric.traits.agg not in PICKED):
            remedy = "only a units source has missing values: without events a user counts as zero"
            yield Fault((*key, "missing"), metric.missing, remedy)


def _units_metric(metric: MetricSpec) -> Iterator[Fault]:
    kind = metric.traits
    of_days = "window" in kind.requires
    if of_days or OF_ROWS & {kind.agg, *(measure.agg for measure in metric.measures)}:
        found = Words("a count of rows") if kind.agg is None else metric.type
        yield Fault(("type",), found, f"a units source has one row per user: {IN_UNITS}")
    if metric.window is not None and not of_days:
        yield Fault(("window",), Words("a window"), "a units source has no days after exposure: leave it out")


def _covariates(spec: ExperimentSpec) -> Iterator[Fault]:
    outcomes = {measure.event for metric in spec.metrics for measure in metric.measures}
    measurable = {metric.id for metric in spec.metrics}
    units = isinstance(spec.source, UnitsSpec)
    for position, metric in enumerate(spec.metrics):
        for item, covariate in enumerate(metric.covariates or ()):
            key, name = ("metrics", position, "covariates", item), covariate.name
            yield from _under(key, _until(spec, covariate))
            if units:
                if name in outcomes:
                    yield Fault(key, name, "it is an outcome: a covariate is recorded before the experiment")
                if name in _BLOCK_COLUMNS:
                    yield Fault(key, name, "this name is taken: rename the column")
            elif name not in measurable:
                yield Fault(key, name, f"the pre-period value of a metric; {suggest(name, measurable)}")
        if metric.covariates and spec.analyses.pre_period_days == 0 and not units:
            yield Fault(
                ("analyses", "pre_period_days"), 0, f"the covariates of {metric.id} need a pre-period"
            )
        names = tuple(covariate.name for covariate in metric.covariates or ())
        yield from _under(("metrics", position, "covariates"), repeated(names))


def _until(spec: ExperimentSpec, covariate: CovariateSpec | SegmentSpec) -> Iterator[Fault]:
    """A covariate's own window must end before anybody is exposed: later values may be of the treatment's making."""
    if covariate.until is None:
        return
    if not isinstance(spec.source, UnitsSpec):
        remedy = "only a column of a units source is dated: the pre-period ends before exposure by itself"
        yield Fault(("until",), covariate.until, remedy)
    elif covariate.until >= spec.window.start:
        remedy = f"allowed: a day before the window starts ({spec.window.start}); what is measured after exposure is an outcome"
        yield Fault(("until",), covariate.until, remedy)


def _guardrails(spec: ExperimentSpec) -> Iterator[Fault]:
    known = [metric.id for metric in spec.metrics]
    guarded = tuple(guardrail.metric for guardrail in spec.guardrails)
    for position, name in enumerate(guarded):
        if name not in known:
            yield Fault(
                ("guardrails", position, "metric"), name, f"no metric has this id; {suggest(name, known)}"
            )
    yield from _under(("guardrails",), repeated(guarded, "metric"))
    for position, metric in enumerate(spec.metrics):
        if metric.role == "guardrail" and metric.id not in guarded:
            remedy = (
                f"say by how much it may get worse, under guardrails: {{metric: {metric.id}, margin: 5%}}"
            )
            yield Fault(("metrics", position, "role"), metric.role, remedy)


def _segments(spec: ExperimentSpec) -> Iterator[Fault]:
    behaviour = {metric.id for metric in spec.metrics}
    behaviour |= {measure.event for metric in spec.metrics for measure in metric.measures}
    for position, segment in enumerate(spec.segments):
        key, name = ("segments", position), segment.name
        if name in behaviour:
            yield Fault(key, name, f"it is an outcome; {SEGMENT_REMEDY}")
        elif name == _ALL:
            yield Fault(key, name, "this name is taken by the segment of everybody")
        elif CROSS in name:
            yield Fault(key, name, f"{CROSS!r} is kept for crossed segments: give it another name")
        elif segment.by is not None:
            yield from _under(key, _behaviour(spec, segment, segment.by))
        elif isinstance(spec.source, SyntheticSpec) and name not in spec.source.attributes:
            yield Fault(key, name, f"allowed in a synthetic source: {', '.join(spec.source.attributes)}")
    yield from _under(("segments",), repeated(tuple(segment.name for segment in spec.segments)))
    attributes = {} if isinstance(spec.source, SyntheticSpec) else spec.source.attributes
    for attribute in attributes:
        if attribute not in spec.attributes:
            remedy = "an attribute is read for a segment of its name: name it under segments, or leave it out"
            yield Fault(("source", "attributes", attribute), Words("an unused attribute"), remedy)


def _behaviour(spec: ExperimentSpec, segment: SegmentSpec, by: str) -> Iterator[Fault]:
    """What users did must have been done before anybody was exposed."""
    yield from _until(spec, segment)
    if isinstance(spec.source, UnitsSpec):
        if by in {measure.event for metric in spec.metrics for measure in metric.measures}:
            yield Fault(("by",), by, f"it is an outcome; {SEGMENT_REMEDY}")
        elif by in _BLOCK_COLUMNS:
            yield Fault(("by",), by, "this name is taken: rename the column")
        return
    known = {metric.id: metric.traits for metric in spec.metrics}
    if by not in known:
        yield Fault(("by",), by, f"the pre-period value of a metric; {suggest(by, list(known))}")
    elif known[by].agg is None:
        yield Fault(("by",), by, f"a {known[by].name} has no value of one user: {OF_ONE_USER}")
    if spec.analyses.pre_period_days == 0:
        remedy = "there is no pre-period to sort users by: set analyses.pre_period_days"
        yield Fault(("by",), by, remedy)


def _analyses(spec: ExperimentSpec) -> Iterator[Fault]:
    estimate = spec.decision.estimate
    for analysis in ANALYSES:
        said, key = getattr(spec.analyses, analysis.name), ("analyses", analysis.name)
        idle, needed = analysis.idle(spec), analysis.needed(spec)
        if said and idle is not None:
            yield Fault(key, True, f"there is nothing for it to do: {idle}")
        if said is False and needed is not None:
            yield Fault(key, False, needed)
        if said is False and analysis.estimates(estimate):
            yield Fault(key, False, f"decision.estimate is {estimate}: it cannot be switched off")
    yield from _did_days(spec)
    yield from _strata(spec)
    yield from _estimate(spec)


def _strata(spec: ExperimentSpec) -> Iterator[Fault]:
    strata, segments = spec.analyses.strata, [segment.name for segment in spec.segments]
    for position, name in enumerate(strata):
        if name not in segments:
            remedy = f"a stratum is a value of a segment: {suggest(name, segments)}"
            yield Fault(("analyses", "strata", position), name, remedy)
    yield from _under(("analyses", "strata"), repeated(strata))


def _estimate(spec: ExperimentSpec) -> Iterator[Fault]:
    """What the adjusted estimate that decides needs."""
    estimate = spec.decision.estimate
    method = METHODS[estimate]
    if method.strata and not spec.analyses.strata:
        yield Fault(("analyses", "strata"), NOTHING, f"decision.estimate is {estimate}: name segments here")
    for position, metric in enumerate(spec.metrics):
        if method.covariates and metric.role == "primary" and not _has_covariates(spec, metric):
            remedy = f"decision.estimate is {estimate}, so the primary metric {metric.id} needs covariates"
            yield Fault(("metrics", position, "covariates"), NOTHING, remedy)


def _has_covariates(spec: ExperimentSpec, metric: MetricSpec) -> bool:
    if isinstance(spec.source, UnitsSpec):
        return bool(metric.covariates)
    return metric.traits.adjusted and metric.covariates != () and spec.analyses.pre_period_days > 0


def _did_days(spec: ExperimentSpec) -> Iterator[Fault]:
    days, before = spec.analyses.did_days, spec.analyses.did_pre_days
    pre = spec.analyses.pre_period_days
    if isinstance(spec.source, UnitsSpec):
        return
    if before is not None and before > pre:
        remedy = f"allowed are up to pre_period_days ({pre})"
        yield Fault(("analyses", "did_pre_days"), before, remedy)
    if days is not None and before is None and days > pre:
        remedy = (
            "without did_pre_days did compares as many days before as after exposure: "
            f"allowed are up to pre_period_days ({pre})"
        )
        yield Fault(("analyses", "did_days"), days, remedy)
    if days is not None and days > spec.observed_days:
        remedy = f"nobody is observed that long after exposure: allowed are up to {spec.observed_days}"
        yield Fault(("analyses", "did_days"), days, remedy)


def _sequential(spec: ExperimentSpec) -> Iterator[Fault]:
    decision = spec.decision
    if decision.sequential != "group_sequential":
        for name in ("looks", "spending", "spending_exponent"):
            if getattr(decision, name):
                remedy = "it belongs to a group-sequential test: say `sequential: group_sequential`"
                yield Fault(("decision", name), Words("a key of another test"), remedy)
        return
    if decision.sequential_share is not None:
        remedy = "a group-sequential test spends all of alpha at its looks: leave it out"
        yield Fault(("decision", "sequential_share"), decision.sequential_share, remedy)
    if decision.required_sample_size is None:
        remedy = "a group-sequential test needs the planned size: users of all arms, from `exp plan`"
        yield Fault(("decision", "required_sample_size"), NOTHING, remedy)
    if decision.correction != "bonferroni":
        remedy = "the looks of a group-sequential test are corrected by Bonferroni: leave it out"
        yield Fault(("decision", "correction"), decision.correction, remedy)
    if decision.spending_exponent is not None and decision.spending != "power":
        remedy = "only `spending: power` has an exponent"
        yield Fault(("decision", "spending_exponent"), decision.spending_exponent, remedy)
    guarded = {guardrail.metric for guardrail in spec.guardrails}
    ends = [
        metric.window.to_day or 0
        for metric in spec.metrics
        if metric.window and (metric.role != "informational" or metric.id in guarded)
    ]
    longest = max(ends, default=0)
    until_over = longest + (spec.trigger.within if spec.trigger and longest else 0)
    last = spec.window.resolve().over(spec.window.last_day, until_over)
    for position, day in enumerate(decision.looks):
        if not spec.window.start <= day < last:
            remedy = (
                f"allowed: days from {spec.window.start} to the day before the planned decision date {last}"
            )
            yield Fault(("decision", "looks", position), day, remedy)
        elif day in decision.looks[:position]:
            remedy = "it is there already: each may occur once"
            yield Fault(("decision", "looks", position), day, remedy)


def _after(spec: ExperimentSpec) -> Iterator[Fault]:
    asset = spec.schedule.after
    if asset is not None and asset.rstrip("/") in results_of(spec.id):
        remedy = "each decision of this experiment would start its next run; name the asset that its data come with"
        yield Fault(("schedule", "after"), asset, remedy)


def _synthetic(spec: ExperimentSpec) -> Iterator[Fault]:
    if not isinstance(spec.source, SyntheticSpec):
        return
    yield from _under(("source",), spec.source.faults(len(spec.variants)))
    if spec.schedule.wait_for:
        remedy = "a synthetic source is generated by the run itself: there is nothing to wait for"
        yield Fault(("schedule", "wait_for"), Words("something to wait for"), remedy)


def _under(key: tuple[str | int, ...], faults: Iterator[Fault]) -> Iterator[Fault]:
    for fault in faults:
        yield Fault((*key, *fault.key), fault.found, fault.allowed)
