"""An event as a message: what each notifier's class is made with, its texts safe for where they are shown."""

from __future__ import annotations

import html
import inspect
from collections.abc import Mapping
from typing import Any

from exp_platform.errors import shortened
from exp_platform.escaping import line
from exp_platform.report.event import Event

_LONGEST_SUBJECT = 150  # characters
_SLACK = "airflow.providers.slack."
_CALLED = {
    "decision_changed": "decision",
    "guardrail_breached": "guardrail breached",
    "srm": "users not split as planned",
    "quality_failed": "quality failed",
    "run_failed": "run failed",
    "planned_date": "planned end",
    "data_late": "data late",
}


def arguments_of(
    notifier: type, given: Mapping[str, Any], event: Event, experiment_id: str, link: str
) -> dict[str, Any]:
    """What a notifier is made with: as `given`, and of the message the arguments that its class names and nobody gave.

    Notifiers call their texts differently; whoever takes none of these names finds the event in the context.
    """
    subject = subject_of(event, experiment_id)
    text = slack(event, link) if notifier.__module__.startswith(_SLACK) else plain(event, link)
    words = dict.fromkeys(("subject", "title", "summary"), subject)
    words |= dict.fromkeys(("text", "message", "message_body", "body", "description"), text)
    words |= {"html_content": as_html(event, link)}
    known = inspect.signature(notifier).parameters
    return {name: value for name, value in words.items() if name in known} | dict(given)


def subject_of(event: Event, experiment_id: str) -> str:
    """What the message is about, in one short line, which may become a header of a mail."""
    what = f"{experiment_id}: {_CALLED[event.kind]}"
    # Which treatment, check or task it is; a decision is in the sentence
    about = "" if event.kind in ("decision_changed", "planned_date") else f" ({event.about})"
    return shortened(line(what + about), _LONGEST_SUBJECT)


def plain(event: Event, link: str) -> str:
    """The message as plain text: the sentence, a line per number, what to do next, and the link."""
    facts = [f"{name}: {value}" for name, value in event.numbers]
    return "\n".join([*(line(said) for said in (event.sentence, *facts, event.next_step) if said), link])


def slack(event: Event, link: str) -> str:
    """The same for Slack, in whose text `&`, `<` and `>` begin links and calls to everybody in the channel."""
    said = plain(event, "").rstrip("\n")
    return f"{html.escape(said, quote=False)}\n<{html.escape(link, quote=False)}|Result>"


def as_html(event: Event, link: str) -> str:
    """The same as HTML, for mail."""
    rows = "".join(
        f"<tr><td>{_shown(name)}</td><td>{_shown(value)}</td></tr>" for name, value in event.numbers
    )
    parts = [
        f"<p>{_shown(event.sentence)}</p>",
        f'<table cellpadding="4">{rows}</table>' if rows else "",
        f"<p>{_shown(event.next_step)}</p>" if event.next_step else "",
        f'<p><a href="{html.escape(link)}">{html.escape(link)}</a></p>',
    ]
    return "\n".join(part for part in parts if part)


def _shown(text: str) -> str:
    return html.escape(line(text))
