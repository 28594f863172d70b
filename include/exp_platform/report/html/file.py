"""One report as a file of its own: it opens without a network, can be mailed, and prints."""

from __future__ import annotations

import re
from itertools import count

from markupsafe import Markup

from exp_platform.report import charts
from exp_platform.report.content import Report
from exp_platform.report.html.page import blocks, body, stylesheet
from exp_platform.report.html.templates import environment


def html_file(report: Report, drawn: dict[str, str] | None = None) -> str:
    """The page with its stylesheet and its charts inside. `drawn` is filled with the charts' SVG by their names."""
    kept = {} if drawn is None else drawn
    numbers = count()

    def draw(name: str, chart: charts.Chart) -> Markup:
        if name not in kept:
            kept[name] = charts.svg(chart)
        picture = Markup(_own_ids(kept[name], f"c{next(numbers)}"))
        return Markup('<figure class="chart" id="chart-{}">{}</figure>').format(name, picture)

    made = blocks(report, draw)
    template = environment().get_template("file.html.j2")
    return template.render(report=report, blocks=made, body=body(made), stylesheet=Markup(stylesheet()))


def _own_ids(drawn: str, prefix: str) -> str:
    """A picture whose ids are those of no other picture of the page, with its size left to the page's width."""
    drawn = re.sub(r'\bid="([^"]+)"', rf'id="{prefix}-\1"', drawn)
    drawn = re.sub(r"url\(#([^)]+)\)", rf"url(#{prefix}-\1)", drawn)
    return re.sub(r'(xlink:href|href)="#([^"]+)"', rf'\1="#{prefix}-\2"', drawn)
