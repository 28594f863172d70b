"""Who is told when something changes, as specs and environments write it under `notify`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import AfterValidator, ConfigDict, Field, model_validator

from exp_platform.config.faults import NOTHING, Fault, Key, Words, refuse
from exp_platform.config.notify import EVENTS, SHORT_NAMES, SMTP, EventKind, Notify
from exp_platform.config.spec_base import Items, Spec

# As names of a catalog's properties are taken for secret (`environment.SECRET`), and addresses that let in whoever knows them
_SECRET = re.compile(r"(?i)secret|password|token|credential|access.?key")
_SECRET_ADDRESS = re.compile(r"(?i)https?://(hooks\.slack\.com/|[^/\s]*@)")
_DOTTED = re.compile(r"([A-Za-z_][A-Za-z0-9_]*\.)+[A-Za-z_][A-Za-z0-9_]*")
_REMEDY = (
    "secrets are never written here: put it into a connection of Airflow, and name that by its id"
    " (such as `smtp_conn_id`, `slack_webhook_conn_id`)"
)
_PLAIN = "allowed: text, numbers, true, false, lists and mappings of these"
_DEEPEST = 5


def _checked_notifier(name: str) -> str:
    if name not in SHORT_NAMES and not _DOTTED.fullmatch(name):
        short = ", ".join(SHORT_NAMES)
        refuse(
            [Fault((), name, f"allowed: {short}, or a notifier's class such as my_package.notifiers.Pager")]
        )
    return name


def _checked_class(name: str) -> str:
    if not _DOTTED.fullmatch(name):
        refuse([Fault((), name, "allowed: a notifier's class such as my_package.notifiers.Pager")])
    return name


NotifierClass = Annotated[str, AfterValidator(_checked_class)]


def _checked_events(events: tuple[EventKind, ...]) -> tuple[EventKind, ...]:
    if not events:
        refuse([Fault((), Words("no event"), "name what it hears of, or leave `events` out for all")])
    return tuple(kind for kind in EVENTS if kind in events)


def _checked_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    refuse(_argument_faults(arguments, ()))
    return arguments


def _argument_faults(value: Any, key: Key) -> Iterator[Fault]:
    if len(key) > _DEEPEST:
        yield Fault(key, Words("what is nested deeper"), f"allowed: {_DEEPEST} levels")
    elif isinstance(value, dict):
        for name, inner in value.items():
            if not isinstance(name, str) or not name:
                yield Fault(key, name, "allowed: keys that are text")
            elif _SECRET.search(name):
                yield Fault((*key, name), Words("a secret"), _REMEDY)
            else:
                yield from _argument_faults(inner, (*key, name))
    elif isinstance(value, list):
        for position, inner in enumerate(value):
            yield from _argument_faults(inner, (*key, position))
    elif isinstance(value, str):
        if _SECRET_ADDRESS.match(value):
            yield Fault(key, Words("an address that holds a secret"), _REMEDY)
    elif not isinstance(value, bool | int | float | None):
        yield Fault(key, value, _PLAIN)


class NotifySpec(Spec):
    """One who is told: a notifier of Airflow, the events that it hears of, and what it is made with."""

    model_config = ConfigDict(validate_by_alias=True, validate_by_name=False)

    notifier: Annotated[str, AfterValidator(_checked_notifier)]
    events: Annotated[Items[EventKind], AfterValidator(_checked_events)] = EVENTS
    arguments: Annotated[dict[str, Any], AfterValidator(_checked_arguments)] = Field(
        default_factory=dict, alias="with"
    )

    @model_validator(mode="after")
    def _check(self) -> NotifySpec:
        if self.notifier == SMTP and not self.arguments.get("to"):
            remedy = "say who is written to, such as `with: {to: [team@example.com]}`"
            refuse([Fault(("with", "to"), NOTHING, remedy)])
        if SHORT_NAMES[SMTP] == self.resolve().class_name and "files" in self.arguments:
            remedy = "leave it out: files of the worker are not sent by mail; the message has the link"
            refuse([Fault(("with", "files"), Words("files to attach"), remedy)])
        return self

    def resolve(self) -> Notify:
        """The same, resolved."""
        return Notify(self.notifier, self.events, self.arguments)
