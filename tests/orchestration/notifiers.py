"""Notifiers that specs of tests name: one keeps what it is told, the others misbehave."""

from __future__ import annotations

import sys
import threading
from typing import Any

from airflow.sdk import BaseNotifier

HEARD: list[tuple[str, Any]] = []  # what `Keeps` was told: its text, and the event in the context
NEVER = threading.Event()


class Keeps(BaseNotifier):
    """Takes a text, and an argument of its own."""

    template_fields = ("message",)

    def __init__(self, message: str, room: str = "") -> None:
        super().__init__()
        self.message, self.room = message, room

    def notify(self, context: Any) -> None:
        HEARD.append((self.message, {**context["experiment_event"], "room": self.room}))


class Raises(Keeps):
    """Fails, with an error of two lines that orders something from a terminal."""

    def notify(self, context: Any) -> None:
        raise RuntimeError("no line\n\x1b[2Jto the pager")


class Exits(Keeps):
    """Asks the whole process to end."""

    def notify(self, context: Any) -> None:
        sys.exit("enough")


class Hangs(Keeps):
    """Never comes back."""

    def notify(self, context: Any) -> None:
        HEARD.append(("hangs", None))
        NEVER.wait(60)


class NoNotifier:
    """A class that is none."""
