"""One quality check's outcome: a row of `data_quality_results`, and what the decision's trust rests on."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date
from typing import ClassVar, Literal

from exp_platform.errors import bounded


@dataclass(frozen=True)
class CheckResult:
    """`observed` and `threshold` are in the check's own unit (a share, a count, a p-value); message says which."""

    TABLE: ClassVar[str] = "data_quality_results"

    as_of_date: date
    check: str
    severity: Literal["error", "warning"]  # an error keeps data from being published; a warning costs trust
    status: Literal["passed", "failed", "skipped"]
    observed: float | None
    threshold: float | None
    message: str  # what was found and, where it failed, the remedy; bounded, whatever it quotes of the data

    def __post_init__(self) -> None:
        """Bound the message."""
        object.__setattr__(self, "message", bounded(self.message))
