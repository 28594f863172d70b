"""The blocks of a page about one result, from top to bottom: each a template of `templates/html` and what it shows."""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from functools import cache
from importlib.resources import files
from typing import Any, NamedTuple

from markupsafe import Markup, escape

from exp_platform.config.analyses import ADJUSTED, DECISIVE, METHODS
from exp_platform.escaping import terminal
from exp_platform.report import advice, trust, wording
from exp_platform.report.charts import Chart
from exp_platform.report.content import Report
from exp_platform.report.drawings import drawings, planned_by_day
from exp_platform.report.html.templates import environment
from exp_platform.report.scorecard import Line, scorecard
from exp_platform.report.sections import against_another

Draw = Callable[[str, Chart], Markup]


@dataclass(frozen=True)
class Block:
    """One part of a page. `folded`: it is opened by who wants to know; `id` is its anchor."""

    id: str
    title: str
    says: str  # in one sentence what it shows
    html: Markup
    folded: bool


class _Part(NamedTuple):
    template: str
    title: str
    says: str
    folded: bool = True
    asked: Callable[[Report], bool] = lambda _: True  # whether there is anything to show or to explain


# The order of the page. Of analyses that a spec does not ask for there is no block.
_PARTS = {
    "trust": _Part("trust", "Can the numbers be believed?", "", False),
    "scorecard": _Part(
        "scorecard", "Scorecard", "Each metric and treatment against control, all intervals on one scale.", False
    ),
    "over-time": _Part(
        "over_time", "Over the days", "How the effect settled as data came in, and how users came in against the plan.", False
    ),
    "pairs": _Part(
        "pairs",
        "Treatments against one another",
        "On the primary metrics, by the estimate and at the level that decide.",
        asked=lambda report: bool(against_another(report, report.of_method(DECISIVE))),
    ),
    "all-exposed": _Part(
        "all_exposed",
        "Effect on all exposed users",
        "What shipping changes for everybody, whether they reached the trigger or not.",
        asked=lambda report: report.experiment.trigger is not None,
    ),
    "by-segment": _Part(
        "by_segment",
        "Segments",
        "Exploratory: whether the effect differs between groups of users, which nobody planned to decide by.",
        asked=lambda report: bool(report.experiment.segments),
    ),
    "lasting": _Part(
        "lasting", "Does the effect last?", "Whether it wears off over the days since exposure."
    ),
    "before-and-after": _Part(
        "before_after",
        "Before and after",
        "Difference in differences, whether the arms were on parallel trends, and what is left of the effect if not.",
    ),
    "belief": _Part(
        "belief",
        "Bayesian reading",
        "A belief, not a test: it decides nothing, and looking at it daily is not accounted for.",
        asked=lambda report: report.experiment.analyses.bayes_prior_sd is not None,
    ),
    "history": _Part(
        "history", "History of decisions", "What was decided on each day.", asked=lambda report: bool(report.history)
    ),
    "what-ran": _Part(
        "what_ran", "What ran", "Which rows were read, by which code and config, and how to do it again."
    ),
}  # fmt: skip


def blocks(report: Report, draw: Draw) -> list[Block]:
    """The page's blocks, from top to bottom; `draw` places a chart, which the page and the file do each in its way."""
    context = _context(report, draw)
    first = Block(
        "decision",
        _capital(wording.headline(report.decision)),
        wording.why(report),
        _rendered("decision", context),
        folded=False,
    )
    return [
        first,
        *(
            Block(
                id,
                part.title,
                part.says or trust.headline(report),
                _rendered(part.template, context),
                part.folded,
            )
            for id, part in _PARTS.items()
            if part.asked(report)
        ),
    ]


def body(made: Sequence[Block]) -> Markup:
    """The blocks as sections, one after another, folded ones closed."""
    return Markup(environment().get_template("body.html.j2").render(blocks=made))


@cache
def stylesheet() -> str:
    """The one stylesheet: light and dark by the system or by a class of <html>, phone and print."""
    return files("exp_platform.report").joinpath("templates/html/page.css").read_text("utf-8")


def _capital(text: str) -> str:
    return text[:1].upper() + text[1:]


def _rendered(template: str, context: dict[str, Any]) -> Markup:
    return Markup(environment().get_template(f"{template}.html.j2").render(context))


def _context(report: Report, draw: Draw) -> dict[str, Any]:
    """What the templates know. A chart is drawn where a template asks for it."""
    card = scorecard(report)
    charts = drawings(report)

    def chart(name: str) -> Markup:
        specification = charts.get(name)
        return Markup("") if specification is None else draw(name, specification)

    return {
        "report": report,
        "e": report.experiment,
        "decision": report.decision,
        "card": card,
        "headline": next((line for line in card.lines if _is_reported(report, line)), None),
        "standing": advice.standing(report),
        "next_steps": advice.next_steps(report),
        "trusted": trust.items(report),
        "planned_by_day": planned_by_day(report),
        "has_chart": lambda name: charts.get(name) is not None,
        "chart": chart,
        "adjusted_methods": tuple(ADJUSTED),
        "methods": METHODS,
        "spec": _spec(report),
    }


def _spec(report: Report) -> Markup:
    """The resolved spec as JSON, line by line."""
    written = json.dumps(asdict(report.experiment), indent=1, default=str, ensure_ascii=False)
    return Markup(escape(terminal(written)))


def _is_reported(report: Report, line: Line) -> bool:
    """Whether a line is what the decision reports; of a final one that stands today's row may be another number."""
    decision, row = report.decision, line.row
    told = (row.metric_id, row.treatment_id, row.relative)
    return line.part == "decides" and told == (
        decision.decisive_metric,
        decision.reported_variant,
        decision.lift,
    )
