"""Templates to pages. Whatever is put into one is text: what cannot be seen is written out, and markup is escaped."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from functools import cache
from pathlib import Path
from typing import Any

from fastapi import Request
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup, escape

from exp_platform import numbers
from exp_platform.escaping import terminal
from exp_platform.web.static_files import static_path

_DAY = re.compile(r"(\d{4}-\d\d-\d\d)")
MOUNT = "/experiments"  # where the plugin mounts the app


def render(request: Request, template: str, **context: Any) -> str:
    """The text of a page; addresses in it begin with `root`, of Airflow's own pages with `airflow`."""
    root: str = request.scope.get("root_path", "")
    places = {"root": root, "airflow": root.removesuffix(MOUNT), "path": request.scope["path"]}
    return _templates().get_template(template).render(**places, static=static_path, **context)


@cache
def _templates() -> Environment:
    made = Environment(
        loader=FileSystemLoader(Path(__file__).parent / "templates"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=_shown,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    made.filters["unbroken"] = _unbroken
    made.filters["moment"] = _moment
    for write in (numbers.percent, numbers.share, numbers.count, numbers.about, numbers.percent_interval):
        made.filters[write.__name__] = write
    return made


def _unbroken(text: object) -> Markup:
    """The text, no day of which is broken over two lines."""
    parts = _DAY.split(terminal(str(text)))
    return Markup("").join(
        Markup('<span class="unbroken">{}</span>').format(part) if i % 2 else escape(part)
        for i, part in enumerate(parts)
    )


def _moment(at: datetime) -> Markup:
    """A moment in UTC, to the minute."""
    utc = at.astimezone(UTC)
    return Markup('<time class="unbroken" datetime="{}">{}</time>').format(
        utc.isoformat(timespec="seconds"), utc.strftime("%Y-%m-%d %H:%M")
    )


def _shown(value: Any) -> Any:
    """Text without what hides, or turns the direction of what stands beside it; what is markup already stays."""
    return terminal(value) if isinstance(value, str) and not isinstance(value, Markup) else value
