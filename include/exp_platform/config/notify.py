"""Who is told when something changes: notifiers of Airflow by name, the events that each hears of, and its arguments."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from typing import Any, Final, Literal, get_args

EventKind = Literal[
    "decision_changed",
    "guardrail_breached",
    "srm",
    "quality_failed",
    "run_failed",
    "planned_date",
    "data_late",
]
SRM: Final = "srm"  # the split, as people call it: an event, whatever analysis finds it
EVENTS: tuple[EventKind, ...] = get_args(EventKind)

SMTP, SLACK = "smtp", "slack"
SHORT_NAMES = {
    SMTP: "airflow.providers.smtp.notifications.smtp.SmtpNotifier",
    SLACK: "airflow.providers.slack.notifications.slack_webhook.SlackWebhookNotifier",
}


@dataclass(frozen=True)
class Notify:
    """One who is told: a notifier's class by its dotted or short name, what it hears of, and what it is made with."""

    notifier: str
    events: tuple[EventKind, ...] = EVENTS
    arguments: dict[str, Any] = field(default_factory=dict)

    @property
    def class_name(self) -> str:
        """The dotted name of the class."""
        return SHORT_NAMES.get(self.notifier, self.notifier)

    @property
    def name(self) -> str:
        """What tells it from others: a hash of its class and all that it is made with, which may hold addresses."""
        made = json.dumps([self.class_name, self.arguments], sort_keys=True, default=str)
        return hashlib.sha256(made.encode()).hexdigest()[:16]
