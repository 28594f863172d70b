"""A report shows the series of the estimate that decides."""

from __future__ import annotations

from dataclasses import replace

from analyses.simulated import END, experiment, metric
from decision.cases import effect, unread
from exp_platform.analyses.rows import Status
from exp_platform.config.plans import DecisionPlan
from exp_platform.report.content import deciding


def test_adjusted_rows_are_shown_where_they_decide_and_plain_ones_where_nothing_was_adjusted() -> None:
    adjusted = experiment(metric("orders"), decision=DecisionPlan(estimate="cuped"))
    plain, other = effect(), effect(method="cuped", estimate=0.4)
    earlier = replace(plain, as_of_date=END.replace(day=9))
    useless = replace(unread(Status.NOT_APPLICABLE, method="cuped"), as_of_date=earlier.as_of_date)
    assert deciding(adjusted, [other, plain, earlier, useless]) == [earlier, other]
    assert deciding(experiment(metric("orders")), [other, plain, earlier, useless]) == [earlier, plain]
