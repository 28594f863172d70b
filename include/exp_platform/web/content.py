"""What a report's page says, from top to bottom: the report's own blocks, with charts that the page's script draws."""

from __future__ import annotations

from jinja2.utils import htmlsafe_json_dumps
from markupsafe import Markup

from exp_platform.report.charts import Chart, themed
from exp_platform.report.content import Report
from exp_platform.report.html import Block, blocks


def contents(report: Report) -> list[Block]:
    """The parts of the page."""
    return blocks(report, _placed)


def _placed(name: str, chart: Chart) -> Markup:
    """A chart as data, whatever it holds: no text in it ends the element."""
    figure = Markup(
        '<figure class="chart" id="chart-{}"><script type="application/json">{}</script></figure>'
    )
    return figure.format(name, htmlsafe_json_dumps(themed(chart)))
