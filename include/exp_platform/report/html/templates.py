"""The templates of HTML: everything that is put into them is escaped, and bounded where it is long."""

from __future__ import annotations

import re
from functools import cache

import jinja2
from markupsafe import Markup, escape

from exp_platform import numbers
from exp_platform.aggregates import ALL
from exp_platform.errors import shortened
from exp_platform.escaping import Markdown, line
from exp_platform.report import advice, missing, scorecard, trust
from exp_platform.report.html import pictures
from exp_platform.report.sections import FILTERS, WORDS, of_report


@cache
def environment() -> jinja2.Environment:
    """The templates and the words that they may use."""
    made = jinja2.Environment(
        loader=jinja2.PackageLoader("exp_platform.report", "templates/html"),
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
        autoescape=True,
        finalize=_as_text,
    )
    made.filters.update(FILTERS, plainly=missing.plainly, above=_above, confident=numbers.confidence)
    made.globals.update(
        WORDS | of_report(),
        percent_interval=numbers.percent_interval,
        confidence=advice.confidence,
        margin_told=scorecard.margin_told,
        users_of=trust.users,
        picture=pictures.interval,
        axis=pictures.axis,
        by_day=pictures.by_day,
        forest=pictures.forest,
        level_of=scorecard.level_of,
        told=missing.told,
        progress=pictures.progress,
        everybody=ALL,
    )
    return made


def _as_text(value: object) -> object:
    """Whatever data and specs hold is text of one line, and is bounded; what we have made as HTML stays."""
    if isinstance(value, Markdown):
        return _of_ours(value)
    if isinstance(value, str) and not isinstance(value, Markup):
        return line(shortened(value))
    return value


def _above(told: str) -> Markup:
    """An effect above its interval, which makes a table narrow."""
    effect, bracket, interval = told.partition(" [")
    below = Markup('<br><span class="small">[{}</span>').format(interval) if bracket else ""
    return escape(effect) + below


def _of_ours(value: Markdown) -> Markup:
    """Sentences of our own that stress a word or name a command, as Markdown has it."""
    text = str(escape(line(shortened(str(value)))))
    text = re.sub(r"\*\*(.+?)\*\*", r"<strong>\1</strong>", text)
    return Markup(re.sub(r"`([^`]+)`", r"<code>\1</code>", text))
