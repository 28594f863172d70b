"""The audit on a terminal: a line per event."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from rich.table import Table
from rich.text import Text

from exp_platform.config.readings import Change
from exp_platform.decision.words import told
from exp_platform.errors import shortened
from exp_platform.escaping import line
from exp_platform.tables.audit import Event

_LONGEST = 300  # characters of what is told of an event; `exp log --json` has all


def log_table(events: Sequence[Event]) -> Table:
    """When (UTC), who, what, of which experiment, and by which config and code, oldest first."""
    table = Table()
    for name in ("At (UTC)", "Experiment", "What", "Who", "Config", "Code", "Details"):
        table.add_column(name, overflow="fold")
    for event in events:
        cells = (
            event.at[:19].replace("T", " "),
            event.experiment_id or "–",
            event.what,
            event.who,
            event.config_hash[:8] or "–",
            event.code_version,
            _details(event),
        )
        table.add_row(*(Text(line(cell)) for cell in cells))
    return table


def _details(event: Event) -> str:
    return shortened(_WORDS.get(event.what, _plain)(event.details), _LONGEST)


def _run(details: dict[str, Any]) -> str:
    days = details["as_of"]
    parts = [f"as of {days[0]}" + (f" to {days[-1]} ({len(days)} days)" if len(days) > 1 else "")]
    parts += ["forced"] if details["forced"] else []
    parts += ["in full"] if details.get("full") else []
    parts += [f"without {', '.join(details['skipped'])}"] if details["skipped"] else []
    return ", ".join(parts)


def _decided(details: dict[str, Any]) -> str:
    day, last = max(details.items())
    more = f" (and {len(details) - 1} days before)" if len(details) > 1 else ""
    refresh = f", {last['refresh']}" if last.get("refresh") else ""
    return (
        f"as of {day}: {last['winner']}, {last['action']}{', final' if last['final'] else ''}{more}{refresh}"
    )


def _changed(details: dict[str, Any]) -> str:
    return told([Change(**change) for change in details["changes"]])


def _plain(details: dict[str, Any]) -> str:
    return "; ".join(f"{key}: {_joined(value)}" for key, value in details.items())


def _joined(value: Any) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)


_WORDS = {"run": _run, "decided": _decided, "spec changed": _changed}
