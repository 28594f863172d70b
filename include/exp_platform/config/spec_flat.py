"""The flat keys of a synthetic experiment (`configs/dev.yaml`): a complete spec in a few lines."""

from __future__ import annotations

from datetime import date

from pydantic import Field

from exp_platform.config.metrics import Effect
from exp_platform.config.spec import ExperimentSpec
from exp_platform.config.spec_base import Day, EffectSize, Id, Items, Owner, Prose, Tag, TimeZone
from exp_platform.config.spec_metrics import GuardrailSpec, MeasureSpec, MetricSpec
from exp_platform.config.spec_notify import NotifySpec
from exp_platform.config.spec_plan import (
    LONGEST_WINDOW,
    AnalysesSpec,
    ScheduleSpec,
    VariantSpec,
    WindowSpec,
)
from exp_platform.config.spec_segments import SegmentSpec
from exp_platform.config.spec_sources import SYNTHETIC_ATTRIBUTES, SyntheticSettings, SyntheticSpec

START_DATE = date(2026, 1, 5)  # a Monday; fixed, so that the same keys give the same data on any day
MDE = Effect(0.2, "relative")
PAGEVIEW_MARGIN = Effect(0.05, "relative")


class FlatSpec(SyntheticSettings):
    """Two arms, `control` and `treatment`, on generated data, with the metrics that such data have."""

    id: Id
    owner: Owner = "experimentation"
    hypothesis: Prose = "The treatment raises the share of users who buy."
    start_date: Day = START_DATE
    days: int = Field(ge=1, le=LONGEST_WINDOW)
    timezone: TimeZone = "UTC"
    treatment_share: float = Field(default=0.5, ge=0.001, le=0.999)
    actual_treatment_share: float | None = Field(default=None, ge=0, le=1)  # a broken split
    effect_lift_conversion: float = 0.0  # absolute
    effect_lift_revenue: float = 0.0  # relative, of the order's value
    pre_period_days: int = Field(default=14, ge=0, le=365)
    mde: EffectSize = MDE  # of conversion
    min_practical_effect: EffectSize | None = None  # of conversion
    schedule: ScheduleSpec = ScheduleSpec()
    notify: Items[NotifySpec] | None = None
    tags: Items[Tag] = ("synthetic",)
    description: str = ""

    def spread(self) -> ExperimentSpec:
        """The full spec that these keys stand for."""
        return ExperimentSpec(
            id=self.id,
            owner=self.owner,
            hypothesis=self.hypothesis,
            variants=(
                VariantSpec(id="control", share=1 - self.treatment_share, control=True),
                VariantSpec(id="treatment", share=self.treatment_share),
            ),
            window=WindowSpec(start=self.start_date, days=self.days, timezone=self.timezone),
            source=self._source(),
            metrics=self._metrics(),
            guardrails=(GuardrailSpec(metric="pageviews", margin=PAGEVIEW_MARGIN, severity="warning"),),
            segments=tuple(SegmentSpec(name=name) for name in SYNTHETIC_ATTRIBUTES),
            analyses=AnalysesSpec(pre_period_days=self.pre_period_days),
            schedule=self.schedule,
            notify=self.notify,
            tags=self.tags,
            description=self.description,
        )

    def _source(self) -> SyntheticSpec:
        actual = self.actual_treatment_share
        return SyntheticSpec(
            kind="synthetic",
            **{key: getattr(self, key) for key in SyntheticSettings.model_fields},
            effect_lift_conversion=(self.effect_lift_conversion,),
            effect_lift_revenue=(self.effect_lift_revenue,),
            actual_shares=None if actual is None else (1 - actual, actual),
        )

    def _metrics(self) -> tuple[MetricSpec, ...]:
        return (
            MetricSpec(
                id="conversion",
                type="proportion",
                event="purchase",
                role="primary",
                mde=self.mde,
                min_practical_effect=self.min_practical_effect,
                baseline=self.base_conversion,
            ),
            MetricSpec(id="revenue", type="mean", event="purchase"),
            MetricSpec(id="orders", type="count", event="purchase"),
            MetricSpec(
                id="order_value",
                type="ratio",
                numerator=MeasureSpec(sum="purchase"),
                denominator=MeasureSpec(count="purchase"),
            ),
            MetricSpec(id="pageviews", type="count", event="pageview", role="guardrail"),
        )
