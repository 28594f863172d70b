"""The full spec of an experiment, as people write it in YAML, and how it becomes an `Experiment`.

Each part checks itself (`spec_metrics`, `spec_sources`, `spec_plan`); what no part can see alone is in
`spec_checks`. The files in `tests/config/specs/valid` show every key.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import cached_property
from types import MappingProxyType
from typing import Annotated

from pydantic import AfterValidator

from exp_platform.config.allocation import Allocation, effective_shares, planned_shares
from exp_platform.config.analyses import ANALYSES
from exp_platform.config.experiment import Experiment, Variant
from exp_platform.config.faults import Fault, Words, refuse
from exp_platform.config.kinds import VALUED
from exp_platform.config.metrics import Behaviour, Covariate, Measure, Metric, Provenance
from exp_platform.config.privacy import UserLevelDays
from exp_platform.config.sources import Source
from exp_platform.config.spec_base import Id, Items, Owner, Prose, Spec, Tag
from exp_platform.config.spec_metrics import GuardrailSpec, MetricSpec, Missing
from exp_platform.config.spec_notify import NotifySpec
from exp_platform.config.spec_plan import (
    AnalysesSpec,
    DecisionSpec,
    QualitySpec,
    ScheduleSpec,
    VariantSpec,
    WindowSpec,
)
from exp_platform.config.spec_ramp import AllocationSpec
from exp_platform.config.spec_segments import SegmentSpec
from exp_platform.config.spec_sources import SHARE_TOLERANCE, SourceSpec, SyntheticSpec, UnitsSpec
from exp_platform.config.spec_trigger import TriggerSpec


def _checked_variants(variants: tuple[VariantSpec, ...]) -> tuple[VariantSpec, ...]:
    refuse(_variant_faults(variants))
    return variants


def _variant_faults(variants: tuple[VariantSpec, ...]) -> Iterator[Fault]:
    if len(variants) < 2:
        yield Fault(
            (), Words(f"{len(variants)} variant"), "at least two are required: a control and a treatment"
        )
    yield from repeated(tuple(variant.id for variant in variants), "id")
    controls = [variant.id for variant in variants if variant.control]
    if len(controls) != 1:
        found = f"{len(controls)} controls" if controls else "no control"
        yield Fault((), Words(found), "exactly one variant must say `control: true`")
    shares = [variant.share for variant in variants if variant.share is not None]
    if 0 < len(shares) < len(variants):
        yield Fault(
            (),
            Words(f"{len(shares)} of {len(variants)} shares"),
            "give every variant a share, or none for equal shares",
        )
    elif shares and abs(sum(shares) - 1) > SHARE_TOLERANCE:
        yield Fault(
            (),
            Words(f"shares that add up to {sum(shares):.10g}"),
            "they must add up to 1 (leave all out for equal shares)",
        )


def _checked_metrics(metrics: tuple[MetricSpec, ...]) -> tuple[MetricSpec, ...]:
    faults = list(repeated(tuple(metric.id for metric in metrics), "id"))
    if not any(metric.role == "primary" for metric in metrics):
        faults.append(
            Fault((), Words("no primary metric"), "at least one metric must say `role: primary`: it decides")
        )
    refuse(faults)
    return metrics


def repeated(names: tuple[str, ...], key: str | None = None) -> Iterator[Fault]:
    """A fault for each name that stands a second time in a list (of mappings, where `key` holds it)."""
    seen: set[str] = set()
    for position, name in enumerate(names):
        if name in seen:
            yield Fault(
                (position, key) if key else (position,), name, "it is there already: each may occur once"
            )
        seen.add(name)


class RetentionSpec(Spec):
    """How long rows of single users stay after the last useful day, where that is shorter than the environment's rule."""

    user_level_days: UserLevelDays


class ExperimentSpec(Spec):
    """One experiment as people write it."""

    id: Id
    owner: Owner
    hypothesis: Prose
    variants: Annotated[Items[VariantSpec], AfterValidator(_checked_variants)]
    window: WindowSpec
    ramp: Items[AllocationSpec] = ()
    source: SourceSpec
    metrics: Annotated[Items[MetricSpec], AfterValidator(_checked_metrics)]
    guardrails: Items[GuardrailSpec] = ()
    segments: Items[SegmentSpec] = ()
    trigger: TriggerSpec | None = None  # absent: users count from first exposure on
    quality: QualitySpec = QualitySpec()
    analyses: AnalysesSpec = AnalysesSpec()
    decision: DecisionSpec = DecisionSpec()
    schedule: ScheduleSpec = ScheduleSpec()
    retention: RetentionSpec | None = None
    notify: Items[NotifySpec] | None = None  # absent: whom the environment tells
    tags: Items[Tag] = ()
    description: str = ""

    @property
    def variant_order(self) -> tuple[int, ...]:
        """Positions in `variants`, the control's first, the others as written."""
        return tuple(
            sorted(range(len(self.variants)), key=lambda position: not self.variants[position].control)
        )

    @property
    def observed_days(self) -> int:
        """Days that the first exposed user is observed: the window and the longest metric window after it."""
        ends = [metric.window.to_day or 0 for metric in self.metrics if metric.window]
        return self.window.length + max(ends, default=0)

    @property
    def attributes(self) -> tuple[str, ...]:
        """The segments that are recorded with the exposure."""
        return tuple(segment.name for segment in self.segments if segment.by is None)

    def idle_analyses(self) -> Iterator[str]:
        """The analyses that this spec gives nothing to do."""
        return (a.name for a in ANALYSES if a.idle(self) is not None)

    @cached_property
    def _measured(self) -> dict[str, MetricSpec]:
        return {metric.id: metric for metric in self.metrics if metric.measures}

    def covariates_of(self, metric: MetricSpec) -> tuple[Covariate, ...]:
        """The covariates of one metric: columns of a units source, else measures over the pre-period.

        The name of a ratio stands for two covariates, its numerator and its denominator.
        """
        if isinstance(self.source, UnitsSpec):
            return tuple(Covariate(c.name, Measure(c.name, "sum"), c.until) for c in metric.covariates or ())
        if not metric.traits.adjusted or self.analyses.pre_period_days == 0:
            return ()
        measured = self._measured
        names = (metric.id,) if metric.covariates is None else tuple(c.name for c in metric.covariates)
        return tuple(
            Covariate(f"pre_{name}.{side}" if measured[name].traits.agg is None else f"pre_{name}", measure)
            for name in names
            for side, measure in zip(measured[name].measure_keys, measured[name].measures, strict=True)
        )

    def resolve(
        self, spec_file: str = "", shared: Mapping[str, str] = MappingProxyType({}), source_file: str = ""
    ) -> Experiment:
        """Every default filled in. The spec must have passed `spec_faults`.

        `shared`: metric -> the library's file that defines it; `source_file`: that of the source.
        """
        return Experiment(
            id=self.id,
            owner=self.owner,
            hypothesis=self.hypothesis,
            variants=self._variants(),
            window=self.window.resolve(),
            source=self._source(),
            metrics=self._metrics(),
            segments=tuple(segment.name for segment in self.segments),
            behaviours=tuple(self._behaviours()),
            quality=self.quality.resolve(),
            analyses=self.analyses.resolve(self.idle_analyses(), self.observed_days),
            decision=self.decision.resolve(),
            schedule=self.schedule.resolve(),
            tags=self.tags,
            description=self.description,
            ramp=self._ramp(),
            trigger=self.trigger.resolve() if self.trigger else None,
            retention_days=self.retention.user_level_days if self.retention else None,
            provenance={
                m.id: Provenance(m.owner or "", m.description, shared.get(m.id, ""))
                for m in self.metrics
                if m.owner or m.description or m.id in shared
            },
            units={m.id: m.unit for m in self.metrics if m.unit},
            notify=None if self.notify is None else tuple(one.resolve() for one in self.notify),
            source_file=source_file,
            spec_file=spec_file,
        )

    def _variants(self) -> tuple[Variant, ...]:
        ordered = [self.variants[position] for position in self.variant_order]
        if self.ramp:
            ramp, end = self._ramp(), self.window.last_day
            shares = zip(planned_shares(ramp, end), effective_shares(ramp, end), strict=True)
            return tuple(Variant(v.id, *share) for v, share in zip(ordered, shares, strict=True))
        equal = 1 / len(ordered)
        return tuple(Variant(variant.id, variant.share or equal) for variant in ordered)

    def _ramp(self) -> tuple[Allocation, ...]:
        names = tuple(self.variants[position].id for position in self.variant_order)
        return tuple(allocation.resolve(names) for allocation in self.ramp)

    def _metrics(self) -> tuple[Metric, ...]:
        guardrails = {guardrail.metric: guardrail.resolve() for guardrail in self.guardrails}
        missing: Missing = "error" if isinstance(self.source, UnitsSpec) else "zero"
        return tuple(
            metric.resolve(self.covariates_of(metric), metric.missing or missing, guardrails.get(metric.id))
            for metric in self.metrics
        )

    def _behaviours(self) -> Iterator[Behaviour]:
        measured = {metric.id: metric for metric in self.metrics}
        for segment in self.segments:
            if segment.by is not None and segment.top is not None:
                units = isinstance(self.source, UnitsSpec)
                measure = Measure(segment.by, "sum") if units else measured[segment.by].measures[0]
                yield Behaviour(segment.name, measure, segment.top, segment.until)

    def _source(self) -> Source:
        measures = [measure for metric in self.metrics for measure in metric.measures]
        if isinstance(self.source, SyntheticSpec):
            return self.source.resolve(self.window.length, self.analyses.pre_period_days, self.variant_order)
        if isinstance(self.source, UnitsSpec):
            covariates = [covariate.id for metric in self.metrics for covariate in self.covariates_of(metric)]
            covariates += [behaviour.measure.event for behaviour in self._behaviours()]
            return self.source.resolve_units(
                variants=self._variant_values(),
                outcomes=tuple(dict.fromkeys(measure.event for measure in measures)),
                covariates=tuple(dict.fromkeys(covariates)),
                segments=self.attributes,
            )
        series = [one for metric in self.metrics for one in metric.series]
        if self.trigger is not None and self.trigger.series is not None:
            series.append(self.trigger.series)
        return self.source.resolve_events(
            self.id,
            self.attributes,
            self._variant_values() if any(variant.value for variant in self.variants) else {},
            tuple(dict.fromkeys(series)),
            sums_values=any(measure.agg in VALUED for measure in measures),
        )

    def _variant_values(self) -> dict[str, str]:
        return {value: variant.id for variant in self.variants for value in variant.values}
