"""What the decision rests on: which estimate decides, treatments against one another, planned sizes, arms that are late."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from functools import cache

from exp_platform.aggregates import Aggregates
from exp_platform.analyses.adequacy import sample_sizes
from exp_platform.analyses.adjustment import Adjustment, adjustment
from exp_platform.analyses.comparison import Compared, Comparison, compare, pair_of
from exp_platform.analyses.family import level_of
from exp_platform.analyses.late_data import late_days
from exp_platform.analyses.looks import at_look
from exp_platform.analyses.rows import ResultRow, Row, Status
from exp_platform.config.analyses import UNADJUSTED
from exp_platform.config.experiment import Experiment
from exp_platform.config.metrics import Metric, Role
from exp_platform.config.readings import RunState

METHOD = "evidence"


def analyse(
    experiment: Experiment, aggregates: Aggregates, state: RunState, rows: Sequence[Row]
) -> list[Row]:
    """What `decide` reads beside the split, the guardrails and the checks; `rows` are those of the tests.

    - A row per metric and treatment: that of the declared estimate, or the unadjusted one where nothing can adjust it.
    - A row per primary metric and ordered pair of treatments: the same test of one against the other.
    - How far each primary metric is along its planned size (`SizeRow`).
    - Arms whose newest days are missing (`LateRow`).
    """
    deciding = list(_deciding(experiment, state, rows))
    return [
        *deciding,
        *_between(experiment, aggregates, state, deciding),
        *sample_sizes(experiment, aggregates, state, deciding),
        *late_days(experiment, aggregates, state),
    ]


def _deciding(experiment: Experiment, state: RunState, rows: Sequence[Row]) -> Iterator[ResultRow]:
    declared = experiment.decision.estimate
    found = {(r.method, r.metric_id, r.treatment_id): r for r in rows if isinstance(r, ResultRow)}
    for metric in experiment.metrics:
        for treatment in experiment.treatments:
            row = found.get((declared, metric.id, treatment.id))
            if row is not None and row.status is Status.NOT_APPLICABLE:
                row = found.get((UNADJUSTED, metric.id, treatment.id))
                row = None if row is None else _standing_in(experiment, state, metric, row)
            if row is not None:
                yield replace(row, method=METHOD, estimated_by=row.method)


def _standing_in(experiment: Experiment, state: RunState, metric: Metric, row: ResultRow) -> ResultRow:
    """The row at Bonferroni's level: Holm and BH ranked it among rows that do not decide."""
    if experiment.decision.correction == "bonferroni" or row.p_value is None:
        return row
    level = level_of(experiment, metric, state)
    p = min(1.0, row.p_value * level.size)
    return replace(row, p_adjusted=p, significant=bool(row.significant) and row.p_value < level.alpha)


def _between(
    experiment: Experiment, aggregates: Aggregates, state: RunState, deciding: Sequence[ResultRow]
) -> Iterator[ResultRow]:
    """Each treatment against each other one on the primary metrics, by the estimate and at the level that decide for it."""

    @cache
    def adjusted(metric: Metric, method: str) -> Adjustment | None:
        return adjustment(experiment, aggregates, metric, method)

    day = aggregates.as_of_date
    final = state.is_final(experiment, day)
    for row in deciding:
        metric = experiment.metric(row.metric_id)
        if metric.role is not Role.PRIMARY or row.estimated_by is None:
            continue
        level = level_of(experiment, metric, state)
        c = Comparison(experiment, day, METHOD, metric, row.treatment_id, level, final, state)
        c = at_look(c, aggregates)
        by = adjusted(metric, row.estimated_by)
        for other in experiment.treatments:
            if other.id == row.treatment_id:
                continue
            pair = pair_of(aggregates, metric, other.id, row.treatment_id)
            found = compare(c, pair, None if by is None else by.pair(other.id, row.treatment_id))
            against = found.row() if isinstance(found, Compared) else found
            yield replace(against, control_id=other.id, estimated_by=row.estimated_by)
