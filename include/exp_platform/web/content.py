"""What a report's page says, from top to bottom."""

from __future__ import annotations

from dataclasses import dataclass

from markupsafe import Markup

from exp_platform.report.content import Report
from exp_platform.report.wording import headline, why


@dataclass(frozen=True)
class Block:
    """One part of a page; `folded` ones open where somebody wants them."""

    id: str
    title: str
    says: str
    html: Markup
    folded: bool = False


def contents(report: Report) -> list[Block]:
    """The parts of the page."""
    reasons = Markup("").join(Markup("<li>{}</li>").format(reason.text) for reason in report.decision.reasons)
    text = Markup("<p>{}</p><ul>{}</ul>").format(why(report), reasons)
    return [Block("decision", headline(report.decision).capitalize(), "", text)]
