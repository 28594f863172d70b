"""Which charts a report has, by their names: one list for page, file and memo."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypeVar

from exp_platform.analyses import pretrends, stability
from exp_platform.analyses.rows import EventStudyRow, PretrendDeltaRow, Row
from exp_platform.config.analyses import UNADJUSTED
from exp_platform.report import charts
from exp_platform.report.content import Report

RowT = TypeVar("RowT", bound=Row)


def drawings(report: Report) -> dict[str, charts.Chart | None]:
    """Each chart by its name, or None where there is nothing to draw."""
    unit = report.experiment.scale(first(report)).unit
    directions = {m.id: m.direction for m in report.experiment.metrics}
    return {
        "effects": charts.effects(report.of_method(UNADJUSTED), directions),
        "over_time": charts.effect_over_time(
            of_first(report, report.series), report.experiment.decision_date, unit
        ),
        "users": charts.users_by_day(report.daily, planned_by_day(report)),
        pretrends.METHOD: charts.pretrends(of_first(report, report.of(PretrendDeltaRow)), unit),
        stability.METHOD: charts.effect_by_day(of_first(report, report.of_method(stability.METHOD)), unit),
        "event_study": charts.event_study(of_first(report, report.of(EventStudyRow)), unit),
    }


def first(report: Report) -> str:
    """The metric that decides or, failing that, the spec's first: charts of one metric are of it."""
    return report.decision.decisive_metric or report.experiment.metrics[0].id


def of_first(report: Report, rows: Iterable[RowT]) -> list[RowT]:
    """The rows of the first metric."""
    return [row for row in rows if row.metric_id == first(report)]


def planned_by_day(report: Report) -> dict[str, float]:
    """New users a day that the plan asks of each arm; of a ramp, whose shares change, of none."""
    experiment, size = report.experiment, report.decision.adequacy
    days = (experiment.window.end - experiment.window.start).days + 1
    daily = experiment.decision.daily_users
    if daily is None and size.required_users is not None:
        daily = size.required_users / days
    if daily is None or experiment.ramp:
        return {}
    return {v.id: daily * v.share for v in experiment.variants}
