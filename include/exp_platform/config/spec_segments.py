"""The segments of a spec: attributes by their names, and what users did before the experiment."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field, WithJsonSchema, model_validator

from exp_platform.config.faults import NOTHING, Fault, refuse
from exp_platform.config.spec_base import PERCENT, Day, Spec, Text, percent

SEGMENT_REMEDY = (
    "a segment must be an attribute recorded at or before first exposure, or what users did before it, such as {name: "
    "power_user, top: 10%, by: pageviews}: the treatment changes behaviour during the experiment, so its users would no "
    "longer be comparable (the power-user trap)"
)
_KEYS = {"name", "top", "by", "until"}


def _as_share(value: Any) -> Any:
    """`10%` is 0.1."""
    if isinstance(value, str) and value.endswith("%"):
        share = percent(value)
        return refuse([Fault((), value, "allowed: a share such as 10%, or 0.1")]) if share is None else share
    return value


_NUMBER = {"type": "number", "exclusiveMinimum": 0, "exclusiveMaximum": 1}
TopShare = Annotated[
    float,
    BeforeValidator(_as_share),
    Field(gt=0, lt=1),
    WithJsonSchema({"anyOf": [PERCENT, _NUMBER]}),
]


class SegmentSpec(Spec):
    """An attribute by its name; or the `top` share of users `by` a metric's pre-period value (units: a column)."""

    name: Text
    top: TopShare | None = None
    by: Text | None = None
    until: Day | None = None  # of a column: the last local day that it tells of

    @model_validator(mode="before")
    @classmethod
    def _of_name(cls, found: Any) -> Any:
        if isinstance(found, dict) and not found.keys() <= _KEYS:
            refuse([Fault((), found, SEGMENT_REMEDY)])
        return {"name": found} if isinstance(found, str) else found

    @model_validator(mode="after")
    def _check(self) -> SegmentSpec:
        if self.by is None and self.top is None and self.until is None:
            return self
        needed = {
            "top": "a share such as 10%",
            "by": "a metric, whose pre-period value is taken (units: a column)",
        }
        refuse(
            Fault((key,), NOTHING, f"a segment made of behaviour requires it: {what}")
            for key, what in needed.items()
            if getattr(self, key) is None
        )
        return self
