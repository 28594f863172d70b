"""What was measured of a metric on an experiment's newest day, as the row has it that the decision rests on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from sys import intern
from typing import Any

_IDS = ("metric_id", "treatment_id", "control_id")
MEASURED = (
    *(*_IDS, "mean_control", "mean_treatment"),
    *("relative", "relative_low", "relative_high", "ci_level", "degrees_of_freedom"),
)


@dataclass(frozen=True, slots=True)
class Measured:
    """An effect relative to |control|, with its interval of coverage `ci_level`; a server keeps tens of thousands of them."""

    metric_id: str
    treatment_id: str
    control_id: str  # of a comparison of two treatments the other one
    mean_control: float | None
    mean_treatment: float | None
    relative: float | None
    relative_low: float | None
    relative_high: float | None
    ci_level: float | None
    degrees_of_freedom: float | None  # None: of a test of counts


def measured_of(row: Mapping[str, Any]) -> Measured:
    """From a row of `analysis_results`; a column that an older table lacks is null. Equal ids are in memory once."""
    columns: dict[str, Any] = {name: row.get(name) for name in MEASURED}
    return Measured(**columns | {name: intern(row[name]) for name in _IDS})
