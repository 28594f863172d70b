"""The point from which the arms differ, where users reach it some time after they were assigned."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Trigger:
    """Users count from their first row of `event` within so many 24-hour days of first exposure; others do not count.

    Of a fact's rows `event` is the name of their `Series`.
    """

    event: str
    within: int

    @property
    def told(self) -> str:
        """The trigger as a definition prints it."""
        return f"{self.event} within {self.within} day{'s' if self.within > 1 else ''} of first exposure"
