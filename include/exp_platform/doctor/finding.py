"""What a check has found."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class Finding:
    """One line: a fault keeps something from working, a warning will or may."""

    check: str
    state: Literal["ok", "warning", "fault"]
    found: str
    remedy: str = ""  # what to do; empty where nothing is

    @property
    def line(self) -> str:
        """The finding as it is printed."""
        remedy = f"; {self.remedy}" if self.remedy else ""
        return f"{self.state:<8} {self.check:<26} {self.found}{remedy}"


def ok(check: str, found: str) -> Finding:
    """Nothing to do."""
    return Finding(check, "ok", found)


def warning(check: str, found: str, remedy: str) -> Finding:
    """Something that will or may keep something from working."""
    return Finding(check, "warning", found, remedy)


def fault(check: str, found: str, remedy: str) -> Finding:
    """Something that keeps something from working."""
    return Finding(check, "fault", found, remedy)
