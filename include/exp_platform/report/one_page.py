"""The memo itself: one page of Markdown that a person reads to its end, whatever the experiment is like."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import NamedTuple, TypeVar

import jinja2

from exp_platform.config.metrics import Role
from exp_platform.escaping import Markdown
from exp_platform.report import advice, scorecard, trust
from exp_platform.report.content import Report
from exp_platform.report.sections import markdown_templates

T = TypeVar("T")

LINES = 60  # of the page at most
_REASONS, _ROWS, _WITHOUT, _FAULTS, _STEPS = 7, 12, 3, 4, 3  # from which that follows
# Where rows are too many: what decides, then what may forbid it
_FIRST = (Role.PRIMARY, Role.GUARDRAIL, Role.SECONDARY, Role.INFORMATIONAL)


# What the page may show, the first that can be drawn, and how it is called
PICTURES = {"over_time": "Effect as of each day", "effects": "Relative effects with their intervals"}


class Picture(NamedTuple):
    """The page's picture: one of `PICTURES`, and its file relative to the memo."""

    name: str
    path: str


def render(report: Report, picture: Picture | None = None) -> str:
    """The memo as Markdown."""
    card = scorecard.scorecard(report)
    lines = [line for role in _FIRST for group in card.groups if group.role == role for line in group.lines]
    lines = [line for line in lines if line.estimated]
    found = trust.items(report)
    wrong = [i for i in found if i.state in (trust.State.FAILED, trust.State.UNKNOWN)]
    return _template().render(
        report=report,
        e=report.experiment,
        decision=report.decision,
        standing=advice.standing(report),
        steps=advice.next_steps(report)[:_STEPS],
        reasons=_first(report.decision.reasons, _REASONS),
        lines=_first(lines, _ROWS),
        without=[sentence for group in card.groups for sentence in group.without][:_WITHOUT],
        muted=card.muted,
        trusted=trust.headline(report),
        passed=sum(i.state is trust.State.OK for i in found),
        wrong=_first(wrong, _FAULTS),
        picture=Markdown(f"![{PICTURES[picture.name]}]({picture.path})") if picture else None,
        folder=Markdown(report.experiment.id),
    )


def _first(items: Sequence[T], most: int) -> tuple[Sequence[T], int]:
    """As many items as have room, and how many have not."""
    return items[:most], max(len(items) - most, 0)


@cache
def _template() -> jinja2.Template:
    environment = markdown_templates("templates/memo")
    environment.globals.update(margin_told=scorecard.margin_told, confidence=advice.confidence)
    return environment.get_template("page.md.j2")
