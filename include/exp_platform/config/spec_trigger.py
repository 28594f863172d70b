"""The trigger of a spec: `trigger: {of: checkout_seen, within: 7}`, or `{event: checkout_seen, within: 7}` of an events table."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, model_validator

from exp_platform.config.faults import Fault, refuse
from exp_platform.config.sources import Series
from exp_platform.config.spec_base import Text
from exp_platform.config.spec_metrics import OfFact
from exp_platform.config.trigger import Trigger


class TriggerSpec(OfFact):
    """Which rows are the point from which the arms differ, and within how many days of first exposure users must reach it."""

    event: Text | None = None
    within: Annotated[int, Field(ge=1)]

    @model_validator(mode="after")
    def _check(self) -> TriggerSpec:
        said = [key for key in ("value", "distinct") if getattr(self, key) is not None]
        refuse(Fault((key,), getattr(self, key), "a trigger is of rows alone: leave it out") for key in said)
        return self

    @property
    def series(self) -> Series | None:
        """The rows of the fact; None for today's events."""
        return self.series_of(self.event)

    def resolve(self) -> Trigger:
        """The same, resolved."""
        return Trigger(self.series.name if self.series else self.event or "", self.within)
